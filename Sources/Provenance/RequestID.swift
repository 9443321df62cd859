/// A minted request id, `<ULID>-<first 12 digits of the manifest digest>`: it leads back to the manifest by itself.
package struct MintedRequestID: Hashable, Sendable {
    /// When it was minted, to the millisecond.
    package let time: Instant
    /// The beginning of the digest of the manifest that was active at admission.
    package let manifest: HexPrefix

    package static let length = 39

    /// Reads an id of exactly this shape; nil for any other.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count == Self.length, bytes[26] == UInt8(ascii: "-"),
            let time = ULID.time(Array(bytes[..<26])),
            bytes[27...].allSatisfy({ hexValue($0) != nil && !($0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "F")) }),
            let manifest = HexPrefix(String(decoding: bytes[27...], as: UTF8.self))
        else { return nil }
        self.time = time
        self.manifest = manifest
    }
}

/// The 26 characters of a ULID: 48 bits of time in milliseconds and 80 random bits, in Crockford's base 32.
package enum ULID {
    private static let alphabet = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ".utf8)

    /// The ULID of this time and these random bits, of which 80 are used.
    package static func text(_ time: Instant, _ random: (UInt64, UInt64)) -> String {
        var digits: [UInt8] = []
        var milliseconds = UInt64(max(0, time.microseconds / 1000)) & (1 << 48 - 1)
        for _ in 0..<10 {
            digits.append(alphabet[Int(milliseconds & 31)])
            milliseconds >>= 5
        }
        digits.reverse()
        for part in 0..<16 {
            let word = part < 8 ? random.0 : random.1
            digits.append(alphabet[Int(word >> UInt64(part % 8 * 5) & 31)])
        }
        return String(decoding: digits, as: UTF8.self)
    }

    /// When the ULID was made; nil when `bytes` are none.
    package static func time(_ bytes: [UInt8]) -> Instant? {
        guard bytes.count == 26, bytes[0] <= UInt8(ascii: "7") else { return nil }
        var milliseconds: Int64 = 0
        for (index, byte) in bytes.enumerated() {
            guard let value = alphabet.firstIndex(of: byte) else { return nil }
            if index < 10 { milliseconds = milliseconds << 5 | Int64(value) }
        }
        return Instant(microseconds: milliseconds * 1000)
    }
}
