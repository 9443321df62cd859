import Provenance
import TestSupport
import Testing

/// A line, a row of dashes, and what is read in it: one file each under `Tests/Fixtures/lines`.
struct LineFixture: CustomStringConvertible, Sendable {
    let name: String
    let line: [UInt8]
    let expected: String

    var description: String { name }

    static let all: [LineFixture] = {
        let directory = Program.root + "/Tests/Fixtures/lines"
        let names = Program.run(["ls", directory]).output.split(separator: "\n").map(String.init)
        return names.map { name in
            let bytes = Scratch.bytes(of: directory + "/" + name) ?? []
            let separator = Array("\n----\n".utf8)
            let end = bytes.indices.first { bytes[$0...].starts(with: separator) } ?? bytes.count
            return LineFixture(
                name: name, line: Array(bytes[..<end]),
                expected: String(decoding: bytes[min(bytes.count, end + separator.count)...], as: UTF8.self))
        }
    }()

    static func describe(_ facts: borrowing LineFacts, _ line: [UInt8]) -> String {
        var rows = ["format \(facts.format.rawValue)"]
        func add(_ name: String, _ span: FieldSpan?) {
            if let span { rows.append("\(name) \(span.text(line.span).onOneLine)") }
        }
        for field in ProvenanceField.allCases { add("\(field.name)", facts.provenance[field]) }
        add("request_id", facts.requestID)
        add("attribution", facts.attribution)
        add("variant", facts.variant)
        if let time = facts.time {
            rows.append("time \(time)")
        } else if facts.hasUnreadTime {
            rows.append("time unread")
        }
        if facts.duration > 0 { rows.append("duration \(facts.duration)") }
        if facts.reach > facts.duration { rows.append("give or take \(facts.reach - facts.duration)") }
        if facts.isRepeated { rows.append("repeated") }
        if facts.isUnproven { rows.append("unproven") }
        if facts.cannotBeAddedTo { rows.append("unreadable") }
        return rows.joined(separator: "\n") + "\n"
    }
}

@Suite("Reading lines")
struct LineReaderTests {
    @Test("a line is read as its fixture says", arguments: LineFixture.all)
    func readsFixtures(_ fixture: LineFixture) {
        #expect(LineFixture.describe(LineReader.read(fixture.line.span), fixture.line) == fixture.expected)
    }

    @Test("there are as many fixtures as there are kinds of lines")
    func hasFixtures() {
        #expect(LineFixture.all.count >= 89)
    }

    @Test("no line makes the reader stumble: cut short, joined, with bytes changed")
    func survivesRubbish() {
        var chance = Chance(seed: 7)
        let lines = LineFixture.all.map(\.line)
        for line in lines {
            for length in 0...line.count {
                let cut = Array(line[..<length])
                _ = LineReader.read(cut.span)
            }
        }
        for _ in 0..<20_000 {
            var line = lines[Int.random(in: 0..<lines.count, using: &chance)]
            line += lines[Int.random(in: 0..<lines.count, using: &chance)]
            for _ in 0..<Int.random(in: 1...4, using: &chance) where !line.isEmpty {
                line[Int.random(in: 0..<line.count, using: &chance)] = UInt8.random(in: 0...255, using: &chance)
            }
            let facts = LineReader.read(line.span)
            for field in ProvenanceField.allCases { _ = facts.provenance[field]?.text(line.span) }
        }
    }
}
