import CRdKafka

/// What librdkafka or a broker says went wrong.
package struct KafkaError: Error, Sendable, CustomStringConvertible {
    /// librdkafka's own name for it: `_MSG_TIMED_OUT`, `TOPIC_AUTHORIZATION_FAILED`.
    package let name: String
    package let reason: String
    /// Nothing more can be done with the client that said so.
    package let isFatal: Bool
    package let code: Int32

    package init(_ code: rd_kafka_resp_err_t, reason: String? = nil, isFatal: Bool = false) {
        self.code = code.rawValue
        name = String(cString: rd_kafka_err2name(code))
        self.reason = reason ?? String(cString: rd_kafka_err2str(code))
        self.isFatal = isFatal
    }

    /// Takes over an error object: it is copied out and destroyed here.
    init(consuming error: OpaquePointer) {
        self.init(
            rd_kafka_error_code(error), reason: String(cString: rd_kafka_error_string(error)),
            isFatal: rd_kafka_error_is_fatal(error) != 0)
        rd_kafka_error_destroy(error)
    }

    /// What made the client itself useless.
    static func fatal(of client: OpaquePointer) -> KafkaError {
        var text = [CChar](repeating: 0, count: 512)
        let code = rd_kafka_fatal_error(client, &text, text.count)
        return KafkaError(code, reason: Self.text(text), isFatal: true)
    }

    /// What the library wrote into a buffer.
    static func text(_ buffer: [CChar]) -> String {
        String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Whether another client has taken over the name that this one goes by.
    package var isFencing: Bool {
        switch rd_kafka_resp_err_t(rawValue: code) {
        case RD_KAFKA_RESP_ERR__FENCED, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
            RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
            true
        default: false
        }
    }

    /// Whether somebody answered, and would not have us: who we are, or how we speak, is at fault.
    package var refusesClient: Bool {
        switch rd_kafka_resp_err_t(rawValue: code) {
        case RD_KAFKA_RESP_ERR__AUTHENTICATION, RD_KAFKA_RESP_ERR__SSL, RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED,
            RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM, RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
            true
        default: false
        }
    }

    /// Whether the topic that was asked for is not there.
    package var isMissingTopic: Bool {
        let code = rd_kafka_resp_err_t(rawValue: code)
        return code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            || code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
    }

    package var description: String { Self.words(reason, code) }

    /// What is said of `code`, and what helps.
    package static func words(_ reason: String, _ code: Int32) -> String {
        "\(reason) (\(name(code)))" + (missingRight(code).map { ": this user needs \($0)" } ?? "")
    }

    private static func missingRight(_ code: Int32) -> String? {
        switch rd_kafka_resp_err_t(rawValue: code) {
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
            "the right to Describe the topic, to Write where lines go, to Read where they come from, and to Create it with kafka.create_topic"
        case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
            "the right to Write to the topic, and of brokers before 2.8 IdempotentWrite in the cluster"
        case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED: "the right to Read in the group (logs.from_kafka.group)"
        case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            "the right to Write with this instance's transactional id"
        default: nil
        }
    }

    /// Whether nobody will ever take the record that this was said of; all other errors may pass.
    package static func refusesRecord(_ code: Int32) -> Bool {
        switch rd_kafka_resp_err_t(rawValue: code) {
        case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_INVALID_MSG, RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE,
            RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, RD_KAFKA_RESP_ERR_INVALID_RECORD,
            RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
            true
        default: false
        }
    }

    /// Whether a record was given up because its client was: why, that one says.
    package static func isOfGivenUpClient(_ code: Int32) -> Bool {
        let code = rd_kafka_resp_err_t(rawValue: code)
        return code == RD_KAFKA_RESP_ERR__PURGE_QUEUE || code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
    }

    /// Whether a record was refused for its time.
    package static func refusesTime(_ code: Int32) -> Bool {
        rd_kafka_resp_err_t(rawValue: code) == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP
    }

    /// Whether it says only that there is no connection; others say why.
    package var isGeneral: Bool {
        let code = rd_kafka_resp_err_t(rawValue: code)
        return code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__TRANSPORT
            || code == RD_KAFKA_RESP_ERR__TIMED_OUT
    }

    package static func name(_ code: Int32) -> String {
        String(cString: rd_kafka_err2name(rd_kafka_resp_err_t(rawValue: code)))
    }

    package static func reason(_ code: Int32) -> String {
        String(cString: rd_kafka_err2str(rd_kafka_resp_err_t(rawValue: code)))
    }
}
