import TestSupport
import Testing

@testable import Provenance

/// Lines of the usual shape are read in a way of their own: it must say what the other one says, or nothing.
@Suite("Reading lines of the usual shape")
struct UsualLineTests {
    private static let usual =
        "2025-03-04T18:21:03.219384Z,39157,recommendation request /recommend/39157, status 200, variant=als_model, bucket=0.569204, result: m+1931,amelie+2001, 12 ms"
    private static let readings = [
        LineReading(key: "user_id"), LineReading(format: .recommendation, key: "user", test: "user_id"), LineReading(),
        LineReading(format: .recommendation),
    ]

    /// What both say of a line; nil where the quick one says nothing.
    private static func read(_ line: [UInt8], _ reading: LineReading) -> (quick: String, whole: String)? {
        var quick = LineFacts(.text)
        guard LineReader.usual(line.span, reading, into: &quick) else { return nil }
        var whole = LineFacts(.text)
        let isRead = LineReader.unusual(line.span, reading, into: &whole)
        return (describe(quick, line), isRead ? describe(whole, line) : "not read")
    }

    private static func describe(_ facts: borrowing LineFacts, _ line: [UInt8]) -> String {
        let (key, tested) = (facts.key.map { "\($0)" }, facts.tested.map { "\($0)" })
        return LineFixture.describe(facts, line) + "\(String(describing: key)) \(String(describing: tested))\n"
            + "\(facts.end) \(facts.isRecommendation) \(facts.timeLacksZone) \(facts.saysNothingElse) \(facts.namesManifest) \(facts.isEmptyObject)\n"
            + "\(String(describing: facts.variant.map { "\($0)" })) \(facts.hasOtherTime) \(facts.hasUnreadTime) \(facts.hasForeignAttribution) \(String(describing: facts.localTime)) \(facts.date) \(facts.timeUnit)"
    }

    @Test("a line as servers write it is one of them, whatever is asked for besides")
    func takesUsualLines() throws {
        for reading in Self.readings {
            let said = try #require(Self.read(Array(Self.usual.utf8), reading))
            #expect(said.quick == said.whole)
        }
        for (part, other) in [
            (", variant=als_model", ""), (", bucket=0.569204", ""), (", result: m+1931,amelie+2001", ""),
            ("als_model, bucket=0.569204, result: m+1931,amelie+2001", ""), (", 12 ms", ", 1234567 ms"),
            (", 12 ms", ", 0 ms"),
            (", variant=als_model, bucket=0.569204, result: m+1931,amelie+2001", ""), (", bucket", ",bucket"),
            ("Z,39157", "Z,3 9"),
        ] {
            let changed = Self.usual.split(separator: part, omittingEmptySubsequences: false).joined(separator: other)
            #expect(changed.utf8.count != Self.usual.utf8.count, "\(part) does not stand in it")
            for reading in Self.readings {
                let said = try #require(Self.read(Array(changed.utf8), reading), "\(changed)")
                #expect(said.quick == said.whole)
            }
        }
        let said = try #require(Self.read(Array(Self.usual.utf8), Self.readings[1]))
        #expect(said.quick.contains("variant als_model\ntime 2025-03-04T18:21:03.219384Z\nduration 13000\n"))
    }

