import Provenance
import TestSupport
import Testing

@Suite("Reading JSON")
struct JSONParserTests {
    @Test("every value of RFC 8259 is read, and written as it was spelled")
    func readsValues() throws {
        let texts = [
            "null", "true", "false", "0", "-0", "-1.5e+10", "1E5", "0.10", "18446744073709551616", "\"\"", "\"é😀\"",
            "[]",
            "{}", "[1,[2,[]],{}]", "{\"a\":{\"b\":[null]},\"\":0}",
        ]
        for text in texts {
            #expect(JSONWriter.compact.text(try JSONParser.parse(text)) == text)
        }
    }

    @Test("of the bytes in a string each is looked at, wherever it stands")
    func looksAtEveryByte() {
        for byte in UInt8.min...UInt8.max {
            let isPlain = byte >= 0x20 && byte < 0x80 && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
            for place in 0...40 {
                var bytes = [UInt8](repeating: UInt8(ascii: "a"), count: 41)
                bytes[place] = byte
                bytes = [UInt8(ascii: "\"")] + bytes + [UInt8(ascii: "\"")]
                let isTaken = (try? JSONSyntax.check(bytes.span)) != nil
                #expect(isTaken == isPlain, "the byte \(byte) at \(place)")
            }
        }
    }

    @Test("white space is allowed around every token, and nothing else is")
    func allowsWhiteSpace() throws {
        let value = try JSONParser.parse(" \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : { } } \n")
        #expect(JSONWriter.compact.text(value) == "{\"a\":[1,2],\"b\":{}}")
        #expect(throws: JSONError.self) { try JSONParser.parse("\u{A0}1") }
    }

    @Test("escapes become the characters that they stand for")
    func decodesEscapes() throws {
        let value = try JSONParser.parse(#""\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\ude00\u0000""#)
        #expect(value.string.map { Array($0.unicodeScalars) } == Array("\"\\/\u{8}\u{C}\n\r\tAé€😀\0".unicodeScalars))
    }

    /// What is wrong, where, and what was expected, for a person who has to mend it.
    static let errors: [(text: String, line: Int, column: Int, problem: String)] = [
        ("", 1, 1, "expected a value, found the end of the text"),
        ("{\n  \"a\": 1,\n}", 3, 1, "expected a string in double quotes, found '}'"),
        ("{\n  \"a\" 1}", 2, 7, "expected ':' after the name, found '1'"),
        ("[1 2]", 1, 4, "expected ',' or ']' after an item, found '2'"),
        ("{\"a\":1 \"b\":2}", 1, 8, "expected ',' or '}' after a member, found '\"'"),
        ("[1,]", 1, 4, "expected a value, found ']'"),
        ("{\"é\": x}", 1, 7, "expected a value, found 'x'"),
        ("01", 1, 1, "a number does not begin with 0 unless it is 0 or 0.…"),
        ("-", 1, 2, "expected a digit, found the end of the text"),
        ("1.", 1, 3, "expected a digit after the decimal point, found the end of the text"),
        ("1e+", 1, 4, "expected a digit in the exponent, found the end of the text"),
        ("\"abc", 1, 5, "expected '\"' at the end of the string, found the end of the text"),
        (
            "\"a\nb\"", 1, 3,
            "expected a string to go on; control characters are written as escapes such as \\n, found the end of the line"
        ),
        ("\"\\x\"", 1, 3, "expected one of \" \\ / b f n r t u after '\\', found 'x'"),
        ("\"\\u12g4\"", 1, 6, "expected four hexadecimal digits after '\\u', found 'g'"),
        ("\"\\ud800\"", 1, 2, "half of a surrogate pair, which stands for no character: write both halves"),
        ("\"\\ude00\"", 1, 2, "half of a surrogate pair, which stands for no character: write both halves"),
        ("1 2", 1, 3, "expected nothing after the value, found '2'"),
        ("NaN", 1, 1, "NaN is no JSON number: write null, or the string \"NaN\""),
        ("-Infinity", 1, 1, "-Infinity is no JSON number: write null, or the string \"-Infinity\""),
        ("\u{FEFF}{}", 1, 1, "a byte order mark stands before the text: save the file as plain UTF-8"),
    ]

    @Test("an error says where it is and what was expected", arguments: errors)
    func explainsErrors(_ expected: (text: String, line: Int, column: Int, problem: String)) {
        #expect {
            try JSONParser.parse(expected.text)
        } throws: { error in
            guard let error = error as? JSONError else { return false }
            #expect(error.problem == expected.problem)
            return error.line == expected.line && error.column == expected.column
        }
    }

