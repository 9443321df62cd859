import Provenance
import Proxy
import Runtime

/// A value that a key does not take.
package struct SettingError: Error, Sendable, CustomStringConvertible {
    package let key: String
    package let reason: String

    package var description: String { "\(key) \(reason)" }
}

/// One key of the configuration: its name, its flag, what it takes, and where that goes.
package struct SettingKey: Sendable {
    /// As in a configuration file: `limits.head_bytes`.
    package let name: String
    /// What its value looks like; nil for a switch.
    package let value: String?
    package let help: String
    /// Several values, or one for each variant.
    package let repeats: Bool
    let set: @Sendable (inout SidecarSettings, [String]) throws(Unfit) -> Void

    /// What is wrong with a value, in words that follow the key's name.
    struct Unfit: Error {
        let reason: String

        init(_ reason: String) { self.reason = reason }
    }

    init(
        _ name: String, _ value: String?, _ help: String, repeats: Bool = false,
        _ set: @escaping @Sendable (inout SidecarSettings, [String]) throws(Unfit) -> Void
    ) {
        self.name = name
        self.value = value
        self.help = help
        self.repeats = repeats
        self.set = set
    }

    /// Dots and underscores become dashes.
    package var flag: String { name.map { $0 == "." || $0 == "_" ? "-" : String($0) }.joined() }

    /// The key with this name.
    package static func named(_ name: String) -> SettingKey? { (all + lines).first { $0.name == name } }

    package func apply(_ values: [String], to settings: inout SidecarSettings) throws(SettingError) {
        do throws(Unfit) { try set(&settings, values) } catch {
            throw SettingError(key: "--" + flag, reason: error.reason.onOneLine)
        }
    }
}

// MARK: - The keys

extension SettingKey {
    package static let all: [SettingKey] = serving + manifests + stamps + bounds + ofExchanges + lines + operation

    private static let serving: [SettingKey] = [
        SettingKey(
            "listen", "ADDRESS", "where clients connect: HOST:PORT or unix:PATH (127.0.0.1:8080)", repeats: true
        ) { settings, values throws(Unfit) in settings.listen = values },
        SettingKey(
            "upstream", "[VARIANT=]ADDRESS", "the model server, or one for each variant (127.0.0.1:8082)", repeats: true
        ) { settings, values throws(Unfit) in settings.upstream = try map(values) },
        SettingKey("route.header", "NAME", "the request header that picks the variant's upstream") {
            settings, values throws(Unfit) in settings.routeHeader = try fieldName(values[0])
        },
        SettingKey("route.default", "VARIANT", "the variant of requests that name none (the first)") {
            settings, values throws(Unfit) in settings.routeDefault = values[0]
        },
        SettingKey("workers", "N|auto", "threads that serve (auto: one per core)") { settings, values throws(Unfit) in
            settings.workers = values[0] == "auto" ? nil : try number(values[0], 1...256)
        },
    ]

    private static let manifests: [SettingKey] = [
        SettingKey(
            "manifest", "[VARIANT=]PATH",
            "the pointer: a manifest's file or its directory (artifacts/model_manifest.json)",
            repeats: true
        ) { settings, values throws(Unfit) in settings.manifest = try map(values) },
        SettingKey("manifest_optional", nil, "start even when there is no manifest") { settings, _ throws(Unfit) in
            settings.manifestOptional = true
        },
        SettingKey(
            "verify", "strict|warn|off",
            "refuse a manifest whose manifest_sha256 matches nothing, or take it under its own digest (strict)"
        ) { settings, values throws(Unfit) in settings.verify = try choice(values[0]) },
        SettingKey(
            "artifacts", "if-present|required|off", "hash what a manifest names before it is activated (if-present)"
        ) {
            settings, values throws(Unfit) in settings.artifacts = try choice(values[0])
        },
        SettingKey("artifacts_root", "DIR", "look for the files of manifests here first") {
            settings, values throws(Unfit) in settings.artifactsRoot = values[0]
        },
        SettingKey("poll", "TIME", "how often the pointer is looked at, besides inotify (2s)") {
            settings, values throws(Unfit) in settings.poll = try duration(values[0], from: 50_000)
        },
        SettingKey("data_dir", "DIR", "where the ledger is (also COLOPHON_DATA_DIR)") {
            settings, values throws(Unfit) in
            settings.dataDirectory = values[0]
        },
        SettingKey("instance", "NAME", "this sidecar's name in the ledger (default)") {
            settings, values throws(Unfit) in
            settings.instance = values[0]
        },
    ]

