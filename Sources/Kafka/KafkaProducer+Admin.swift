import CRdKafka

extension KafkaProducer {
    /// Creates the topic with as many partitions and replicas as the brokers give by default. Already being there is fine.
    package func createTopic(_ name: String, milliseconds: Int32) throws(KafkaError) {
        var text = [CChar](repeating: 0, count: 512)
        guard let topic = rd_kafka_NewTopic_new(name, -1, -1, &text, text.count) else {
            throw KafkaError(RD_KAFKA_RESP_ERR__INVALID_ARG)
        }
        defer { rd_kafka_NewTopic_destroy(topic) }
        try withClient { client throws(KafkaError) in
            var topics: [OpaquePointer?] = [topic]
            try Self.ask(client, RD_KAFKA_ADMIN_OP_CREATETOPICS, milliseconds) { options, queue in
                rd_kafka_CreateTopics(client, &topics, 1, options, queue)
            } read: { event throws(KafkaError) in
                var count = 0
                guard
                    let results = rd_kafka_CreateTopics_result_topics(
                        rd_kafka_event_CreateTopics_result(event), &count),
                    count > 0, let result = results[0]
                else { return }
                let code = rd_kafka_topic_result_error(result)
                guard code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS else {
                    throw KafkaError(
                        code, reason: rd_kafka_topic_result_error_string(result).map { String(cString: $0) })
                }
            }
        }
    }

    /// The topic's own settings, by name.
    package func topicSettings(_ name: String, milliseconds: Int32) throws(KafkaError) -> [String: String] {
        guard let resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name) else {
            throw KafkaError(RD_KAFKA_RESP_ERR__INVALID_ARG)
        }
        defer { rd_kafka_ConfigResource_destroy(resource) }
        var found: [String: String] = [:]
        try withClient { client throws(KafkaError) in
            var resources: [OpaquePointer?] = [resource]
            try Self.ask(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, milliseconds) { options, queue in
                rd_kafka_DescribeConfigs(client, &resources, 1, options, queue)
            } read: { event throws(KafkaError) in
                var count = 0
                let result = rd_kafka_event_DescribeConfigs_result(event)
                guard let described = rd_kafka_DescribeConfigs_result_resources(result, &count), count > 0 else {
                    return
                }
                let code = rd_kafka_ConfigResource_error(described[0])
                guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code) }
                var entryCount = 0
                guard let entries = rd_kafka_ConfigResource_configs(described[0], &entryCount) else { return }
                for index in 0..<entryCount {
                    guard let name = rd_kafka_ConfigEntry_name(entries[index]),
                        let value = rd_kafka_ConfigEntry_value(entries[index])
                    else { continue }
                    found[String(cString: name)] = String(cString: value)
                }
            }
        }
        return found
    }

    private static func ask(
        _ client: OpaquePointer, _ operation: rd_kafka_admin_op_t, _ milliseconds: Int32,
        _ request: (OpaquePointer?, OpaquePointer?) -> Void, read: (OpaquePointer) throws(KafkaError) -> Void
    ) throws(KafkaError) {
        let options = rd_kafka_AdminOptions_new(client, operation)
        defer { rd_kafka_AdminOptions_destroy(options) }
        rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, nil, 0)
        guard let queue = rd_kafka_queue_new(client) else { throw KafkaError(RD_KAFKA_RESP_ERR__FAIL) }
        defer { rd_kafka_queue_destroy(queue) }
        request(options, queue)
        guard let event = rd_kafka_queue_poll(queue, milliseconds + 1000) else {
            throw KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT)
        }
        defer { rd_kafka_event_destroy(event) }
        let code = rd_kafka_event_error(event)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            throw KafkaError(code, reason: String(cString: rd_kafka_event_error_string(event)))
        }
        try read(event)
    }
}
