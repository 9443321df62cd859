import Kafka
import Provenance

/// What is asked of the brokers about the topic before anything is sent.
package struct TopicCheck: Sendable {
    package enum Outcome: Sendable {
        /// `limit` is how large a batch may be there, and `warnings` say what contradicts the settings.
        case found(partitions: Int, limits: LinePipeline.TopicLimits, warnings: [String])
        case missing(String)
        case refused(String)
        /// No broker has answered in time.
        case unreachable(String)
    }

    private static let patience: Int32 = 1500
    private static let attempts = 5

    /// Asks with a client of its own. It takes some seconds where nobody answers.
    package static func run(
        _ settings: KafkaSettings, _ properties: KafkaProperties, window: Int64, lineLimit: Int, wake: Int32
    ) -> Outcome {
        let client: KafkaProducer
        do { client = try KafkaProducer(properties, topic: settings.topic, wake: wake) } catch {
            return .unreachable(error.description)
        }
        do throws(KafkaError) {
            var isAsked = false
            var wasMissing = false
            for attempt in 1...attempts {
                switch try client.topicState(milliseconds: patience) {
                case .found(let partitions):
                    let outcome = described(client, partitions, settings, window: window, lineLimit: lineLimit)
                    guard wasMissing, !isAsked, case .found(_, let limits, let warnings) = outcome else {
                        return outcome
                    }
                    let news =
                        "the topic \(settings.topic) did not exist, and the brokers have created it: is it the one that was meant?"
                    return .found(partitions: partitions, limits: limits, warnings: [news] + warnings)
                case .refused(let reason):
                    // A topic that was just created has no leader for a moment.
                    if attempt == attempts || !reason.contains("LEADER_NOT_AVAILABLE") {
                        return .refused("the topic \(settings.topic) (kafka.topic) cannot be used: \(reason)")
                    }
                    wasMissing = true
                case .missing:
                    wasMissing = true
                    if settings.createsTopic, !isAsked {
                        isAsked = true
                        do { try client.createTopic(settings.topic, milliseconds: 2 * patience) } catch {
                            guard error.isGeneral else {
                                return .refused(
                                    "the topic \(settings.topic) (kafka.topic) does not exist, and cannot be created (kafka.create_topic): \(error)"
                                )
                            }
                            throw error
                        }
                    }
                }
                // Waits until something is told, or a while: brokers that create topics by themselves take a moment.
                client.takeEvents(milliseconds: 300) { _ in }
            }
            return .missing(
                "the topic \(settings.topic) does not exist, and the brokers do not create it: create it, name another one (--kafka-topic), or start with --kafka-create-topic"
            )
        } catch {
            var reason = error
            client.takeEvents(milliseconds: 500) { event in
                if case .failed(let told) = event, reason.isGeneral { reason = told }
            }
            if reason.refusesClient {
                return .unreachable(
                    "the brokers at \(settings.brokers.onOneLine) refuse us, which is for kafka.properties to mend (security.protocol, sasl.*, ssl.*): \(reason)"
                )
            }
            return .unreachable("no broker at \(settings.brokers.onOneLine) answers (kafka.brokers): \(reason)")
        }
    }

    private static func described(
        _ client: KafkaProducer, _ partitions: Int, _ settings: KafkaSettings, window: Int64, lineLimit: Int
    ) -> Outcome {
        guard let topic = try? client.topicSettings(settings.topic, milliseconds: 2 * patience) else {
            return .found(partitions: partitions, limits: LinePipeline.TopicLimits(), warnings: [])
        }
        var warnings: [String] = []
        var limits = LinePipeline.TopicLimits()
        let limit = topic["max.message.bytes"].flatMap { Int($0) }
        limits.batchBytes = limit
        if let limit, limit < lineLimit + (8 << 10) {
            warnings.append(
                "the topic takes records of at most \(limit) bytes (max.message.bytes), and lines may have \(lineLimit) (limits.line_bytes): longer ones become dead letters"
            )
        }
        if topic["message.timestamp.type"] == "LogAppendTime" {
            warnings.append(
                "the topic replaces the times of records (message.timestamp.type=LogAppendTime): a line's own time is then only in its text"
            )
        }
        for name in ["message.timestamp.difference.max.ms", "message.timestamp.before.max.ms"] {
            guard let value = topic[name].flatMap({ Int64($0) }), value < window / 1000 else { continue }
            warnings.append(
                "the topic refuses times more than \(value) ms back (\(name)), and kafka.timestamp_window allows \(window / 1000): records of older lines get the time of reading instead"
            )
            limits.windowBack = min(limits.windowBack ?? .max, value * 1000 * 9 / 10)
        }
        for name in ["message.timestamp.difference.max.ms", "message.timestamp.after.max.ms"] {
            guard let value = topic[name].flatMap({ Int64($0) }), value < 600_000 else { continue }
            limits.windowAhead = min(limits.windowAhead ?? .max, value * 1000 / 2)
        }
        if let retention = topic["retention.ms"].flatMap({ Int64($0) }), retention >= 0, retention < window / 1000 {
            warnings.append(
                "the topic deletes records after \(retention) ms by their own time (retention.ms), and kafka.timestamp_window allows \(window / 1000): such lines are deleted at once"
            )
        }
        return .found(partitions: partitions, limits: limits, warnings: warnings)
    }
}
