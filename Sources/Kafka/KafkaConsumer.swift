import CRdKafka
import Glibc

/// One record as it was read: its bytes are good until the consumer goes on.
package struct ConsumedRecord {
    fileprivate let message: UnsafePointer<rd_kafka_message_t>

    package var partition: Int32 { message.pointee.partition }
    package var offset: Int64 { message.pointee.offset }
    package var value: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(
            start: message.pointee.payload, count: message.pointee.payload == nil ? 0 : message.pointee.len)
    }
    /// Nil where there is none, which is something else than an empty one.
    package var key: UnsafeRawBufferPointer? {
        message.pointee.key.map { UnsafeRawBufferPointer(start: $0, count: message.pointee.key_len) }
    }

    /// Hands on each header's name and value, in order; the value is nil where there is none.
    package func forEachHeader(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer?) -> Void) {
        var headers: OpaquePointer?
        guard rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR else { return }
        var index = 0
        var name: UnsafePointer<CChar>?
        var value: UnsafeRawPointer?
        var count = 0
        while rd_kafka_header_get_all(headers, index, &name, &value, &count) == RD_KAFKA_RESP_ERR_NO_ERROR {
            if let name {
                let bytes = UnsafeRawBufferPointer(start: name, count: strlen(name))
                body(bytes, value.map { UnsafeRawBufferPointer(start: $0, count: count) })
            }
            index += 1
        }
    }
}

/// Up to where a group has read, as a transaction takes it along.
package final class GroupOffsets: @unchecked Sendable {
    let list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?
    let group: OpaquePointer?

    init(_ list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?, _ group: OpaquePointer?) {
        self.list = list
        self.group = group
    }

    deinit {
        if let list { rd_kafka_topic_partition_list_destroy(list) }
        if let group { rd_kafka_consumer_group_metadata_destroy(group) }
    }
}

