import HTTP
import Provenance
import Runtime

/// One thread of the proxy with all that it owns: connections, pool, buffers, timers. Nothing of it is shared but the table of
/// stamps, which it reads, and counters, which it writes.
///
/// The machine itself: it is driven by events of a network, which may be the kernel's or a simulation's. How requests go up stands in
/// `Worker+Requests.swift`, how responses come down in `Worker+Responses.swift`.
package struct Worker<Net: Network & ~Copyable>: ~Copyable {
    typealias End = UnsafeMutablePointer<Connection>

    package struct Listening: Sendable {
        let descriptor: Int32

        package init(descriptor: Int32) { self.descriptor = descriptor }
    }

    var net: Net
    let settings: ProxySettings
    /// They change when the configuration is loaded anew.
    var timeouts: ProxySettings.Timeouts
    let number: Int
    let board: StampBoard
    let counters: WorkerCounters
    let control: WorkerControl
    /// Tells the supervising thread that there is news.
    let tellSupervisor: @Sendable () -> Void
    let wakeDescriptor: Int32

    let connections: UnsafeMutablePointer<Connection>
    let capacity: Int
    private(set) var slotsMade = 0
    private var freeSlot: UInt32
    /// The idle connections of each upstream, the last one used first.
    var idle: [UInt32]
    /// The address of each upstream that worked last.
    var goodAddress: [Int]
    /// For each upstream, the activation that was the last one when the oldest of its open connections were opened, and how many
    /// of these there are.
    var oldest: [(serial: UInt64, count: Int)]
    var buffers: BufferPool
    var timers: TimerWheel
    var trimAt: Int64

    let requestNames: FieldNames
    let responseNames: FieldNames
    /// Whether what the upstream says of itself stands under a name that only we may use towards clients.
    let answeredByIsOurs: Bool
    /// Whether the manifest that will be stamped is known at admission, but for an activation meanwhile.
    let namesManifestInID: Bool
    var fields: FieldList
    var writer: HeadWriter
    /// The fields that `Connection` names, of one head.
    let named: UnsafeMutablePointer<WireRange>
    var random: IDRandom
    var accessLog: AccessLog
    let hasAccessLog: Bool
    /// What is kept of exchanges that log lines are made of.
    var notes: ExchangeNotes
    /// Where records of exchanges are handed over.
    let records: HandoverRing?
    /// Whether records were handed over that the reader was not told of.
    var hasRecorded = false
    /// What is read only to be thrown away.
    let discarded: UnsafeMutableRawBufferPointer
    /// The response of those for whom there is no connection left.
    let refusal: UnsafeMutableRawBufferPointer

    var listeners: [Listening]
    var clients = 0
    var isDraining = false
    var now: Int64
    var wall: Int64
    var dateSecond: Int64 = .min
    let date: UnsafeMutableRawBufferPointer
    /// The stamps of this turn.
    var variants = UnsafeBufferPointer<StampRow>(start: nil, count: 0)
    var unknownBlock = UnsafeRawBufferPointer(start: nil, count: 0)
    var latestSerial: UInt64 = 0
    var table: Unmanaged<StampTable>

    /// Tokens of what is no connection.
    static var wakeToken: UInt64 { 0xFFFF_FFFF }
    static var firstListenerToken: UInt64 { 0xFFFF_FF00 }
    /// How many connections may be told that there are too many, at once.
    static var refusalLimit: Int { 64 }

    package init(
        net: consuming Net, settings: ProxySettings, number: Int, board: StampBoard, counters: WorkerCounters,
        control: WorkerControl, listeners: [Listening], wakeDescriptor: Int32, seed: (UInt64, UInt64, UInt64, UInt64),
        tellSupervisor: @escaping @Sendable () -> Void
    ) {
        self.settings = settings
        timeouts = settings.timeouts
        self.number = number
        self.board = board
        self.counters = counters
        self.control = control
        self.listeners = listeners
        self.wakeDescriptor = wakeDescriptor
        self.tellSupervisor = tellSupervisor
        now = net.monotonic()
        wall = net.wallTime()
        self.net = net
        // Every client may have its own connection to an upstream, and a spare one may be idle meanwhile.
        capacity = 2 * settings.limits.connections + 2 * Self.refusalLimit
        connections = .allocate(capacity: capacity)
        freeSlot = 0
        idle = settings.upstreams.map { _ in Connection.nobody }
        goodAddress = settings.upstreams.map { _ in 0 }
        oldest = settings.upstreams.map { _ in (.max, 0) }
        buffers = BufferPool(limit: capacity)
        timers = TimerWheel(capacity: capacity, now: now)
        trimAt = now
        requestNames = settings.requestNames
        responseNames = settings.responseNames
        answeredByIsOurs = settings.answeredByIsOurs
        if case .pointer = settings.attribution { namesManifestInID = true } else { namesManifestInID = false }
        fields = FieldList(limit: settings.limits.fields)
        writer = HeadWriter(
            capacity: ProxySettings.largestHead + BufferPool.room, cutLimit: 2 * settings.limits.fields + 2)
        named = .allocate(capacity: settings.limits.fields + 1)
        random = IDRandom(seed: seed)
        accessLog = AccessLog(descriptor: settings.accessLog ?? -1)
        hasAccessLog = settings.accessLog != nil
        notes = ExchangeNotes(settings.lines, worker: number)
        records = settings.recording?.rings[number]
        discarded = .allocate(byteCount: 16 << 10, alignment: 16)
        refusal = .allocate(byteCount: 2048, alignment: 16)
        date = .allocate(byteCount: HTTPDate.length, alignment: 8)
        table = board.beginTurn(number)
        board.endTurn(number)
        makeSlot()
    }

    deinit {
        connections.deallocate()
        named.deallocate()
        discarded.deallocate()
        refusal.deallocate()
        date.deallocate()
    }

    /// Memory that was never written to costs nothing: so the next slot is made when the one before it is taken.
    private mutating func makeSlot() {
        (connections + slotsMade).initialize(to: Connection())
        connections[slotsMade].next = UInt32(slotsMade) + 1
        slotsMade += 1
    }

    /// Serves until it is told to stop, or has drained.
    package mutating func run() {
        while turn() {}
    }

    /// Waits for events and serves them. False when all is done.
    package mutating func turn() -> Bool {
        let count = net.wait(milliseconds: patience())
        now = net.monotonic()
        beginTurn()
        defer {
            tellReaders()
            board.endTurn(number)
        }
        // An idle connection that closed, or speaks unasked, must be out of the pool before a request could take it.
        for index in 0..<count where isOfIdleUpstream(net.event(index).token) { handle(net.event(index)) }
        for index in 0..<count { handle(net.event(index)) }
        while let slot = timers.nextExpired(now) { expire(connections + slot) }
        if now >= trimAt {
            buffers.trim()
            flushLog()
            trimAt = now &+ 1_000_000
        }
        switch control.order {
        case .serve: return true
        case .drain:
            if !isDraining { drain() }
            if clients > 0 { return true }
            closeAll()
            return false
        case .stop:
            closeAll()
            return false
        }
    }

    /// How long may be waited for events, in milliseconds: lines of the log do not wait longer than a second.
    private mutating func patience() -> Int32 {
        let untilTimer = timers.wait(now)
        guard !accessLog.isEmpty else { return untilTimer }
        return untilTimer < 0 ? 1000 : min(untilTimer, 1000)
    }

    @inline(__always)
    private mutating func beginTurn() {
        table = board.beginTurn(number)
        (variants, unknownBlock, latestSerial) = table._withUnsafeGuaranteedRef {
            ($0.variants, $0.unknownBlock, $0.latestSerial)
        }
        wall = net.wallTime()
        let second = wall >= 0 ? wall / 1_000_000 : 0
        if second != dateSecond {
            dateSecond = second
            HTTPDate.write(second: second, to: date)
        }
    }

    @inline(__always)
    private func isOfIdleUpstream(_ token: UInt64) -> Bool {
        let slot = UInt64(UInt32(truncatingIfNeeded: token))
        guard slot < Self.firstListenerToken else { return false }
        let end = connections + Int(slot)
        return end.pointee.phase == .idle && end.pointee.role == .upstream
    }

    @inline(__always)
    private mutating func handle(_ event: NetworkEvent) {
        let slot = UInt32(truncatingIfNeeded: event.token)
        guard UInt64(slot) < Self.firstListenerToken else {
            guard UInt64(slot) == Self.wakeToken else {
                acceptAll(event.token)
                return
            }
            net.clearWake(wakeDescriptor)
            if let changed = control.timeouts { timeouts = changed }
            return
        }
        let end = connections + Int(slot)
        // An event of a connection that was closed in this very turn.
        guard end.pointee.generation == UInt32(truncatingIfNeeded: event.token &>> 32) else { return }
        if event.isReadable || event.isHangup { end.pointee.flags.insert(.readable) }
        if event.isHangup { end.pointee.flags.insert(.hangup) }
        switch end.pointee.role {
        case .client: clientEvent(end, event)
        case .upstream: upstreamEvent(end, event)
        case .free: break
        }
    }
}

