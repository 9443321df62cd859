import HTTP
import Synchronization

/// What one worker counts: written by its thread alone, read by any.
package final class WorkerCounters: Sendable {
    package enum Counter: Int, CaseIterable, Sendable {
        case accepted
        /// Connections over `limits.connections`, answered with 503.
        case shed
        /// Connections that could not be taken for want of descriptors.
        case acceptFailures
        case requests
        case responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
        /// Responses that the sidecar made itself, by whose fault it was.
        case clientFaults, upstreamFaults, ownFaults
        case unknown, mixed, inferred, exact
        /// Responses in which the upstream named a manifest that is not known.
        case unknownNames
        case retries
        case upstreamConnections
        case connectFailures
        /// Exchanges that ended after the head of the response, and before its end.
        case abortedByUpstream, abortedByClient
        /// Connections on which an upstream sent more than it had declared.
        case surplus
        case upgrades
        case timeouts
        /// Lines of the access log that could not be written.
        case lostLogLines
        /// Lines that were made of exchanges, and those for which there was no room.
        case lines, shedLines
        /// Exchanges of which no record could be handed over: the ring was full.
        case droppedRecords

        /// As reports spell it: `upstream_faults`.
        package var name: String {
            "\(self)".reduce(into: "") { $0 += $1.isUppercase ? "_" + $1.lowercased() : String($1) }
        }
    }

    private nonisolated(unsafe) let memory: UnsafeMutablePointer<Atomic<UInt64>>
    private nonisolated(unsafe) let cells: UnsafeMutablePointer<Atomic<UInt64>>
    private let openClients = Atomic<Int>(0)
    private let openUpstreams = Atomic<Int>(0)

    package init() {
        // With room around, so that no two workers write into one cache line.
        memory = .allocate(capacity: Counter.allCases.count + 32)
        cells = memory + 16
        for index in 0..<Counter.allCases.count { (cells + index).initialize(to: Atomic(0)) }
    }

    deinit { memory.deallocate() }

    package subscript(counter: Counter) -> UInt64 { cells[counter.rawValue].load(ordering: .relaxed) }

    /// Client connections that are open.
    package var clients: Int { openClients.load(ordering: .relaxed) }
    /// Connections to upstreams that are open, idle ones among them.
    package var upstreams: Int { openUpstreams.load(ordering: .relaxed) }

    func setClients(_ count: Int) { openClients.store(count, ordering: .relaxed) }

    func changeUpstreams(by change: Int) {
        openUpstreams.store(openUpstreams.load(ordering: .relaxed) + change, ordering: .relaxed)
    }

    /// Only the worker's own thread calls this: so a load and a store are enough.
    @inline(__always)
    func add(_ counter: Counter, _ amount: Int = 1) {
        let value = cells[counter.rawValue].load(ordering: .relaxed)
        cells[counter.rawValue].store(value &+ UInt64(amount), ordering: .relaxed)
    }

    @inline(__always)
    func countResponse(_ status: Int) {
        switch status {
        case ..<200: add(.responses1xx)
        case ..<300: add(.responses2xx)
        case ..<400: add(.responses3xx)
        case ..<500: add(.responses4xx)
        default: add(.responses5xx)
        }
    }
}

/// Whether an upstream was reached when it was last tried.
package enum UpstreamState: Int, Sendable {
    case untried
    case reached
    case unreachable
}

/// What the thread that supervises and its workers tell one another.
package final class WorkerControl: Sendable {
    package enum Order: Int, Sendable {
        case serve
        case drain
        case stop
    }

    private let ordered = Atomic<Int>(Order.serve.rawValue)
    private let states: [State]
    private let workers: Int

    /// What is known of one upstream.
    private final class State: Sendable {
        let value = Atomic<Int>(UpstreamState.untried.rawValue)
        /// For each worker, the activation that was the last one when the oldest of its open connections was opened.
        let oldest: [Cell]

        init(workers: Int) { oldest = (0..<workers).map { _ in Cell() } }
    }

    private final class Cell: Sendable {
        let serial = Atomic<UInt64>(.max)
    }

    package init(upstreams: Int, workers: Int) {
        self.workers = workers
        states = (0..<upstreams).map { _ in State(workers: workers) }
    }

    func setOldest(_ serial: UInt64, ofUpstream index: Int, worker: Int) {
        states[index].oldest[worker].serial.store(serial, ordering: .releasing)
    }

    /// Whether no worker has a connection to the upstream that is older than the activation `serial`.
    package func isReconnected(_ index: Int, since serial: UInt64) -> Bool {
        states[index].oldest.allSatisfy { $0.serial.load(ordering: .acquiring) >= serial }
    }

    package var order: Order { Order(rawValue: ordered.load(ordering: .acquiring)) ?? .serve }

    package func give(_ order: Order) { ordered.store(order.rawValue, ordering: .releasing) }

    package func state(ofUpstream index: Int) -> UpstreamState {
        UpstreamState(rawValue: states[index].value.load(ordering: .relaxed)) ?? .untried
    }

    /// True when this is news.
    @inline(__always)
    func note(_ state: UpstreamState, ofUpstream index: Int) -> Bool {
        guard states[index].value.load(ordering: .relaxed) != state.rawValue else { return false }
        states[index].value.store(state.rawValue, ordering: .relaxed)
        return true
    }
}
