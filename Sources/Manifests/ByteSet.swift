/// A set of byte strings, for counting how many different ones there are: exact, and without an object for each.
struct ByteSet {
    private var short = ShortKeySet()
    private var long = LongKeySet()

    var count: Int { short.count + long.count }

    mutating func insert(_ bytes: UnsafeRawBufferPointer) {
        if bytes.count <= ShortKey.longest {
            short.insert(ShortKey(bytes))
        } else {
            long.insert(bytes)
        }
    }
}

/// Mixes the bits of keys. The seed is its own for each run, so that nobody can prepare values that collide.
private struct Mixer {
    private let seed = UInt64.random(in: .min ... .max)

    func hash(_ low: UInt64, _ high: UInt64) -> UInt64 {
        Self.fold(Self.fold(low ^ seed) ^ high)
    }

    private static func fold(_ value: UInt64) -> UInt64 {
        let product = value.multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
        return product.high ^ product.low
    }
}

/// Up to fifteen bytes, and how many they are, in two words: most ids fit, and then the table is all there is to look at.
private struct ShortKey: Equatable {
    static let longest = 15

    var low: UInt64
    /// The last seven bytes, and above them the length plus one: no key is all zeros.
    var high: UInt64

    static let none = ShortKey(low: 0, high: 0)

    private init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    init(_ bytes: UnsafeRawBufferPointer) {
        low = 0
        high = 0
        if bytes.count >= 8 {
            low = bytes.loadUnaligned(as: UInt64.self)
            for offset in 8..<bytes.count { high |= UInt64(bytes[offset]) << UInt64((offset - 8) * 8) }
        } else {
            for offset in 0..<bytes.count { low |= UInt64(bytes[offset]) << UInt64(offset * 8) }
        }
        high |= UInt64(bytes.count + 1) << 56
    }
}

/// Open addressing over short keys.
private struct ShortKeySet {
    private var slots = [ShortKey](repeating: .none, count: 1 << 10)
    private let mixer = Mixer()
    private(set) var count = 0

    mutating func insert(_ key: ShortKey) {
        guard place(key) else { return }
        count += 1
        if count * 4 > slots.count * 3 { grow() }
    }

    /// Puts the key into its slot; false when it is there already.
    private mutating func place(_ key: ShortKey) -> Bool {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: mixer.hash(key.low, key.high)) & mask
        while slots[slot] != .none {
            if slots[slot] == key { return false }
            slot = (slot + 1) & mask
        }
        slots[slot] = key
        return true
    }

    private mutating func grow() {
        let old = slots
        slots = [ShortKey](repeating: .none, count: old.count * 2)
        for key in old where key != .none { _ = place(key) }
    }
}

/// Open addressing over strings of any length, which lie one behind the other.
private struct LongKeySet {
    /// Positions in `ends`, plus one; 0 is a free slot.
    private var slots = [UInt32](repeating: 0, count: 1 << 10)
    private var hashes: [UInt64] = []
    private var arena: [UInt8] = []
    /// Where each string ends in the arena; it begins where the one before ends.
    private var ends: [Int] = []
    private let mixer = Mixer()

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
        return arena.withUnsafeBytes { arena in
            var offset = 0
            while offset + 8 <= bytes.count {
                let own = arena.loadUnaligned(fromByteOffset: start + offset, as: UInt64.self)
                if own != bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self) { return false }
                offset += 8
            }
            while offset < bytes.count {
                if arena[start + offset] != bytes[offset] { return false }
                offset += 1
            }
            return true
        }
    }

    private func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hash = UInt64(bytes.count)
        var offset = 0
        while offset + 8 <= bytes.count {
            hash = mixer.hash(hash, bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            offset += 8
        }
        var rest: UInt64 = 0
        while offset < bytes.count {
            rest = rest << 8 | UInt64(bytes[offset])
            offset += 1
        }
        return mixer.hash(hash, rest)
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
