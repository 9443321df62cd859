import Admin
import Enrichment
import Exchanges
import Ledger
import Provenance
import Proxy
import Runtime

/// What `/readyz` and `/v1/status` say. Any thread may ask.
struct StatusReport: Sendable {
    let settings: SidecarSettings
    let proxy: ProxySettings
    let loader: ActivationLoader
    let fleet: WorkerFleet
    let lines: LineService?
    let exchanges: ExchangeMemory?
    let reloader: Reloader
    let adminCounters = AdminCounters()
    let started = Clock.now()

    init(
        _ settings: SidecarSettings, _ proxy: ProxySettings, loader: ActivationLoader, fleet: WorkerFleet,
        lines: LineService?, exchanges: ExchangeMemory?, reloader: Reloader
    ) {
        self.reloader = reloader
        self.exchanges = exchanges
        self.settings = settings
        self.proxy = proxy
        self.loader = loader
        self.fleet = fleet
        self.lines = lines
    }

    // MARK: - Readiness

    func readiness() -> (isReady: Bool, report: JSON) {
        var checks: [JSONObject.Member] = []
        var isReady = true
        func check(_ name: String, _ isFine: Bool, _ words: String) {
            if !isFine { isReady = false }
            checks.append(
                .init(name, .object(JSONObject([.init("ok", .bool(isFine)), .init("detail", .string(words))]))))
        }
        let hasLoaded = loader.hasLooked
        check(
            "serving", hasLoaded && !fleet.isDraining,
            !hasLoaded
                ? "not yet: the manifests are read, and their artifacts checked"
                : fleet.isDraining ? "draining: no new connections" : "taking connections")
        for state in hasLoaded ? loader.states : [] {
            let isThere = state.manifest != nil
            let active =
                state.overridden == nil
                ? "active"
                : "active by order of the API: the pointer \(state.path.onOneLine) names another one and is not followed until it changes"
            let words = state.problem.map { problem in
                isThere
                    ? "the last good one is served as unknown: \(problem)"
                    : settings.manifestOptional ? "none, and none is needed: \(problem)" : problem
            }
            check(
                "manifest \(state.variant)", isThere || settings.manifestOptional,
                words ?? (isThere ? active : "none, and none is needed"))
        }
        checkUpstreams(check)
        let obstacle =
            loader.states.contains { $0.isNotRecorded } ? "the last activation could not be" : loader.ledger.obstacle
        check(
            "ledger", obstacle == nil,
            obstacle.map {
                "activations cannot be recorded: \($0); see that \(loader.ledger.path.onOneLine) is there, may be written, and has room"
            } ?? "can be written")
        if let lines { checkLines(lines.pipeline.status.figures, check) }
        let report = JSONObject([.init("ready", .bool(isReady)), .init("checks", .object(JSONObject(checks)))])
        return (isReady, .object(report))
    }

    /// For so long upstreams are asked, one after the other; of the others what the proxy knows must do.
    private static let probeTime: Int64 = 2_000_000

    private func checkUpstreams(_ check: (String, Bool, String) -> Void) {
        let deadline = Clock.monotonic() + Self.probeTime
        for (index, upstream) in proxy.upstreams.enumerated() {
            let isReached =
                Clock.monotonic() < deadline
                ? fleet.probe(index) : fleet.state(ofUpstream: index) != .unreachable
            check(
                "upstream \(upstream.name)", isReached,
                isReached
                    ? "reached"
                    : "no connection is accepted at \(upstream.addresses.map(\.text).joined(separator: " or "))")
        }
    }

