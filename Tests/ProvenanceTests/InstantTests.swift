import Provenance
import TestSupport
import Testing

@Suite("Times")
struct InstantTests {
    @Test(
        "RFC 3339 is read and written",
        arguments: [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            ("2025-03-04T18:12:55.123456Z", 1_741_111_975_123_456, "2025-03-04T18:12:55.123456Z"),
            ("2025-03-04t18:12:55z", 1_741_111_975_000_000, "2025-03-04T18:12:55Z"),
            ("2025-03-04 19:12:55+01:00", 1_741_111_975_000_000, "2025-03-04T18:12:55Z"),
            ("2025-03-04T18:12Z", 1_741_111_920_000_000, "2025-03-04T18:12:00Z"),
            ("2024-02-29T23:59:59.999999999Z", 1_709_251_199_999_999, "2024-02-29T23:59:59.999999Z"),
            ("1969-12-31T23:59:59.5Z", -500_000, "1969-12-31T23:59:59.500000Z"),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:60Z", 253_402_300_800_000_000, "10000-01-01T00:00:00Z"),
        ])
    func readsAndWrites(_ text: String, _ microseconds: Int64, _ written: String) {
        #expect(Instant(text)?.microseconds == microseconds)
        #expect(Instant(microseconds: microseconds).description == written)
    }

    @Test(
        "what is no time is none",
        arguments: [
            "", "2025", "2025-03-04", "2025-03-04T18:12:55", "2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z",
            "2025-03-04T24:00:00Z", "2025-03-04T18:60:00Z", "2025-03-04T18:12:61Z", "2025-03-04T18:12:55.Z",
            "2025-03-04T18:12:55Zx", "2025-03-04T18:12:55+1", "2025-3-4T18:12:55Z", "x2025-03-04T18:12:55Z",
        ])
    func refuses(_ text: String) {
        #expect(Instant(text) == nil)
    }

    @Test("every day of eight centuries comes back as it was")
    func roundTripsDays() {
        for day in stride(from: -146_097, through: 146_097, by: 1) {
            let instant = Instant(microseconds: Int64(day) * 86_400_000_000 + 1)
            #expect(Instant(instant.description) == instant)
        }
    }

    @Test(
        "the usual spellings, read many bytes at a time, mean what others do that are read one by one",
        arguments: ["", ".219", ".219384", ".5"])
    func readsUsualSpellings(_ fraction: String) {
        var chance = Chance(seed: 11)
        var read = 0
        for _ in 0..<20_000 {
            func two(_ range: ClosedRange<Int>) -> String {
                String(Int.random(in: range, using: &chance) + 100).suffix(2).description
            }
            var text = Array(
                "\(two(19...20))\(two(0...99))-\(two(1...12))-\(two(1...30))T\(two(0...24)):\(two(0...59)):\(two(0...61))\(fraction)"
                    .utf8)
            if Bool.random(using: &chance) {
                text[Int.random(in: 0..<text.count, using: &chance)] = UInt8.random(in: 0x20...0x7E, using: &chance)
            }
            let usual = String(decoding: text + [UInt8(ascii: "Z")], as: UTF8.self)
            // Nothing that ends so is read many bytes at a time.
            let other = String(decoding: text + [UInt8(ascii: "z")], as: UTF8.self)
            #expect(Instant(usual) == Instant(other), "\(usual)")
            if Instant(usual) != nil { read += 1 }
        }
        #expect(read > 8000)
    }

    @Test("a time without a zone is read only where one is known")
    func readsWithoutZone() {
        #expect(Instant("2025-03-04T18:12:55", withoutZone: .isUTC)?.description == "2025-03-04T18:12:55Z")
        #expect(Instant("2025-03-04T18:12:55") == nil)
    }

    @Test("a minted request id tells its time and its manifest")
    func readsMintedIDs() throws {
        let id = try #require(MintedRequestID("01JNGZ7R2M3N4P5Q6R7S8T9V0W-51ac09ff0011"))
        #expect(id.manifest.digits == "51ac09ff0011")
        #expect(id.time.description.hasPrefix("2025-03-04T"))
        for other in [
            "01JNGZ7R2M3N4P5Q6R7S8T9V0W", "01JNGZ7R2M3N4P5Q6R7S8T9V0W-51ac09ff001",
            "81JNGZ7R2M3N4P5Q6R7S8T9V0W-51ac09ff0011",
            "01JNGZ7R2M3N4P5Q6R7S8T9V0U-51ac09ff0011", "01JNGZ7R2M3N4P5Q6R7S8T9V0W-51AC09FF0011",
            "01JNGZ7R2M3N4P5Q6R7S8T9V0W_51ac09ff0011",
        ] {
            #expect(MintedRequestID(other) == nil, "\(other)")
        }
    }
}
