/// A set of byte strings, for counting how many different ones there are: exact, and without an object for each.
struct ByteSet {
    /// Positions in `ends`, plus one; 0 is a free slot.
    private var slots: [UInt32]
    private var hashes: [UInt64] = []
    private var arena: [UInt8] = []
    /// Where each string ends in the arena; it begins where the one before ends.
    private var ends: [Int] = []
    private let seed: UInt64

    private static let firstSlots = 1 << 10

    init() {
        slots = [UInt32](repeating: 0, count: Self.firstSlots)
        // Its own for each run, so that nobody can prepare values that collide.
        seed = UInt64.random(in: .min ... .max)
    }

    var count: Int { ends.count }

    mutating func insert(_ bytes: UnsafeRawBufferPointer) {
        let hash = hash(bytes)
        var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[slot] != 0 {
            let entry = Int(slots[slot]) - 1
            if hashes[entry] == hash, holds(entry, bytes) { return }
            slot = (slot + 1) & (slots.count - 1)
        }
        arena.append(contentsOf: bytes)
        ends.append(arena.count)
        hashes.append(hash)
        slots[slot] = UInt32(ends.count)
        if ends.count * 4 > slots.count * 3 { grow() }
    }

    private func holds(_ entry: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        let start = entry == 0 ? 0 : ends[entry - 1]
        guard ends[entry] - start == bytes.count else { return false }
        for offset in 0..<bytes.count where arena[start + offset] != bytes[offset] { return false }
        return true
    }

    private func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash = seed ^ UInt64(bytes.count)
        var offset = 0
        while offset + 8 <= bytes.count {
            hash = Self.mix(hash ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            offset += 8
        }
        var rest: UInt64 = 0
        while offset < bytes.count {
            rest = rest << 8 | UInt64(bytes[offset])
            offset += 1
        }
        return Self.mix(hash ^ rest)
    }

    private static func mix(_ value: UInt64) -> UInt64 {
        let product = value.multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return product.high ^ product.low
    }

    private mutating func grow() {
        var larger = [UInt32](repeating: 0, count: slots.count * 2)
        for (entry, hash) in hashes.enumerated() {
            var slot = Int(truncatingIfNeeded: hash) & (larger.count - 1)
            while larger[slot] != 0 { slot = (slot + 1) & (larger.count - 1) }
            larger[slot] = UInt32(entry + 1)
        }
        slots = larger
    }
}