    /// Brokers that do not answer are no reason to send requests elsewhere: lines wait. That there is no room for them is one.
    private func checkLines(_ figures: LineStatus.Figures, _ check: (String, Bool, String) -> Void) {
        if let problem = figures.spoolProblem { return check("lines", false, "the spool fails: \(problem)") }
        if figures.isSpoolFull {
            let why = figures.problem ?? figures.deadLetterProblem ?? "lines come faster than they are taken"
            return check(
                "lines", false,
                "there is no room for more (spool.bytes, \(figures.spoolBytes) of \(figures.spoolLimit) bytes): lines of the proxy are lost, others wait; \(why)"
            )
        }
        guard let problem = figures.problem ?? figures.deadLetterProblem else {
            let waiting = max(0, figures.waiting)
            return check(
                "lines", true,
                waiting > 0 ? "\(waiting) are on their way" : "\(figures.delivered) delivered, none waits")
        }
        check("lines", true, "\(max(0, figures.waiting)) wait in the spool or in their files: \(problem)")
    }

    // MARK: - Status

    func status() -> JSON {
        let totals = fleet.totals
        return .object(
            JSONObject([
                .init("version", .string(Version.current)), .init("started_at", .string(started.description)),
                .init("instance", .string(settings.instance)), .init("draining", .bool(fleet.isDraining)),
                .init("listen", .array(fleet.names.map(JSON.string))),
                .init("variants", .array(loader.states.map(variant))),
                .init("upstreams", .array(proxy.upstreams.indices.map(upstream))),
                .init("activations", .integer(loader.activationCount)),
                .init("failed_reloads", .integer(loader.failureCount)),
                .init(
                    "configuration",
                    .object(
                        JSONObject([
                            .init("failed_reloads", .integer(reloader.failures)),
                            .init("problem", .optional(reloader.problem)),
                            .init("need_restart", .array(reloader.needRestart.map(JSON.string))),
                        ]))),
                .init("connections", .integer(totals.clients)),
                .init("upstream_connections", .integer(totals.upstreams)), .init("totals", Self.counters(totals)),
                .init("exchanges", exchanges.map { Self.figures($0.figures) } ?? .null),
                .init("lines", lines.map { $0.pipeline.status.json } ?? .null),
                .init(
                    "workers",
                    .array(
                        fleet.perWorker.map { worker in
                            .object(
                                JSONObject([
                                    .init("connections", .integer(worker.clients)),
                                    .init("requests", .integer(worker[.requests])),
                                ]))
                        })),
            ]))
    }

    private static func figures(_ exchanges: ExchangeMemory.Figures) -> JSON {
        .object(
            JSONObject([
                .init("seen", .integer(exchanges.seen)), .init("kept", .integer(exchanges.kept)),
                .init("dropped", .integer(exchanges.dropped)), .init("failed", .integer(exchanges.failed)),
                .init("problem", .optional(exchanges.problem)),
            ]))
    }

    private func variant(_ state: ActivationLoader.State) -> JSON {
        .object(
            JSONObject([
                .init("variant", .string(state.variant)), .init("pointer", .string(state.path)),
                .init("model_version", .optional(state.manifest?.version)),
                .init("manifest_sha256", .optional(state.manifest?.digest.hex)),
                .init("file", .optional(state.file)), .init("active_since", .optional(state.activeSince?.description)),
                .init("current", .bool(state.isCurrent)), .init("problem", .optional(state.problem)),
                .init("settled", .bool(fleet.isSettled(state, proxy))),
                .init("overridden", .bool(state.overridden != nil)),
                .init("left_out", .array((state.stamp?.leftOut ?? []).map { .string("\($0.name)") })),
            ]))
    }

    private func upstream(_ index: Int) -> JSON {
        let words =
            switch fleet.state(ofUpstream: index) {
            case .untried: "untried"
            case .reached: "reached"
            case .unreachable: "unreachable"
            }
        return .object(
            JSONObject([
                .init("upstream", .string(proxy.upstreams[index].name)),
                .init("address", .string(proxy.upstreams[index].addresses[0].text)), .init("state", .string(words)),
            ]))
    }

    private static func counters(_ totals: WorkerFleet.Totals) -> JSON {
        .object(
            JSONObject(
                WorkerCounters.Counter.allCases.map { .init($0.name, .integer(totals[$0])) }))
    }
}