    @Test("an error names the member in which it stands")
    func namesTheMember() {
        #expect {
            try JSONParser.parse("{\"hyperparameters\": {\"alpha\": NaN}}")
        } throws: { error in
            "\(error)"
                == "line 1, column 31 (in hyperparameters.alpha): NaN is no JSON number: write null, or the string \"NaN\""
        }
        #expect {
            try JSONParser.parse("{\"layers\": [{}, {\"a b\": [1, +]}]}")
        } throws: { error in
            (error as? JSONError)?.path == "layers[1][\"a b\"][1]"
        }
    }

    @Test("a name that stands twice is refused, however it is spelled, in small objects and large")
    func refusesDuplicates() throws {
        #expect(throws: JSONError.self) { try JSONParser.parse(#"{"a":1,"\u0061":2}"#) }
        let many = (0..<100).map { "\"n\($0)\":0" }.joined(separator: ",")
        #expect(throws: JSONError.self) { try JSONParser.parse("{\(many),\"n50\":1}") }
        #expect(try JSONParser.parse("{\(many)}").object?.members.count == 100)
    }

    @Test("names that Swift calls equal and that have other bytes are two names")
    func comparesBytes() throws {
        let object = try JSONParser.parse("{\"\u{E9}\":1,\"e\u{301}\":2}").object
        #expect(object?.members.count == 2)
        #expect(object?["e\u{301}"].map(JSONWriter.compact.text) == "2")
    }

    @Test("nesting is bounded")
    func boundsDepth() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(throws: Never.self) { try JSONParser.parse(nested(JSONSyntax.deepest)) }
        #expect(throws: JSONError.self) { try JSONParser.parse(nested(JSONSyntax.deepest + 1)) }
        #expect(throws: JSONError.self) { try JSONParser.parse(String(repeating: "{\"a\":", count: 100_000)) }
    }

    @Test("bytes that are no UTF-8 are refused, each kind of them")
    func refusesBadUTF8() {
        let bad: [[UInt8]] = [
            [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC3], [0xC3, 0x28], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF],
            [0xE2, 0x82], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80], [0xF0, 0x9F, 0x98],
            [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFE], [0xFF],
        ]
        for sequence in bad {
            let quote = UInt8(ascii: "\"")
            #expect(throws: JSONError.self) { try JSONParser.parse([quote] + sequence + [quote]) }
            #expect(throws: JSONError.self) { try JSONParser.parse(sequence) }
        }
    }

    @Test("every document that is cut short anywhere is refused")
    func refusesTruncation() throws {
        let text = #"{"model_version":"als-é😀","n":[-1.5e3,true,null,{"x":"\ud83d\ude00\n"}],"t":false}"#
        let bytes = Array(text.utf8)
        #expect(throws: Never.self) { try JSONParser.parse(bytes) }
        for length in 0..<bytes.count {
            #expect(throws: JSONError.self, "cut after \(length) bytes") {
                try JSONParser.parse(Array(bytes[..<length]))
            }
        }
    }

    @Test("skipping a value accepts exactly what reading it accepts, but for names that stand twice")
    func skipsWhatItReads() {
        for row in Oracle.rows("json_oracle.py", "broken", "11", "2000") {
            let bytes = row.bytes("text")
            let skipped = (try? JSONSyntax.check(bytes.span)) != nil
            var read = true
            var isDuplicate = false
            do throws(JSONError) { _ = try JSONParser.parse(bytes) } catch {
                read = false
                isDuplicate = error.problem.contains("stands twice")
            }
            #expect(skipped == (read || isDuplicate), "\(String(decoding: bytes, as: UTF8.self))")
        }
    }
}

@Suite("JSON against Python's own")
struct JSONOracleTests {
    @Test("random values, in every layout that Python writes, are read and written alike")
    func agreesOnValues() throws {
        let rows = Oracle.rows("json_oracle.py", "values", "1", "4000")
        #expect(rows.count == 4000)
        for row in rows {
            let value = try JSONParser.parse(row.bytes("text"))
            #expect(JSONWriter.compact.bytes(value) == row.bytes("compact"))
            #expect(JSONWriter.canonical.bytes(value) == row.bytes("canonical"))
            let again = try JSONParser.parse(JSONWriter.pretty.bytes(value))
            #expect(JSONWriter.compact.bytes(again) == row.bytes("compact"))
        }
    }

    @Test("of texts with a byte changed here or there, the same are refused")
    func agreesOnBrokenTexts() {
        let rows = Oracle.rows("json_oracle.py", "broken", "2", "6000")
        #expect(rows.count { !$0.flag("valid") } > 1000, "the oracle has to refuse many, or this shows little")
        for row in rows {
            let bytes = row.bytes("text")
            let isValid = (try? JSONParser.parse(bytes)) != nil
            #expect(isValid == row.flag("valid"), "\(String(decoding: bytes, as: UTF8.self))")
        }
    }
}
