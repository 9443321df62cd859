import CRdKafka

/// What brokers say of a topic.
package enum TopicState: Sendable, Equatable {
    case found(partitions: Int)
    case missing
    case refused(String)

    /// Asks the brokers. Throws when none answers in time.
    static func ask(
        _ client: OpaquePointer, _ topic: OpaquePointer, milliseconds: Int32
    ) throws(KafkaError) -> TopicState {
        var found: UnsafePointer<rd_kafka_metadata>?
        let code = rd_kafka_metadata(client, 0, topic, &found, milliseconds)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata = found else { throw KafkaError(code) }
        defer { rd_kafka_metadata_destroy(metadata) }
        guard metadata.pointee.topic_cnt == 1, let state = metadata.pointee.topics else { return .missing }
        switch state.pointee.err {
        case RD_KAFKA_RESP_ERR_NO_ERROR: return .found(partitions: Int(state.pointee.partition_cnt))
        case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART: return .missing
        default: return .refused(KafkaError(state.pointee.err).description)
        }
    }
}
