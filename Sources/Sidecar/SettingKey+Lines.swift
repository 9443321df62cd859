import Enrichment
import Provenance

/// The keys that are about log lines: those of `enrich`, and of `serve` too.
extension SettingKey {
    package static let lines: [SettingKey] = logs + kafka + store

    /// Those that only a proxy needs.
    static let ofExchanges: [SettingKey] = [
        SettingKey(
            "recommendation.line", "auto|true|false",
            "make a log line of each recommendation that passes (auto: unless files, sockets or a topic bring them)"
        ) { settings, values throws(Unfit) in settings.lines.ofExchanges = try choice(values[0]) },
        SettingKey("recommendation.path", "PATH", "whose paths these are (/recommend/{user_id})") {
            settings, values throws(Unfit) in
            let parts = values[0].split(separator: "{user_id}", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, parts[0].hasPrefix("/"), !values[0].contains("?") else {
                throw Unfit("takes a path with {user_id} in it, such as /recommend/{user_id}, not \"\(values[0])\"")
            }
            (settings.lines.pathPrefix, settings.lines.pathSuffix) = (parts[0], parts[1])
        },
        SettingKey(
            "recommendation.result_bytes", "SIZE", "how much of an answer goes into its line, up to 64KiB (4KiB)"
        ) {
            settings, values throws(Unfit) in settings.lines.resultBytes = try size(values[0], 0...64 << 10)
        },
        SettingKey("recommendation.variant_header", "NAME", "the response header with the variant (X-Model-Variant)") {
            settings, values throws(Unfit) in settings.lines.variantHeader = try fieldName(values[0])
        },
        SettingKey("recommendation.bucket_header", "NAME", "the response header with the bucket (X-Bucket)") {
            settings, values throws(Unfit) in settings.lines.bucketHeader = try fieldName(values[0])
        },
    ]

    private static let logs: [SettingKey] = [
        SettingKey("logs.files", "GLOB", "files to follow, through rotation", repeats: true) {
            settings, values throws(Unfit) in
            settings.lines.files = values
        },
        SettingKey(
            "logs.unix", "PATH|datagram:PATH", "a Unix socket to take lines on, a stream unless it says datagram",
            repeats: true
        ) { settings, values throws(Unfit) in
            settings.lines.unix = []
            for value in values { settings.lines.unix.append(try socket(value)) }
        },
        SettingKey(
            "logs.from_kafka.topic", "TOPIC",
            "another topic to take lines from: each is published in the transaction that says it was read"
        ) { settings, values throws(Unfit) in settings.lines.fromTopic = try topic(values[0]) },
        SettingKey("logs.from_kafka.group", "GROUP", "the group that reads it (colophon)") {
            settings, values throws(Unfit) in
            settings.lines.fromGroup = try topic(values[0])
        },
        SettingKey("logs.format", "auto|recommendation|json|logfmt|text", "what lines look like (auto)") {
            settings, values throws(Unfit) in
            settings.lines.enriching.format = values[0] == "auto" ? nil : try choice(values[0], also: "auto")
        },
        SettingKey(
            "logs.match", "recommendation|all|FIELD=VALUE", "which lines are enriched (recommendation)"
        ) { settings, values throws(Unfit) in
            guard let match = LineMatch(values[0]) else {
                throw Unfit("takes recommendation, all or FIELD=VALUE, not \"\(values[0])\"")
            }
            settings.lines.enriching.match = match
        },
        SettingKey("logs.unmatched", "forward|drop", "what becomes of the other lines (forward)") {
            settings, values throws(Unfit) in
            settings.lines.enriching.unmatched = try choice(values[0])
        },
        SettingKey("logs.timezone", "UTC|+HH:MM", "of times that name no zone (UTC)") {
            settings, values throws(Unfit) in
            guard let zone = TimeZone(values[0]) else {
                throw Unfit(
                    "takes UTC or a distance from it such as +02:00, not \"\(values[0])\": zones whose clocks are put back have hours that say two things"
                )
            }
            settings.lines.enriching.zone = zone
        },
        SettingKey("logs.http", "on|off", "take lines by POST /v1/logs on the admin listener (on)") {
            settings, values throws(Unfit) in
            guard ["on", "off", "true", "false"].contains(values[0]) else {
                throw Unfit("takes on or off, not \"\(values[0])\"")
            }
            settings.lines.http = values[0] == "on" || values[0] == "true"
        },
        SettingKey(
            "logs.to", "kafka|stdout|file:PATH|off", "where lines go (kafka when kafka.brokers is set)"
        ) { settings, values throws(Unfit) in settings.lines.to = try destination(values[0]) },
        SettingKey("attribution.skew", "TIME", "how far the clocks of those who log may differ (1s)") {
            settings, values throws(Unfit) in
            settings.lines.attributing.skew = try duration(values[0], from: 0)
        },
        SettingKey("limits.line_bytes", "SIZE", "the longest line that is taken, 1KiB to 8MiB (900KiB)") {
            settings, values throws(Unfit) in
            settings.lines.intake.lineLimit = try size(values[0], 1 << 10...8 << 20)
        },
    ]

    private static let kafka: [SettingKey] = [
        SettingKey("kafka.brokers", "HOST:PORT,…", "brokers to begin with") { settings, values throws(Unfit) in
            guard areBrokers(values[0]) else {
                throw Unfit("takes HOST:PORT, or several with commas between them, not \"\(values[0])\"")
            }
            settings.lines.kafka.brokers = values[0]
        },
        SettingKey("kafka.topic", "TOPIC", "where records are published (recommendations)") {
            settings, values throws(Unfit) in settings.lines.kafka.topic = try topic(values[0])
        },
        SettingKey("kafka.create_topic", nil, "create the topic when it is missing") { settings, _ throws(Unfit) in
            settings.lines.kafka.createsTopic = true
        },
        SettingKey("kafka.key", "FIELD|none", "the field that is a record's key (user_id)") {
            settings, values throws(Unfit) in
            settings.lines.enriching.key = values[0] == "none" ? "" : values[0]
        },
        SettingKey(
            "kafka.headers", "default|all|none|NAME,…",
            "record headers (default: model_version, manifest_sha256, attribution, origin)"
        ) { settings, values throws(Unfit) in settings.lines.kafka.headers = try headers(values[0]) },
        SettingKey("kafka.cloudevents", nil, "add the headers of CloudEvents, binary mode") {
            settings, _ throws(Unfit) in settings.lines.kafka.cloudEvents = true
        },
        SettingKey(
            "kafka.timestamp_window", "TIME", "how far back a line's own time may lie to be the record's (24h)"
        ) { settings, values throws(Unfit) in
            settings.lines.intake.windowBack = try duration(values[0], from: 0, to: 86_400_000_000 * 3660)
        },
        SettingKey("kafka.in_flight", "N", "lines on their way at once, 1 to 100000 (5000)") {
            settings, values throws(Unfit) in
            settings.lines.kafka.inFlight = try number(values[0], 1...100_000)
        },
        SettingKey("kafka.properties", "NAME=VALUE", "any property of librdkafka", repeats: true) {
            settings, values throws(Unfit) in
            settings.lines.kafka.properties = try properties(values)
        },
    ]

    private static let store: [SettingKey] = [
        SettingKey("spool.bytes", "SIZE", "how much may wait on disk, at least 16MiB (1GiB)") {
            settings, values throws(Unfit) in
            let bytes = try size(values[0], 16 << 20...1 << 50)
            settings.lines.spool.bytes = bytes
            settings.lines.spool.segment = min(64 << 20, bytes / 8)
        },
        SettingKey("spool.fsync_ms", "N", "what a power cut may cost, in milliseconds, 1 to 10000 (50)") {
            settings, values throws(Unfit) in
            settings.lines.fsyncMilliseconds = try number(values[0], 1...10_000)
        },
        SettingKey("dead_letters.bytes", "SIZE", "how much may lie among the dead letters, at least 16MiB (256MiB)") {
            settings, values throws(Unfit) in
            settings.lines.deadLetterBytes = try size(values[0], 16 << 20...1 << 50)
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
        return list
    }

    private static func properties(_ values: [String]) throws(Unfit) -> [(name: String, value: String)] {
        var pairs: [(name: String, value: String)] = []
        for text in values {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, !parts[0].isEmpty else { throw Unfit("takes NAME=VALUE") }
            guard !pairs.contains(where: { $0.name.hasSameBytes(as: parts[0]) }) else {
                throw Unfit("sets \(parts[0]) twice")
            }
            pairs.append((parts[0], parts[1]))
        }
        return pairs
    }

    private static func size(_ text: String, _ range: ClosedRange<Int>) throws(Unfit) -> Int {
        guard let bytes = Units.bytes(text), range.contains(Int(clamping: bytes)) else {
            throw Unfit(
                "takes a size from \(Units.text(range.lowerBound)) to \(Units.text(range.upperBound)), in KiB, MiB or GiB, not \"\(text)\""
            )
        }
        return Int(bytes)
    }
}
