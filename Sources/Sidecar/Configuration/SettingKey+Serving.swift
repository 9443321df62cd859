import Enrichment
import Ledger
import Manifests
import Provenance
import Proxy
import Runtime

/// All keys, and those that are about serving.
extension SettingKey {
    package static let all: [SettingKey] = serving + manifests + stamps + bounds + ofExchanges + lines + operation

    private static let serving: [SettingKey] = [
        SettingKey(
            "listen", "ADDRESS", "where clients connect: HOST:PORT or unix:PATH", initial: "127.0.0.1:8080", .text,
            shape: .list, paths: .behind("unix:")
        ) { settings, value throws(Unfit) in settings.listen = value.texts },
        SettingKey(
            "upstream", "[VARIANT=]ADDRESS", "the model server, or one for each variant", initial: "127.0.0.1:8082",
            .text, shape: .variants, paths: .behind("unix:")
        ) { settings, value throws(Unfit) in settings.upstream = try variants(value) },
        SettingKey(
            "manifest", "[VARIANT=]PATH", "the pointer: a manifest's file or its directory",
            initial: "artifacts/model_manifest.json", .text, shape: .variants, live: true, paths: .whole
        ) { settings, value throws(Unfit) in settings.manifest = try variants(value) },
        SettingKey(
            "data_dir", "DIR",
            "where the ledger is; the user's own directory where the machine's cannot be written",
            initial: .one(DataDirectory.system), .text, paths: .whole
        ) { settings, value throws(Unfit) in settings.dataDirectory = value[0] },
        SettingKey("instance", "NAME", "this sidecar's name in the ledger", initial: "default", .text) {
            settings, value throws(Unfit) in settings.instance = value[0]
        },
        SettingKey(
            "workers", "N|auto", "threads that serve; auto is one per core", initial: "auto",
            .either(["auto"], .number(1...256))
        ) { settings, value throws(Unfit) in
            settings.workers = value[0] == "auto" ? nil : try number(value[0], 1...256)
        },
    ]

    private static let manifests: [SettingKey] = [
        SettingKey(
            "verify", "strict|warn|off",
            "refuse a manifest whose manifest_sha256 matches nothing, or take it under its own digest",
            initial: "strict", .choice(Verification.allCases.map(\.rawValue)), live: true
        ) { settings, value throws(Unfit) in settings.verify = try choice(value[0]) },
        SettingKey(
            "artifacts", "if-present|required|off", "hash what a manifest names before it is activated",
            initial: "if-present", .choice(SidecarSettings.Artifacts.allCases.map(\.rawValue)), live: true
        ) { settings, value throws(Unfit) in settings.artifacts = try choice(value[0]) },
        SettingKey(
            "artifacts_root", "DIR", "look for the files of manifests here first", initial: "", .text, live: true,
            paths: .whole
        ) { settings, value throws(Unfit) in settings.artifactsRoot = value[0] },
        SettingKey("manifest_optional", nil, "start even when there is no manifest", initial: "false", .truth) {
            settings, value throws(Unfit) in settings.manifestOptional = try truth(value[0])
        },
        SettingKey(
            "poll", "TIME", "how often the pointer is looked at, besides inotify", initial: "2s", .duration, live: true
        ) { settings, value throws(Unfit) in settings.poll = try duration(value[0], from: 50_000) },
    ]

    private static let stamps: [SettingKey] = [
        SettingKey(
            "stamp.commit_length", "N", "digits of a commit that are written, 4 to 64", initial: "7", .number(4...64)
        ) { settings, value throws(Unfit) in settings.commitLength = try number(value[0], 4...64) },
        header("stamp.version", "X-Model-Version", of: "the model's version", \.version),
        header("stamp.commit", "X-Pipeline-Commit", of: "the pipeline's commit", \.commit),
        header("stamp.data", "X-Data-Version", of: "the data's version", \.data),
        header("stamp.manifest", "X-Model-Manifest", of: "the manifest's digest", \.manifest),
        header("stamp.attribution", "X-Model-Attribution", of: "how surely it is known", \.attribution),
        SettingKey(
            "attribution.from", "pointer|header:NAME|variant-header:NAME",
            "what tells which manifest answered: the pointer, or a response header that names it or its variant",
            initial: "pointer", .text
        ) { settings, value throws(Unfit) in settings.attribution = try source(value[0]) },
        SettingKey(
            "attribution.settle", "TIME|none|upstream-restart",
            "how long after an activation the old model may still answer", initial: "30s",
            .either(["none", "upstream-restart"], .duration), live: true
        ) { settings, value throws(Unfit) in settings.settle = try settle(value[0]) },
        SettingKey(
            "attribution.skew", "TIME", "how far the clocks of those who log may differ", initial: "1s", .duration
        ) { settings, value throws(Unfit) in settings.lines.attributing.skew = try duration(value[0], from: 0) },
        SettingKey(
            "route.header", "NAME", "the request header that picks the variant's upstream", initial: "", .text
        ) { settings, value throws(Unfit) in settings.routeHeader = try fieldName(value[0]) },
        SettingKey(
            "route.default", "VARIANT", "the variant of requests that name none; the first, where none is given",
            initial: "", .text
        ) { settings, value throws(Unfit) in settings.routeDefault = value[0] },
        SettingKey(
            "request_id.trust_minted", nil, "keep request ids that look minted: a Colophon stands in front",
            initial: "false", .truth
        ) { settings, value throws(Unfit) in settings.trustsMintedIDs = try truth(value[0]) },
        SettingKey(
            "exchanges.bytes", "SIZE",
            "keep that much of records of exchanges, so that a request id leads back to its manifest; 0, or at least 32MiB",
            initial: "0", .size
        ) { settings, value throws(Unfit) in
            guard let bytes = Units.bytes(value[0]), bytes == 0 || (32 << 20...1 << 50).contains(bytes) else {
                throw Unfit("takes 0 or a size of at least 32MiB, in MiB or GiB, not \"\(value[0])\"")
            }
            settings.exchangeBytes = Int(bytes)
        },
    ]

