/// Byte-level helpers for text that is compared and scanned as bytes.
///
/// Swift's own `==` and `<` on `String` use Unicode equivalence, under which two different byte strings can be
/// equal. Names, versions and ids here are bytes; these helpers never look further than that.
extension String {
    /// Whether both hold the same UTF-8 bytes.
    package func hasSameBytes(as other: String) -> Bool {
        utf8.count == other.utf8.count && utf8.elementsEqual(other.utf8)
    }

    /// Whether the UTF-8 bytes sort before those of `other`; the same order as that of Unicode scalars.
    package func precedesInBytes(_ other: String) -> Bool {
        utf8.lexicographicallyPrecedes(other.utf8)
    }

    /// The text on one line and safe for a terminal: control characters, and those that reorder or hide text, as escapes.
    package var onOneLine: String {
        if utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return self }
        var result = ""
        for scalar in unicodeScalars {
            switch scalar {
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            default:
                switch scalar.properties.generalCategory {
                case .control, .format, .lineSeparator, .paragraphSeparator:
                    result += "\\u{" + String(scalar.value, radix: 16) + "}"
                default:
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result
    }
}

extension UnsafeRawBufferPointer {
    /// Bytes in memory of their own, until somebody deallocates it: to hand out an array costs a count of references each time.
    package init(copying bytes: [UInt8]) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
        memory.copyBytes(from: bytes)
        self.init(memory)
    }
}

/// A dictionary key that is equal only when every byte is.
package struct ByteKey: Hashable, Sendable {
    private let bytes: [UInt8]

    package init(_ text: String) { bytes = Array(text.utf8) }
}

extension Span where Element == UInt8 {
    /// The bytes of `range` as text. Bytes that are no UTF-8 become U+FFFD: callers that care have checked before.
    package func text(_ range: Range<Int>) -> String {
        extracting(range).withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }

    /// The bytes of `range`, copied.
    package func array(_ range: Range<Int>) -> [UInt8] {
        extracting(range).withUnsafeBufferPointer { Array($0) }
    }

    /// Whether the bytes at `start` are `literal`. Inlined, so that its length is known where it is called.
    @inlinable @inline(__always)
    public func hasBytes(_ literal: StaticString, at start: Int) -> Bool {
        let length = literal.utf8CodeUnitCount
        guard start >= 0, length <= count &- start else { return false }
        return withUnsafeBytes { own in
            guard let base = own.baseAddress else { return length == 0 }
            return ByteScan.isEqual(base + start, UnsafeRawPointer(literal.utf8Start), length)
        }
    }

    /// Whether `literal` stands anywhere.
    package func contains(_ literal: StaticString) -> Bool {
        var start = 0
        while let index = firstIndex(of: literal.utf8Start[0], in: start..<count) {
            if hasBytes(literal, at: index) { return true }
            start = index + 1
        }
        return false
    }

    /// Where `byte` first stands in `range`.
    @inlinable @inline(__always)
    public func firstIndex(of byte: UInt8, in range: Range<Int>) -> Int? {
        let index = first(byte, in: range)
        return index < range.upperBound ? index : nil
    }

    /// Where `byte` first stands in `range`; the end of the range when it does not.
    @inlinable @inline(__always)
    public func first(_ byte: UInt8, in range: Range<Int>) -> Int {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "a range beyond the bytes")
        return withUnsafeBytes { ByteScan.first(byte, $0, range) }
    }

    /// Where `byte` last stands in `range`.
    package func lastIndex(of byte: UInt8, in range: Range<Int>) -> Int? {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "a range beyond the bytes")
        let index = withUnsafeBytes { ByteScan.last(byte, $0, range) }
        return index >= range.lowerBound ? index : nil
    }

    /// Whether the bytes of `range` are exactly these.
    @inlinable @inline(__always)
    public func hasBytes(_ bytes: [UInt8], in range: Range<Int>) -> Bool {
        bytes.withUnsafeBytes { hasBytes($0, in: range) }
    }

    /// Whether the bytes of `range` are exactly these.
    @inlinable @inline(__always)
    public func hasBytes(_ bytes: UnsafeRawBufferPointer, in range: Range<Int>) -> Bool {
        guard range.count == bytes.count else { return false }
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "a range beyond the bytes")
        return withUnsafeBytes { own in
            guard let base = own.baseAddress, let other = bytes.baseAddress else { return range.isEmpty }
            return ByteScan.isEqual(base + range.lowerBound, other, range.count)
        }
    }
}

/// The value of a hexadecimal digit of either case.
func hexValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte &- UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte &- UInt8(ascii: "a") &+ 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte &- UInt8(ascii: "A") &+ 10
    default: nil
    }
}

/// The lower-case digits, by value.
func hexDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") &+ value : UInt8(ascii: "a") &- 10 &+ value
}

/// The upper-case digits, by value: those of a percent escape.
func upperHexDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") &+ value : UInt8(ascii: "A") &- 10 &+ value
}
