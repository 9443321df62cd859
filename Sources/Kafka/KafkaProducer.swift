import CRdKafka
import Glibc

/// A producer to one topic. One thread at a time uses it.
package final class KafkaProducer {
    private let client: OpaquePointer
    private let queue: OpaquePointer
    private let topic: OpaquePointer
    /// What one call of `produce` says, filled in again for each record.
    private let arguments: UnsafeMutablePointer<rd_kafka_vu_t>
    private static let fixed = 7
    /// The headers of the record that was begun: ours until the client has taken it. Given to it one by one instead, librdkafka 2.0
    /// frees them twice when it refuses a record.
    private var headers: OpaquePointer?

    /// What came of one record, or of the client as a whole.
    package enum Event {
        /// `code` is 0 when the brokers have it.
        case delivered(token: UInt, code: Int32)
        case failed(KafkaError)
        /// What the client tells of itself, as JSON, as often as `statistics.interval.ms` says.
        case statistics(String)
    }

    /// What a call of `produce` came to.
    package enum Outcome {
        case taken
        /// The queue is full: take events first.
        case full
        case refused(code: Int32)
    }

    /// `properties` must not contradict what a producer here relies on. `wake` is written to when there are events.
    package init(_ properties: KafkaProperties, topic name: String, wake: Int32) throws(KafkaError) {
        let client = try properties.makeClient(
            RD_KAFKA_PRODUCER, events: Int32(RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS))
        guard let queue = rd_kafka_queue_get_main(client), let topic = rd_kafka_topic_new(client, name, nil) else {
            let error = KafkaError(rd_kafka_last_error())
            rd_kafka_destroy(client)
            throw error
        }
        self.client = client
        self.queue = queue
        self.topic = topic
        arguments = .allocate(capacity: Self.fixed)
        arguments.initialize(repeating: rd_kafka_vu_t(), count: Self.fixed)
        arguments[0].vtype = RD_KAFKA_VTYPE_RKT
        arguments[0].u.rkt = topic
        arguments[1].vtype = RD_KAFKA_VTYPE_MSGFLAGS
        arguments[1].u.i = 0
        arguments[2].vtype = RD_KAFKA_VTYPE_VALUE
        arguments[3].vtype = RD_KAFKA_VTYPE_KEY
        arguments[4].vtype = RD_KAFKA_VTYPE_TIMESTAMP
        arguments[5].vtype = RD_KAFKA_VTYPE_OPAQUE
        arguments[6].vtype = RD_KAFKA_VTYPE_HEADERS
        var one: UInt64 = 1
        rd_kafka_queue_io_event_enable(queue, wake, &one, 8)
    }

    /// Gives up whatever is still in flight.
    deinit {
        rd_kafka_purge(client, Int32(RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT))
        dropHeaders()
        rd_kafka_topic_destroy(topic)
        rd_kafka_queue_destroy(queue)
        rd_kafka_destroy(client)
        arguments.deallocate()
    }

    // MARK: - Records

    /// Begins a record. Its bytes stay where they are until it is reported delivered or failed.
    package func begin(
        value: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer?, milliseconds: Int64, token: UInt
    ) {
        arguments[2].u.mem.ptr = UnsafeMutableRawPointer(mutating: value.baseAddress)
        arguments[2].u.mem.size = value.count
        arguments[3].u.mem.ptr = UnsafeMutableRawPointer(mutating: key?.baseAddress)
        arguments[3].u.mem.size = key?.count ?? 0
        arguments[4].u.i64 = milliseconds
        arguments[5].u.ptr = UnsafeMutableRawPointer(bitPattern: token)
        dropHeaders()
    }

    private func dropHeaders() {
        if let headers { rd_kafka_headers_destroy(headers) }
        headers = nil
    }

    /// Adds a header, whose value is copied when the record is produced.
    package func add(header name: StaticString, _ value: UnsafeRawBufferPointer) {
        add(header: UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount), value)
    }

    /// Adds a header that another record brought; its value is nil where it has none.
    package func add(header name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer?) {
        if headers == nil { headers = rd_kafka_headers_new(8) }
        let text = name.baseAddress?.assumingMemoryBound(to: CChar.self)
        rd_kafka_header_add(headers, text, name.count, value?.baseAddress, value?.count ?? 0)
    }

    /// Hands the record that was begun to the client.
    package func produce() -> Outcome {
        arguments[6].u.headers = headers
        guard let error = rd_kafka_produceva(client, arguments, headers == nil ? Self.fixed - 1 : Self.fixed) else {
            headers = nil
            return .taken
        }
        dropHeaders()
        let code = rd_kafka_error_code(error)
        rd_kafka_error_destroy(error)
        return code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? .full : .refused(code: code.rawValue)
    }

    // MARK: - Events

    /// Hands on the events that have come, waiting for the first for at most `milliseconds`.
    package func takeEvents(milliseconds: Int32, _ body: (Event) -> Void) {
        var wait = milliseconds
        while let event = rd_kafka_queue_poll(queue, wait) {
            wait = 0
            switch rd_kafka_event_type(event) {
            case RD_KAFKA_EVENT_DR:
                while let message = rd_kafka_event_message_next(event) {
                    body(
                        .delivered(
                            token: UInt(bitPattern: message.pointee._private), code: message.pointee.err.rawValue))
                }
            case RD_KAFKA_EVENT_ERROR: body(.failed(error(of: event)))
            case RD_KAFKA_EVENT_STATS:
                if let text = rd_kafka_event_stats(event) { body(.statistics(String(cString: text))) }
            default: break
            }
            rd_kafka_event_destroy(event)
        }
    }

    private func error(of event: OpaquePointer) -> KafkaError {
        let code = rd_kafka_event_error(event)
        guard rd_kafka_event_error_is_fatal(event) != 0 || code == RD_KAFKA_RESP_ERR__FATAL else {
            return KafkaError(code, reason: String(cString: rd_kafka_event_error_string(event)))
        }
        return KafkaError.fatal(of: client)
    }

    // MARK: - The topic

    /// Asks the brokers about the topic. Throws when none answers in time.
    package func topicState(milliseconds: Int32) throws(KafkaError) -> TopicState {
        try TopicState.ask(client, topic, milliseconds: milliseconds)
    }

    /// For calls that need the client itself.
    func withClient<Result, Failure: Error>(
        _ body: (OpaquePointer) throws(Failure) -> Result
    ) throws(Failure) -> Result { try body(client) }
}