    @Test(
        "what says more, or stands otherwise, is left to the other reading",
        arguments: [
            ("status 200, variant=als_model", "status 200, request_id=r-1, variant=als_model"),
            ("bucket=", "request_id=r-1, bucket="),
            (", 12 ms", ", 12 ms, model_version=m1"), (", 12 ms", ", 12.5 ms"), (", 12 ms", ", 12 ms "), (" ms", "ms"),
            ("Z,39157", ",39157"), ("request /", "request/"), (", 12 ms", ", 12345678 ms"),
            ("recommendation request", " recommendation request"), ("bucket=0.5", "variant=b, bucket=0.5"),
            ("bucket=", "user_id=7, bucket="),
            ("bucket=", " user_id=7, bucket="), ("result:", "rank=1, result:"), ("2025-03-04", "2025-02-30"),
            ("219384Z", "219384z"),
            (",39157,", ",,"), (",39157,", ", 39157,"), (",39157,", ",39157 ,"), (", status", ",status"),
            ("status 200", "status ok"),
        ])
    func leavesOthers(_ change: (String, String)) {
        let parts = Self.usual.split(separator: change.0, maxSplits: 1, omittingEmptySubsequences: false)
        #expect(parts.count == 2, "\(change.0) does not stand in it")
        let line = Array((parts[0] + change.1 + (parts.last ?? "")).utf8)
        for reading in Self.readings { #expect(Self.read(line, reading) == nil, "\(change)") }
    }

    @Test("who asks for other fields, or other formats, is not answered by it")
    func leavesOtherReadings() {
        for reading in [
            LineReading(key: "bucket"), LineReading(test: "variant"), LineReading(format: .text),
            LineReading(format: .json),
            LineReading(format: .logfmt, key: "user_id"),
        ] {
            #expect(Self.read(Array(Self.usual.utf8), reading) == nil)
        }
    }

    @Test("of any line, changed in any way, both say the same", arguments: [1, 2, 3] as [UInt64])
    func agrees(_ seed: UInt64) {
        var chance = Chance(seed: seed)
        let parts = [
            "request_id=r-1", "variant=b", "user_id=7", "user=8", " ", ",", "result:", "model_version=m1",
            "attribution=mixed", ", 5 ms", "ms", "status 200",
        ]
        let lines = LineFixture.all.map(\.line) + Array(repeating: Array(Self.usual.utf8), count: 60)
        var taken = 0
        for round in 0..<60_000 {
            var line = lines[Int.random(in: 0..<lines.count, using: &chance)]
            if Bool.random(using: &chance) {
                // Without its variant, if it has one.
                line = Array(
                    String(decoding: line, as: UTF8.self).split(separator: ", variant=als_model").joined().utf8)
            }
            for _ in 0..<Int.random(in: 0...3, using: &chance) where !line.isEmpty {
                let place = Int.random(in: 0..<line.count, using: &chance)
                switch Int.random(in: 0..<4, using: &chance) {
                case 0: line[place] = UInt8.random(in: 0x20...0x7E, using: &chance)
                case 1:
                    line.insert(
                        contentsOf: Array(parts[Int.random(in: 0..<parts.count, using: &chance)].utf8), at: place)
                case 2: line.removeSubrange(place..<min(line.count, place + Int.random(in: 1...9, using: &chance)))
                default: line.insert(line[place], at: place)
                }
            }
            guard let said = Self.read(line, Self.readings[round % Self.readings.count]) else { continue }
            taken += 1
            #expect(said.quick == said.whole, "\(String(decoding: line, as: UTF8.self))")
        }
        #expect(taken > 5000, "\(taken) of them were of the usual shape")
    }

    /// A line like those that are read day by day, or any other, with digits changed.
    private static func anyLine(_ chance: inout Chance) -> [UInt8] {
        let fixtures = LineFixture.all
        var line =
            chance.percent(60) ? Array(usual.utf8) : fixtures[Int.random(in: 0..<fixtures.count, using: &chance)].line
        for _ in 0..<Int.random(in: 0...2, using: &chance) {
            let digits = line.indices.filter { line[$0] &- 0x30 <= 9 }
            guard let place = digits.randomElement(using: &chance) else { break }
            line[place] = UInt8.random(in: 0x30...0x3A, using: &chance)
        }
        return line
    }

    @Test("facts that were those of another line say nothing of it any more", arguments: [4, 5] as [UInt64])
    func forgets(_ seed: UInt64) {
        var chance = Chance(seed: seed)
        var kept = LineFacts(.text)
        var refused = 0
        for round in 0..<20_000 {
            let line = Self.anyLine(&chance)
            let reading = Self.readings[Int.random(in: 0..<Self.readings.count, using: &chance)]
            var fresh = LineFacts(.text)
            let isRead = LineReader.read(line.span, reading, into: &fresh)
            let isReadAgain = LineReader.read(line.span, reading, into: &kept)
            #expect(isRead == isReadAgain)
            let (one, other) = (Self.describe(fresh, line), Self.describe(kept, line))
            #expect(one == other, "round \(round): \(String(decoding: line, as: UTF8.self))")
            if !isRead { refused += 1 }
        }
        #expect(refused > 100, "\(refused) were of no format that was allowed")
    }

    @Test("the minute that was read last is not taken for another one")
    func remembersMinutes() {
        var chance = Chance(seed: 6)
        var memo = Instant.MinuteMemo()
        for begin in [[UInt8](repeating: 0, count: 16), Array("1970-01-01T00:00".utf8)] {
            let text = begin + Array(":03.219384Z".utf8)
            let (one, other) = (memo.usual(text.span, 0..<27), Instant.usual(text.span, 0..<27))
            #expect(one == other)
        }
        var read = 0
        for _ in 0..<50_000 {
            let spelled = ["2025-03-04T18:21:03Z", "2025-03-04T18:21:03.219Z", "2025-03-04T18:21:03.219384Z"]
            var text = Array(spelled[Int.random(in: 0..<3, using: &chance)].utf8)
            if chance.percent(40) {
                let place = Int.random(in: 0..<text.count, using: &chance)
                text[place] = UInt8.random(in: 0x2D...0x3A, using: &chance)
            }
            let (one, other) = (memo.usual(text.span, 0..<text.count), Instant.usual(text.span, 0..<text.count))
            #expect(one == other, "\(String(decoding: text, as: UTF8.self))")
            if one != nil { read += 1 }
        }
        #expect(read > 30_000 && read < 50_000)
    }

    @Test("cut short anywhere, it is read as before, and nothing is read behind its end")
    func survivesCuts() {
        // Its user, path, status and variant are all beyond what any line must have, so that each is cut somewhere.
        let line = Array(
            Self.usual.split(separator: "/recommend/").joined(
                separator: "/" + String(repeating: "long", count: 25) + "/"
            ).utf8)
        #expect(Self.read(line, Self.readings[0]) != nil)
        for end in 0...line.count {
            for reading in Self.readings {
                if let said = Self.read(Array(line[..<end]), reading) { #expect(said.quick == said.whole) }
            }
        }
        // The same, with what ends such a line where the cut is.
        for end in 0...line.count {
            for reading in Self.readings {
                if let said = Self.read(Array(line[..<end]) + Array(", 3 ms".utf8), reading) {
                    #expect(said.quick == said.whole)
                }
            }
        }
    }
}
