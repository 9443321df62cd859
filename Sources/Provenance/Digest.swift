/// A SHA-256 digest: the name of a manifest, an artifact or a dataset.
package struct Digest: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The digest as big-endian words, so that comparing words compares bytes.
    private let words: (UInt64, UInt64, UInt64, UInt64)

    private init(words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

    /// The digest in 32 raw bytes; nil for any other length.
    package init?(bytes: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        func word(_ start: Int) -> UInt64 {
            var value: UInt64 = 0
            for index in start..<start + 8 { value = value << 8 | UInt64(bytes[index]) }
            return value
        }
        self.init(words: (word(0), word(8), word(16), word(24)))
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

    /// The shortest prefix that is looked up.
    package static let shortest = 6

    /// Takes 6 to 64 hexadecimal digits of either case; nil for anything else.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count >= Self.shortest, bytes.count <= 64 else { return nil }
        var digits: [UInt8] = []
        for byte in bytes {
            guard let value = hexValue(byte) else { return nil }
            digits.append(hexDigit(value))
        }
        self.digits = String(decoding: digits, as: UTF8.self)
    }

    /// The smallest digest that begins like this.
    package var lowest: Digest { padded(with: "0") }

    /// The largest digest that begins like this.
    package var highest: Digest { padded(with: "f") }

    /// The digest itself, when all 64 digits are there.
    package var whole: Digest? { Digest(hex: digits) }

    package func matches(_ digest: Digest) -> Bool { lowest <= digest && digest <= highest }

    private func padded(with digit: Character) -> Digest {
        let hex = digits + String(repeating: digit, count: 64 - digits.utf8.count)
        guard let digest = Digest(hex: hex) else { preconditionFailure("\(hex) holds 64 hexadecimal digits") }
        return digest
    }
}

/// How bytes become a digest. The domain is handed one, so that it needs no library of its own.
package typealias Hashing = @Sendable ([UInt8]) -> Digest
