/// Random numbers for ids (xoshiro256**): one generator for each worker, seeded from the kernel.
struct IDRandom {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    init(seed: (UInt64, UInt64, UInt64, UInt64)) {
        // All zeros would stay zeros.
        state = seed.0 | seed.1 | seed.2 | seed.3 == 0 ? (1, 2, 3, 4) : seed
    }

    @inline(__always)
    mutating func next() -> UInt64 {
        let product = state.1 &* 5
        let result = (product &<< 7 | product &>> 57) &* 9
        let shifted = state.1 &<< 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = state.3 &<< 45 | state.3 &>> 19
        return result
    }
}

/// The id of a request, and of the trace that it is part of (DESIGN 5).
enum RequestIdentity {
    static let ulidCount = 26
    static let mintedCount = 39

    /// 1 to 128 of `[A-Za-z0-9._:-]`.
    static func isValid(_ id: UnsafeRawBufferPointer) -> Bool {
        guard id.count >= 1, id.count <= BufferPool.idCapacity else { return false }
        // One bit for each byte below 64, and one for each from 64 to 127: digits, `-.:`, then letters and `_`.
        let low: UInt64 = 0x07FF_6000_0000_0000
        let high: UInt64 = 0x07FF_FFFE_87FF_FFFE
        var areAllowed: UInt64 = 1
        for index in 0..<id.count {
            let byte = id[index]
            let bits = byte < 64 ? low : byte < 128 ? high : 0
            areAllowed &= bits &>> UInt64(byte & 63)
        }
        return areAllowed & 1 != 0
    }

    /// Whether `id` has the shape of a minted one, in any case of its letters: a ULID, alone or with the beginning of a digest.
    static func looksMinted(_ id: UnsafeRawBufferPointer) -> Bool {
        guard id.count == ulidCount || id.count == mintedCount else { return false }
        for index in 0..<ulidCount where !isCrockford(id[index]) { return false }
        guard id.count == mintedCount else { return true }
        guard id[ulidCount] == 0x2D else { return false }
        for index in (ulidCount + 1)..<mintedCount {
            let byte = id[index]
            guard byte &- 0x30 <= 9 || (byte | 0x20) &- 0x61 <= 5 else { return false }
        }
        return true
    }

    private static func isCrockford(_ byte: UInt8) -> Bool {
        if byte &- 0x30 <= 9 { return true }
        let letter = byte & 0xDF
        guard letter &- 0x41 <= 25 else { return false }
        // Crockford's base 32 leaves out I, L, O and U.
        return letter != 0x49 && letter != 0x4C && letter != 0x4F && letter != 0x55
    }

    /// Writes `<ULID>-<suffix>`, or the ULID alone, and returns how many bytes that took.
    @inline(__always)
    static func mint(
        milliseconds: Int64, random: inout IDRandom, suffix: UnsafePointer<StampRow>?,
        to output: UnsafeMutableRawPointer
    ) -> Int {
        var time = UInt64(truncatingIfNeeded: milliseconds)
        var index = 9
        while index >= 0 {
            output.storeBytes(of: symbol(time), toByteOffset: index, as: UInt8.self)
            time &>>= 5
            index &-= 1
        }
        var low = random.next()
        var high = random.next()
        for offset in 0..<8 {
            output.storeBytes(of: symbol(low), toByteOffset: 10 &+ offset, as: UInt8.self)
            output.storeBytes(of: symbol(high), toByteOffset: 18 &+ offset, as: UInt8.self)
            low &>>= 5
            high &>>= 5
        }
        guard let suffix else { return ulidCount }
        output.storeBytes(of: 0x2D, toByteOffset: ulidCount, as: UInt8.self)
        for offset in 0..<12 {
            output.storeBytes(
                of: suffix.pointee.idSuffix[offset], toByteOffset: ulidCount &+ 1 &+ offset, as: UInt8.self)
        }
        return mintedCount
    }

    /// A character of Crockford's base 32 for the lowest five bits.
    @inline(__always)
    private static func symbol(_ bits: UInt64) -> UInt8 {
        let value = UInt8(truncatingIfNeeded: bits & 31)
        if value < 10 { return 0x30 &+ value }
        // A to Z without I, L, O, U.
        var letter = 0x41 &+ value &- 10
        if letter >= 0x49 { letter &+= 1 }
        if letter >= 0x4C { letter &+= 1 }
        if letter >= 0x4F { letter &+= 1 }
        if letter >= 0x55 { letter &+= 1 }
        return letter
    }

    static let traceparentCount = 55

    /// Starts a trace: `00-<32 digits>-<16 digits>-01` (W3C Trace Context). It is marked as sampled, because that leaves the
    /// decision to whoever samples by default as it was without us.
    static func startTrace(_ random: inout IDRandom, to output: UnsafeMutableRawPointer) {
        var offset = 0
        func put(_ byte: UInt8) {
            output.storeBytes(of: byte, toByteOffset: offset, as: UInt8.self)
            offset &+= 1
        }
        func putHex(_ word: UInt64) {
            var shift: UInt64 = 60
            for _ in 0..<16 {
                let digit = UInt8(truncatingIfNeeded: word &>> shift) & 15
                put(digit < 10 ? 0x30 &+ digit : 0x57 &+ digit)
                shift &-= 4
            }
        }
        put(0x30)
        put(0x30)
        put(0x2D)
        putHex(random.next())
        // An id of zeros is invalid.
        putHex(random.next() | 1)
        put(0x2D)
        putHex(random.next() | 1)
        put(0x2D)
        put(0x30)
        put(0x31)
    }
}
