import Crypto
import Provenance
import Runtime
import TestSupport
import Testing

@testable import Enrichment

@Suite("Enriching lines")
struct LineTests {
    static let first = "2025-03-04T18:00:00Z"
    static let second = "2025-03-04T19:00:00Z"

    /// Two manifests, one after the other, for the variant that has no name.
    static func index(variant: String = "default") throws -> KnownManifests {
        let index = KnownManifests()
        index.add(try Specimen.manifest(1))
        index.add(try Specimen.manifest(2))
        index.activate(0, variant: variant, at: first)
        index.activate(1, variant: variant, at: second)
        return index
    }

    /// What `line` becomes, and how surely.
    static func enrich(
        _ line: String, _ index: KnownManifests, settings: LineEnricher.Settings = .init(),
        attributing: LineAttributor.Settings = .init()
    ) -> (text: String, result: LineEnricher.Result) {
        var enricher = LineEnricher(settings, LineAttributor.kept(index, attributing))
        enricher.refresh()
        let bytes = Array(line.utf8)
        let result = enricher.enrich(bytes.span)
        let text = bytes[..<result.place] + result.addition + bytes[result.place...]
        return (String(decoding: text, as: UTF8.self), result)
    }

    static func suffix(_ number: Int) throws -> String {
        let manifest = try Specimen.manifest(number)
        return
            ", model_version=als-\(number), pipeline_commit=\(manifest.pipeline.commit?.prefix(7) ?? ""), pipeline_branch=main, data_version=kafka-20250301, manifest_sha256=\(manifest.digest.hex)"
    }

    static let seed =
        "2025-03-04T18:21:03.219384Z,39157,recommendation request /recommend/39157, status 200, variant=als_model, bucket=0.392104, result: a,b,c, 42 ms"

    @Test("the seed's line becomes what the design says")
    func enrichesSeed() throws {
        let (text, result) = Self.enrich(Self.seed, try Self.index())
        #expect(text == Self.seed + (try Self.suffix(1)))
        #expect(result.attribution == .inferred && result.kind == .enriched && result.format == .recommendation)
        let bytes = Array(Self.seed.utf8)
        #expect(result.key.map { String(decoding: bytes[$0.range], as: UTF8.self) } == "39157")
    }

