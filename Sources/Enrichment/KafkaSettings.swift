import Kafka
import Provenance

/// Where and how records are published (DESIGN 6.3).
package struct KafkaSettings: Sendable {
    package var brokers = ""
    package var topic = "recommendations"
    /// The field that is the record's key; empty for none.
    package var key = "user_id"
    package var headers = RecordHeader.usual
    package var cloudEvents = false
    package var inFlight = 5000
    /// Whether a topic that is missing is created.
    package var createsTopic = false
    package var properties: [(name: String, value: String)] = []

    package init() {}

    /// What is relied on, and may not be set otherwise.
    private static let fixed: [(name: String, value: String, why: String)] = [
        ("enable.idempotence", "true", "retries would change the order of lines"),
        ("acks", "all", "an acknowledged line could be lost with one broker"),
        ("message.timeout.ms", "0", "lines would be given up"),
        ("delivery.report.only.error", "false", "nobody would know what has arrived"),
        ("test.mock.num.brokers", "0", "a mock cluster keeps nothing"),
        ("enable.gapless.guarantee", "true", "a refused line would change the order of those behind it"),
    ]

    /// The same, where lines come from another topic.
    private static let fixedWhenReading: [(name: String, value: String, why: String)] = [
        ("enable.auto.commit", "false", "a line could count as read before it is published"),
        ("enable.auto.offset.store", "false", "a line could count as read before it is published"),
        ("isolation.level", "read_committed", "lines could be read that their writer has taken back"),
        ("enable.partition.eof", "true", "nobody would know where a topic ends"),
    ]

    /// What may be added to a line, and what is around it in a record.
    private static let mostAround = 8 << 10

    /// Other names of the same properties.
    private static let aliases = [

        "request.required.acks": "acks", "delivery.timeout.ms": "message.timeout.ms",
    ]

    /// Those that have a key of their own.
    private static let owned = [
        "bootstrap.servers": "kafka.brokers", "metadata.broker.list": "kafka.brokers",
        "transactional.id": "instance", "group.id": "logs.from_kafka.group", "group.instance.id": "instance",
    ]

    /// The properties of the producer, and of one that makes transactions where `transactionalID` names it; throws where one is
    /// unknown, wrong, or not free to be set.
    package func producerProperties(
        lineLimit: Int, transactionalID: String? = nil
    ) throws(KafkaSettingsError) -> KafkaProperties {
        var all = KafkaProperties()
        all["transactional.id"] = transactionalID
        all["bootstrap.servers"] = brokers
        for one in Self.fixed { all[one.name] = one.value }
        all["compression.codec"] = "zstd"
        all["partitioner"] = "murmur2_random"
        // A batch costs some 0.3 ms of processor time by itself, however few lines it has (docs/benchmarks.md).
        all["linger.ms"] = "20"
        all["queue.buffering.max.messages"] = String(max(inFlight, 1))
        all["queue.buffering.max.kbytes"] = "65536"
        // The longest line, and what is added to it.
        all["message.max.bytes"] = String(max(1 << 20, lineLimit + 64 << 10))
        all["client.id"] = "colophon"
        all["topic.metadata.refresh.interval.ms"] = "30000"
        all["socket.keepalive.enable"] = "true"
        all["statistics.interval.ms"] = "5000"
        try add(to: &all)
        let least = lineLimit + Self.mostAround
        if let most = all["message.max.bytes"], Int(most) ?? 0 < least {
            throw .conflict(
                property: "message.max.bytes", value: most, needed: "at least \(least)",
                why: "lines may have \(lineLimit) bytes, and no longer record could be sent (limits.line_bytes)")
        }
        // Where the library was built without it.
        if properties.allSatisfy({ $0.name != "compression.codec" && $0.name != "compression.type" }) {
            var alone = KafkaProperties()
            alone["compression.codec"] = "zstd"
            if (try? alone.check()) == nil { all["compression.codec"] = "lz4" }
        }
        // What contradicts something else is known only to the whole.
        do { try all.checkTogether() } catch { throw .refused(property: "", error) }
        return all
    }

    /// The properties of a member of `group` that reads a topic, and that goes by `name` there, so that it is known again after a restart.
    package func consumerProperties(group: String, name: String) throws(KafkaSettingsError) -> KafkaProperties {
        var all = KafkaProperties()
        all["bootstrap.servers"] = brokers
        for one in Self.fixedWhenReading { all[one.name] = one.value }
        all["group.id"] = group
        all["group.instance.id"] = name
        all["auto.offset.reset"] = "earliest"
        // What was read and not taken yet: brokers may send more at once than there is memory for.
        all["queued.max.messages.kbytes"] = "8192"
        all["fetch.max.bytes"] = String(8 << 20)
        all["client.id"] = "colophon"
        all["socket.keepalive.enable"] = "true"
        try add(to: &all)
        return all
    }

    /// Adds what users have set.
    private func add(to all: inout KafkaProperties) throws(KafkaSettingsError) {
        for pair in properties {
            let name = Self.aliases[pair.name] ?? pair.name
            if let key = Self.owned[name] { throw .owned(property: pair.name, key: key) }
            if let one = (Self.fixed + Self.fixedWhenReading).first(where: { $0.name == name }) {
                guard pair.value == one.value || one.name == "acks" && pair.value == "-1" else {
                    throw .conflict(property: pair.name, value: pair.value, needed: one.value, why: one.why)
                }
                continue
            }
            if name == "partition.assignment.strategy", pair.value.contains("cooperative") {
                throw .conflict(
                    property: pair.name, value: pair.value, needed: "range,roundrobin",
                    why: "partitions go from one member to another all at once here")
            }
            var alone = KafkaProperties()
            alone[pair.name] = pair.value
            do { try alone.check() } catch { throw .refused(property: pair.name, error) }
            all[pair.name] = pair.value
        }
    }
}

/// A record header of ours.
package enum RecordHeader: String, Sendable, CaseIterable {
    case modelVersion = "model_version"
    case manifestSHA256 = "manifest_sha256"
    case attribution
    case origin
    case pipelineCommit = "pipeline_commit"
    case pipelineBranch = "pipeline_branch"
    case dataVersion = "data_version"
    case requestID = "request_id"
    case lineTime = "line_time"

    package static let usual = [modelVersion, manifestSHA256, attribution, origin]

    /// The same, where no text is to be made of it.
    var staticName: StaticString {
        switch self {
        case .modelVersion: "model_version"
        case .manifestSHA256: "manifest_sha256"
        case .attribution: "attribution"
        case .origin: "origin"
        case .pipelineCommit: "pipeline_commit"
        case .pipelineBranch: "pipeline_branch"
        case .dataVersion: "data_version"
        case .requestID: "request_id"
        case .lineTime: "line_time"
        }
    }
}

/// A property that cannot be used.
package enum KafkaSettingsError: Error, Sendable, CustomStringConvertible {
    case owned(property: String, key: String)
    case conflict(property: String, value: String, needed: String, why: String)
    case refused(property: String, KafkaError)

    package var description: String {
        switch self {
        case .owned(let property, let key): "kafka.properties: \(property.onOneLine) is set by \(key): set that"
        case .conflict(let property, let value, let needed, let why):
            "kafka.properties: \(property)=\(value.onOneLine) is refused, because \(why): leave it out, or write \(needed)"
        case .refused(_, let error):
            "kafka.properties: \(error.reason.split(separator: "\n").joined(separator: " ").onOneLine)"
        }
    }
}
