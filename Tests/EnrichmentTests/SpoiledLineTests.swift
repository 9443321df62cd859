import Crypto
import Provenance
import TestSupport
import Testing

@testable import Enrichment

/// Lines that are not as they should be: nothing that is added to them may claim more than is known, or spoil them further.
@Suite("Spoiled and doubtful lines")
struct SpoiledLineTests {
    private static let known = "01JNH2ZQ7C8M3V5T9WXYZABCDE-"

    @Test(
        "what begins like an object and is none is left as it is, for whoever can mend it",
        arguments: [
            "{\"event\":\"recommendation\"", "{\"event\":\"recommendation\"}{\"a\":1}",
            "{\"event\":\"recommendation\",\"user_id\":}", "{ \"path\":\"/recommend/1\",}",
            "{\"event\":\"recommendation\",\"a\":01}",
        ])
    func leavesBrokenObjects(line: String) throws {
        for format in [nil, LineFormat.json] {
            var settings = LineEnricher.Settings()
            settings.format = format
            let (text, result) = LineTests.enrich(line, try LineTests.index(), settings: settings)
            #expect(text == line && result.kind == .unreadable && result.attribution == .unknown)
        }
    }

    @Test("braces around something else are text")
    func takesBracesForText() throws {
        let line = "{worker-1} 2025-03-04T18:21:03Z recommendation request"
        #expect(LineTests.enrich(line, try LineTests.index()).result.format == .text)
    }

    @Test(
        "objects with Python's numbers, or behind a byte order mark, get members like others",
        arguments: [
            "{\"event\":\"recommendation\",\"score\":NaN}",
            "{\"event\":\"recommendation\",\"score\":[Infinity,-Infinity]}",
            "\u{FEFF}{\"event\":\"recommendation\"}",
        ])
    func takesPythonsNumbers(line: String) throws {
        let (text, result) = LineTests.enrich(line, try LineTests.index())
        #expect(result.kind == .enriched && result.format == .json)
        #expect(text.hasPrefix(line.dropLast() + ",\"model_version\":\"als-2\","))
    }

    @Test(
        "an id may be a number: then variant and time tell, as with any id that leads nowhere",
        arguments: ["12345", "true", "[1]", "null"])
    func takesNumbersForIDs(id: String) throws {
        let line = "{\"event\":\"recommendation\",\"ts\":\"2025-03-04T18:21:03Z\",\"request_id\":\(id)}"
        let (text, result) = LineTests.enrich(line, try LineTests.index())
        #expect(result.kind == .enriched && result.attribution == .inferred)
        #expect(text.contains("als-1"))
        #expect((result.requestID != nil) == (id == "12345"))
    }

    @Test(
        "quotes with escapes of other loggers' own are read to their ends",
        arguments: [
            "msg=\"recommendation \\x1b[0m\"", "msg=\"recommendation \u{9} tab\"", "msg=\"recommendation \\a \\\" b\"",
            "msg=\"recommendation \\U0001f600\"",
        ])
    func readsOthersEscapes(item: String) throws {
        let line = "time=2025-03-04T18:21:03Z user_id=7 \(item) path=/recommend/1"
        let (text, result) = LineTests.enrich(line, try LineTests.index())
        #expect(result.kind == .enriched && result.format == .logfmt && result.attribution == .inferred)
        #expect(text.hasPrefix(line + " model_version=als-1 "))
        #expect(result.key.map { $0.text(Array(line.utf8).span) } == "7")
    }

    @Test("quotes that do not close are counted where the line tells of a recommendation")
    func countsOpenQuotes() throws {
        for line in ["path=/recommend/1 msg=\"x", "time=2025-03-04T18:21:03Z msg=\"recommendation request"] {
            let (text, result) = LineTests.enrich(line, try LineTests.index())
            #expect(text == line && result.kind == .unreadable && result.attribution == .unknown)
        }
        #expect(LineTests.enrich("path=/rate/1 msg=\"x", try LineTests.index()).result.kind == .unmatched)
    }

