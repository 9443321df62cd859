/// What waits to be delivered, what is on its way, and what has arrived: a pure machine. The records lie in one block of memory,
/// in the order in which they were taken, and stay there until all before them are settled.
package struct Delivery: ~Copyable {
    package struct Limits: Sendable {
        /// How many records may be here at once (`kafka.in_flight`).
        package var records = 5000
        /// How many bytes of them.
        package var bytes = 16 << 20
        /// How long nothing may arrive, in microseconds, until delivery counts as stalled.
        package var stall: Int64 = 1_000_000

        package init() {}
    }

    private enum State: UInt8 {
        case waiting
        case sent
        /// It was refused together with others: one of them is at fault.
        case suspected
        case settled
    }

    private struct Entry {
        var owner: Int
        /// Where the line begins in its source.
        var start: Int64
        let offset: Int
        var state: State
    }

    private let memory: UnsafeMutableRawBufferPointer
    private let limits: Limits
    private var entries: Ring<Entry>
    /// The number of the first entry; numbers go up by one and are never used again.
    private var first: UInt = 1
    /// The first that is not yet on its way: none before it waits.
    private var nextToSend: UInt = 1
    private var writeOffset = 0
    package private(set) var onTheirWay = 0
    /// Since when nothing has arrived though something should; nil while nothing should.
    private var waitingSince: Int64?
    /// How many may be on their way at once while it is sought which record was refused; nil when nothing was.
    private var window: Int?
    /// Somebody failed: nothing is sent until all that is on its way has been told of.
    private var isHolding = false

    package init(_ limits: Limits) {
        self.limits = limits
        memory = .allocate(byteCount: limits.bytes, alignment: 4096)
        entries = Ring(capacity: limits.records)
    }

    deinit { memory.deallocate() }

    package var count: Int { entries.count }
    /// How many records may be here at once.
    var capacity: Int64 { Int64(limits.records) }
    package var isEmpty: Bool { entries.isEmpty }
    /// How many have not arrived.
    package private(set) var unsettled = 0

    // MARK: - Taking records

    /// Whether `reserve` would find room for so many bytes.
    package func hasRoom(_ size: Int) -> Bool {
        guard entries.count < limits.records, size <= limits.bytes else { return false }
        guard let head = entries.first else { return true }
        if writeOffset > head.offset { return limits.bytes - writeOffset >= size || head.offset > size }
        return head.offset - writeOffset > size
    }

    /// Where a record of `size` bytes can be written; nil while there is no room for it.
    package mutating func reserve(_ size: Int) -> UnsafeMutableRawBufferPointer? {
        guard entries.count < limits.records, size <= limits.bytes else { return nil }
        guard let head = entries.first else {
            writeOffset = 0
            return UnsafeMutableRawBufferPointer(rebasing: memory[0..<size])
        }
        let oldest = head.offset
        if writeOffset > oldest {
            if limits.bytes - writeOffset >= size {
                return UnsafeMutableRawBufferPointer(rebasing: memory[writeOffset..<writeOffset + size])
            }
            guard oldest > size else { return nil }
            writeOffset = 0
        }
        guard oldest - writeOffset > size else { return nil }
        return UnsafeMutableRawBufferPointer(rebasing: memory[writeOffset..<writeOffset + size])
    }

    /// Takes the record that was written where `reserve` said.
    package mutating func commit(_ size: Int, owner: Int, start: Int64) {
        unsettled += 1
        entries.append(Entry(owner: owner, start: start, offset: writeOffset, state: .waiting))
        writeOffset += size
    }

    // MARK: - Sending

    /// The record that is to be sent next, with the number to call it by; nil when none may be sent now.
    package mutating func next() -> (token: UInt, record: LineRecord)? {
        guard !isHolding, window.map({ onTheirWay < $0 }) ?? true else { return nil }
        while nextToSend < first + UInt(entries.count) {
            let entry = entries[Int(nextToSend - first)]
            if entry.state == .waiting || entry.state == .suspected {
                return (nextToSend, LineRecord(base: memory.baseAddress.unsafelyUnwrapped + entry.offset))
            }
            nextToSend += 1
        }
        return nil
    }

    /// Whether something could be sent that is not.
    package var hasWaiting: Bool { !isHolding && nextToSend < first + UInt(entries.count) }

    /// The record with this number, while it is here.
    func record(_ token: UInt) -> LineRecord? {
        guard token >= first, token < first + UInt(entries.count) else { return nil }
        return LineRecord(base: memory.baseAddress.unsafelyUnwrapped + entries[Int(token - first)].offset)
    }

    /// The one that `next` gave is on its way.
    package mutating func sent(_ token: UInt, now: Int64) {
        if waitingSince == nil { waitingSince = now }
        entries[Int(token - first)].state = .sent
        onTheirWay += 1
        nextToSend = token + 1
        // One group at a time while it is sought who was refused.
        if let window, onTheirWay >= window { isHolding = true }
    }

    // MARK: - What came of them

    /// The record has arrived, or never will: nobody waits for it any longer.
    package mutating func settle(_ token: UInt, now: Int64) {
        guard token >= first, token < first + UInt(entries.count) else { return }
        let index = Int(token - first)
        guard entries[index].state != .settled else { return }
        if entries[index].state == .sent { onTheirWay -= 1 }
        entries[index].state = .settled
        unsettled -= 1
        waitingSince = unsettled > 0 ? now : nil
        dropSettled()
        endGroup()
    }

    /// The record has not arrived and may another time. `isSuspected` when it, or one that went with it, was refused.
    package mutating func fail(_ token: UInt, isSuspected: Bool) {
        guard token >= first, token < first + UInt(entries.count) else { return }
        let index = Int(token - first)
        guard entries[index].state == .sent else { return }
        onTheirWay -= 1
        entries[index].state = isSuspected ? .suspected : .waiting
        isHolding = true
        endGroup()
    }

    /// Whether the record was refused all alone, so that it is the one.
    package func isAlone(_ token: UInt) -> Bool {
        token >= first && token < first + UInt(entries.count) && entries[Int(token - first)].state == .sent
            && (window == 1 || entries.count == 1)
    }

    /// The one at fault is found: the others are no longer suspected.
    package mutating func clearSuspicion() {
        for index in 0..<entries.count where entries[index].state == .suspected { entries[index].state = .waiting }
        window = nil
        nextToSend = first
    }

    /// When all that was on its way is told of, sending goes on from the first that has not arrived.
    private mutating func endGroup() {
        guard onTheirWay == 0, isHolding || window != nil else { return }
        isHolding = false
        var suspects = 0
        var firstWaiting = first + UInt(entries.count)
        for index in 0..<entries.count {
            switch entries[index].state {
            case .suspected: suspects += 1
            case .waiting, .sent: break
            case .settled: continue
            }
            firstWaiting = min(firstWaiting, first + UInt(index))
        }
        nextToSend = firstWaiting
        window = suspects == 0 ? nil : max(1, min(suspects, window ?? suspects) / 2)
    }

    /// Nothing that was on its way will ever be told of: all of it is sent again.
    package mutating func restart() {
        for index in 0..<entries.count where entries[index].state == .sent { entries[index].state = .waiting }
        onTheirWay = 0
        isHolding = true
        endGroup()
    }

    // MARK: - What is known of it

    /// Lowers each owner's position in `positions` to the first of its lines that has not arrived.
    package func lower(_ positions: inout [Int64]) {
        for index in 0..<entries.count {
            let entry = entries[index]
            if entry.state != .settled, entry.start < positions[entry.owner] { positions[entry.owner] = entry.start }
        }
    }

    /// Lowers each owner's position to the first of its lines that is neither settled nor on its way.
    package func lowerToUnsent(_ positions: inout [Int64]) {
        for index in 0..<entries.count {
            let entry = entries[index]
            guard entry.state == .waiting || entry.state == .suspected else { continue }
            if entry.start < positions[entry.owner] { positions[entry.owner] = entry.start }
        }
    }

    /// Forgets `owner`'s records, none of which is on its way: they are somebody else's now.
    package mutating func discard(_ owner: Int) {
        for index in 0..<entries.count where entries[index].owner == owner && entries[index].state != .settled {
            entries[index].state = .settled
            unsettled -= 1
        }
        dropSettled()
        if unsettled == 0 { waitingSince = nil }
    }

    private mutating func dropSettled() {
        while let head = entries.first, head.state == .settled {
            entries.removeFirst()
            first += 1
        }
        nextToSend = max(nextToSend, first)
    }

    /// Whether nothing has arrived for too long, sent or not.
    package mutating func isStalled(now: Int64) -> Bool {
        guard unsettled > 0 else { return false }
        guard let waitingSince else {
            self.waitingSince = now
            return false
        }
        return now - waitingSince >= limits.stall
    }

    /// Whether a record of this size fits at all.
    package func canEverHold(_ size: Int) -> Bool { size < limits.bytes }

    /// When it will count as stalled if nothing arrives before; nil when nothing is on its way.
    package var stallsAt: Int64? { waitingSince.map { $0 + limits.stall } }

    /// Gives all records of `owners` that have not arrived to another one, which numbers them as `adopt` says.
    package mutating func reassign(
        _ owners: Set<Int>, to new: Int, adopt: (LineRecord) -> Int64?
    ) -> Bool {
        for index in 0..<entries.count where entries[index].state != .settled && owners.contains(entries[index].owner) {
            let record = LineRecord(base: memory.baseAddress.unsafelyUnwrapped + entries[index].offset)
            guard let position = adopt(record) else { return false }
            entries[index].owner = new
            entries[index].start = position
        }
        return true
    }
}

/// A queue of a fixed size.
struct Ring<Element> {
    private var slots: [Element?]
    private var head = 0
    private(set) var count = 0

    init(capacity: Int) { slots = Array(repeating: nil, count: capacity) }

    var isEmpty: Bool { count == 0 }
    var first: Element? { count == 0 ? nil : slots[head] }

    private func slot(_ index: Int) -> Int {
        let sum = head + index
        return sum >= slots.count ? sum - slots.count : sum
    }

    subscript(index: Int) -> Element {
        get { slots[slot(index)].unsafelyUnwrapped }
        set { slots[slot(index)] = newValue }
    }

    mutating func append(_ element: Element) {
        precondition(count < slots.count, "the ring is full")
        slots[slot(count)] = element
        count += 1
    }

    mutating func removeFirst() {
        slots[head] = nil
        head = slot(1)
        count -= 1
    }
}