/// A member of a group that reads one topic. One thread uses it.
package final class KafkaConsumer {
    private let client: OpaquePointer
    private let queue: OpaquePointer
    private let topic: String
    /// The event whose record was not let go of yet.
    private var held: OpaquePointer?
    private var heldRecord: UnsafePointer<rd_kafka_message_t>?
    private var changing: Change?

    private enum Change {
        case assigned(UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?)
        case revoked
    }

    package enum Event {
        case record(ConsumedRecord)
        /// These partitions are to be read from here: answer by `accept`.
        case assigned([Int32])
        /// Nothing is to be read any more until others are assigned: answer by `release`.
        case revoked
        case atEnd(partition: Int32)
        case failed(KafkaError)
    }

    /// `wake` is written to when there are events.
    package init(_ properties: KafkaProperties, topic: String, wake: Int32) throws(KafkaError) {
        let client = try properties.makeClient(
            RD_KAFKA_CONSUMER, events: Int32(RD_KAFKA_EVENT_FETCH | RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR))
        rd_kafka_poll_set_consumer(client)
        guard let queue = rd_kafka_queue_get_consumer(client) else {
            let error = KafkaError(rd_kafka_last_error())
            rd_kafka_destroy(client)
            throw error
        }
        self.client = client
        self.queue = queue
        self.topic = topic
        var one: UInt64 = 1
        rd_kafka_queue_io_event_enable(queue, wake, &one, 8)
    }

    /// Joins the group.
    package func subscribe() throws(KafkaError) {
        let list = rd_kafka_topic_partition_list_new(1)
        defer { rd_kafka_topic_partition_list_destroy(list) }
        rd_kafka_topic_partition_list_add(list, topic, -1)
        let code = rd_kafka_subscribe(client, list)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code) }
    }

    /// Whether the topic is there. Throws when no broker answers in time.
    package func topicState(milliseconds: Int32) throws(KafkaError) -> TopicState {
        guard let handle = rd_kafka_topic_new(client, topic, nil) else { throw KafkaError(rd_kafka_last_error()) }
        defer { rd_kafka_topic_destroy(handle) }
        return try TopicState.ask(client, handle, milliseconds: milliseconds)
    }

    /// Leaves the group. It takes a moment, and some seconds where no broker answers.
    deinit {
        dropHeld()
        // Its last threads may outlive what they would wake, whose descriptor somebody else has then.
        rd_kafka_queue_io_event_enable(queue, -1, nil, 0)
        rd_kafka_queue_destroy(queue)
        // One that does not end is given up with all that it has: destroying it would wait for it without end.
        if isClosed() { Self.destroyApart(client) }
    }

    /// Nobody waits for it: where a topic was deleted under its readers, a thread of the client's (librdkafka 2.0) may never end.
    private static func destroyApart(_ client: OpaquePointer) {
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { client in
                rd_kafka_destroy_flags(client.map { OpaquePointer($0) }, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
                return nil
            }, UnsafeMutableRawPointer(client))
        if code == 0 { pthread_detach(thread) }
    }

    private func isClosed() -> Bool {
        guard let closing = rd_kafka_queue_new(client) else { return false }
        defer { rd_kafka_queue_destroy(closing) }
        // Its own events are served here, or nobody would let go of the partitions.
        if let error = rd_kafka_consumer_close_queue(client, closing) {
            rd_kafka_error_destroy(error)
            return false
        }
        let deadline = time(nil) + Self.patience
        while rd_kafka_consumer_closed(client) == 0, time(nil) <= deadline {
            // What was fetched comes before it.
            guard let event = rd_kafka_queue_poll(closing, 50) else { continue }
            if rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE { rd_kafka_assign(client, nil) }
            rd_kafka_event_destroy(event)
        }
        return rd_kafka_consumer_closed(client) != 0
    }

    /// In seconds: a broker that answers no more must not keep anybody from ending.
    private static let patience = 3

    // MARK: - Events

    /// What has come; a record comes again and again until `advance` lets go of it. Nil when there is nothing.
    package func next() -> Event? {
        if let heldRecord { return .record(ConsumedRecord(message: heldRecord)) }
        guard changing == nil else { return nil }
        while let event = rd_kafka_queue_poll(queue, 0) {
            switch rd_kafka_event_type(event) {
            case RD_KAFKA_EVENT_FETCH:
                guard let message = rd_kafka_event_message_next(event) else { break }
                held = event
                heldRecord = message
                return .record(ConsumedRecord(message: message))
            case RD_KAFKA_EVENT_REBALANCE:
                defer { rd_kafka_event_destroy(event) }
                return change(event)
            case RD_KAFKA_EVENT_ERROR:
                defer { rd_kafka_event_destroy(event) }
                return failure(event)
            default: break
            }
            rd_kafka_event_destroy(event)
        }
        return nil
    }

    private func change(_ event: OpaquePointer) -> Event {
        guard rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS,
            let list = rd_kafka_event_topic_partition_list(event)
        else {
            changing = .revoked
            return .revoked
        }
        changing = .assigned(rd_kafka_topic_partition_list_copy(list))
        return .assigned((0..<Int(list.pointee.cnt)).map { list.pointee.elems[$0].partition })
    }

    private func failure(_ event: OpaquePointer) -> Event {
        let code = rd_kafka_event_error(event)
        if code == RD_KAFKA_RESP_ERR__PARTITION_EOF, let place = rd_kafka_event_topic_partition(event) {
            defer { rd_kafka_topic_partition_destroy(place) }
            return .atEnd(partition: place.pointee.partition)
        }
        guard rd_kafka_event_error_is_fatal(event) != 0 || code == RD_KAFKA_RESP_ERR__FATAL else {
            return .failed(KafkaError(code, reason: String(cString: rd_kafka_event_error_string(event))))
        }
        return .failed(KafkaError.fatal(of: client))
    }

    /// Lets go of the record that `next` gave.
    package func advance() { dropHeld() }

    private func dropHeld() {
        if let held { rd_kafka_event_destroy(held) }
        held = nil
        heldRecord = nil
    }

    /// Begins to read what was assigned, where the group has stopped.
    package func accept() throws(KafkaError) {
        guard case .assigned(let list) = changing else { return }
        let code = rd_kafka_assign(client, list)
        rd_kafka_topic_partition_list_destroy(list)
        changing = nil
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code) }
    }

    /// Lets go of what was revoked.
    package func release() {
        guard case .revoked = changing else { return }
        dropHeld()
        rd_kafka_assign(client, nil)
        changing = nil
    }

    // MARK: - Positions

    /// What a transaction is to say: up to where each partition has been read.
    package func offsets(_ positions: [(partition: Int32, position: Int64)]) -> GroupOffsets {
        let list = rd_kafka_topic_partition_list_new(Int32(positions.count))
        for one in positions {
            rd_kafka_topic_partition_list_add(list, topic, one.partition)?.pointee.offset = one.position
        }
        return GroupOffsets(list, rd_kafka_consumer_group_metadata(client))
    }

    /// Where the partition begins and ends, as far as was heard; nil while nothing was.
    package func extent(of partition: Int32) -> Range<Int64>? {
        var low: Int64 = 0
        var high: Int64 = 0
        let code = rd_kafka_get_watermark_offsets(client, topic, partition, &low, &high)
        return code == RD_KAFKA_RESP_ERR_NO_ERROR && low >= 0 && low <= high ? low..<high : nil
    }

    /// Up to where the group has read these partitions; those of which it has read nothing are left out. It asks the brokers.
    package func committed(_ partitions: [Int32], milliseconds: Int32) -> [Int32: Int64] {
        let list = rd_kafka_topic_partition_list_new(Int32(partitions.count))
        defer { rd_kafka_topic_partition_list_destroy(list) }
        for partition in partitions { rd_kafka_topic_partition_list_add(list, topic, partition) }
        guard let list, rd_kafka_committed(client, list, milliseconds) == RD_KAFKA_RESP_ERR_NO_ERROR else { return [:] }
        var found: [Int32: Int64] = [:]
        for index in 0..<Int(list.pointee.cnt) where list.pointee.elems[index].offset >= 0 {
            found[list.pointee.elems[index].partition] = list.pointee.elems[index].offset
        }
        return found
    }
}