    private static let bounds: [SettingKey] = [
        SettingKey(
            "limits.connections", "N", "client connections at once", initial: "10000", .number(1...1_000_000)
        ) { settings, value throws(Unfit) in settings.connections = try number(value[0], 1...1_000_000) },
        SettingKey(
            "limits.head_bytes", "SIZE", "the largest head of a request or response, 1KiB to 60KiB", initial: "32KiB",
            .size
        ) { settings, value throws(Unfit) in
            settings.limits.headBytes = try size(value[0], 1 << 10...ProxySettings.largestHead)
        },
        SettingKey("limits.fields", "N", "the most fields in a head, 8 to 1000", initial: "100", .number(8...1000)) {
            settings, value throws(Unfit) in settings.limits.fields = try number(value[0], 8...1000)
        },
        SettingKey(
            "limits.line_bytes", "SIZE", "the longest line that is taken, 1KiB to 8MiB", initial: "900KiB", .size
        ) { settings, value throws(Unfit) in
            settings.lines.intake.lineLimit = try size(value[0], 1 << 10...8 << 20)
        },
        time(
            "timeouts.connect", "how long to wait for the upstream to accept a connection", initial: "1s",
            \.timeouts.connect),
        time(
            "timeouts.request_head", "how long to wait for the whole head of a request", initial: "10s",
            \.timeouts.requestHead),
        time(
            "timeouts.request_body", "how long to wait for more of a request's body", initial: "60s",
            \.timeouts.requestBody),
        time(
            "timeouts.response_head", "how long to wait for the head of a response", initial: "60s",
            \.timeouts.responseHead),
        time(
            "timeouts.stream_idle", "how long to wait for more of a response's body, or on an upgraded connection",
            initial: "10m",
            \.timeouts.streamIdle),
        time("timeouts.idle", "how long to wait for the next request on a connection", initial: "75s", \.timeouts.idle),
        time("timeouts.drain", "how long to wait for exchanges to end after SIGTERM", initial: "30s", \.drain),
    ]

    private static let operation: [SettingKey] = [
        SettingKey(
            "admin.listen", "ADDRESS|off", "where health, metrics and the API are", initial: "127.0.0.1:9464", .text,
            paths: .behind("unix:")
        ) { settings, value throws(Unfit) in settings.adminListen = value[0] },
        SettingKey(
            "admin.token", "TOKEN", "what admin requests must bear; needed off loopback", initial: "", .text, live: true
        ) { settings, value throws(Unfit) in settings.adminToken = value[0] },
        SettingKey(
            "log.format", "text|json", "one line for each event, on standard error", initial: "text",
            .choice(EventLog.Format.allCases.map(\.rawValue))
        ) { settings, value throws(Unfit) in settings.logFormat = try choice(value[0]) },
        SettingKey(
            "log.level", "debug|info|warn|error", "the least that is logged", initial: "info",
            .choice(EventLog.Level.allCases.map(\.rawValue)), live: true
        ) { settings, value throws(Unfit) in settings.logLevel = try choice(value[0]) },
        SettingKey(
            "log.access", "FILE|off", "a line for each exchange, without queries; reopened on SIGHUP", initial: "off",
            .either(["off"], .text), paths: .whole
        ) { settings, value throws(Unfit) in settings.accessLog = value[0] == "off" ? nil : value[0] },
    ]

    private static func settle(_ text: String) throws(Unfit) -> SidecarSettings.Settle {
        switch text {
        case "none": return .after(microseconds: 0)
        case "upstream-restart": return .upstreamRestart
        default:
            guard let time = try? duration(text, from: 0) else {
                throw Unfit("takes none, upstream-restart, or a time such as 500ms, 5s or 10m, not \"\(text)\"")
            }
            return .after(microseconds: time)
        }
    }

    private static func source(_ text: String) throws(Unfit) -> ProxySettings.AttributionSource {
        if text == "pointer" { return .pointer }
        if text.hasPrefix("header:") { return .header(try fieldName(String(text.dropFirst(7)))) }
        if text.hasPrefix("variant-header:") { return .variantHeader(try fieldName(String(text.dropFirst(15)))) }
        throw Unfit("takes pointer, header:NAME or variant-header:NAME, not \"\(text)\"")
    }
}
