import Provenance
import Runtime
import TestSupport
import Testing

@testable import Enrichment

/// What `colophon enrich < in > out` writes, as a file has it afterwards.
@Suite("From one descriptor to another")
struct FilterTests {
    /// What becomes of `input`, which comes in pieces of lots of sizes.
    private static func run(
        _ input: [UInt8], _ settings: LineEnricher.Settings, limit: Int, _ chance: inout Chance
    ) throws -> [UInt8] {
        let scratch = Scratch()
        let path = scratch.path("out")
        let output = try RawFile.openLines(path)
        defer { RawFile.close(output) }
        let enricher = LineEnricher(settings, LineAttributor.kept(try LineTests.index()))
        var filter = LineFilter(enricher, from: -1, to: output, named: path, lineLimit: limit)
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, input.count), alignment: 8)
        defer { bytes.deallocate() }
        bytes.copyBytes(from: input)
        var start = 0
        while start < input.count {
            let end = min(input.count, start + 1 + chance.draw(chance.percent(30) ? 3 : 70_000))
            try filter.take(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
            start = end
        }
        try filter.finish()
        return try #require(try Files.read(path, limit: 1 << 30))
    }

    private static func commonPrefix(_ left: ArraySlice<UInt8>, _ right: ArraySlice<UInt8>) -> Int {
        zip(left, right).prefix { $0 == $1 }.count
    }

    @Test("every line comes out once, in order, and every byte of it: what is more stands in one place")
    func changesNothing() throws {
        var chance = Chance(seed: Seeds.some(1)[0])
        for round in 0..<40 {
            var lines: [[UInt8]] = []
            for _ in 0..<chance.draw(200) {
                var line = LineTests.line(&chance)
                // Some longer than the buffer, and some than the limit.
                if chance.percent(3) { line += Array(repeating: 0x78, count: chance.draw(300_000)) }
                if chance.percent(10) { line += Array(repeating: 0x79, count: chance.draw(3000)) }
                lines.append(line)
            }
            var input = Array(lines.joined(separator: [0x0A]))
            let isEnded = chance.percent(50)
            if isEnded, !lines.isEmpty { input.append(0x0A) }
            var settings = LineEnricher.Settings()
            settings.match = round % 2 == 0 ? .all : .recommendation
            let limit = round % 3 == 0 ? 200_000 : 2000
            let output = try Self.run(input, settings, limit: limit, &chance)
            #expect((output.last == 0x0A) == (input.last == 0x0A))
            var written = output.split(separator: 0x0A, omittingEmptySubsequences: false)
            if written.last?.isEmpty ?? false, isEnded || lines.last?.isEmpty ?? true { written.removeLast() }
            if !isEnded, lines.last?.isEmpty ?? false { lines.removeLast() }
            #expect(written.count == lines.count)
            for (line, text) in zip(lines, written) {
                let before = Self.commonPrefix(line[...], text)
                let after = Self.commonPrefix(ArraySlice(line.reversed()), ArraySlice(text.reversed()))
                #expect(
                    text.count >= line.count && before + after >= line.count,
                    "\(String(decoding: line.prefix(300), as: UTF8.self))")
                if line.count > limit { #expect(text.count == line.count) }
            }
        }
    }

    @Test("what is left out is left out whole, and what is too long to be looked at is not")
    func leavesOut() throws {
        var settings = LineEnricher.Settings()
        settings.unmatched = .drop
        var chance = Chance(seed: 1)
        let long = String(repeating: "x", count: 300)
        let output = try Self.run(Array("a\n\(LineTests.seed)\n\(long)\nb".utf8), settings, limit: 200, &chance)
        #expect(String(decoding: output, as: UTF8.self) == "\(LineTests.seed)\(try LineTests.suffix(1))\n\(long)\n")
    }
}
