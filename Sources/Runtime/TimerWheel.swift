/// Deadlines of many connections, each with at most one. Setting a deadline later, which happens with every read, is one store:
/// the connection stays where it is in the wheel, and is looked at again when its old time comes.
package struct TimerWheel: ~Copyable {
    /// Microseconds between two looks at the wheel: how late a deadline may be noticed.
    package static let tick: Int64 = 50_000
    private static let slots = 1024
    private static let none = UInt32.max

    private struct Entry {
        var deadline = Int64.max
        var next = TimerWheel.none
        var previous = TimerWheel.none
        /// The slot it hangs in; `none` when in no list.
        var slot = TimerWheel.none
        /// The tick for which it hangs there.
        var due = Int64.max
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
        entries = .allocate(capacity: capacity)
        entries.initialize(repeating: Entry(), count: capacity)
        heads = .allocate(capacity: Self.slots)
        heads.initialize(repeating: Self.none, count: Self.slots)
        current = now / Self.tick
    }

    deinit {
        entries.deallocate()
        heads.deallocate()
    }

    /// Sets the deadline of `index`; `.max` is none.
    package mutating func set(_ index: Int, _ deadline: Int64) {
        precondition(index >= 0 && index < capacity, "a timer beyond the wheel")
        entries[index].deadline = deadline
        guard deadline != .max else { return }
        let due = max(current &+ 1, deadline / Self.tick &+ 1)
        if entries[index].slot != Self.none {
            if entries[index].due <= due { return }
            unlink(index)
        }
        link(index, due: due)
    }

    /// Takes `index` out of the wheel.
    package mutating func clear(_ index: Int) {
        entries[index].deadline = .max
        if entries[index].slot != Self.none { unlink(index) }
    }

    private mutating func link(_ index: Int, due: Int64) {
        // What is further away than one turn is looked at once a turn.
        let near = min(due, current &+ Int64(Self.slots) &- 1)
        let slot = Int(near & Int64(Self.slots &- 1))
        let head = heads[slot]
        entries[index].next = head
        entries[index].previous = Self.none
        entries[index].slot = UInt32(slot)
        entries[index].due = near
        if head != Self.none { entries[Int(head)].previous = UInt32(index) }
        heads[slot] = UInt32(index)
        count &+= 1
        if near < soonest { soonest = near }
    }

    private mutating func unlink(_ index: Int) {
        let entry = entries[index]
        if entry.previous == Self.none {
            heads[Int(entry.slot)] = entry.next
        } else {
            entries[Int(entry.previous)].next = entry.next
        }
        if entry.next != Self.none { entries[Int(entry.next)].previous = entry.previous }
        entries[index].slot = Self.none
        entries[index].due = .max
        count &-= 1
    }

    /// The next index whose deadline has passed, taken out of the wheel; nil when there is none up to `now`.
    package mutating func nextExpired(_ now: Int64) -> Int? {
        let target = now / Self.tick
        while true {
            while heads[Int(current & Int64(Self.slots &- 1))] != Self.none {
                let index = Int(heads[Int(current & Int64(Self.slots &- 1))])
                unlink(index)
                let deadline = entries[index].deadline
                if deadline <= now {
                    entries[index].deadline = .max
                    return index
                }
                if deadline != .max { link(index, due: max(current &+ 1, deadline / Self.tick &+ 1)) }
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
        while tick < last, heads[Int(tick & Int64(Self.slots &- 1))] == Self.none { tick &+= 1 }
        soonest = tick
        return Int32(clamping: max(0, (tick &* Self.tick &- now &+ 999) / 1000))
    }
}
