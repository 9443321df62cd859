/// Bytes of the wire, read with every index checked.
extension RawSpan {
    @inline(__always)
    func byte(_ index: Int) -> UInt8 { unsafeLoad(fromByteOffset: index, as: UInt8.self) }

    /// Eight bytes, the first of them lowest.
    @inline(__always)
    func word(_ index: Int) -> UInt64 {
        UInt64(littleEndian: unsafeLoadUnaligned(fromByteOffset: index, as: UInt64.self))
    }
}

/// Classes of bytes, as RFC 9110 names them. Two words of bits each, so that no table has to be in the cache.
enum ByteClass {
    /// `tchar` (RFC 9110 section 5.6.2).
    @inline(__always)
    static func isToken(_ byte: UInt8) -> Bool { isMember(byte, 0x03FF_6CFA_0000_0000, 0x57FF_FFFF_C7FF_FFFE) }

    /// What may stand in `uri-host [ ":" port ]` (RFC 3986 section 3.2): no delimiter of another part of a URI.
    @inline(__always)
    static func isAuthority(_ byte: UInt8) -> Bool { isMember(byte, 0x2FFF_6FF2_0000_0000, 0x47FF_FFFE_AFFF_FFFE) }

    @inline(__always)
    private static func isMember(_ byte: UInt8, _ low: UInt64, _ high: UInt64) -> Bool {
        guard byte < 128 else { return false }
        let bits = byte < 64 ? low : high
        return bits >> UInt64(byte & 63) & 1 != 0
    }

    /// A byte that ends the text of a line: any control character but the tab.
    @inline(__always)
    static func isControl(_ byte: UInt8) -> Bool { byte < 0x20 && byte != 9 || byte == 0x7F }

    @inline(__always)
    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 9 }

    @inline(__always)
    static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 <= 9 }

    /// The value of a hexadecimal digit; above 15 for anything else.
    @inline(__always)
    static func hex(_ byte: UInt8) -> UInt8 {
        if byte &- 0x30 <= 9 { return byte &- 0x30 }
        let letter = (byte | 0x20) &- 0x61
        return letter <= 5 ? letter &+ 10 : 255
    }
}

enum WireScan {
    /// The first control character other than the tab at or after `start`, or the end.
    @inline(__always)
    static func endOfText(_ bytes: RawSpan, from start: Int) -> Int {
        var index = start
        while index &+ 16 <= bytes.byteCount {
            let vector = bytes.unsafeLoadUnaligned(fromByteOffset: index, as: SIMD16<UInt8>.self)
            // Both sides are vectors: comparing with a scalar compiles to a loop over lanes.
            let controls =
                ((vector .< SIMD16<UInt8>(repeating: 0x20)) .& (vector .!= SIMD16<UInt8>(repeating: 9)))
                .| (vector .== SIMD16<UInt8>(repeating: 0x7F))
            let found = firstLane(controls)
            if found < 16 { return index &+ found }
            index &+= 16
        }
        while index < bytes.byteCount {
            if ByteClass.isControl(bytes.byte(index)) { return index }
            index &+= 1
        }
        return index
    }

    /// The first line feed at or after `start`, or the end.
    @inline(__always)
    static func lineFeed(_ bytes: RawSpan, from start: Int) -> Int {
        var index = start
        while index &+ 16 <= bytes.byteCount {
            let vector = bytes.unsafeLoadUnaligned(fromByteOffset: index, as: SIMD16<UInt8>.self)
            let found = firstLane(vector .== SIMD16<UInt8>(repeating: 0x0A))
            if found < 16 { return index &+ found }
            index &+= 16
        }
        while index < bytes.byteCount {
            if bytes.byte(index) == 0x0A { return index }
            index &+= 1
        }
        return index
    }

    /// How many of the first 16 bytes from `start` on are letters, digits or dashes; 0 where 16 bytes are not left.
    @inline(__always)
    static func plainName(_ bytes: RawSpan, from start: Int) -> Int {
        guard start &+ 16 < bytes.byteCount else { return 0 }
        let vector = bytes.unsafeLoadUnaligned(fromByteOffset: start, as: SIMD16<UInt8>.self)
        let letters = (vector | SIMD16<UInt8>(repeating: 0x20)) &- SIMD16<UInt8>(repeating: 0x61)
        let digits = vector &- SIMD16<UInt8>(repeating: 0x30)
        let plain =
            (letters .< SIMD16<UInt8>(repeating: 26)) .| (digits .< SIMD16<UInt8>(repeating: 10))
            .| (vector .== SIMD16<UInt8>(repeating: 0x2D))
        return firstLane(.!plain)
    }

    /// The lowest lane that is set; 16 when none is.
    @inline(__always)
    private static func firstLane(_ mask: SIMDMask<SIMD16<Int8>>) -> Int {
        let words = unsafeBitCast(mask, to: SIMD2<UInt64>.self)
        if words[0] != 0 { return words[0].trailingZeroBitCount &>> 3 }
        if words[1] != 0 { return 8 &+ words[1].trailingZeroBitCount &>> 3 }
        return 16
    }
}
