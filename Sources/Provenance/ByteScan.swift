/// Finds bytes eight at a time: the hot loops of line and CSV reading stand on these, so they are inlined everywhere.
public enum ByteScan {
    /// The high bit of each byte of `word` that may equal the byte repeated in `pattern`. The lowest of them surely does;
    /// those above a true one may be wrong.
    @inlinable @inline(__always)
    public static func matches(_ word: UInt64, _ pattern: UInt64) -> UInt64 {
        let difference = word ^ pattern
        return (difference &- 0x0101_0101_0101_0101) & ~difference & 0x8080_8080_8080_8080
    }

    /// Where `byte` first stands in `range`; the end of the range when it does not.
    @inlinable @inline(__always)
    public static func first(_ byte: UInt8, _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int {
        first(byte, or: byte, bytes, range)
    }

    /// Where either byte first stands in `range`; the end of the range when neither does.
    @inlinable @inline(__always)
    public static func first(_ byte: UInt8, or other: UInt8, _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>)
        -> Int
    {
        let pattern = UInt64(byte) &* 0x0101_0101_0101_0101
        let otherPattern = UInt64(other) &* 0x0101_0101_0101_0101
        var index = range.lowerBound
        while index &+ 8 <= range.upperBound {
            let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            let found = matches(word, pattern) | matches(word, otherPattern)
            if found != 0 { return index &+ found.trailingZeroBitCount >> 3 }
            index &+= 8
        }
        while index < range.upperBound {
            if bytes[index] == byte || bytes[index] == other { return index }
            index &+= 1
        }
        return range.upperBound
    }

    /// Where something first stands in `range` that is not plain text of a JSON string: a quote, a backslash, a control character or
    /// a byte beyond ASCII; the end of the range when nothing does.
    @inline(__always)
    static func firstSpecial(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int {
        first(bytes, range) { text in
            // Counted from the space on, control characters come after ASCII, as what is beyond it does.
            ((text &- SIMD16<UInt8>(repeating: 0x20)) .> SIMD16<UInt8>(repeating: 0x5F))
                .| (text .== SIMD16<UInt8>(repeating: 0x22)) .| (text .== SIMD16<UInt8>(repeating: 0x5C))
        } orOne: {
            $0 < 0x20 || $0 >= 0x80 || $0 == 0x22 || $0 == 0x5C
        }
    }

    /// Where something first stands in `range` that is no printed character of ASCII; the end of the range when nothing does.
    @inlinable @inline(__always)
    public static func firstUnprinted(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int {
        first(bytes, range) { text in
            (text &- SIMD16<UInt8>(repeating: 0x20)) .> SIMD16<UInt8>(repeating: 0x5E)
        } orOne: {
            $0 < 0x20 || $0 > 0x7E
        }
    }

    /// Where a byte first stands in `range` that is wanted, looked for sixteen at a time, and one by one at the end.
    @inlinable @inline(__always)
    static func first(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>,
        where wanted: (SIMD16<UInt8>) -> SIMDMask<SIMD16<Int8>>, orOne isWanted: (UInt8) -> Bool
    ) -> Int {
        var index = range.lowerBound
        while index &+ 16 <= range.upperBound {
            let text = bytes.loadUnaligned(fromByteOffset: index, as: SIMD16<UInt8>.self)
            let found = unsafeBitCast(wanted(text), to: SIMD2<UInt64>.self)
            if found[0] != 0 { return index &+ found[0].trailingZeroBitCount >> 3 }
            if found[1] != 0 { return index &+ 8 &+ found[1].trailingZeroBitCount >> 3 }
            index &+= 16
        }
        while index < range.upperBound {
            if isWanted(bytes[index]) { return index }
            index &+= 1
        }
        return range.upperBound
    }

    /// Where `byte` last stands in `range`; one less than its start when it does not.
    @inlinable @inline(__always)
    public static func last(_ byte: UInt8, _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int {
        let pattern = UInt64(byte) &* 0x0101_0101_0101_0101
        var end = range.upperBound
        while end &- 8 >= range.lowerBound {
            // Read backwards, so that the last byte is the lowest, where a match is sure.
            let word = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: end &- 8, as: UInt64.self))
            let found = matches(word, pattern)
            if found != 0 { return end &- 1 &- found.trailingZeroBitCount >> 3 }
            end &-= 8
        }
        while end > range.lowerBound {
            end &-= 1
            if bytes[end] == byte { return end }
        }
        return range.lowerBound &- 1
    }

    /// Whether `count` bytes are the same in both places.
    @inlinable @inline(__always)
    public static func isEqual(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer, _ count: Int) -> Bool {
        if count < 8 {
            for index in 0..<count
            where left.load(fromByteOffset: index, as: UInt8.self) != right.load(fromByteOffset: index, as: UInt8.self)
            {
                return false
            }
            return true
        }
        var index = 0
        while index &+ 8 <= count {
            if word(left, index) != word(right, index) { return false }
            index &+= 8
        }
        // The last eight, some of which were compared already.
        return word(left, count &- 8) == word(right, count &- 8)
    }

    @inlinable @inline(__always)
    static func word(_ bytes: UnsafeRawPointer, _ offset: Int) -> UInt64 {
        bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }
}
