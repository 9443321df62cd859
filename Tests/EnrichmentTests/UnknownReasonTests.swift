import Provenance
import Runtime
import TestSupport
import Testing

@testable import Enrichment

@Suite("Why a line is unknown")
struct UnknownReasonTests {
    private static let line = LineTests.seed.replacing("als_model", with: "als")
    private static let elsewhere = "ab" + String(repeating: "c", count: 62)

    private static func instant(_ text: String) -> Instant { Instant(text) ?? Instant(microseconds: 0) }

    /// What `enricher` says of `line`: how surely, and for which reason it counted it, if it is unknown.
    private static func said(of line: String, _ enricher: inout LineEnricher) -> (Attribution, [UnknownReason]) {
        let before = enricher.counters.unknownBy
        let attribution = enricher.enrich(Array(line.utf8).span).attribution
        let after = enricher.counters.unknownBy
        return (attribution, UnknownReason.allCases.filter { after[$0] > before[$0] })
    }

    private static func said(
        of line: String, _ index: KnownManifests, _ doubts: Doubts = Doubts()
    ) -> (Attribution, [UnknownReason]) {
        var enricher = LineEnricher(.init(), LineAttributor.kept(index, doubts: { _ in doubts }))
        enricher.refresh()
        return said(of: line, &enricher)
    }

    private static let lines: [(line: String, reason: UnknownReason?)] = [
        (line, nil),
        (line.replacing("2025-03-04T18:21", with: "2025-03-04T17:21"), .beforeActivation),
        (line.replacing("variant=als", with: "variant=popgen"), .variantUnknown),
        (line.replacing("2025-03-04T18:21:03.219384Z", with: "2199-01-01T00:00:00Z"), .future),
        ("{\"path\":\"/recommend/7\",\"variant\":\"als\",\"time\":\"the day before\"}", .unreadTime),
        (line + ", attribution=unknown", .saidSo),
        (
            line
                + ", model_version=als-9, pipeline_commit=80d8e56, data_version=kafka-1, manifest_sha256=\(elsewhere)",
            .notInLedger
        ),
        (
            "{\"path\":\"/recommend/7\",\"variant\":\"als\",\"time\":\"2025-03-04T18:30:00Z\",\"model_version\":\"als-9\"}",
            .notInLedger
        ),
        (
            line.replacing("bucket=", with: "request_id=01JNH2ZQ7C8M3V5T9WXYZABCDE-0123456789ab, bucket="),
            .notInLedger
        ),
        (
            "{\"path\":\"/recommend/7\",\"model_version\":\"als-1\",\"model_version\":\"als-2\"}", .contradictory
        ),
        ("{\"path\":\"/recommend/7\",\"pipeline_branch\":\"main\"}", .contradictory),
        ("{\"path\":\"/recommend/7\",\"data_version\":\"kafka-20250301\"}", .ambiguous),
    ]

    @Test("each line is counted for its reason, and for no other", arguments: lines.indices)
    func countsReason(number: Int) throws {
        let (line, reason) = Self.lines[number]
        let (attribution, reasons) = Self.said(of: line, try LineTests.index(variant: "als"))
        #expect(reasons == (reason.map { [$0] } ?? []), "\(line)")
        #expect((attribution == .unknown) == (reason != nil))
    }

    @Test("as many are counted by reason as are unknown")
    func agrees() throws {
        var enricher = LineEnricher(.init(), LineAttributor.kept(try LineTests.index(variant: "als")))
        enricher.refresh()
        for _ in 0..<3 {
            for (line, _) in Self.lines { _ = enricher.enrich(Array(line.utf8).span) }
        }
        // Handed on by somebody who did not know, and answered by nobody knows what.
        _ = enricher.enrich(Array(Self.line.utf8).span, atMost: .unknown)
        _ = enricher.enrich(Array(Self.line.utf8).span, stampedBy: nil, attribution: .unknown)
        let foreign = Array("0123456789ab".utf8)
        foreign.withUnsafeBytes {
            _ = enricher.enrich(Array(Self.line.utf8).span, stampedBy: $0, attribution: .exact)
        }
        let counters = enricher.counters
        let sum = counters.unknownBy.some.reduce(0) { $0 + $1.count }
        #expect(sum == counters.unknown && sum == UInt64(3 * (Self.lines.count - 1) + 3))
        let (said, response, absent) = (
            counters.unknownBy[.saidSo], counters.unknownBy[.response], counters.unknownBy[.notInLedger]
        )
        #expect(said == 4 && response == 1 && absent == 10)
        #expect(counters.unknownBy.some.first?.reason == .notInLedger, "most of them first")
    }

    @Test("what the sidecar knows besides the ledger has reasons of its own")
    func countsDoubts() throws {
        let index = try LineTests.index(variant: "als")
        let now = "{\"path\":\"/recommend/7\",\"variant\":\"als\"}"
        #expect(Self.said(of: now, index) == (.inferred, []))
        var doubts = Doubts()
        doubts.own = [Doubts.Own(variant: "als", try Specimen.manifest(3).digest)]
        #expect(Self.said(of: now, index, doubts) == (.unknown, [.otherSidecar]))
        doubts.own = []
        doubts.moved = [
            Doubts.Moved(
                variant: "als",
                DoubtedTime(from: Self.instant("2025-03-04T20:00:00Z"), until: nil, reason: "it was not read"))
        ]
        #expect(Self.said(of: now, index, doubts) == (.unknown, [.doubted]))
        var enricher = LineEnricher(.init(), LineAttributor.kept(index))
        let digest = Array("0123456789ab".utf8)
        index.isBroken = true
        digest.withUnsafeBytes { _ = enricher.enrich(Array(Self.line.utf8).span, stampedBy: $0, attribution: .exact) }
        let failed = enricher.counters.unknownBy[.ledgerFailed]
        #expect(failed == 1)
        #expect(Self.said(of: now, index, Doubts()) == (.unknown, [.ledgerFailed]))
    }
}
