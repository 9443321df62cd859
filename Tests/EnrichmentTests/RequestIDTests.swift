import Crypto
import Provenance
import Runtime
import TestSupport
import Testing

@testable import Enrichment

/// Lines that name a request id of which the proxy has a record.
@Suite("Lines by request ids")
struct RequestIDTests {
    /// What the proxy is made to remember of one id.
    private final class Remembered: ExchangeRecords {
        let id: [UInt8]
        let record: ExchangeRecord

        init(_ id: String, _ record: ExchangeRecord) {
            self.id = Array(id.utf8)
            self.record = record
        }

        func record(of requestID: Span<UInt8>) -> ExchangeRecord? {
            requestID.count == id.count && requestID.hasBytes(id, in: 0..<id.count) ? record : nil
        }
    }

    private static func instant(_ text: String) throws -> Instant { try #require(Instant(text)) }

    /// What becomes of a line of `time` (nil for none) with `id`, where the exchange lasted from 18:20 to 18:21 and was stamped with the
    /// manifest `number`; the first is live from 18:00, the second from 19:00 on.
    private static func enrich(
        _ id: String, at time: String?, stamped number: Int?, _ attribution: Attribution = .inferred
    ) throws -> LineEnricher.Result {
        let manifest = try number.map { try Specimen.manifest($0) }
        let record = ExchangeRecord(
            manifest: manifest.flatMap { HexPrefix(String($0.digest.hex.prefix(12))) }, attribution: attribution,
            begin: try instant("2025-03-04T18:20:00Z"), end: try instant("2025-03-04T18:21:00Z"))
        let attributor = LineAttributor.kept(try LineTests.index(), records: Remembered(id, record))
        var enricher = LineEnricher(LineEnricher.Settings(), attributor)
        enricher.refresh()
        let stamp = time.map { ",\"ts\":\"\($0)\"" } ?? ""
        return enricher.enrich(
            Array("{\"event\":\"recommendation\",\"request_id\":\"\(id)\"\(stamp)}".utf8).span)
    }

    @Test("within its exchange a line has what the response was stamped with, whatever time says")
    func trustsRecord() throws {
        let result = try Self.enrich("order-1", at: "2025-03-04T18:20:30Z", stamped: 2, .exact)
        #expect(result.stamp.manifest?.version == "als-2" && result.attribution == .exact)
        let none = try Self.enrich("order-1", at: "2025-03-04T18:20:30Z", stamped: nil, .unknown)
        #expect(none.stamp.manifest == nil && none.attribution == .unknown)
    }

    @Test("an id that is used again leads nowhere outside of its exchange: then time decides")
    func distrustsRepeated() throws {
        let result = try Self.enrich("retry-1", at: "2025-03-04T19:30:00Z", stamped: 1, .exact)
        #expect(result.stamp.manifest?.version == "als-2" && result.attribution == .inferred)
        let before = try Self.enrich("retry-1", at: "2025-03-04T18:10:00Z", stamped: 2, .exact)
        #expect(before.stamp.manifest?.version == "als-1" && before.attribution == .inferred)
    }

    @Test("as near as clocks may differ, it is sure only where time says the same")
    func mixesNearTheEnd() throws {
        let same = try Self.enrich("near", at: "2025-03-04T18:21:00.500000Z", stamped: 1)
        #expect(same.stamp.manifest?.version == "als-1" && same.attribution == .inferred)
        let other = try Self.enrich("near", at: "2025-03-04T18:21:00.500000Z", stamped: 2)
        #expect(other.stamp.manifest?.version == "als-2" && other.attribution == .mixed)
    }

    @Test("a line without a time is sure only where the same manifest is still live")
    func mixesWithoutTime() throws {
        #expect(try Self.enrich("timeless", at: nil, stamped: 2).attribution == .inferred)
        #expect(try Self.enrich("timeless", at: nil, stamped: 1).attribution == .mixed)
    }

    @Test("a minted id is used once: its record counts at any time, and is mixed where another manifest answered")
    func trustsMinted() throws {
        let minted = "01JNH2ZQ7C8M3V5T9WXYZABCDE-" + (try Specimen.manifest(1)).digest.short
        let own = try Self.enrich(minted, at: "2025-03-04T23:00:00Z", stamped: 1, .exact)
        #expect(own.stamp.manifest?.version == "als-1" && own.attribution == .exact)
        let other = try Self.enrich(minted, at: "2025-03-04T18:20:30Z", stamped: 2, .exact)
        #expect(other.stamp.manifest?.version == "als-2" && other.attribution == .mixed)
    }

    /// What a request was called that was admitted then, under the manifest `number`.
    private static func minted(_ time: Instant, _ number: Int = 1) throws -> String {
        let letters = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
        let digits = (0..<10).reversed().map { letters[Int((time.microseconds / 1000) >> (5 * $0)) & 31] }
        return String(digits) + "C8M3V5T9WXYZABCD-" + (try Specimen.manifest(number)).digest.short
    }

    @Test(
        "however long a line says that it took, it was answered by now; a clock that is ahead makes it unsure",
        arguments: [(Int64(0), Attribution.inferred), (60, .mixed)])
    func wasAnsweredByNow(ahead: Int64, expected: Attribution) throws {
        let now = Clock.now()
        let id = try Self.minted(now.advanced(by: -10_000_000), 2)
        let told = now.advanced(by: ahead * 1_000_000)
        let line = LineTests.seed.replacing("2025-03-04T18:21:03.219384Z", with: "\(told)")
            .replacing("42 ms", with: "86400000 ms").replacing("bucket=", with: "request_id=\(id), bucket=")
        let result = LineTests.enrich(line, try LineTests.index()).result
        #expect(result.stamp.manifest?.version == "als-2" && result.attribution == expected)
    }

    @Test(
        "a minted id is no surer than what its line says of when it was answered: the second manifest is live from 19:00:00 on",
        arguments: [
            ("18:50:00", "18:50:00", "4 ms", Attribution.inferred), ("18:59:50", "18:59:51", "4 ms", .inferred),
            ("18:59:50", "19:00:05", "4 ms", .mixed), ("18:59:50", "18:59:50", "15000 ms", .mixed),
            ("18:59:50", "18:59:59.5", "4 ms", .mixed),
        ])
    func spansActivation(admitted: String, told: String, duration: String, expected: Attribution) throws {
        let id = try Self.minted(try Self.instant("2025-03-04T\(admitted)Z"))
        let line = LineTests.seed.replacing("18:21:03.219384", with: told).replacing("42 ms", with: duration)
            .replacing("bucket=", with: "request_id=\(id), bucket=")
        let result = LineTests.enrich(line, try LineTests.index()).result
        #expect(result.stamp.manifest?.version == "als-1" && result.attribution == expected)
    }

    @Test("many spellings of variants cost no question each")
    func cachesSpellings() throws {
        let index = try LineTests.index()
        var enricher = LineEnricher(LineEnricher.Settings(), LineAttributor.kept(index))
        enricher.refresh()
        for round in 0..<5000 {
            let line = LineTests.seed.replacing("als_model", with: "arm-\(round % 500)")
            _ = enricher.enrich(Array(line.utf8).span)
        }
        // One for each spelling, which variant it is, and a few for what was live.
        #expect(index.questions < 500 * 2 + 20, "\(index.questions)")
    }
}