    @Test(
        "what is added stands where its format has it",
        arguments: [
            (
                "{\"path\":\"/recommend/7\",\"time\":\"2025-03-04T18:30:00Z\",\"user_id\":7}", LineFormat.json,
                "{\"path\":\"/recommend/7\",\"time\":\"2025-03-04T18:30:00Z\",\"user_id\":7,\"model_version\":\"als-1\""
            ),
            (
                "  { \"event\" : \"recommendation\" }  ", .json,
                "  { \"event\" : \"recommendation\" ,\"model_version\":\"als-2\""
            ),
            (
                "time=2025-03-04T18:30:00Z path=/recommend/7 user_id=7", .logfmt,
                "time=2025-03-04T18:30:00Z path=/recommend/7 user_id=7 model_version=als-1 "
            ),
            (
                "Mar 4 host app: recommendation request to nowhere", .text,
                "Mar 4 host app: recommendation request to nowhere, model_version=als-2, "
            ),
            (Self.seed + "\r", .recommendation, Self.seed + ", model_version=als-1, "),
        ])
    func addsByFormat(line: String, format: LineFormat, start: String) throws {
        let (text, result) = Self.enrich(line, try Self.index())
        #expect(result.format == format && result.kind == .enriched)
        #expect(text.hasPrefix(start), "\(text)")
        if line.hasSuffix("\r") { #expect(text.utf8.last == 0x0D) }
        if line.hasSuffix("  ") { #expect(text.hasSuffix("}  ")) }
    }

    @Test("an empty object gets members without a comma before them, when it is meant")
    func addsToEmptyObject() throws {
        var settings = LineEnricher.Settings()
        settings.match = .all
        let (text, _) = Self.enrich("{ }", try Self.index(), settings: settings)
        #expect(text.hasPrefix("{ \"model_version\":\"als-2\",") && text.hasSuffix("\"}"))
    }

    @Test(
        "lines that are not meant are left alone",
        arguments: [
            "2025-03-04T18:21:03.219384,39157,GET /data/m/the+lord+of+the+rings+2001/42.mpg",
            "2025-03-04T18:21:03,39157,GET /rate/amélie+2001=4", "", " ", "\u{0}\u{0}", "{\"event\":\"play\"}",
            "level=info msg=started",
            "{\"event\":\"play\"",
        ])
    func leavesOthers(line: String) throws {
        let (text, result) = Self.enrich(line, try Self.index())
        #expect(text == line && result.kind == .unmatched)
    }

    @Test(
        "lines that are not meant have their user and their time all the same",
        arguments: [
            "2025-03-04T18:21:03.219384,39157,GET /data/m/the+lord+of+the+rings+2001/42.mpg",
            "2025-03-04T18:21:03.219384Z, 39157 ,GET /rate/heat+1995=5",
            #"{"event":"play","user_id":39157,"time":"2025-03-04T18:21:03.219384Z"}"#,
            "time=2025-03-04T18:21:03.219384Z user_id=39157 msg=played",
        ])
    func keepsOrderOfOthers(line: String) throws {
        let (_, result) = Self.enrich(line, try Self.index())
        #expect(result.kind == .unmatched)
        #expect(result.key.map { $0.text(Array(line.utf8).span) } == "39157")
        #expect(result.time == Instant(microseconds: 1_741_112_463_219_384))
    }

    @Test(
        "where all lines are meant, those that tell of something else are of their own time too",
        arguments: [
            ("2025-03-04T18:21:03Z something else", Attribution.inferred),
            ("2025-03-04 18:21:03 click", .inferred),
            (#"{"event":"click","created_at":"2025-03-04T18:21:03Z"}"#, .unknown),
            ("click at 2025-03-04T18:21:03Z", .unknown), ("event=click at=2025-03-04T18:21:03Z", .unknown),
        ])
    func readsTimesOfAll(line: String, attribution: Attribution) throws {
        var settings = LineEnricher.Settings()
        settings.match = .all
        let (_, result) = Self.enrich(line, try Self.index(), settings: settings)
        #expect(result.attribution == attribution)
    }

    @Test(
        "real lines of this kind are enriched, whatever their titles",
        arguments: [
            "2025-03-04T18:21:03,39157,recommendation request 17645-team05.isri.cmu.edu:8082, status 200, result: a+1999, b+2001,c & d+1988,it's+2000,amélie+2001, 42 ms",
            "2025-03-04T18:21:03.219384,39157,recommendation request /recommend/39157, status 200, result: x, y , 7 ms",
            "2025-03-04T18:21:03Z,39157,recommendation request /recommend/39157, status 500, result: java.net.ConnectException, 3 ms",
            "2025-03-04T18:21:03Z, 39157, recommendation request /recommend/39157, status 0, result: , 2.5 ms",
            "2025-03-04T18:21:03Z,39157,recommendation request /recommend/1,model_version=evil, status 200, result: a, 42 ms",
        ])
    func enrichesReal(line: String) throws {
        let (text, result) = Self.enrich(line, try Self.index())
        #expect(text == line + (try Self.suffix(1)))
        #expect(result.attribution == .inferred)
    }

    // MARK: - Attribution

    @Test("a line that carries provenance keeps it, and it is exact when the ledger knows it and it agrees")
    func keepsProvenance() throws {
        let index = try Self.index()
        let named = Self.seed + (try Self.suffix(2))
        let (text, result) = Self.enrich(named, index)
        #expect(text == named && result.kind == .kept && result.attribution == .exact)
        #expect(result.stamp.manifest?.version == "als-2")
        for wrong in [
            Self.seed + ", model_version=als-9", Self.seed + ", model_version=als-1, data_version=other",
            named.replacing("als-2", with: "als-1"), Self.seed + ", model_version=als-1, attribution=sure",
        ] {
            let (text, result) = Self.enrich(wrong, index)
            #expect(text == wrong && result.kind == .kept && result.attribution == .unknown, "\(wrong)")
        }
        let weaker = Self.enrich(named + ", attribution=mixed", index).result
        #expect(weaker.attribution == .mixed && weaker.stamp.manifest?.version == "als-2")
    }

    @Test("enriching twice changes nothing the second time")
    func isIdempotent() throws {
        let index = try Self.index()
        let once = Self.enrich(Self.seed, index).text
        #expect(Self.enrich(once, index).text == once)
        let json = Self.enrich("{\"event\":\"recommendation\"}", index).text
        #expect(Self.enrich(json, index).text == json)
        let unknown = Self.enrich(Self.seed.replacing("2025-03-04", with: "2024-03-04"), index).text
        #expect(unknown.hasSuffix(" ms, attribution=unknown"))
        #expect(Self.enrich(unknown, index).text == unknown)
    }

    @Test("a minted request id leads to its manifest, before time does; one of no manifest is unknown")
    func followsRequestID() throws {
        let index = try Self.index()
        let id = "01JNH2ZQ7C8M3V5T9WXYZABCDE-" + (try Specimen.manifest(2)).digest.short
        let line = Self.seed.replacing("bucket=", with: "request_id=\(id), bucket=")
        let (text, result) = Self.enrich(line, index)
        #expect(text == line + (try Self.suffix(2)) && result.attribution == .inferred)
        let other = line.replacing(id, with: "01JNH2ZQ7C8M3V5T9WXYZABCDE-0123456789ab")
        #expect(Self.enrich(other, index).text == other + ", attribution=unknown")
        let foreign = line.replacing(id, with: "req-7")
        #expect(Self.enrich(foreign, index).text == foreign + (try Self.suffix(1)))
    }

    @Test(
        "what lies ahead nobody knows", arguments: [(Int64(-60), Attribution.inferred), (0, .inferred), (60, .unknown)])
    func knowsNoFuture(seconds: Int64, expected: Attribution) throws {
        let time = Clock.now().advanced(by: seconds * 1_000_000)
        let line = Self.seed.replacing("2025-03-04T18:21:03.219384Z", with: "\(time)")
        // Twice: what was live last is remembered.
        var enricher = LineEnricher(.init(), LineAttributor.kept(try Self.index(), .init()))
        enricher.refresh()
        for known in [Self.seed.replacing("2025-03-04T18", with: "2025-03-05T18"), line, line].enumerated() {
            let result = enricher.enrich(Array(known.element.utf8).span)
            #expect(result.attribution == (known.offset == 0 ? .inferred : expected))
        }
    }

    @Test(
        "a text's first column is its time, whatever follows",
        arguments: ["1741111263", "2025-03-04T18:01:03Z"],
        [",u7", ",u7,x", "," + String(repeating: "x", count: 600) + ",y"])
    func readsFirstColumn(time: String, rest: String) throws {
        var settings = LineEnricher.Settings()
        settings.match = .all
        let result = Self.enrich(time + rest, try Self.index(), settings: settings).result
        #expect(result.stamp.manifest?.version == "als-1" && result.attribution == .inferred)
    }

    @Test(
        "near an activation a line is mixed, as far as clocks differ and its own duration reaches",
        arguments: [
            ("2025-03-04T18:59:57.000000Z", "1 ms", Attribution.inferred),
            ("2025-03-04T18:59:59.500000Z", "1 ms", .mixed),
            ("2025-03-04T18:59:57.000000Z", "4000 ms", .mixed), ("2025-03-04T19:00:00.900000Z", "1 ms", .mixed),
            ("2025-03-04T19:00:01.500000Z", "1 ms", .inferred), ("2025-03-04T17:59:59.000000Z", "1 ms", .unknown),
        ])
    func mixesNearActivations(time: String, duration: String, expected: Attribution) throws {
        let line = Self.seed.replacing("2025-03-04T18:21:03.219384Z", with: time).replacing("42 ms", with: duration)
        let (text, result) = Self.enrich(line, try Self.index())
        #expect(result.attribution == expected)
        if expected < .inferred { #expect(text.hasSuffix(", attribution=\(expected.rawValue)")) }
    }

    @Test(
        "a variant that the ledger knows decides; one that it does not stands behind the unnamed one, if that is the only one"
    )
    func followsVariant() throws {
        let index = KnownManifests()
        for number in 1...2 { index.add(try Specimen.manifest(number)) }
        index.activate(0, variant: "als_model", at: Self.first)
        index.activate(1, variant: "popgen_model", at: Self.first)
        #expect(Self.enrich(Self.seed, index).result.stamp.manifest?.version == "als-1")
        let other = Self.seed.replacing("als_model", with: "popgen_model")
        #expect(Self.enrich(other, index).result.stamp.manifest?.version == "als-2")
        #expect(Self.enrich(Self.seed.replacing("als_model", with: "third"), index).result.attribution == .unknown)
        #expect(Self.enrich(Self.seed.replacing("variant=als_model, ", with: ""), index).result.attribution == .unknown)
        #expect(
            Self.enrich(Self.seed.replacing("als_model", with: "third"), try Self.index()).result.attribution
                == .inferred)
    }

    @Test("a time without zone is read in the zone that is set")
    func readsZones() throws {
        var settings = LineEnricher.Settings()
        settings.zone = try #require(TimeZone("+02:00"))
        let line = Self.seed.replacing("18:21:03.219384Z", with: "20:21:03.219384")
        let (_, result) = Self.enrich(line, try Self.index(), settings: settings)
        #expect(result.stamp.manifest?.version == "als-1")
        #expect(result.time == Instant("2025-03-04T18:21:03.219384Z"))
        #expect(TimeZone("Europe/Berlin") == nil && TimeZone("+25:00") == nil && TimeZone("-0530") != nil)
    }

    @Test("a million lines ask the index a few times, not once each; those of unknown variants too")
    func remembers() throws {
        let index = try Self.index()
        var enricher = LineEnricher(LineEnricher.Settings(), LineAttributor.kept(index))
        let lines = ["als_model", "popgen_model", "third"].map {
            Array(Self.seed.replacing("als_model", with: $0).utf8)
        }
        let old = Array(Self.seed.replacing("2025-", with: "2024-").utf8)
        for _ in 0..<1000 {
            enricher.refresh()
            for line in lines { _ = enricher.enrich(line.span) }
            _ = enricher.enrich(old.span)
        }
        #expect(index.questions < 30)
    }

    @Test("a ledger that cannot be asked makes lines unknown, and is counted; it stops nobody")
    func survivesLedger() throws {
        let index = try Self.index()
        index.isBroken = true
        var enricher = LineEnricher(LineEnricher.Settings(), LineAttributor.kept(index))
        let line = Array(Self.seed.utf8)
        let result = enricher.enrich(line.span)
        #expect(result.attribution == .unknown)
        let (failures, problem) = (enricher.ledgerFailures, enricher.problem)
        #expect(failures == 1 && problem == "the ledger is gone")
    }

    @Test(
        "what was live while the ledger could be asked is not claimed of lines once it cannot, and is again when it can"
    )
    func forgetsWithoutLedger() throws {
        let index = try Self.index()
        var enricher = LineEnricher(LineEnricher.Settings(), LineAttributor.kept(index))
        let line = Array(Self.seed.utf8)
        func attribution() -> Attribution {
            enricher.refresh()
            let result = enricher.enrich(line.span)
            return result.attribution
        }
        let before = [attribution(), attribution()]
        index.isBroken = true
        let meanwhile = [attribution(), attribution()]
        index.isBroken = false
        let after = [attribution(), attribution()]
        #expect(before == [.inferred, .inferred] && meanwhile == [.unknown, .unknown] && after == before)
    }

    // MARK: - Properties

    /// Lines of every kind, cut, joined and changed by lot.
    static func line(_ chance: inout Chance) -> [UInt8] {
        let kinds = [
            Self.seed, "{\"event\":\"recommendation\",\"a\":[1,{\"b\":null}],\"user_id\":\"x\"}", "{}",
            "path=/recommend/1 user_id=\"a \\\" b\" x", "2025-03-04T18:21:03,1,GET /rate/x=5",
            "recommendation request \u{e9}\u{1F600}", "time=2025-03-04T18:21:03Z msg=\"recommendation",
            Self.seed + ", model_version=als-1", "\r", "   ",
        ]
        var bytes = Array(kinds[chance.draw(kinds.count)].utf8)
        for _ in 0..<chance.draw(4) where !bytes.isEmpty {
            switch chance.draw(4) {
            case 0: bytes[chance.draw(bytes.count)] = UInt8(truncatingIfNeeded: chance.next())
            case 1: bytes.removeLast(chance.draw(bytes.count))
            case 2:
                bytes.insert([0x20, 0x2C, 0x22, 0x0D, 0x7D, 0x00, 0xFF][chance.draw(7)], at: chance.draw(bytes.count))
            default: bytes += Array(kinds[chance.draw(kinds.count)].utf8)
            }
        }
        return bytes.filter { $0 != 0x0A }
    }

    @Test("without what was added, every line is what it was; and a reader finds what was added")
    func changesNothing() throws {
        let index = try Self.index()
        var settings = LineEnricher.Settings()
        var chance = Chance(seed: Seeds.some(1)[0])
        for round in 0..<20_000 {
            settings.match = round % 2 == 0 ? .all : .recommendation
            settings.format = round % 5 == 0 ? LineFormat.allCases[round / 5 % 4] : nil
            var enricher = LineEnricher(settings, LineAttributor.kept(index))
            let line = Self.line(&chance)
            let result = enricher.enrich(line.span)
            let added = Array(result.addition)
            let whole = Array(line[..<result.place]) + added + line[result.place...]
            #expect(Array(whole[..<result.place]) + whole[(result.place + added.count)...] == line)
            #expect((result.kind == .enriched) == !added.isEmpty)
            guard result.kind == .enriched, settings.format == nil, result.stamp.manifest != nil else { continue }
            let facts = LineReader.read(whole.span)
            let digest = facts.namedDigest.map { String(decoding: whole[$0], as: UTF8.self) }
            #expect(
                digest == result.stamp.manifest?.digest.hex,
                "\(String(decoding: whole, as: UTF8.self)) is read as \(facts.format)")
        }
    }

    @Test("lines are cut the same, however they come, and none is lost")
    func cutsLines() {
        var chance = Chance(seed: Seeds.some(1)[0])
        for _ in 0..<500 {
            var text: [UInt8] = []
            for _ in 0..<chance.draw(20) { text += Array(repeating: 0x61, count: chance.draw(30)) + [0x0A] }
            if chance.percent(50) { text += Array(repeating: 0x62, count: chance.draw(30)) }
            var cutter = LineCutter(limit: 16)
            var joined: [UInt8] = []
            var isInside = false
            func take(_ piece: LineCutter.Piece, _ line: Span<UInt8>) {
                joined += line.array(0..<line.count)
                switch piece {
                case .line(let isEnded):
                    #expect(line.count <= 16 && !isInside)
                    if isEnded { joined.append(0x0A) }
                case .overlong(let number, let isLast, let isEnded):
                    #expect((number == 0) != isInside)
                    isInside = !isLast
                    if isEnded { joined.append(0x0A) }
                }
            }
            var start = 0
            while start < text.count {
                let end = min(text.count, start + 1 + chance.draw(chance.percent(50) ? 1 : 40))
                text[start..<end].withUnsafeBytes { cutter.take($0, take) }
                start = end
            }
            cutter.finish(take)
            #expect(joined == text)
        }
    }
}
