import Enrichment
import Provenance

/// The keys that are about log lines: those of `enrich`, and of `serve` too.
extension SettingKey {
    package static let lines: [SettingKey] = logs + kafka + store

    /// Those of other sections that `enrich` has too.
    package static let besidesLines = ["attribution.settle", "attribution.skew", "limits.line_bytes"]

    /// Those that only a proxy needs.
    static let ofExchanges: [SettingKey] = [
        SettingKey(
            "recommendation.line", "auto|true|false",
            "make a log line of each recommendation that passes; auto: unless files, sockets or a topic bring them",
            initial: "auto", .choice(LineSettings.OfExchanges.allCases.map(\.rawValue))
        ) { settings, value throws(Unfit) in settings.lines.ofExchanges = try choice(value[0]) },
        SettingKey(
            "recommendation.path", "PATH", "whose paths these are", initial: "/recommend/{user_id}", .text
        ) { settings, value throws(Unfit) in
            let parts = value[0].split(separator: "{user_id}", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, parts[0].hasPrefix("/"), !value[0].contains("?") else {
                throw Unfit("takes a path with {user_id} in it, such as /recommend/{user_id}, not \"\(value[0])\"")
            }
            (settings.lines.pathPrefix, settings.lines.pathSuffix) = (parts[0], parts[1])
        },
        SettingKey(
            "recommendation.result_bytes", "SIZE", "how much of an answer goes into its line, up to 64KiB",
            initial: "4KiB", .size
        ) { settings, value throws(Unfit) in settings.lines.resultBytes = try size(value[0], 0...64 << 10) },
        SettingKey(
            "recommendation.variant_header", "NAME", "the response header with the variant",
            initial: "X-Model-Variant", .text
        ) { settings, value throws(Unfit) in settings.lines.variantHeader = try fieldName(value[0]) },
        SettingKey(
            "recommendation.bucket_header", "NAME", "the response header with the bucket", initial: "X-Bucket", .text
        ) { settings, value throws(Unfit) in settings.lines.bucketHeader = try fieldName(value[0]) },
    ]

    private static let logs: [SettingKey] = [
        SettingKey(
            "logs.files", "GLOB", "files to follow, through rotation", initial: [], .text, shape: .list, paths: .whole
        ) { settings, value throws(Unfit) in settings.lines.files = value.texts },
        SettingKey(
            "logs.unix", "PATH|datagram:PATH", "a Unix socket to take lines on, a stream unless it says datagram",
            initial: "", .text, shape: .list, paths: .wholeOrBehind(["datagram:", "stream:"])
        ) { settings, value throws(Unfit) in
            settings.lines.unix = []
            for text in value.texts { settings.lines.unix.append(try socket(text)) }
        },
        SettingKey(
            "logs.http", "true|false", "take lines by POST /v1/logs on the admin listener", initial: "true", .truth
        ) { settings, value throws(Unfit) in settings.lines.http = try truth(value[0]) },
        SettingKey(
            "logs.from_kafka.topic", "TOPIC",
            "another topic to take lines from: each is published in the transaction that says it was read",
            initial: "", .text
        ) { settings, value throws(Unfit) in settings.lines.fromTopic = try topic(value[0]) },
        SettingKey("logs.from_kafka.group", "GROUP", "the group that reads it", initial: "colophon", .text) {
            settings, value throws(Unfit) in settings.lines.fromGroup = try topic(value[0])
        },
        SettingKey(
            "logs.format", "auto|recommendation|json|logfmt|text", "what lines look like", initial: "auto",
            .choice(["auto"] + LineFormat.allCases.map(\.rawValue))
        ) { settings, value throws(Unfit) in
            settings.lines.enriching.format = value[0] == "auto" ? nil : try choice(value[0], also: "auto")
        },
        SettingKey(
            "logs.match", "recommendation|all|FIELD=VALUE", "which lines are enriched", initial: "recommendation", .text
        ) { settings, value throws(Unfit) in
            guard let match = LineMatch(value[0]) else {
                throw Unfit("takes recommendation, all or FIELD=VALUE, not \"\(value[0])\"")
            }
            settings.lines.enriching.match = match
        },
        SettingKey(
            "logs.unmatched", "forward|drop", "what becomes of the other lines", initial: "forward",
            .choice(["forward", "drop"])
        ) { settings, value throws(Unfit) in settings.lines.enriching.unmatched = try choice(value[0]) },
        SettingKey("logs.timezone", "UTC|+HH:MM", "of times that name no zone", initial: "UTC", .text) {
            settings, value throws(Unfit) in
            guard let zone = TimeZone(value[0]) else {
                throw Unfit(
                    "takes UTC or a distance from it such as +02:00, not \"\(value[0])\": zones whose clocks are put back have hours that say two things"
                )
            }
            settings.lines.enriching.zone = zone
        },
        SettingKey(
            "logs.to", "auto|kafka|stdout|file:PATH|off", "where lines go; auto: to Kafka when kafka.brokers is set",
            initial: "auto", .text, paths: .behind("file:")
        ) { settings, value throws(Unfit) in settings.lines.to = try destination(value[0]) },
    ]

    private static let kafka: [SettingKey] = [
        SettingKey("kafka.brokers", "HOST:PORT,…", "brokers to begin with", initial: "", .text) {
            settings, value throws(Unfit) in
            guard areBrokers(value[0]) else {
                throw Unfit("takes HOST:PORT, or several with commas between them, not \"\(value[0])\"")
            }
            settings.lines.kafka.brokers = value[0]
        },
        SettingKey("kafka.topic", "TOPIC", "where records are published", initial: "recommendations", .text) {
            settings, value throws(Unfit) in settings.lines.kafka.topic = try topic(value[0])
        },
        SettingKey("kafka.create_topic", nil, "create the topic when it is missing", initial: "false", .truth) {
            settings, value throws(Unfit) in settings.lines.kafka.createsTopic = try truth(value[0])
        },
        SettingKey("kafka.key", "FIELD|none", "the field that is a record's key", initial: "user_id", .text) {
            settings, value throws(Unfit) in settings.lines.enriching.key = value[0] == "none" ? "" : value[0]
        },
        SettingKey(
            "kafka.headers", "default|all|none|NAME,…",
            "record headers; default: model_version, manifest_sha256, attribution, origin", initial: "default", .text
        ) { settings, value throws(Unfit) in settings.lines.kafka.headers = try headers(value[0]) },
        SettingKey("kafka.cloudevents", nil, "add the headers of CloudEvents, binary mode", initial: "false", .truth) {
            settings, value throws(Unfit) in settings.lines.kafka.cloudEvents = try truth(value[0])
        },
        SettingKey(
            "kafka.timestamp_window", "TIME", "how far back a line's own time may lie to be the record's",
            initial: "24h", .duration
        ) { settings, value throws(Unfit) in
            settings.lines.intake.windowBack = try duration(value[0], from: 0, to: 86_400_000_000 * 3660)
        },
        SettingKey(
            "kafka.in_flight", "N", "lines on their way at once, 1 to 100000", initial: "5000", .number(1...100_000)
        ) { settings, value throws(Unfit) in
            settings.lines.kafka.inFlight = try number(value[0], 1...100_000)
        },
        SettingKey(
            "kafka.properties", "NAME=VALUE", "any property of librdkafka", initial: [:], .text, shape: .map,
            paths: .properties
        ) { settings, value throws(Unfit) in settings.lines.kafka.properties = try pairs(value) },
    ]

    private static let store: [SettingKey] = [
        SettingKey("spool.bytes", "SIZE", "how much may wait on disk, at least 16MiB", initial: "1GiB", .size) {
            settings, value throws(Unfit) in
            let bytes = try size(value[0], 16 << 20...1 << 50)
            settings.lines.spool.bytes = bytes
            settings.lines.spool.segment = min(SpoolSettings().segment, bytes / 8)
        },
        SettingKey(
            "spool.fsync_ms", "N", "what a power cut may cost, in milliseconds, 1 to 10000", initial: "50",
            .number(1...10_000)
        ) { settings, value throws(Unfit) in
            settings.lines.fsyncMilliseconds = try number(value[0], 1...10_000)
        },
        SettingKey(
            "dead_letters.bytes", "SIZE", "how much may lie among the dead letters, at least 16MiB", initial: "256MiB",
            .size
        ) { settings, value throws(Unfit) in
            settings.lines.deadLetterBytes = try size(value[0], 16 << 20...1 << 50)
        },
    ]

    // MARK: - Reading values

    private static func destination(_ text: String) throws(Unfit) -> LineSettings.Destination {
        switch text {
        case "auto": return .auto
        case "kafka": return .kafka
        case "stdout": return .standardOutput
        case "off": return .off
        default:
            guard text.hasPrefix("file:"), text.utf8.count > 5 else {
                throw Unfit("takes kafka, stdout, file:PATH or off, not \"\(text)\"")
            }
            return .file(String(text.dropFirst(5)))
        }
    }

    private static func socket(_ text: String) throws(Unfit) -> (path: String, isDatagram: Bool) {
        let kinds = ["datagram:", "stream:"]
        let kind = kinds.first { text.hasPrefix($0) }
        let path = String(text.dropFirst(kind?.count ?? 0))
        let word = path.prefix { $0.isLetter }
        guard !path.isEmpty, kind != nil || !path.dropFirst(word.count).hasPrefix(":") else {
            throw Unfit("takes PATH, stream:PATH or datagram:PATH, not \"\(text)\"")
        }
        return (path, kind == "datagram:")
    }

    private static func areBrokers(_ text: String) -> Bool {
        text.split(separator: ",", omittingEmptySubsequences: false).allSatisfy { broker in
            guard !broker.isEmpty, let colon = broker.lastIndex(of: ":"), !broker.hasSuffix("]") else {
                return !broker.isEmpty && !broker.contains("/")
            }
            let port = Int(broker[broker.index(after: colon)...])
            return colon > broker.startIndex && !broker.contains("/") && port.map { (1...65535).contains($0) } ?? false
        }
    }

    private static func topic(_ text: String) throws(Unfit) -> String {
        guard isTopic(text) else {
            throw Unfit("takes 1 to 249 letters, digits, dots, dashes and underscores, not \"\(text)\"")
        }
        return text
    }

    package static func isTopic(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 249 && text != "." && text != ".."
            && text.utf8.allSatisfy { byte in
                byte >= 0x61 && byte <= 0x7A || byte >= 0x41 && byte <= 0x5A || byte >= 0x30 && byte <= 0x39
                    || byte == 0x5F || byte == 0x2D || byte == 0x2E
            }
    }

    private static func headers(_ text: String) throws(Unfit) -> [RecordHeader] {
        switch text {
        case "default": return RecordHeader.usual
        case "all": return RecordHeader.allCases
        case "none": return []
        default: break
        }
        var list: [RecordHeader] = []
        for name in text.split(separator: ",").map(String.init) {
            guard let header = RecordHeader(rawValue: name) else {
                let known = RecordHeader.allCases.map(\.rawValue).joined(separator: ", ")
                throw Unfit("takes default, all, none or a list of \(known), not \"\(name)\"")
            }
            if !list.contains(header) { list.append(header) }
        }
        guard !list.isEmpty else { throw Unfit("takes default, all, none or a list of names, not \"\(text)\"") }
        return list
    }
}
