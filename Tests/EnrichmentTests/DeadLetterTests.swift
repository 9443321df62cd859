import Glibc
import Provenance
import Runtime
import TestSupport
import Testing

@testable import Enrichment

@Suite("Dead letters")
struct DeadLetterTests {
    private func append(
        _ line: String, _ origin: String, to letters: DeadLetterFile, piece: (Int, Bool)? = nil
    ) -> Bool {
        Array(line.utf8).withUnsafeBytes { bytes in
            letters.append(bytes, origin: origin, reason: "a test", piece: piece.map { ($0.0, $0.1) })
        }
    }

    private func origins(_ path: String) throws -> [String] {
        let text = String(decoding: try #require(try Files.read(path, limit: 1 << 24)), as: UTF8.self)
        return try text.split(separator: "\n").map { line in
            try #require(try JSONParser.parse(String(line)).object?.text("origin"))
        }
    }

    @Test("A line that is read again is there once; another one in its place is another one")
    func repeated() throws {
        let scratch = Scratch()
        let path = scratch.path("dead-letters.jsonl")
        let letters = try DeadLetterFile(path, limit: 1 << 20)
        for _ in 0..<3 {
            #expect(append("long", "i/topic/0:400", to: letters))
            #expect(append("long", "i/topic/1:400", to: letters))
        }
        // The topic was deleted and created anew: the place is the same, the line is not.
        #expect(append("other", "i/topic/0:400", to: letters))
        #expect(try origins(path) == ["i/topic/0:400", "i/topic/1:400", "i/topic/0:400"])
        #expect(letters.count == 3)
    }

    @Test("Pieces that look the same are all there")
    func pieces() throws {
        let scratch = Scratch()
        let path = scratch.path("dead-letters.jsonl")
        let letters = try DeadLetterFile(path, limit: 1 << 20)
        for number in 0..<3 { #expect(append("xxxx", "i/stdin/dead/1", to: letters, piece: (number, number == 2))) }
        #expect(try origins(path).count == 3)
        #expect(letters.count == 1)
    }

    @Test("What is remembered is bounded, and the last of them always are")
    func bounded() throws {
        let scratch = Scratch()
        let path = scratch.path("dead-letters.jsonl")
        let letters = try DeadLetterFile(path, limit: 1 << 30, remembered: 20)
        let many = 100
        for number in 0..<many { #expect(append("l", "i/t/0:\(number)", to: letters)) }
        for number in many - 20..<many { #expect(append("l", "i/t/0:\(number)", to: letters)) }
        #expect(letters.count == UInt64(many))
        #expect(append("l", "i/t/0:0", to: letters))
        #expect(letters.count == UInt64(many + 1))
    }

    @Test("A full file takes nothing more, says what to do, and goes on once it was moved away")
    func full() throws {
        let scratch = Scratch()
        let path = scratch.path("dead-letters.jsonl")
        let letters = try DeadLetterFile(path, limit: 400)
        #expect(append("first", "i/a:0", to: letters))
        #expect(!append(String(repeating: "x", count: 400), "i/a:1", to: letters))
        let problem = try #require(letters.problem)
        #expect(problem.contains("dead_letters.bytes"), "\(problem)")
        #expect(append("first", "i/a:0", to: letters), "it is there already, so there is nothing to wait for")
        try RawFile.rename(path, to: path + ".1")
        letters.lookAgain()
        #expect(letters.problem == nil)
        #expect(append("second", "i/a:2", to: letters))
        #expect(try origins(path) == ["i/a:2"])
    }

    @Test("What a full disk took of a line is taken away again, and what a crash left of one is a line of its own")
    func torn() throws {
        let scratch = Scratch()
        let path = scratch.path("dead-letters.jsonl")
        _ = scratch.write("dead-letters.jsonl", "{\"half")
        var isFull = false
        let letters = try DeadLetterFile(
            path, limit: 1 << 20,
            writer: { (file, offset, bytes, path) throws(SystemError) in
                guard isFull else { return try RawFile.write(file, at: offset, bytes, path) }
                try RawFile.write(file, at: offset, UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)]), path)
                throw SystemError("write", path, code: ENOSPC)
            })
        #expect(append("first", "i/a:0", to: letters))
        let before = try #require(scratch.read("dead-letters.jsonl"))
        #expect(before.hasPrefix("{\"half\n{") && before.hasSuffix("}\n"))
        isFull = true
        for _ in 0..<2 {
            #expect(!append("second", "i/a:1", to: letters))
            #expect(letters.problem?.contains("no space left") ?? false)
            letters.lookAgain()
            #expect(scratch.read("dead-letters.jsonl") == before)
        }
        isFull = false
        #expect(append("second", "i/a:1", to: letters))
        _ = scratch.write(
            "dead-letters.jsonl", String(scratch.read("dead-letters.jsonl")?.dropFirst("{\"half\n".count) ?? ""))
        #expect(append("third", "i/a:2", to: letters))
        #expect(try origins(path) == ["i/a:0", "i/a:1", "i/a:2"])
    }

    @Test("Several are put there together, or none is")
    func together() throws {
        let scratch = Scratch()
        let path = scratch.path("dead-letters.jsonl")
        let letters = try DeadLetterFile(path, limit: 1000)
        func all(_ sizes: [Int]) -> [DeadLetterFile.Letter] {
            sizes.enumerated().map {
                .init(
                    line: Array(repeating: 0x78, count: $0.element), origin: "i/http/dead/\($0.offset)",
                    piece: (0, true))
            }
        }
        #expect(!letters.append(all([100, 2000]), reason: "a test"))
        #expect(try origins(path).isEmpty && letters.count == 0 && letters.problem != nil)
        #expect(letters.append(all([100, 200]), reason: "a test"))
        #expect(
            try origins(path) == ["i/http/dead/0", "i/http/dead/1"] && letters.count == 2 && letters.problem == nil)
    }

    @Test("Somebody may move the file away or empty it at any time")
    func emptied() throws {
        let scratch = Scratch()
        let path = scratch.path("dead-letters.jsonl")
        let letters = try DeadLetterFile(path, limit: 1 << 20)
        #expect(append("first", "i/a:0", to: letters))
        try RawFile.rename(path, to: path + ".1")
        #expect(append("second", "i/a:1", to: letters))
        #expect(try origins(path) == ["i/a:1"])
        let other = try RawFile.open(path, .createIfMissing)
        try RawFile.truncate(other, to: 0, path)
        RawFile.close(other)
        #expect(append("third", "i/a:2", to: letters))
        #expect(try origins(path) == ["i/a:2"])
    }
}
