import Synchronization

/// Where the table of stamps hangs: one thread puts up a new one, the workers read it with one atomic load.
///
/// A table that was taken down is freed when no worker can still be looking at it: each says when it begins and ends a turn, and
/// between two turns a worker holds nothing of a table.
package final class StampBoard: Sendable {
    /// The address of the table: an atomic pointer would not be `Sendable`.
    private let current: Atomic<UInt>
    private let turns: Turns
    private let retired = Mutex<[Retired]>([])

    /// For each worker, odd while it is in a turn. Each stands in cache lines of its own: they are written all the time.
    private final class Turns: Sendable {
        private nonisolated(unsafe) let memory: UnsafeMutablePointer<Atomic<UInt64>>
        let count: Int
        private static let stride = 16

        init(_ count: Int) {
            self.count = count
            memory = .allocate(capacity: (count + 1) * Self.stride)
            for index in 0..<(count + 1) * Self.stride { (memory + index).initialize(to: Atomic(0)) }
        }

        deinit { memory.deallocate() }

        @inline(__always)
        func advance(_ worker: Int) {
            memory[(worker + 1) * Self.stride].add(1, ordering: .sequentiallyConsistent)
        }

        var now: [UInt64] {
            (0..<count).map { memory[($0 + 1) * Self.stride].load(ordering: .sequentiallyConsistent) }
        }
    }

    private struct Retired: Sendable {
        let table: Unmanaged<StampTable>
        /// The turns in which workers were when it was taken down.
        var turns: [UInt64]
    }

    package init(_ table: StampTable, workers: Int) {
        current = Atomic(Self.address(table))
        turns = Turns(workers)
    }

    deinit {
        Self.table(at: current.load(ordering: .acquiring)).release()
        for retired in retired.withLock({ $0 }) { retired.table.release() }
    }

    private static func address(_ table: StampTable) -> UInt {
        UInt(bitPattern: Unmanaged.passRetained(table).toOpaque())
    }

    @inline(__always)
    private static func table(at address: UInt) -> Unmanaged<StampTable> {
        guard let pointer = UnsafeRawPointer(bitPattern: address) else {
            preconditionFailure("a board without a table")
        }
        return Unmanaged.fromOpaque(pointer)
    }

    /// Puts up `table` and frees those that no worker can still see. Called by one thread at a time.
    package func publish(_ table: StampTable) {
        let old = current.exchange(Self.address(table), ordering: .sequentiallyConsistent)
        let seen = turns.now
        retired.withLock { $0.append(Retired(table: Self.table(at: old), turns: seen)) }
        reclaim()
    }

    /// Frees what can be freed. Returns how many tables still wait.
    @discardableResult
    package func reclaim() -> Int {
        let now = turns.now
        return retired.withLock { list in
            list.removeAll { retired in
                let isUnseen = zip(retired.turns, now).allSatisfy { before, after in
                    before.isMultiple(of: 2) || after != before
                }
                if isUnseen { retired.table.release() }
                return isUnseen
            }
            return list.count
        }
    }

    /// The worker begins a turn: the table stays where it is until the turn ends.
    @inline(__always)
    func beginTurn(_ worker: Int) -> Unmanaged<StampTable> {
        turns.advance(worker)
        return Self.table(at: current.load(ordering: .sequentiallyConsistent))
    }

    @inline(__always)
    func endTurn(_ worker: Int) {
        turns.advance(worker)
    }
}