extension Worker where Net: ~Copyable {
    // MARK: - Slots

    @inline(__always)
    func slot(of end: End) -> UInt32 { UInt32(truncatingIfNeeded: end - connections) }

    @inline(__always)
    func peer(of end: End) -> End? {
        end.pointee.peer == Connection.nobody ? nil : connections + Int(end.pointee.peer)
    }

    /// A slot for a new connection; nil when there is none.
    mutating func takeSlot() -> End? {
        guard freeSlot != Connection.nobody, Int(freeSlot) < capacity else { return nil }
        let end = connections + Int(freeSlot)
        let next = end.pointee.next
        if Int(next) == slotsMade, slotsMade < capacity { makeSlot() }
        freeSlot = next
        return end
    }

    /// Makes a slot of a descriptor that was just opened. Closes it, and returns nil, when it cannot be watched.
    mutating func add(_ descriptor: Int32, _ role: Connection.Role, to end: End) -> End? {
        let generation = end.pointee.generation &+ 1
        var connection = Connection()
        connection.descriptor = descriptor
        connection.generation = generation
        connection.role = role
        end.pointee = connection
        let token = UInt64(slot(of: end)) | UInt64(generation) &<< 32
        guard net.watch(descriptor, token: token) else {
            release(end)
            return nil
        }
        return end
    }

