import Provenance
import Proxy
import Runtime
import Synchronization

/// All workers of the proxy and what they share: listeners, the board, counters.
final class WorkerFleet: Sendable {
    let count: Int
    /// What is listened on, with the ports that were found.
    let names: [String]
    let board: StampBoard
    private let proxy: ProxySettings
    private let control: WorkerControl
    private let counters: [WorkerCounters]
    private let wakes: [Wake]
    private let supervisor: Wake
    private let sockets: Sockets
    private let ended = Atomic<Int>(0)
    private let cutCount = Atomic<Int>(0)
    private let reported: Mutex<[UpstreamState]>
    private let reportedLoss = Atomic<UInt64>(0)
    private let reportedShed = Atomic<UInt64>(0)
    private let shedToldAgainAt = Atomic<Int64>(0)
    private static let reminder: Int64 = 60_000_000

    /// The listeners of every worker. Closed, and socket files removed, when the fleet is gone.
    private final class Sockets: @unchecked Sendable {
        private var list: [ListenerBox] = []

        func add(_ listener: consuming Listener) -> (number: Int32, name: String) {
            let result = (listener.number, listener.name)
            list.append(ListenerBox(listener))
            return result
        }

        var perWorker: [[(descriptor: Int32, isShared: Bool)]] = []
    }

    init(
        _ settings: SidecarSettings, _ proxy: ProxySettings, workers: Int, supervisor: Wake
    ) throws(SidecarError) {
        count = workers
        self.proxy = proxy
        self.supervisor = supervisor
        // Nothing is served before the manifests are loaded.
        board = StampBoard(StampTable(variants: [], known: [], headers: settings.headers), workers: workers)
        control = WorkerControl(upstreams: proxy.upstreams.count, workers: workers)
        counters = (0..<workers).map { _ in WorkerCounters(variants: proxy.variants.count) }
        let sockets = Sockets()
        sockets.perWorker = (0..<workers).map { _ in [] }
        var names: [String] = []
        for text in settings.listen {
            let addresses: [SocketAddress]
            do { addresses = try SocketAddress.resolve(text) } catch { throw .address(key: "listen", error) }
            do throws(SystemError) {
                for address in addresses { names.append(try Self.open(address, workers, sockets)) }
            } catch { throw .listen(key: "listen", error) }
        }
        self.names = names
        self.sockets = sockets
        do throws(SystemError) {
            var wakes: [Wake] = []
            for _ in 0..<workers { wakes.append(try Wake()) }
            self.wakes = wakes
        } catch { throw .system(error) }
        reported = Mutex(proxy.upstreams.map { _ in .untried })
    }

    /// Opens a listener for each worker on the same port, or one for all on a Unix socket.
    private static func open(_ address: SocketAddress, _ workers: Int, _ sockets: Sockets) throws(SystemError) -> String
    {
        if address.isUnix {
            let opened = sockets.add(try Listener.open(address, sharesPort: false))
            for worker in 0..<workers { sockets.perWorker[worker].append((opened.number, true)) }
            return opened.name
        }
        try Listener.checkFree(address)
        let first = sockets.add(try Listener.open(address, sharesPort: true))
        sockets.perWorker[0].append((first.number, false))
        for worker in 1..<max(1, workers) {
            // Where any port was asked for, all take the one that the first has found.
            guard let same = try? SocketAddress.resolve(first.name)[0] else {
                throw SystemError("listen on", first.name)
            }
            sockets.perWorker[worker].append((sockets.add(try Listener.open(same, sharesPort: true)).number, false))
        }
        return first.name
    }

    /// A proxy in front of itself would fill every request with its own name until it is too large.
    func refuseLoop(_ proxy: ProxySettings) throws(SidecarError) {
        for upstream in proxy.upstreams {
            for address in upstream.addresses where names.contains(where: { $0.hasSameBytes(as: address.numericName) })
            {
                throw .setting(
                    SettingError(
                        "upstream", "\(address.text.onOneLine) is where it listens itself: name the model server"))
            }
        }
    }

    // MARK: - Life

    func start() throws(SidecarError) -> WorkerThreads {
        var threads = WorkerThreads()
        for number in 0..<count {
            let supervisor = supervisor
            do throws(SystemError) {
                threads.add(
                    try ProxyThread.start(
                        number: number, settings: proxy, board: board, counters: counters[number], control: control,
                        listeners: sockets.perWorker[number], wake: wakes[number],
                        tellSupervisor: { supervisor.signal() },
                        onEnd: { [self] in
                            ended.add(1, ordering: .sequentiallyConsistent)
                            supervisor.signal()
                        }))
            } catch {
                _ = stop()
                throw .system(error)
            }
        }
        return threads
    }

    func drain() { give(.drain) }

    /// Ends at once. True when no connection was open.
    func stop() -> Bool {
        let open = counters.reduce(0) { $0 + $1.clients }
        cutCount.store(open, ordering: .relaxed)
        give(.stop)
        return open == 0
    }

