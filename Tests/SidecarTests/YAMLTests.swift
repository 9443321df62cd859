import TestSupport
import Testing
import YAML

@Suite("YAML")
struct YAMLTests {
    /// What a document says, on one line: scalars as they are (quoted ones in quotes), lists and maps in brackets.
    private static func text(_ node: YAMLNode) -> String {
        switch node {
        case .scalar(let text, let isPlain, _): isPlain ? text : "'\(text)'"
        case .sequence(let items, _): "[" + items.map(text).joined(separator: ", ") + "]"
        case .mapping(let members, _):
            "{" + members.map { "\($0.key): \(text($0.value))" }.joined(separator: ", ") + "}"
        }
    }

    @Test(
        "scalars are taken as they are written, whatever they look like",
        arguments: [
            ("a: 007", "{a: 007}"), ("a: yes", "{a: yes}"), ("a: 0x10", "{a: 0x10}"), ("a: \"off\"", "{a: 'off'}"),
            ("a: 'it''s'", "{a: 'it's'}"), ("a: |\n  x\n  y\n", "{a: 'x\ny\n'}"), ("a: b # c", "{a: b}"),
            ("a: [b, {c: d}]", "{a: [b, {c: d}]}"), ("- a\n- b: c\n", "[a, {b: c}]"),
            ("a:\n  b:\n    c: d", "{a: {b: {c: d}}}"),
            ("a: é", "{a: é}"), ("---\na: b\n...\n", "{a: b}"), ("\u{FEFF}a: b", "{a: b}"),
            ("\u{FEFF}a: b\nc: d", "{a: b, c: d}"), ("a:", "{a: }"),
            ("{}", "{}"), ("a: ~", "{a: ~}"), ("a: b\r\nc: d\r\n", "{a: b, c: d}"),
        ])
    func reads(source: String, expected: String) throws {
        let node = try #require(try YAMLParser.parse(Array(source.utf8)))
        #expect(Self.text(node) == expected)
    }

    @Test("nothing is no document", arguments: ["", "\n\n", "# only a comment\n", "---\n"])
    func readsNothing(source: String) throws {
        #expect(try YAMLParser.parse(Array(source.utf8))?.isNothing ?? true)
    }

    @Test(
        "what is no configuration is refused with its place",
        arguments: [
            ("a: b\na: c", 2, "it is already in line 1"), ("a: &x b\nc: *x", 1, "anchors"), ("c: *x", 1, "aliases"),
            ("a: !!str b", 1, "tags"), ("a: b\n---\nc: d", 2, "second document"), ("? [a]\n: b", 1, "plain word"),
            ("a:\n\tb: c", 2, "a tab stands before the first word"), ("a: 1\n \tb: c", 2, "a tab"),
            (" a: 1\nb: 2\n", 1, "the first key is indented"), ("# c\n  a: 1\nb: 2\n", 2, "the first key is indented"),
            ("a:1\nb: 2\n", 1, "a blank is missing behind the colon of a"),
            ("a: 1\nb:2\nc: 3\n", 2, "a blank is missing behind the colon of b"),
            ("a:\n  [b", 3, "flow sequence that begins in line 2"),
            ("a: b: c", 1, "mapping values"),
            ("a: \"b", 1, "quoted scalar"), ("x: 1\na: \u{0}", 2, "control characters"),
        ])
    func refuses(source: String, line: Int, words: String) {
        let error = #expect(throws: YAMLError.self) { try YAMLParser.parse(Array(source.utf8)) }
        #expect(error?.line == line, "\(error.map { "\($0)" } ?? "")")
        #expect(error?.reason.contains(words) == true, "\(error.map { "\($0)" } ?? "")")
    }

    @Test("bytes that are no UTF-8 are refused with their line")
    func refusesOtherEncodings() {
        let error = #expect(throws: YAMLError.self) { try YAMLParser.parse(Array("a: b\nc: ".utf8) + [0xC3, 0x28]) }
        #expect(error?.line == 2)
    }

    @Test("what is nested without end is refused, and not followed")
    func refusesDepth() {
        let source = String(repeating: "[", count: 100_000)
        #expect(throws: YAMLError.self) { try YAMLParser.parse(Array(source.utf8)) }
    }

    @Test("rubbish is read or refused, and nothing else happens", arguments: 0..<200)
    func survivesRubbish(seed: Int) {
        var chance = Chance(seed: UInt64(seed))
        let alphabet = Array("a: b-[]{},&*!|>'\"%@`#?\n\n\t  \r0\u{E9}".utf8) + [0, 0xFF]
        let bytes = (0..<Int.random(in: 0...200, using: &chance)).map { _ in alphabet.randomElement(using: &chance) ?? 0
        }
        _ = try? YAMLParser.parse(bytes)
    }
}
