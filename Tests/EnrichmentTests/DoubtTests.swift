import Provenance
import TestSupport
import Testing

@testable import Enrichment

@Suite("What is not known for sure")
struct DoubtTests {
    private static func line(_ time: String, variant: String = "als", milliseconds: Int = 42, id: String? = nil)
        -> String
    {
        let id = id.map { ", request_id=\($0)" } ?? ""
        return
            "\(time),7,recommendation request /recommend/7, status 200, variant=\(variant)\(id), result: a,b, \(milliseconds) ms"
    }

    private static func instant(_ text: String) -> Instant { Instant(text) ?? Instant(microseconds: 0) }

    private static func attribution(_ line: String, _ index: KnownManifests, _ doubts: Doubts) -> Attribution {
        var enricher = LineEnricher(LineEnricher.Settings(), LineAttributor.kept(index, doubts: { _ in doubts }))
        enricher.refresh()
        return enricher.enrich(Array(line.utf8).span).attribution
    }

    @Test(
        "for as long as the settings say, the server may still speak with the manifest before",
        arguments: [
            ("19:00:00.500000", Attribution.mixed), ("19:00:29.900000", .mixed), ("19:00:30.100000", .inferred),
            ("18:59:58.500000", .inferred),
            // The first one has nothing to settle.
            ("18:00:02.000000", .inferred),
        ])
    func settles(time: String, expected: Attribution) throws {
        let index = try LineTests.index(variant: "als")
        let line = Self.line("2025-03-04T\(time)Z")
        #expect(Self.attribution(line, index, Doubts(settle: 30_000_000)) == expected)
    }

    @Test("until a server was seen to have gone over, nothing is claimed; then lines from before stay doubted")
    func settlesWhenSeen() throws {
        let index = try LineTests.index(variant: "als")
        var doubts = Doubts(settle: .max)
        doubts.settling = ["als"]
        let late = Self.line("2025-03-04T20:00:00Z")
        #expect(Self.attribution(late, index, doubts) == .mixed)
        // A line without a time is of now.
        #expect(Self.attribution("{\"path\":\"/recommend/7\",\"variant\":\"als\"}", index, doubts) == .mixed)
        doubts.settling = []
        doubts.settled = [
            Doubts.Settled(
                variant: "als", from: Self.instant(LineTests.second), at: Self.instant("2025-03-04T19:30:00Z"))
        ]
        #expect(Self.attribution(late, index, doubts) == .inferred)
        #expect(Self.attribution(Self.line("2025-03-04T19:29:00Z"), index, doubts) == .mixed)
        // Of a life that nobody saw settle, nothing is known.
        doubts.settled = []
        #expect(Self.attribution(late, index, doubts) == .mixed)
    }

    @Test("what a line of a doubtful time gets does not depend on when it is read")
    func staysDoubtful() throws {
        let index = try LineTests.index(variant: "als")
        var doubts = Doubts()
        let lasting = DoubtedTime(from: Self.instant("2025-03-04T19:59:00Z"), until: nil, reason: "")
        doubts.moved = [Doubts.Moved(variant: "als", lasting)]
        let then = Self.line("2025-03-04T20:00:00Z")
        #expect(Self.attribution(then, index, doubts) == .unknown)
        // A line without a time is of now; one of before is not in doubt.
        #expect(Self.attribution("{\"path\":\"/recommend/7\",\"variant\":\"als\"}", index, doubts) == .unknown)
        #expect(Self.attribution(Self.line("2025-03-04T19:50:00Z"), index, doubts) == .inferred)
        let ended = DoubtedTime(
            from: Self.instant("2025-03-04T19:59:00Z"), until: Self.instant("2025-03-04T20:01:00Z"), reason: "")
        doubts.moved = [Doubts.Moved(variant: "als", ended)]
        #expect(Self.attribution(then, index, doubts) == .unknown)
        #expect(Self.attribution(Self.line("2025-03-04T20:02:00Z"), index, doubts) == .inferred)
        #expect(Self.attribution(Self.line("2025-03-04T20:01:00.500000Z"), index, doubts) == .unknown)
        // Others are not concerned.
        index.activate(0, variant: "pop", at: LineTests.first)
        #expect(Self.attribution(Self.line("2025-03-04T20:00:00Z", variant: "pop"), index, doubts) == .inferred)
    }

