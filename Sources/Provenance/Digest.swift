/// A SHA-256 digest: the name of a manifest, an artifact or a dataset.
package struct Digest: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The digest as big-endian words, so that comparing words compares bytes.
    private let words: (UInt64, UInt64, UInt64, UInt64)

    private init(words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

    /// The digest in 32 raw bytes; nil for any other length.
    package init?(bytes: [UInt8]) {
        guard let digest = bytes.withUnsafeBytes({ Digest(raw: $0) }) else { return nil }
        self = digest
    }

    /// The digest in 32 raw bytes that somebody else holds; nil for any other length.
    package init?(raw bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 32 else { return nil }
        func word(_ start: Int) -> UInt64 {
            UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: start, as: UInt64.self))
        }
        self.init(words: (word(0), word(8), word(16), word(24)))
    }

    /// Lends the 32 bytes, without an array.
    package func withBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let bytes = (words.0.bigEndian, words.1.bigEndian, words.2.bigEndian, words.3.bigEndian)
        return try withUnsafePointer(to: bytes) { pointer throws(Failure) in
            try body(UnsafeRawBufferPointer(start: pointer, count: 32))
        }
    }

    /// The digest in 64 hexadecimal digits of either case; nil for anything else.
    package init?(hex: String) {
        let bytes = Array(hex.utf8)
        self.init(hex: bytes.span, in: 0..<bytes.count)
    }

    /// The digest in the 64 hexadecimal digits at `range`.
    package init?(hex bytes: Span<UInt8>, in range: Range<Int>) {
        guard range.count == 64 else { return nil }
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        for offset in 0..<64 {
            guard let digit = hexValue(bytes[range.lowerBound + offset]) else { return nil }
            switch offset >> 4 {
            case 0: words.0 = words.0 << 4 | UInt64(digit)
            case 1: words.1 = words.1 << 4 | UInt64(digit)
            case 2: words.2 = words.2 << 4 | UInt64(digit)
            default: words.3 = words.3 << 4 | UInt64(digit)
            }
        }
        self.init(words: words)
    }

    /// The 32 bytes.
    package var bytes: [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(32)
        for word in [words.0, words.1, words.2, words.3] {
            for shift in stride(from: 56, through: 0, by: -8) {
                result.append(UInt8(truncatingIfNeeded: word >> shift))
            }
        }
        return result
    }

    /// The 64 lower-case hexadecimal digits.
    package var hex: String {
        var digits: [UInt8] = []
        digits.reserveCapacity(64)
        for byte in bytes {
            digits.append(hexDigit(byte >> 4))
            digits.append(hexDigit(byte & 15))
        }
        return String(decoding: digits, as: UTF8.self)
    }

    package var description: String { hex }

    /// The first twelve digits: what a minted request id carries, and enough to name a manifest to a person.
    package var short: String { String(hex.prefix(12)) }

    package static func == (left: Digest, right: Digest) -> Bool { left.words == right.words }

    package static func < (left: Digest, right: Digest) -> Bool { left.words < right.words }

    package func hash(into hasher: inout Hasher) {
        // A digest is as good as random already: one word tells them apart, and equality settles the rest.
        hasher.combine(words.0)
    }
}

/// The beginning of a hexadecimal name, long enough to look up: at least six digits.
package struct HexPrefix: Hashable, Sendable {
    /// The digits, lower case.
    package let digits: String
    /// The smallest digest that begins like this.
    package let lowest: Digest
    /// The largest digest that begins like this.
    package let highest: Digest

    /// The shortest prefix that is looked up.
    package static let shortest = 6

    /// Takes 6 to 64 hexadecimal digits of either case; nil for anything else.
    package init?(_ text: String) {
        let count = text.utf8.count
        guard count >= Self.shortest, count <= 64,
            let lowest = Digest(hex: text + String(repeating: "0", count: 64 - count)),
            let highest = Digest(hex: text + String(repeating: "f", count: 64 - count))
        else { return nil }
        self.lowest = lowest
        self.highest = highest
        digits = String(lowest.hex.prefix(count))
    }

    package init(whole digest: Digest) {
        lowest = digest
        highest = digest
        digits = digest.hex
    }

    /// The digest itself, when all 64 digits are there.
    package var whole: Digest? { lowest == highest ? lowest : nil }

    package func matches(_ digest: Digest) -> Bool { lowest <= digest && digest <= highest }
}

/// How bytes become a digest. The domain is handed one, so that it needs no library of its own.
package typealias Hashing = @Sendable ([UInt8]) -> Digest