    private func give(_ order: WorkerControl.Order) {
        control.give(order)
        for wake in wakes { wake.signal() }
    }

    /// Deadlines that are set from now on are set by these.
    func set(_ timeouts: ProxySettings.Timeouts) {
        control.set(timeouts)
        for wake in wakes { wake.signal() }
    }

    var hasEnded: Bool { ended.load(ordering: .sequentiallyConsistent) == count }
    var isDraining: Bool { control.order != .serve }
    /// How many connections were open when it was stopped.
    var cut: Int { cutCount.load(ordering: .relaxed) }

    // MARK: - What is known of it

    /// The counters of all workers together, or of one.
    struct Totals {
        private let values: [UInt64]
        let clients: Int
        let upstreams: Int
        let inFlight: Int
        private let faults: [UInt64]

        init(_ counters: [WorkerCounters]) {
            values = WorkerCounters.Counter.allCases.map { counter in counters.reduce(0) { $0 + $1[counter] } }
            clients = counters.reduce(0) { $0 + $1.clients }
            upstreams = counters.reduce(0) { $0 + $1.upstreams }
            inFlight = counters.reduce(0) { $0 + $1.inFlight }
            faults = Fault.Kind.allCases.map { fault in counters.reduce(0) { $0 + $1.count(of: fault) } }
        }

        subscript(counter: WorkerCounters.Counter) -> UInt64 { values[counter.rawValue] }

        func count(of fault: Fault.Kind) -> UInt64 { faults[fault.rawValue] }
    }

    var totals: Totals { Totals(counters) }
    var perWorker: [Totals] { counters.map { Totals([$0]) } }

    /// What is known of one variant, by all workers.
    func ofVariant(_ index: Int) -> WorkerCounters.OfVariant {
        counters.dropFirst().reduce(counters[0].ofVariant(index)) { $0 + $1.ofVariant(index) }
    }

    var overhead: Durations { counters.dropFirst().reduce(counters[0].overhead) { $0 + $1.overhead } }

    func state(ofUpstream index: Int) -> UpstreamState { control.state(ofUpstream: index) }

    /// Whether an upstream takes a connection now; what is known of it follows. It may take a moment.
    func probe(_ index: Int) -> Bool {
        let isReached = Probe.connects(to: proxy.upstreams[index].addresses)
        if control.note(isReached ? .reached : .unreachable, ofUpstream: index) { supervisor.signal() }
        return isReached
    }

    /// Whether the model server of a variant can no longer speak with the manifest before, by `attribution.settle`.
    func isSettled(_ state: ActivationLoader.State, _ proxy: ProxySettings) -> Bool {
        guard state.settlesByReconnecting else { return Clock.monotonic() >= state.settledAt }
        let upstream = proxy.variants.first { $0.name.hasSameBytes(as: state.variant) }?.upstream ?? 0
        return control.isReconnected(upstream, since: state.serial)
    }

    /// Logs what has become of upstreams, and of the access log, since it was last asked.
    func logNews(_ log: EventLog) {
        let lost = totals[.lostLogLines]
        if lost > reportedLoss.exchange(lost, ordering: .relaxed) {
            log.write(
                .warn, "access-log-failed",
                [
                    ("lines_lost", .integer(lost)),
                    ("advice", .string("see that its disk has room, and send SIGHUP if it was moved")),
                ])
        }
        let shed = totals[.shedLines]
        let now = Clock.monotonic()
        // While it lasts, a line a minute.
        if shed > reportedShed.load(ordering: .relaxed), now >= shedToldAgainAt.load(ordering: .relaxed) {
            reportedShed.store(shed, ordering: .relaxed)
            shedToldAgainAt.store(now + Self.reminder, ordering: .relaxed)
            log.write(
                .warn, "lines-shed",
                [
                    ("source", .string("proxy")), ("lines", .integer(shed)),
                    (
                        "advice",
                        .string(
                            "there is no room for lines of exchanges: see `lines` in /readyz, and make spool.bytes larger"
                        )
                    ),
                ])
        }
        for (index, upstream) in proxy.upstreams.enumerated() {
            let state = control.state(ofUpstream: index)
            let before = reported.withLock { states in
                defer { states[index] = state }
                return states[index]
            }
            guard state != before else { continue }
            let facts: [(name: String, value: JSON)] = [
                ("upstream", .string(upstream.name)), ("address", .string(upstream.addresses[0].text)),
            ]
            switch state {
            case .reached: log.write(.info, "upstream-reached", facts)
            case .unreachable:
                let advice = "clients get 502: see that the model server runs, and listens there"
                log.write(.warn, "upstream-unreachable", facts + [("advice", .string(advice))])
            case .untried: break
            }
        }
    }
}

/// The threads of the workers, to wait for.
struct WorkerThreads: ~Copyable {
    private var threads: [ThreadBox] = []

    mutating func add(_ handle: consuming Threads.Handle) { threads.append(ThreadBox(handle)) }

    consuming func joinAll() {
        for thread in threads { thread.join() }
    }
}
