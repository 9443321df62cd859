import Admin
import Crypto
import Enrichment
import Exchanges
import Ledger
import Provenance
import Proxy
import Runtime
import Synchronization
import Telemetry

/// The composition root: starts everything in order, waits for signals, and ends everything in order.
package struct Sidecar: ~Copyable {
    private let settings: SidecarSettings
    private let reloader: Reloader
    /// Nobody else may have it while this one runs.
    private let instance: Instance
    private let dataDirectory: String
    let log: EventLog
    private let accessLog: LogFile?
    let signals: Signals
    private let supervisor: Wake
    let loader: ActivationLoader
    private let fleet: WorkerFleet
    private let report: StatusReport
    /// Nil where it is switched off.
    let admin: ListenerBox?
    /// Nil where nothing is done with lines.
    private let lines: LineService?
    /// Nil where nobody asks for exchanges by their request ids.
    private let recorder: ExchangeRecorder?
    /// Nil where no lines are taken over HTTP.
    private let posted: PostedLines.Box?

    /// Loads the manifests, opens the ledger and the addresses; nothing is served yet. The signals are the process's.
    package init(
        _ configuration: Configuration, from sources: Configuration.Sources, dataDirectory: String
    ) throws(SidecarError) {
        let settings = configuration.settings
        try settings.check()
        let log = EventLog(format: settings.logFormat, level: settings.logLevel)
        for caution in settings.cautions { log.write(.warn, "configuration", [("advice", .string(caution))]) }
        let supervisor = try Self.system { () throws(SystemError) in try Wake() }
        let workers = settings.workers ?? Threads.processors
        let connections = try Self.connections(settings, log)
        var proxy = try settings.proxySettings(workers: workers, connections: connections)
        let accessLog = try Self.system { () throws(SystemError) in
            try settings.accessLog.map { path throws(SystemError) in try LogFile(path) }
        }
        proxy.accessLog = accessLog?.number
        let takesLines = settings.lines.destination(otherwise: .off) != .off
        // Two of one name would end each other's activations, and write into each other's files.
        let instance = try LineService.openInstance(dataDirectory, settings.instance)
        let isNeeded = takesLines || settings.exchangeBytes > 0
        let exchanges = try Self.openExchanges(settings.lines, instance, workers: workers, &proxy)
        let recorder = try (isNeeded ? instance : nil).map { instance throws(SidecarError) in
            try Self.openRecorder(settings, instance, workers: workers, &proxy, log)
        }
        // Whatever can be refused is refused before an activation is on record.
        let fleet = try WorkerFleet(settings, proxy, workers: workers, supervisor: supervisor)
        try fleet.refuseLoop(proxy)
        let admin = try Self.openAdmin(settings)
        let ledger: Ledger
        do { ledger = try Ledger.writing(dataDirectory, hashing: SHA256.hash) } catch { throw .ledger(error) }
        let loader = try Self.system { () throws(SystemError) in
            try ActivationLoader(settings, ledger: ledger, log: log, dataDirectory: dataDirectory)
        }
        let posted =
            try settings.takesPostedLines ? Self.system { () throws(SystemError) in try PostedLines.Box() } : nil
        let lines = try (takesLines ? instance : nil).map { instance throws(SidecarError) in
            try Self.openLines(
                settings, dataDirectory, instance, posted, exchanges, records: recorder?.memory, loader, fleet, proxy,
                log)
        }
        // Before any other thread is started.
        let signals = try Self.system { () throws(SystemError) in try Signals() }
        self.lines = lines
        self.recorder = recorder
        self.posted = posted
        self.settings = settings
        self.instance = instance
        self.dataDirectory = dataDirectory
        self.accessLog = accessLog
        self.log = log
        self.signals = signals
        self.supervisor = supervisor
        self.loader = loader
        self.fleet = fleet
        self.admin = admin
        reloader = Reloader(configuration, from: sources, log) { settings, cause, actor, whenLooked in
            log.set(settings.logLevel)
            fleet.set(settings.timeouts)
            do throws(SystemError) { try accessLog?.reopen() } catch {
                log.write(.warn, "access-log-failed", [("reason", .string(error.description))])
            }
            loader.reload(settings, cause: cause, by: actor, whenLooked: whenLooked)
        }
        report = StatusReport(
            settings, proxy, loader: loader, fleet: fleet, lines: lines, exchanges: recorder?.memory,
            reloader: reloader)
    }

    /// What the proxy hands over of exchanges; nil where it makes no lines of them.
    private static func openExchanges(
        _ settings: LineSettings, _ instance: Instance?, workers: Int, _ proxy: inout ProxySettings
    ) throws(SidecarError) -> ExchangeLines? {
        guard settings.makesLines, let instance else { return nil }
        let rings = try LineService.rings(instance, workers: workers)
        let bell = try system { () throws(SystemError) in try Bell() }
        proxy.lines = ProxySettings.LineMaking(
            prefix: settings.pathPrefix, suffix: settings.pathSuffix, resultBytes: settings.resultBytes,
            variantHeader: settings.variantHeader, bucketHeader: settings.bucketHeader, rings: rings,
            tellReader: { bell.ring() })
        return ExchangeLines(rings, bell)
    }

    /// What is known of exchanges by their request ids: in memory for lines that follow, and on disk where that is wanted.
    private static func openRecorder(
        _ settings: SidecarSettings, _ instance: Instance, workers: Int, _ proxy: inout ProxySettings, _ log: EventLog
    ) throws(SidecarError) -> ExchangeRecorder {
        let names = proxy.variants.map(\.name)
        let (recorder, recording) = try system { () throws(SystemError) in
            var rings: [HandoverRing] = []
            for _ in 0..<workers { rings.append(try HandoverRing(capacity: recordRing)) }
            let bell = try Bell()
            let memory = ExchangeMemory(
                rings, names: names,
                index: settings.exchangeBytes == 0
                    ? nil
                    : try ExchangeIndex(
                        ExchangeFiles.directory(of: instance.path), bytes: settings.exchangeBytes,
                        seed: try Entropy.words().0),
                seed: try Entropy.words().0)
            return (
                ExchangeRecorder(memory, bell) { problem in
                    guard let problem else { return log.write(.info, "exchanges-kept", []) }
                    log.write(
                        .warn, "exchanges-failed",
                        [
                            ("reason", .string(problem)),
                            ("effect", .string("no records of exchanges are kept until it works")),
                        ])
                }, ProxySettings.Recording(rings: rings, tellReader: { bell.ring() })
            )
        }
        proxy.recording = recording
        return recorder
    }

    private static let recordRing = 512 << 10

    private static func openLines(
        _ settings: SidecarSettings, _ dataDirectory: String, _ instance: Instance, _ posted: PostedLines.Box?,
        _ exchanges: ExchangeLines?, records: (any ExchangeRecords)?, _ loader: ActivationLoader, _ fleet: WorkerFleet,
        _ proxy: ProxySettings, _ log: EventLog
    ) throws(SidecarError) -> LineService {
        // A connection of its own, for the thread of its own.
        let ledger: Ledger
        do { ledger = try Ledger.reading(dataDirectory, hashing: SHA256.hash) } catch { throw .ledger(error) }
        ledger.watchedHere = settings.variants
        var lines = settings.lines
        lines.attributing.commitLength = settings.commitLength
        let doubts = LineDoubts(loader, fleet, proxy)
        return try LineService(
            lines, to: lines.destination(otherwise: .off), index: LedgerIndex(ledger), instance: instance,
            endsWhenDone: false, records: records,
            doubts: { doubts.now(looking: $0) }, tell: { log.write($0) },
            sources: { instance, settings throws(SidecarError) in
                var sources = try LineService.unixSources(settings)
                if let exchanges { sources.append(exchanges) }
                if !settings.files.isEmpty {
                    sources.append(try LineService.fileSource(settings, instance, endsAtEnd: false))
                }
                if let posted { sources.append(PostedLines(posted, lineLimit: settings.intake.lineLimit)) }
                return sources
            })
    }

    static func system<Result: ~Copyable>(
        _ body: () throws(SystemError) -> Result
    ) throws(SidecarError) -> Result {
        do throws(SystemError) { return try body() } catch { throw .system(error) }
    }

    private static let usualConnections = 10_000
    /// Signals to end that follow one another faster are one.
    private static let echoTime: Int64 = 500_000
    private static let loaderFarewell: Int32 = 1000
    /// Descriptors besides those of connections.
    private static let spareDescriptors = 256

    /// How many client connections there may be: each may need a second descriptor, for the upstream.
    private static func connections(_ settings: SidecarSettings, _ log: EventLog) throws(SidecarError) -> Int {
        let wanted = settings.connections ?? usualConnections
        let allowed = try system { () throws(SystemError) in
            try DescriptorLimit.raise(towards: 2 * wanted + spareDescriptors)
        }
        guard allowed < 2 * wanted + spareDescriptors else { return wanted }
        let possible = (allowed - spareDescriptors) / 2
        // What is the default when nobody says anything is no demand either.
        guard settings.connections ?? usualConnections == usualConnections, possible > 0 else {
            throw .setting(
                SettingError(
                    "limits.connections",
                    "\(wanted) needs \(2 * wanted + spareDescriptors) open files, and the system allows \(allowed): "
                        + "lower it to \(max(1, possible)), or raise the limit (ulimit -Hn)"))
        }
        log.write(
            .info, "fewer-connections",
            [
                ("wanted", .integer(wanted)), ("limits.connections", .integer(possible)),
                ("open_files_allowed", .integer(allowed)),
                ("advice", .string("raise the limit of open files (ulimit -Hn), or set --limits-connections")),
            ])
        return possible
    }

    // MARK: - Running

    /// Serves until a signal ends it. What was cut when time was up is logged.
    package consuming func run() throws(SidecarError) {
        let report = report
        let routes = AdminRoutes(
            token: { [reloader] in reloader.settings.adminToken }, takesLines: posted != nil,
            status: { [page = FreshEnough<AdminResponse>()] in page.value { .json(200, report.status()) } },
            metrics: { [page = FreshEnough<AdminResponse>()] in
                page.value { AdminResponse(status: 200, contentType: MetricsPage.contentType, body: report.metrics()) }
            })
        let directory = dataDirectory
        let answers = try Self.system { () throws(SystemError) in try AdminAnswers(directory, report) }
        // Probes do not wait behind questions.
        let probes = try Self.system { () throws(SystemError) in try AdminAnswers(directory, report) }
        let server = try makeServer(routes, answers, probes: probes)
        // First: probes are answered however long hashing takes.
        let serving = try startAdmin(server, answers, probes)
        let end = { (serving: ThreadBox?) in
            answers.stop()
            probes.stop()
            server.stop()
            serving?.join()
        }
        guard let hangups = try loadFirst(orEnd: { end(serving) }) else { return }
        fleet.board.publish(loader.table())
        loader.attach(fleet.board)
        let loader = loader
        let loading = try Self.system { () throws(SystemError) in try Threads.start("loader", .brief) { loader.run() } }
        let workers = try fleet.start()
        let recording = try startRecorder()
        let delivering = try startLines()
        logStart(admin: admin?.name)
        for sender in hangups { reloadAside(sender) }
        // Whoever has started it with the model server down is told so before the first client is.
        let (fleet, upstreams) = (fleet, report.proxy.upstreams.count)
        _ = try Self.system { () throws(SystemError) in
            try Threads.start("first-look", .standingBack) {
                for index in 0..<upstreams { _ = fleet.probe(index) }
            }
        }
        let isClean = supervise()
        loader.stop()
        // Whoever waits for an order is answered, and the last notes are written; it may also be hashing gigabytes, and leaves nothing half done.
        _ = Readiness.wait([loader.ended.number], milliseconds: Self.loaderFarewell)
        workers.joinAll()
        recorder?.stop()
        recording?.join()
        // Lines that were taken are delivered for as long as the drain lasts; what is left stays in the spool.
        lines?.pipeline.stop()
        delivering?.join()
        _ = consume loading
        loader.refuseRest()
        end(serving)
        logEnd(isClean: isClean)
        // Until here nobody else may have it.
        withExtendedLifetime(instance) {}
        if let lines, lines.pipeline.isOver { throw .output(lines.pipeline.problem ?? "lines are somebody else's now") }
    }

    private borrowing func makeServer(
        _ routes: AdminRoutes, _ answers: AdminAnswers, probes: AdminAnswers
    ) throws(SidecarError) -> AdminServer {
        let box = posted
        let holder = ServerHolder()
        let counters = report.adminCounters
        let server = try Self.system { () throws(SystemError) in
            try AdminServer(
                routes, counters,
                takeLines: { [loader] lines, number in
                    guard let server = holder.server, let box else { return }
                    guard loader.hasLooked else { return server.finish(number, Self.notYet) }
                    box.put(lines) { outcome in server.finish(number, Self.response(outcome)) }
                },
                ask: { question, number in
                    guard let server = holder.server else { return }
                    var answering = answers
                    if case .readiness = question { answering = probes }
                    answering.take(question) { server.finish(number, $0) }
                })
        }
        holder.server = server
        return server
    }

    private static let notYet = AdminResponse.problem(
        503,
        "it has not begun to serve: the manifests are read, and none of the lines was taken; send them again later",
        fields: [("Retry-After", "5")])

    private static func response(_ outcome: PostedLines.Outcome) -> AdminResponse {
        switch outcome {
        case .taken: AdminResponse(status: 204, contentType: "", body: [])
        case .tooLarge:
            .problem(
                413,
                "the spool could never hold so many lines at once: send them in several bodies")
        case .noRoom:
            .problem(
                503,
                "there is no room for the lines, and none of them was taken: send them again later; `lines` in /readyz tells what is full or fails (spool.bytes, dead_letters.bytes)",
                fields: [("Retry-After", "5")])
        }
    }

    private borrowing func startRecorder() throws(SidecarError) -> ThreadBox? {
        guard let recorder else { return nil }
        return ThreadBox(
            try Self.system { () throws(SystemError) in try Threads.start("exchanges", .brief) { recorder.run() } })
    }

    private borrowing func startLines() throws(SidecarError) -> ThreadBox? {
        guard let lines else { return nil }
        // Nobody waits for it: it takes its time where no broker answers, and meanwhile lines go into the spool.
        _ = try Self.system { () throws(SystemError) in
            try Threads.start("topic", .brief) { lines.watchTopic() }
        }
        let supervisor = supervisor
        return ThreadBox(try lines.start(onEnd: { supervisor.signal() }))
    }

    private static func openAdmin(_ settings: SidecarSettings) throws(SidecarError) -> ListenerBox? {
        guard settings.adminListen != "off" else { return nil }
        let key = "admin.listen"
        let address: SocketAddress
        do { address = try SocketAddress.resolve(settings.adminListen)[0] } catch { throw .address(key: key, error) }
        do {
            return ListenerBox(try Listener.open(address, sharesPort: false))
        } catch { throw .listen(key: key, error) }
    }

    /// Waits for signals and for news of the workers. True when they ended by themselves.
    private borrowing func supervise() -> Bool {
        var drainUntil: Int64?
        var drainingSince: Int64?
        while true {
            // Workers only count the lines that they shed.
            let usual: Int32 = lines == nil ? -1 : 1000
            let left = drainUntil.map { Int32(clamping: max(0, ($0 - Clock.monotonic() + 999) / 1000)) } ?? usual
            let ready = Readiness.wait([signals.number, supervisor.number], milliseconds: left)
            if ready[1] { supervisor.clear() }
            while let signal = signals.next() {
                switch signal {
                case .hangup(let sender): reloadAside(sender)
                case .terminate:
                    // Asked a second time, it ends at once; but not by the echo of the first, which some tools send along.
                    if let drainingSince {
                        if Clock.monotonic() - drainingSince >= Self.echoTime { return fleet.stop() }
                        continue
                    }
                    drainingSince = Clock.monotonic()
                }
            }
            // Somebody else does its work with lines: it ends as if it had been told to.
            if let lines, lines.hasEnded, lines.pipeline.isOver, drainingSince == nil {
                drainingSince = Clock.monotonic()
            }
            if let drainingSince, drainUntil == nil {
                drainUntil = drainingSince + reloader.settings.drain
                let connections = fleet.totals.clients
                fleet.drain()
                log.write(.info, "drain", [("connections", .integer(connections))])
            }
            fleet.logNews(log)
            if fleet.hasEnded { return true }
            if let drainUntil, Clock.monotonic() >= drainUntil { return fleet.stop() }
        }
    }

    /// On a thread of its own: a disk that does not answer must not keep the end from coming.
    private borrowing func reloadAside(_ sender: String?) {
        let reloader = reloader
        if (try? Threads.start("reload", .brief) { reloader.reload(cause: .signal, by: sender) }) == nil {
            reloader.reload(cause: .signal, by: sender)
        }
    }

    // MARK: - What is said of it

    private var lineDestination: String {
        switch settings.lines.destination(otherwise: .off) {
        case .auto, .off: "off"
        case .kafka: "kafka://\(settings.lines.kafka.brokers)/\(settings.lines.kafka.topic)"
        case .standardOutput: "stdout"
        case .file(let path): "file:\(path)"
        }
    }

    private borrowing func logStart(admin: String?) {
        log.write(
            .info, "start",
            [
                ("version", .string(Version.current)),
                ("listen", .string(fleet.names.joined(separator: ","))),
                ("upstream", .string(settings.upstream.map(\.value).joined(separator: ","))),
                ("admin", .optional(admin)), ("workers", .integer(fleet.count)), ("lines_to", .string(lineDestination)),
                ("manifests", .string(loader.states.map { $0.manifest?.version ?? "none" }.joined(separator: ","))),
            ])
    }

    private borrowing func logEnd(isClean: Bool) {
        lines?.logRest(log)
        let totals = fleet.totals
        log.write(
            isClean ? .info : .warn, "stop",
            [
                ("requests", .integer(totals[.requests])),
                ("aborted_by_upstream", .integer(totals[.abortedByUpstream])),
                ("aborted_by_client", .integer(totals[.abortedByClient])),
                ("upstream_faults", .integer(totals[.upstreamFaults])),
                ("client_faults", .integer(totals[.clientFaults])), ("own_faults", .integer(totals[.ownFaults])),
                ("cut", .integer(isClean ? 0 : fleet.cut)), ("activations", .integer(loader.activationCount)),
                ("failed_reloads", .integer(loader.failureCount)),
            ])
    }
}

/// The server, for the closure that it is made with.
private final class ServerHolder: @unchecked Sendable {
    /// Set before anything is served.
    weak var server: AdminServer?
}
