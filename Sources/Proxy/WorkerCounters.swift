import HTTP
import Provenance
import Synchronization

/// What one worker counts: written by its thread alone, read by any.
package final class WorkerCounters: Sendable {
    package enum Counter: Int, CaseIterable, Sendable {
        case accepted
        /// Connections over `limits.connections`: answered with 503, or closed at once when there are very many.
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
        /// Exchanges that were cut before the end of the response.
        case abortedByUpstream, abortedByClient
        /// Connections on which an upstream sent more than it had declared.
        case surplus
        case upgrades
        case timeouts
        /// Lines of the access log that could not be written.
        case lostLogLines
        /// Lines that were made of exchanges, and those for which there was no room.
        case lines, shedLines
        /// Exchanges of recommendations whose path is too long for a line.
        case longPaths
        /// Exchanges of which no record could be handed over: the ring was full.
        case droppedRecords

        /// As reports spell it: `upstream_faults`.
        package var name: String { WorkerCounters.snakeCase("\(self)") }
    }

    static func snakeCase(_ name: String) -> String {
        name.reduce(into: "") { $0 += $1.isUppercase ? "_" + $1.lowercased() : String($1) }
    }

    private nonisolated(unsafe) let memory: UnsafeMutablePointer<Atomic<UInt64>>
    private nonisolated(unsafe) let cells: UnsafeMutablePointer<Atomic<UInt64>>
    private let openClients = Atomic<Int>(0)
    private let openUpstreams = Atomic<Int>(0)
    private let begun = Atomic<Int>(0)
    private let variants: Int

    // Where in the cells what stands: counters, faults, what the proxy took of each exchange, and then for each variant its responses by
    // class of status, by what was claimed of them, and by how long the upstream took.
    private static let faultsOffset = Counter.allCases.count
    private static let overheadOffset = faultsOffset + Fault.Kind.allCases.count
    private static let variantsOffset = overheadOffset + Durations.cellCount
    private static let claimsOffset = 5
    private static let upstreamOffset = claimsOffset + Attribution.allCases.count
    private static let variantStride = upstreamOffset + Durations.cellCount

    package init(variants: Int = 1) {
        self.variants = variants
        // With room around, so that no two workers write into one cache line.
        let count = Self.variantsOffset + variants * Self.variantStride
        memory = .allocate(capacity: count + 32)
        cells = memory + 16
        for index in 0..<count { (cells + index).initialize(to: Atomic(0)) }
    }

    deinit { memory.deallocate() }

    package subscript(counter: Counter) -> UInt64 { cell(counter.rawValue) }

    private func cell(_ index: Int) -> UInt64 { cells[index].load(ordering: .relaxed) }

    /// Client connections that are open.
    package var clients: Int { openClients.load(ordering: .relaxed) }
    /// Connections to upstreams that are open, idle ones among them.
    package var upstreams: Int { openUpstreams.load(ordering: .relaxed) }
    /// Exchanges that have begun and not ended.
    package var inFlight: Int { begun.load(ordering: .relaxed) }
    /// What the proxy itself took of each exchange.
    package var overhead: Durations { Durations(cells + Self.overheadOffset) }

    package func count(of fault: Fault.Kind) -> UInt64 { cell(Self.faultsOffset + fault.rawValue) }

    /// What is known of one variant.
    package struct OfVariant: Sendable {
        /// By class: 1xx to 5xx.
        package let statuses: [UInt64]
        /// By strength.
        package let claims: [UInt64]
        /// From the request's having been sent until the head of the response came.
        package let upstream: Durations

        package static func + (left: OfVariant, right: OfVariant) -> OfVariant {
            OfVariant(
                statuses: zip(left.statuses, right.statuses).map { $0 + $1 },
                claims: zip(left.claims, right.claims).map { $0 + $1 }, upstream: left.upstream + right.upstream)
        }
    }

    package func ofVariant(_ index: Int) -> OfVariant {
        let base = Self.variantsOffset + index * Self.variantStride
        return OfVariant(
            statuses: (0..<Self.claimsOffset).map { cell(base + $0) },
            claims: (0..<Attribution.allCases.count).map { cell(base + Self.claimsOffset + $0) },
            upstream: Durations(cells + base + Self.upstreamOffset))
    }

    // MARK: - Counting

    // Only the worker's own thread calls these: so a load and a store are enough.

    func setClients(_ count: Int) { openClients.store(count, ordering: .relaxed) }

    func changeUpstreams(by change: Int) {
        openUpstreams.store(openUpstreams.load(ordering: .relaxed) + change, ordering: .relaxed)
    }

    @inline(__always)
    func changeInFlight(by change: Int) {
        begun.store(begun.load(ordering: .relaxed) &+ change, ordering: .relaxed)
    }

    @inline(__always)
    func add(_ counter: Counter, _ amount: Int = 1) { add(at: counter.rawValue, UInt64(amount)) }

    @inline(__always)
    private func add(at index: Int, _ amount: UInt64 = 1) {
        cells[index].store(cell(index) &+ amount, ordering: .relaxed)
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

    func count(_ fault: Fault) {
        add(fault.counter)
        add(at: Self.faultsOffset + fault.kind.rawValue)
        countResponse(fault.status)
    }

    /// A model has answered, that long after the request was sent.
    @inline(__always)
    func countAnswer(variant: Int, status: Int, _ claim: Attribution, microseconds: Int64) {
        let base = Self.variantsOffset &+ min(variant, variants &- 1) &* Self.variantStride
        countResponse(status)
        Durations.count(microseconds, in: cells + (base &+ Self.upstreamOffset))
        let group =
            switch status {
            case ..<200: 0
            case ..<300: 1
            case ..<400: 2
            case ..<500: 3
            default: 4
            }
        add(at: base &+ group)
        add(at: base &+ Self.claimsOffset &+ claim.strength)
        switch claim {
        case .unknown: add(.unknown)
        case .mixed: add(.mixed)
        case .inferred: add(.inferred)
        case .exact: add(.exact)
        }
    }

    @inline(__always)
    func countOverhead(microseconds: Int64) { Durations.count(microseconds, in: cells + Self.overheadOffset) }
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
    private let changed = Mutex<ProxySettings.Timeouts?>(nil)
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

    /// Other timeouts than those that the workers began with: each takes them when it is woken.
    package var timeouts: ProxySettings.Timeouts? {
        changed.withLock { $0 }
    }

    package func set(_ timeouts: ProxySettings.Timeouts) { changed.withLock { $0 = timeouts } }

    package var order: Order { Order(rawValue: ordered.load(ordering: .acquiring)) ?? .serve }

    package func give(_ order: Order) { ordered.store(order.rawValue, ordering: .releasing) }

    package func state(ofUpstream index: Int) -> UpstreamState {
        UpstreamState(rawValue: states[index].value.load(ordering: .relaxed)) ?? .untried
    }

    /// True when this is news.
    @inline(__always)
    package func note(_ state: UpstreamState, ofUpstream index: Int) -> Bool {
        guard states[index].value.load(ordering: .relaxed) != state.rawValue else { return false }
        states[index].value.store(state.rawValue, ordering: .relaxed)
        return true
    }
}
