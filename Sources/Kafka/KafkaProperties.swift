import CRdKafka

/// librdkafka's properties, by their own names.
package struct KafkaProperties: Sendable {
    private(set) var pairs: [(name: String, value: String)] = []

    package init() {}

    package subscript(name: String) -> String? {
        get { pairs.last { $0.name == name }?.value }
        set {
            pairs.removeAll { $0.name == name }
            if let newValue { pairs.append((name, newValue)) }
        }
    }

    /// Whether a property's value must never be shown. One that the library does not know may be a password whose name is misspelled.
    package static func isSecret(_ name: String) -> Bool {
        !isKnown(name) || isNamedSecret(name)
    }

    private static func isKnown(_ name: String) -> Bool {
        guard let configuration = rd_kafka_conf_new() else { return false }
        defer { rd_kafka_conf_destroy(configuration) }
        var text = [CChar](repeating: 0, count: 512)
        return rd_kafka_conf_set(configuration, name, "", &text, text.count) != RD_KAFKA_CONF_UNKNOWN
    }

    private static func isNamedSecret(_ name: String) -> Bool {
        let words = ["password", "secret", "jaas", "key.pem", "oauthbearer.config", "certificate.pem", "token"]
        return words.contains { name.contains($0) }
    }

    /// A configuration that a client takes over; destroyed where none did.
    struct Handle: ~Copyable {
        private var configuration: OpaquePointer?

        init(_ configuration: OpaquePointer) { self.configuration = configuration }

        deinit { if let configuration { rd_kafka_conf_destroy(configuration) } }

        var raw: OpaquePointer? { configuration }

        mutating func give() { configuration = nil }
    }

    func makeHandle() throws(KafkaError) -> Handle {
        guard let configuration = rd_kafka_conf_new() else { throw KafkaError(RD_KAFKA_RESP_ERR__FAIL) }
        let handle = Handle(configuration)
        for pair in pairs { try Self.set(pair.name, pair.value, in: configuration) }
        return handle
    }

    private static func set(
        _ name: String, _ value: String, in configuration: OpaquePointer
    ) throws(KafkaError) {
        var text = [CChar](repeating: 0, count: 512)
        let result = rd_kafka_conf_set(configuration, name, value, &text, text.count)
        guard result != RD_KAFKA_CONF_OK else { return }
        var reason = KafkaError.text(text)
        // The library repeats the value that it refuses.
        if isNamedSecret(name), result == RD_KAFKA_CONF_INVALID { reason = "its value is not accepted" }
        let code =
            result == RD_KAFKA_CONF_UNKNOWN ? RD_KAFKA_RESP_ERR__UNKNOWN_PROTOCOL : RD_KAFKA_RESP_ERR__INVALID_ARG
        throw KafkaError(code, reason: "\(name): \(reason)")
    }

    /// Checks that a producer can be made of them.
    package func checkTogether() throws(KafkaError) {
        var quiet = self
        // It is not to connect to anybody.
        quiet["bootstrap.servers"] = nil
        rd_kafka_destroy(try quiet.makeClient(RD_KAFKA_PRODUCER, events: 0))
    }

    /// A client of its own, which tells of these events.
    func makeClient(_ type: rd_kafka_type_t, events: Int32) throws(KafkaError) -> OpaquePointer {
        var handle = try makeHandle()
        rd_kafka_conf_set_events(handle.raw, events)
        rd_kafka_conf_set_log_cb(handle.raw, nil)
        var text = [CChar](repeating: 0, count: 512)
        guard let client = rd_kafka_new(type, handle.raw, &text, text.count) else {
            throw KafkaError(rd_kafka_last_error(), reason: KafkaError.text(text))
        }
        handle.give()
        return client
    }

    /// Checks each property by itself; the error says what is wrong with the first that is not accepted.
    package func check() throws(KafkaError) { _ = try makeHandle() }
}