    @Test("after a clock was set back, lines of the time that came twice are of either")
    func doubtsClock() throws {
        let index = try LineTests.index(variant: "als")
        index.doubtedFrom = Self.instant("2025-03-04T18:20:00Z")
        #expect(Self.attribution(Self.line("2025-03-04T18:19:58Z"), index, Doubts()) == .inferred)
        #expect(Self.attribution(Self.line("2025-03-04T18:20:00Z"), index, Doubts()) == .mixed)
        #expect(Self.attribution(Self.line("2025-03-04T18:50:00Z"), index, Doubts()) == .mixed)
    }

    @Test(
        "a time that cannot be read is not now",
        arguments: [
            "04/Mar/2025 18:21,7,recommendation request /recommend/7, status 200, variant=als, result: a, 42 ms",
            "{\"ts\":\"yesterday\",\"path\":\"/recommend/7\",\"variant\":\"als\"}",
            "ts=12 path=/recommend/7 variant=als", "Mar  4 18:21:03 srv app: recommendation request /recommend/7",
        ])
    func refusesUnreadTimes(line: String) throws {
        let index = try LineTests.index(variant: "als")
        #expect(Self.attribution(line, index, Doubts()) == .unknown)
    }

    @Test("a request id is not believed of a line from before it was minted")
    func doubtsIDs() throws {
        let index = try LineTests.index(variant: "als")
        let digest = try Specimen.manifest(2).digest.hex
        let id = ULID.text(Self.instant("2025-03-04T19:10:00Z"), (1, 2)) + "-" + digest.prefix(12)
        #expect(Self.attribution(Self.line("2025-03-04T19:10:00Z", id: id), index, Doubts()) == .inferred)
        #expect(Self.attribution(Self.line("2025-03-04T19:11:00Z", id: id), index, Doubts()) == .inferred)
        #expect(
            Self.attribution(Self.line("2025-03-04T19:09:58Z", milliseconds: 3000, id: id), index, Doubts())
                == .inferred)
        #expect(Self.attribution(Self.line("2025-03-04T19:09:58Z", id: id), index, Doubts()) == .unknown)
        #expect(Self.attribution(Self.line("2019-01-01T00:00:00Z", id: id), index, Doubts()) == .unknown)
    }

    @Test("a minted id makes nothing surer than its response was: in a doubt, or near an activation")
    func doubtsAdmission() throws {
        let index = try LineTests.index(variant: "als")
        let digest = try Specimen.manifest(2).digest.hex
        func attribution(_ time: String, _ variant: String = "als") -> Attribution {
            let id = ULID.text(Self.instant(time), (1, 2)) + "-" + digest.prefix(12)
            return Self.attribution(Self.line(time, variant: variant, id: id), index, Doubts(settle: 30_000_000))
        }
        #expect(attribution("2025-03-04T19:00:20Z") == .mixed)
        #expect(attribution("2025-03-04T19:10:00Z") == .inferred)
        index.doubts = [
            (
                "als",
                DoubtedTime(
                    from: Self.instant("2025-03-04T19:09:00Z"), until: Self.instant("2025-03-04T19:11:00Z"), reason: "")
            )
        ]
        #expect(attribution("2025-03-04T19:10:00Z") == .unknown)
        #expect(attribution("2025-03-04T19:12:00Z") == .inferred)
    }

    @Test("after a doubt a server settles, as after an activation")
    func settlesAfterDoubts() throws {
        let index = try LineTests.index(variant: "als")
        let from = Self.instant("2025-03-04T19:59:00Z")
        index.doubts = [("als", DoubtedTime(from: from, until: from.advanced(by: 60_000_000), reason: ""))]
        for (time, expected) in [
            ("20:00:00.900", Attribution.unknown), ("20:00:01.100", .mixed), ("20:00:29", .mixed),
            ("20:00:31", .inferred), ("19:58:00", .inferred),
        ] {
            let line = Self.line("2025-03-04T\(time)Z")
            #expect(Self.attribution(line, index, Doubts(settle: 30_000_000)) == expected, "\(time)")
        }
        // Connections were seen to be new long after.
        var doubts = Doubts(settle: .max)
        let line = Self.line("2025-03-04T20:10:00Z")
        #expect(Self.attribution(line, index, doubts) == .mixed)
        doubts.settled = [
            Doubts.Settled(
                variant: "als", from: Self.instant(LineTests.second), at: Self.instant("2025-03-04T20:05:00Z"))
        ]
        #expect(Self.attribution(line, index, doubts) == .inferred)
        #expect(Self.attribution(Self.line("2025-03-04T20:04:00Z"), index, doubts) == .mixed)
    }

    @Test("a doubt in the index holds for lines of its time, and for no others")
    func readsTheIndex() throws {
        let index = try LineTests.index(variant: "als")
        let from = Self.instant("2025-03-04T19:59:00Z")
        index.doubts = [("als", DoubtedTime(from: from, until: from.advanced(by: 60_000_000), reason: ""))]
        for (time, expected) in [
            ("19:30:00", Attribution.inferred), ("19:58:58.900", .inferred), ("19:58:59.100", .unknown),
            ("19:59:30", .unknown), ("20:00:00.900", .unknown), ("20:00:01.100", .inferred),
        ] {
            #expect(Self.attribution(Self.line("2025-03-04T\(time)Z"), index, Doubts()) == expected, "\(time)")
        }
        let untimed = "{\"path\":\"/recommend/7\",\"variant\":\"als\"}"
        #expect(Self.attribution(untimed, index, Doubts()) == .inferred)
        index.doubts = [("als", DoubtedTime(from: from, until: nil, reason: ""))]
        #expect(Self.attribution(untimed, index, Doubts()) == .unknown)
        #expect(Self.attribution(Self.line("2025-03-04T23:00:00Z"), index, Doubts()) == .unknown)
        #expect(Self.attribution(Self.line("2025-03-04T18:30:00Z"), index, Doubts()) == .inferred)
    }

    @Test("an attribution of somebody else's keeps nobody from adding what belongs there")
    func addsBesideOthers() throws {
        let index = try LineTests.index(variant: "als")
        let line = "{\"event\":\"recommendation\",\"attribution\":\"organic\",\"variant\":\"als\"}"
        let (text, result) = LineTests.enrich(line, index)
        #expect(result.kind == .enriched && text.contains("\"attribution\":\"organic\"") && text.contains("als-2"))
    }

    @Test("what is remembered of the last line says of the next what a look at everything says")
    func remembersRightly() throws {
        var chance = Chance(seed: 11)
        let index = KnownManifests()
        for number in 1...4 { index.add(try Specimen.manifest(number)) }
        for (number, time) in ["10", "11", "12", "13"].enumerated() {
            index.activate(number, variant: "als", at: "2025-03-04T\(time):00:00Z")
            index.activate(3 - number, variant: "pop", at: "2025-03-04T\(time):30:00Z")
        }
        index.doubtedFrom = Self.instant("2025-03-04T11:45:00Z")
        var doubts = Doubts(settle: 30_000_000)
        let one = LineAttributor(index, doubts: { _ in doubts })
        var remembering = LineEnricher(LineEnricher.Settings(), one)
        remembering.refresh()
        for round in 0..<20_000 {
            if chance.percent(2) {
                doubts.settle = Int64(chance.draw(3)) * 60_000_000
                index.doubts = []
                for variant in ["als", "pop"] where chance.percent(30) {
                    let from = Self.instant("2025-03-04T\(10 + chance.draw(4)):20:00Z")
                    let time = DoubtedTime(
                        from: from,
                        until: chance.percent(70) ? from.advanced(by: Int64(chance.draw(3600)) * 1_000_000) : nil,
                        reason: "")
                    index.doubts.append((variant, time))
                }
                doubts.settling = chance.percent(30) ? ["pop"] : []
                doubts.moved =
                    chance.percent(30)
                    ? [
                        Doubts.Moved(
                            variant: "pop",
                            DoubtedTime(
                                from: Self.instant("2025-03-04T12:35:00Z"), until: Self.instant("2025-03-04T12:40:00Z"),
                                reason: ""))
                    ] : []
                remembering.refresh()
            }
            // Mostly near one another, as lines are, and often near an activation.
            let hour = 9 + round / 4000 % 5
            let minute = chance.percent(50) ? chance.draw(60) : [0, 29, 30, 31, 59][chance.draw(5)]
            let second = chance.draw(60)
            func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
            let text = Self.line(
                "2025-03-04T\(two(hour)):\(two(minute)):\(two(second)).\(chance.draw(900_000) + 100_000)Z",
                variant: ["als", "pop", "nobody"][chance.draw(chance.percent(80) ? 2 : 3)],
                milliseconds: chance.draw(90_000))
            let bytes = Array(text.utf8)
            let attributor = LineAttributor(index, doubts: { _ in doubts })
            var fresh = LineEnricher(LineEnricher.Settings(), attributor)
            fresh.refresh()
            let expected = fresh.enrich(bytes.span)
            let found = remembering.enrich(bytes.span)
            let same = withExtendedLifetime((attributor, one)) {
                found.attribution == expected.attribution && found.addition.elementsEqual(expected.addition)
            }
            #expect(same, "\(text)")
            if !same { return }
        }
    }
}
