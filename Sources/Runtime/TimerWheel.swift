import Glibc

/// Deadlines of many connections, each with at most one. Setting a deadline later, which happens with every read, is one store:
/// the connection stays where it is in the wheel, and is looked at again when its old time comes.
package struct TimerWheel: ~Copyable {
    /// Microseconds between two looks at the wheel: how late a deadline may be noticed.
    package static let tick: Int64 = 50_000
    private static let slots = 1024

    /// All zeros is an entry that was never used, so that memory that is never used is never touched.
    private struct Entry {
        /// 0 for none.
        var deadline: Int64
        /// The tick for which it hangs in the wheel.
        var due: Int64
        // One more than the index, or 0 for none.
        var next: UInt32
        var previous: UInt32
        /// One more than the slot it hangs in; 0 when in no list.
        var slot: UInt32
    }

    private let entries: UnsafeMutablePointer<Entry>
    private let heads: UnsafeMutablePointer<UInt32>
    private let capacity: Int
    /// The last tick that was looked at.
    private var current: Int64
    /// How many entries hang in the wheel.
    private var count = 0
    /// No entry hangs for an earlier tick than this.
    private var soonest = Int64.max

    package init(capacity: Int, now: Int64) {
        self.capacity = capacity
        guard let memory = calloc(capacity, MemoryLayout<Entry>.stride) else {
            preconditionFailure("no memory for timers")
        }
        entries = memory.bindMemory(to: Entry.self, capacity: capacity)
        heads = .allocate(capacity: Self.slots)
        heads.initialize(repeating: 0, count: Self.slots)
        current = now / Self.tick
    }

    deinit {
        free(entries)
        heads.deallocate()
    }

    /// Sets the deadline of `index`; `.max` is none.
    package mutating func set(_ index: Int, _ deadline: Int64) {
        precondition(index >= 0 && index < capacity, "a timer beyond the wheel")
        guard deadline != .max else {
            entries[index].deadline = 0
            return
        }
        entries[index].deadline = max(1, deadline)
        let due = max(current &+ 1, deadline / Self.tick &+ 1)
        if entries[index].slot != 0 {
            if entries[index].due <= due { return }
            unlink(index)
        }
        link(index, due: due)
    }

    /// Takes `index` out of the wheel.
    package mutating func clear(_ index: Int) {
        entries[index].deadline = 0
        if entries[index].slot != 0 { unlink(index) }
    }

    private mutating func link(_ index: Int, due: Int64) {
        // What is further away than one turn is looked at once a turn.
        let near = min(due, current &+ Int64(Self.slots) &- 1)
        let slot = Int(near & Int64(Self.slots &- 1))
        let head = heads[slot]
        entries[index].next = head
        entries[index].previous = 0
        entries[index].slot = UInt32(slot) + 1
        entries[index].due = near
        if head != 0 { entries[Int(head) - 1].previous = UInt32(index) + 1 }
        heads[slot] = UInt32(index) + 1
        count &+= 1
        if near < soonest { soonest = near }
    }

    private mutating func unlink(_ index: Int) {
        let entry = entries[index]
        if entry.previous == 0 {
            heads[Int(entry.slot) - 1] = entry.next
        } else {
            entries[Int(entry.previous) - 1].next = entry.next
        }
        if entry.next != 0 { entries[Int(entry.next) - 1].previous = entry.previous }
        entries[index].slot = 0
        count &-= 1
    }

    /// The next index whose deadline has passed, taken out of the wheel; nil when there is none up to `now`.
    package mutating func nextExpired(_ now: Int64) -> Int? {
        let target = now / Self.tick
        while true {
            while heads[Int(current & Int64(Self.slots &- 1))] != 0 {
                let index = Int(heads[Int(current & Int64(Self.slots &- 1))]) &- 1
                unlink(index)
                let deadline = entries[index].deadline
                if deadline == 0 { continue }
                if deadline <= now {
                    entries[index].deadline = 0
                    return index
                }
                link(index, due: max(current &+ 1, deadline / Self.tick &+ 1))
            }
            guard current < target else { return nil }
            // After a jump, one whole turn has seen every slot.
            current = max(current &+ 1, target &- Int64(Self.slots))
        }
    }

    /// How many milliseconds until the wheel must be looked at again; -1 when nothing hangs in it.
    package mutating func wait(_ now: Int64) -> Int32 {
        guard count > 0 else { return -1 }
        var tick = max(current &+ 1, soonest)
        let last = current &+ Int64(Self.slots)
        while tick < last, heads[Int(tick & Int64(Self.slots &- 1))] == 0 { tick &+= 1 }
        soonest = tick
        return Int32(clamping: max(0, (tick &* Self.tick &- now &+ 999) / 1000))
    }
}
