import CSystem
import Checksum
import Glibc
import Provenance
import Runtime
import Synchronization

/// The exchanges that the proxy saw last, by their request ids: what workers hand over through rings, for lines that follow and, where
/// records are kept, for the disk. Any thread may ask.
package final class ExchangeMemory: ExchangeRecords, @unchecked Sendable {
    private let rings: [HandoverRing]
    private let names: [[UInt8]]
    private let lock = Mutex(())
    /// Whoever touches it has the lock.
    private var state: State

    /// One that is remembered. Its id is known by 128 bits of a hash that nobody outside can compute.
    private struct Remembered {
        var first: UInt64
        var second: UInt64
        /// The number of the one before it in its bucket.
        var previous: UInt64
        /// The beginning of the manifest's digest, as a number; `none` for none, `several` where exchanges with this id disagree.
        var manifest: UInt64
        /// When the first exchange with this id began, and the last one ended, in microseconds.
        var begin: Int64
        var end: Int64
        var strength: UInt8

        static let none = UInt64.max
        static let several = UInt64.max - 1

        /// Another exchange had the same id: only what both agree on is known.
        mutating func merge(_ older: Remembered) {
            if older.manifest != manifest { manifest = Self.several }
            strength = min(strength, older.strength)
            begin = min(begin, older.begin)
            end = max(end, older.end)
        }
    }

    private struct State: ~Copyable {
        let capacity: Int
        let entries: UnsafeMutablePointer<Remembered>
        /// The number of the last one in each bucket; numbers begin with 1.
        let buckets: UnsafeMutablePointer<UInt64>
        let bucketCount: Int
        let seed: UInt64
        var last: UInt64 = 0
        var index: ExchangeIndex?

        init(capacity: Int, seed: UInt64, index: consuming ExchangeIndex?) {
            self.capacity = capacity
            self.seed = seed
            self.index = index
            var count = 1
            while count < capacity { count *= 2 }
            bucketCount = count
            // Pages that nobody writes to take no memory.
            entries = calloc(capacity, MemoryLayout<Remembered>.stride).bindMemory(
                to: Remembered.self, capacity: capacity)
            buckets = calloc(count, MemoryLayout<UInt64>.stride).bindMemory(to: UInt64.self, capacity: count)
        }

        deinit {
            free(entries)
            free(buckets)
        }
    }

    /// How many are remembered of each worker.
    package static let mostOfWorker = 65_536

    /// `names` are those of the variants, by their numbers. With `index` they are kept on disk too.
    package init(
        _ rings: [HandoverRing], names: [String], index: consuming ExchangeIndex?, seed: UInt64,
        mostOfWorker: Int = ExchangeMemory.mostOfWorker
    ) {
        self.rings = rings
        self.names = names.map { Array($0.utf8.prefix(ExchangeEntry.mostName)) }
        state = State(capacity: mostOfWorker * rings.count, seed: seed, index: index)
    }

    /// Takes what workers have handed over. True when there was something.
    @discardableResult
    package func drain() -> Bool { lock.withLock { _ in takeAll() } }

    private func takeAll() -> Bool {
        var isBusy = false
        for ring in rings {
            let bytes = ring.waiting.bytes
            guard let base = bytes.baseAddress, !bytes.isEmpty else { continue }
            isBusy = true
            var offset = 0
            while offset < bytes.count {
                let entry = ExchangeEntry(UnsafeMutableRawPointer(mutating: base) + offset)
                remember(entry)
                let name = entry.variant < names.count ? names[entry.variant] : []
                state.index?.append(entry, name: name)
                offset += entry.length
            }
            ring.take(offset)
        }
        return isBusy
    }

    private func remember(_ entry: ExchangeEntry) {
        let (first, second) = Checksum.wide(entry.id, seed: state.seed)
        let bucket = Int(truncatingIfNeeded: first) & (state.bucketCount - 1)
        var one = Remembered(
            first: first, second: second, previous: state.buckets[bucket],
            manifest: entry.hasManifest ? Self.number(entry.prefix) : Remembered.none,
            begin: entry.time.microseconds &- entry.duration * 1000, end: entry.time.microseconds,
            strength: UInt8(entry.strength))
        if let older = look(first, second) { one.merge(older) }
        state.last += 1
        state.entries[Int(state.last % UInt64(state.capacity))] = one
        state.buckets[bucket] = state.last
    }

    private static func number(_ digits: UnsafeRawBufferPointer) -> UInt64 {
        digits.reduce(0) { $0 << 4 | UInt64($1 <= 0x39 ? $1 & 15 : ($1 & 15) + 9) }
    }

    package func record(of requestID: Span<UInt8>) -> ExchangeRecord? {
        requestID.withUnsafeBytes { id in
            lock.withLock { _ in
                if let found = find(id) { return found }
                // It may have ended a moment ago.
                return takeAll() ? find(id) : nil
            }
        }
    }

    /// The newest with this id, with which all older ones were merged.
    private func look(_ first: UInt64, _ second: UInt64) -> Remembered? {
        let oldest = state.last > UInt64(state.capacity) ? state.last - UInt64(state.capacity) : 0
        var number = state.buckets[Int(truncatingIfNeeded: first) & (state.bucketCount - 1)]
        while number > oldest {
            let one = state.entries[Int(number % UInt64(state.capacity))]
            if one.first == first, one.second == second { return one }
            number = one.previous
        }
        return nil
    }

    private func find(_ id: UnsafeRawBufferPointer) -> ExchangeRecord? {
        let (first, second) = Checksum.wide(id, seed: state.seed)
        // Those that disagree say nothing.
        guard let one = look(first, second), one.manifest != Remembered.several else { return nil }
        return ExchangeRecord(
            manifest: one.manifest == Remembered.none ? nil : HexPrefix(Self.digits(one.manifest)),
            attribution: Attribution(strength: Int(one.strength)), begin: Instant(microseconds: one.begin),
            end: Instant(microseconds: one.end))
    }

    private static func digits(_ number: UInt64) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: ExchangeEntry.prefixCount - text.count) + text
    }

    // MARK: - What is known of it

    package struct Figures: Sendable {
        /// How many were ever seen, and how many lie on disk.
        package var seen: UInt64
        package var kept: Int
        package var written: Int
        /// How many had to go for others, and how many could not be written.
        package var dropped: Int
        package var failed: Int
        package var problem: String?
    }

    package var figures: Figures {
        lock.withLock { _ in
            Figures(
                seen: state.last, kept: state.index?.count ?? 0, written: state.index?.written ?? 0,
                dropped: state.index?.dropped ?? 0,
                failed: state.index?.failed ?? 0, problem: state.index?.problem)
        }
    }
}
