import TestSupport
import Testing

@testable import Manifests

@Suite("Profiles of CSV files")
struct CSVProfileTests {
    /// Feeds `text` in pieces of `size`, and finishes.
    private func profile(_ text: [UInt8], _ columns: [String], piece size: Int) throws(CSVError) -> CSVProfile {
        var profile = CSVProfile(columns: columns)
        var start = 0
        while start < text.count {
            let piece = Array(text[start..<min(start + size, text.count)])
            var failure: CSVError?
            piece.withUnsafeBytes { bytes in
                do throws(CSVError) { try profile.feed(bytes) } catch { failure = error }
            }
            if let failure { throw failure }
            start += size
        }
        try profile.finish()
        return profile
    }

    @Test("rows and values are counted as Python's csv counts them, whole and byte by byte")
    func agreesWithPython() throws {
        for row in Oracle.rows("csv_oracle.py", "3", "600") {
            let text = row.bytes("text")
            for size in [1, 2, 3, 7, 64, max(1, text.count)] {
                let profile = try profile(text, [row.text("column")], piece: size)
                let shown = String(decoding: text, as: UTF8.self)
                #expect("\(profile.rows)" == row.text("rows"), "pieces of \(size): \(shown)")
                #expect("\(profile.distinct[0])" == row.text("distinct"), "pieces of \(size): \(shown)")
            }
        }
    }

    static let refused: [(text: String, message: String)] = [
        ("", "the file has no header line that names its columns"),
        ("\n\n", "the file has no header line that names its columns"),
        ("a,b\n1,2\n", "there is no column \"user\"; it has a, b"),
        ("a,user\n1,2\n3\n", "line 3 has 1 column, too few to hold user"),
        ("user,user\n1,2\n", "several columns are called \"user\""),
        ("user,b\n1,2\r3,4\n", "line 2 has a carriage return that ends no line: convert the line ends to LF or CRLF"),
        ("user\n1\n\r2\n", "line 3 has a carriage return that ends no line: convert the line ends to LF or CRLF"),
        ("user\n\"open\n\n", "the quote that opens in line 2 never closes"),
    ]

    @Test("what cannot be profiled is told with its line", arguments: refused)
    func refuses(_ expected: (text: String, message: String)) {
        for size in [1, 100] {
            #expect {
                try profile(Array(expected.text.utf8), ["user"], piece: size)
            } throws: { error in
                "\(error)" == expected.message
            }
        }
    }

    @Test("two counts of one column are both right")
    func countsOneColumnTwice() throws {
        let profile = try profile(Array("u,m\n1,a\n1,b\n2,a\n".utf8), ["u", "u", "m"], piece: 100)
        #expect(profile.distinct == [2, 2, 2])
    }

    @Test("a set of bytes counts exactly, however many there are")
    func countsExactly() {
        var set = ByteSet()
        var chance = Chance(seed: 1)
        var expected: Set<[UInt8]> = []
        for _ in 0..<200_000 {
            let bytes = (0..<Int.random(in: 0...3, using: &chance)).map { _ in UInt8.random(in: 0...40, using: &chance)
            }
            expected.insert(bytes)
            bytes.withUnsafeBytes { set.insert($0) }
        }
        #expect(set.count == expected.count)
    }
}