    private static let stamps: [SettingKey] = [
        SettingKey("stamp.commit_length", "N", "digits of a commit that are written, 4 to 64 (7)") {
            settings, values throws(Unfit) in settings.commitLength = try number(values[0], 4...64)
        },
        header("stamp.version", "X-Model-Version", \.version), header("stamp.commit", "X-Pipeline-Commit", \.commit),
        header("stamp.data", "X-Data-Version", \.data), header("stamp.manifest", "X-Model-Manifest", \.manifest),
        header("stamp.attribution", "X-Model-Attribution", \.attribution),
        SettingKey(
            "attribution.from", "pointer|header:NAME|variant-header:NAME",
            "what tells which manifest answered: the pointer, or a response header that names it or its variant (pointer)"
        ) { settings, values throws(Unfit) in settings.attribution = try source(values[0]) },
        SettingKey(
            "attribution.settle", "TIME|none|upstream-restart",
            "how long after an activation the old model may still answer (30s)"
        ) { settings, values throws(Unfit) in settings.settle = try settle(values[0]) },
        SettingKey(
            "exchanges.bytes", "SIZE",
            "keep that much of records of exchanges, so that a request id leads back to its manifest; 0, or at least 32MiB (0)"
        ) { settings, values throws(Unfit) in
            guard let bytes = Units.bytes(values[0]), bytes == 0 || (32 << 20...1 << 50).contains(bytes) else {
                throw Unfit("takes 0 or a size of at least 32MiB, in MiB or GiB, not \"\(values[0])\"")
            }
            settings.exchangeBytes = Int(bytes)
        },
        SettingKey("request_id.trust_minted", nil, "keep request ids that look minted: a Colophon stands in front") {
            settings, _ throws(Unfit) in settings.trustsMintedIDs = true
        },
    ]

    private static let bounds: [SettingKey] = [
        SettingKey("limits.connections", "N", "client connections at once (10000)") { settings, values throws(Unfit) in
            settings.connections = try number(values[0], 1...1_000_000)
        },
        SettingKey("limits.head_bytes", "SIZE", "the largest head of a request or response, 1KiB to 60KiB (32KiB)") {
            settings, values throws(Unfit) in
            guard let bytes = Units.bytes(values[0]), (1024...Int64(ProxySettings.largestHead)).contains(bytes) else {
                throw Unfit("takes a size from 1KiB to \(ProxySettings.largestHead >> 10)KiB, not \"\(values[0])\"")
            }
            settings.limits.headBytes = Int(bytes)
        },
        SettingKey("limits.fields", "N", "the most fields in a head, 8 to 1000 (100)") {
            settings, values throws(Unfit) in
            settings.limits.fields = try number(values[0], 8...1000)
        },
        time("timeouts.connect", "for the upstream to accept a connection (1s)", \.timeouts.connect),
        time("timeouts.request_head", "for the whole head of a request (10s)", \.timeouts.requestHead),
        time("timeouts.request_body", "for more of a request's body (60s)", \.timeouts.requestBody),
        time("timeouts.response_head", "for the head of a response (60s)", \.timeouts.responseHead),
        time(
            "timeouts.stream_idle", "for more of a response's body, or on an upgraded connection (10m)",
            \.timeouts.streamIdle),
        time("timeouts.idle", "for the next request on a connection (75s)", \.timeouts.idle),
        time("timeouts.drain", "for exchanges to end after SIGTERM (30s)", \.drain),
    ]

    private static let operation: [SettingKey] = [
        SettingKey("admin.listen", "ADDRESS|off", "where /healthz, /readyz and /v1/status are (127.0.0.1:9464)") {
            settings, values throws(Unfit) in settings.adminListen = values[0]
        },
        SettingKey("admin.token", "TOKEN", "what admin requests must bear; needed off loopback") {
            settings, values throws(Unfit) in settings.adminToken = values[0]
        },
        SettingKey("log.format", "text|json", "one line for each event, on standard error (text)") {
            settings, values throws(Unfit) in settings.logFormat = try choice(values[0])
        },
        SettingKey("log.level", "debug|info|warn|error", "the least that is logged (info)") {
            settings, values throws(Unfit) in settings.logLevel = try choice(values[0])
        },
        SettingKey("log.access", "FILE|off", "a line for each exchange, without queries; reopened on SIGHUP (off)") {
            settings, values throws(Unfit) in settings.accessLog = values[0] == "off" ? nil : values[0]
        },
    ]
}

// MARK: - Reading values