    @Test("beside somebody else's attribution, what is not sure is not written: it would pass for sure")
    func hidesNoDoubt() throws {
        for format in [
            "{\"event\":\"recommendation\",\"attribution\":\"organic\",\"ts\":\"%\"}",
            "event=recommendation attribution=\"organic\" ts=%",
        ] {
            for (time, attribution) in [
                ("2025-03-04T18:59:59.5Z", Attribution.mixed), ("2024-03-04T18:00:00Z", .unknown),
                ("2025-03-04T18:30:00Z", .inferred),
            ] {
                let line = format.replacing("%", with: time)
                let (text, result) = LineTests.enrich(line, try LineTests.index())
                #expect(result.attribution == attribution)
                #expect(result.kind == (attribution == .inferred ? .enriched : .unreadable), "\(line)")
                #expect((text == line) == (attribution != .inferred))
            }
        }
    }

    // MARK: - What anybody may have written

    @Test(
        "a text that ends in less than a stamp says nothing, and gets nothing beside it",
        arguments: [
            "model_version=als-1", "data_version=x", "manifest_sha256=00", "pipeline_branch=main, data_version=x",
        ])
    func leavesPartsOfStamps(tail: String) throws {
        let line = "2025-03-04T18:21:03Z INFO recommendation request done, \(tail)"
        let (text, result) = LineTests.enrich(line, try LineTests.index())
        #expect(text == line && result.kind == .kept && result.attribution == .unknown)
    }

    @Test("the id at the end of a text may weaken what its time says, and not outdo it")
    func distrustsIDsOfTexts() throws {
        let line = "2025-03-04T18:21:03Z INFO recommendation request done, request_id="
        let index = try LineTests.index()
        let (one, other) = (try Specimen.manifest(1).digest.short, try Specimen.manifest(2).digest.short)
        for (id, attribution) in [
            (Self.known + one, Attribution.inferred), (Self.known + other, .unknown),
            (Self.known + "0123456789ab", .unknown),
            ("req-7", .inferred),
        ] {
            let (text, result) = LineTests.enrich(line + id, index)
            #expect(result.attribution == attribution && result.kind == .enriched, "\(id)")
            #expect(text.contains("model_version=als-1") == (attribution == .inferred))
        }
    }

    @Test(
        "a recommendation whose duration is missing keeps the stamp at its end, which counts as far as its time says the same"
    )
    func distrustsStampsWithoutDuration() throws {
        let index = try LineTests.index()
        for line in [
            "2025-03-04T18:21:03Z,7,recommendation request /recommend/7, status 200, result: a,b",
            "2025-03-04T18:21:03Z,7,recommendation request /recommend/7, status 200, result: a, 42ms",
            "2025-03-04T18:21:03Z,7,recommendation request /recommend/7 b, status 200, result: a, 42 ms",
        ] {
            let once = LineTests.enrich(line, index).text
            #expect(once == line + (try LineTests.suffix(1)))
            let (twice, result) = LineTests.enrich(once, index)
            #expect(twice == once && result.kind == .kept && result.attribution == .inferred)
            let forged = line + (try LineTests.suffix(2))
            let (text, other) = LineTests.enrich(forged, index)
            #expect(text == forged && other.kind == .kept && other.attribution == .unknown)
        }
    }

    // MARK: - Others

    @Test("blanks are no lines, whatever is meant")
    func leavesBlanks() throws {
        var settings = LineEnricher.Settings()
        settings.match = .all
        for line in ["", "\r", "   \t", "\u{0}"] {
            #expect(LineTests.enrich(line, try LineTests.index(), settings: settings).text == line)
        }
    }

    @Test("a version that is too long for a stamp makes its lines unknown, not another's")
    func survivesLongVersions() throws {
        let index = KnownManifests()
        index.add(
            try Manifest.parse(
                Array("{\"model_version\":\"\(String(repeating: "v", count: 300))\"}".utf8), hashing: SHA256.hash))
        index.activate(0, variant: "default", at: LineTests.first)
        #expect(LineTests.enrich(LineTests.seed, index).text == LineTests.seed + ", attribution=unknown")
    }
}