    /// Closes a connection and forgets it. Whoever was its peer must be told by the caller.
    mutating func release(_ end: End, isReset: Bool = false) {
        if isReset { net.reset(end.pointee.descriptor) } else { net.close(end.pointee.descriptor) }
        giveBuffer(end)
        timers.clear(Int(slot(of: end)))
        end.pointee.role = .free
        end.pointee.generation &+= 1
        end.pointee.peer = Connection.nobody
        end.pointee.next = freeSlot
        freeSlot = slot(of: end)
    }

    // MARK: - Buffers

    @inline(__always)
    mutating func takeBuffer(_ end: End) {
        if end.pointee.buffer == nil { end.pointee.buffer = buffers.take() }
    }

    @inline(__always)
    mutating func giveBuffer(_ end: End) {
        if let buffer = end.pointee.buffer {
            buffers.give(buffer)
            end.pointee.buffer = nil
        }
        emptyBuffer(end)
    }

    /// Nothing in the buffer is of use any more.
    @inline(__always)
    func emptyBuffer(_ end: End) {
        end.pointee.start = 0
        end.pointee.end = 0
        end.pointee.scanned = 0
    }

    /// Where the data of the buffer begins.
    @inline(__always)
    func data(_ end: End) -> UnsafeMutableRawPointer {
        guard let buffer = end.pointee.buffer else { preconditionFailure("a connection without its buffer") }
        return buffer + BufferPool.dataOffset
    }

    @inline(__always)
    mutating func setDeadline(_ end: End, after microseconds: Int64) {
        timers.set(Int(slot(of: end)), now &+ microseconds)
    }

    @inline(__always)
    mutating func clearDeadline(_ end: End) { timers.set(Int(slot(of: end)), .max) }
}