extension SettingKey {
    private static func header(
        _ name: String, _ usual: String, _ path: any WritableKeyPath<StampHeaders, String?> & Sendable
    ) -> SettingKey {
        SettingKey(name, "NAME|off", "the header for it, or none (\(usual))") { settings, values throws(Unfit) in
            settings.headers[keyPath: path] = values[0] == "off" ? nil : try fieldName(values[0])
        }
    }

    private static func time(
        _ name: String, _ help: String, _ path: any WritableKeyPath<SidecarSettings, Int64> & Sendable
    ) -> SettingKey {
        SettingKey(name, "TIME", help) { settings, values throws(Unfit) in
            settings[keyPath: path] = try duration(values[0], from: 1000)
        }
    }

    /// One value for all, or `variant=value` for each.
    private static func map(_ values: [String]) throws(Unfit) -> SidecarSettings.Map {
        var map: SidecarSettings.Map = []
        for value in values {
            let parts = value.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let isPair = parts.count == 2 && isName(parts[0])
            let entry =
                isPair ? (variant: parts[0], value: parts[1]) : (variant: SidecarSettings.onlyVariant, value: value)
            guard !entry.value.isEmpty else { throw Unfit("has no value in \"\(value)\"") }
            guard !map.contains(where: { $0.variant.hasSameBytes(as: entry.variant) }) else {
                throw Unfit(isPair ? "names \(entry.variant) twice" : "is given twice: write VARIANT=VALUE for several")
            }
            map.append(entry)
        }
        return map
    }

    private static func isName(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                byte >= 0x61 && byte <= 0x7A || byte >= 0x41 && byte <= 0x5A || byte >= 0x30 && byte <= 0x39
                    || byte == 0x5F || byte == 0x2D || byte == 0x2E
            }
    }

    static func number(_ text: String, _ range: ClosedRange<Int>) throws(Unfit) -> Int {
        guard let number = Int(text), range.contains(number) else {
            throw Unfit("takes a number from \(range.lowerBound) to \(range.upperBound), not \"\(text)\"")
        }
        return number
    }

    static func duration(
        _ text: String, from least: Int64, to most: Int64 = 86_400_000_000 * 7
    ) throws(Unfit) -> Int64 {
        guard let duration = Units.microseconds(text), duration >= least, duration <= most else {
            throw Unfit("takes a time such as 500ms, 5s or 10m, not \"\(text)\"")
        }
        return duration
    }

    static func choice<Choice: RawRepresentable & CaseIterable>(
        _ text: String, also other: String? = nil
    ) throws(Unfit) -> Choice
    where Choice.RawValue == String {
        guard let choice = Choice(rawValue: text) else {
            let known = ((other.map { [$0] } ?? []) + Choice.allCases.map(\.rawValue)).joined(separator: ", ")
            throw Unfit("takes one of \(known), not \"\(text)\"")
        }
        return choice
    }

    private static func settle(_ text: String) throws(Unfit) -> SidecarSettings.Settle {
        switch text {
        case "none": .after(microseconds: 0)
        case "upstream-restart": .upstreamRestart
        default: .after(microseconds: try duration(text, from: 0))
        }
    }

    private static func source(_ text: String) throws(Unfit) -> ProxySettings.AttributionSource {
        if text == "pointer" { return .pointer }
        if text.hasPrefix("header:") { return .header(try fieldName(String(text.dropFirst(7)))) }
        if text.hasPrefix("variant-header:") { return .variantHeader(try fieldName(String(text.dropFirst(15)))) }
        throw Unfit("takes pointer, header:NAME or variant-header:NAME, not \"\(text)\"")
    }

    /// A header's name that is ours to read or write: one that framing does not depend on.
    static func fieldName(_ text: String) throws(Unfit) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            byte >= 0x61 && byte <= 0x7A || byte >= 0x41 && byte <= 0x5A || byte >= 0x30 && byte <= 0x39 || byte == 0x2D
        }
        guard isPlain, !text.isEmpty, text.utf8.count <= 64 else {
            throw Unfit("takes a header's name of letters, digits and dashes, at most 64, not \"\(text)\"")
        }
        let taken = [
            "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te",
            "trailer",
            "upgrade", "expect", "via", "date", "age", "content-type", "x-request-id", "traceparent", "x-forwarded-for",
            "x-forwarded-proto", "set-cookie", "location",
        ]
        guard !taken.contains(where: { $0.hasSameBytes(as: text.lowercased()) }) else {
            throw Unfit("cannot be \(text): that header means something else")
        }
        return text
    }
}
