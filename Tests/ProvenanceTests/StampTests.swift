import Crypto
import Provenance
import TestSupport
import Testing

@Suite("Stamps")
struct StampTests {
    private static func manifest(_ values: ProvenanceValues<String>) throws -> Manifest {
        let document = JSONObject([
            .init("model_version", .optional(values.modelVersion)),
            .init(
                "pipeline",
                .object(
                    JSONObject([
                        .init("git_commit", .optional(values.pipelineCommit)),
                        .init("git_branch", .optional(values.pipelineBranch)),
                    ]))),
            .init("data", .object(JSONObject([.init("dataset_version", .optional(values.dataVersion))]))),
        ])
        return try Manifest.parse(JSONWriter.compact.bytes(.object(document)), hashing: SHA256.hash)
    }

    @Test("the manifest of the seed becomes the headers and the line of the seed")
    func rendersTheSeed() throws {
        let manifest = try ManifestTests.parse(ManifestTests.complete)
        let stamp = try Stamp(manifest)
        let digest = manifest.digest.hex
        #expect(
            String(decoding: stamp.headerBlock(.inferred), as: UTF8.self) == """
                X-Model-Version: als-20250304\r
                X-Pipeline-Commit: 80d8e56\r
                X-Data-Version: kafka-20250301\r
                X-Model-Manifest: \(digest)\r
                X-Model-Attribution: inferred\r\n
                """)
        #expect(
            String(decoding: stamp.logSuffix, as: UTF8.self)
                == ", model_version=als-20250304, pipeline_commit=80d8e56, pipeline_branch=main, "
                + "data_version=kafka-20250301, manifest_sha256=\(digest)")
        #expect(
            String(decoding: stamp.jsonMembers, as: UTF8.self)
                == #""model_version":"als-20250304","pipeline_commit":"80d8e56","pipeline_branch":"main","#
                + #""data_version":"kafka-20250301","manifest_sha256":"\#(digest)""#)
        #expect(
            String(decoding: stamp.logfmtPairs, as: UTF8.self)
                == "model_version=als-20250304 pipeline_commit=80d8e56 pipeline_branch=main "
                + "data_version=kafka-20250301 manifest_sha256=\(digest)")
        #expect(
            stamp.recordHeaders.map { "\($0.name)" }
                == ["model_version", "pipeline_commit", "pipeline_branch", "data_version", "manifest_sha256"])
    }

    @Test("headers can be renamed and switched off, and the commit can be longer")
    func followsConfiguration() throws {
        var names = StampHeaders()
        names.version = "X-My-Version"
        names.data = nil
        names.attribution = nil
        let stamp = try Stamp(try ManifestTests.parse(ManifestTests.complete), headers: names, commitLength: 12)
        let block = String(decoding: stamp.headerBlock(.exact), as: UTF8.self)
        #expect(block.hasPrefix("X-My-Version: als-20250304\r\nX-Pipeline-Commit: 80d8e56f5c1b\r\nX-Model-Manifest: "))
        #expect(!block.contains("X-Data") && !block.contains("Attribution"))
    }

    @Test("only what is surely a git hash is shortened")
    func shortensHashes() {
        #expect(Stamp.shortCommit(String(repeating: "a", count: 40)) == "aaaaaaa")
        #expect(Stamp.shortCommit(String(repeating: "B", count: 64)) == "BBBBBBB")
        #expect(Stamp.shortCommit(String(repeating: "a", count: 41)) == String(repeating: "a", count: 41))
        #expect(Stamp.shortCommit("release/2025-03") == "release/2025-03")
    }

    @Test("what a manifest does not say is left out, and so is an empty text")
    func leavesOutTheAbsent() throws {
        let manifest = try ManifestTests.parse(#"{"model_version":"v","pipeline":{"git_commit":""},"data":{}}"#)
        let stamp = try Stamp(manifest)
        #expect(
            String(decoding: stamp.logSuffix, as: UTF8.self) == ", model_version=v, manifest_sha256=\(manifest.digest)")
        #expect(stamp.leftOut.isEmpty)
    }

    @Test("a version that is too long once encoded is refused; another value is left out, and that is known")
    func boundsLengths() throws {
        let longest = String(repeating: "v", count: 256)
        #expect(throws: Never.self) { try Stamp(try ManifestTests.parse("{\"model_version\":\"\(longest)\"}")) }
        #expect(throws: StampError.self) { try Stamp(try ManifestTests.parse("{\"model_version\":\"\(longest)v\"}")) }
        // 86 characters, each of which takes three bytes.
        let commas = String(repeating: ",", count: 86)
        #expect(throws: StampError.self) { try Stamp(try ManifestTests.parse("{\"model_version\":\"\(commas)\"}")) }
        let huge = String(repeating: "d", count: 1 << 20)
        let stamp = try Stamp(
            try ManifestTests.parse("{\"model_version\":\"v\",\"data\":{\"dataset_version\":\"\(huge)\"}}"))
        #expect(stamp.leftOut == [.dataVersion])
        #expect(stamp.logSuffix.count < 200 && stamp.jsonMembers.count < 200 && stamp.headerBlock(.exact).count < 300)
    }

    // MARK: - Whatever a manifest holds

    private static let alphabet: [Unicode.Scalar] =
        Array("abz019-_.:;/\\ ,=\"%'{}[]\r\n\t\0\u{7F}\u{85}\u{2028}\u{FEFF}é€😀\u{301}".unicodeScalars)

    private static func text(_ chance: inout Chance) -> String {
        var text = ""
        for _ in 0..<Int.random(in: 1...12, using: &chance) {
            text.unicodeScalars.append(alphabet[Int.random(in: 0..<alphabet.count, using: &chance)])
        }
        return text
    }

    private static func values(_ chance: inout Chance) -> ProvenanceValues<String> {
        var values = ProvenanceValues<String>()
        for field in ProvenanceField.allCases where field != .manifestSHA256 {
            if field == .modelVersion || Bool.random(using: &chance) { values[field] = text(&chance) }
        }
        values.modelVersion = values.modelVersion.map { version in
            String(String.UnicodeScalarView(version.unicodeScalars.filter { $0 != "/" && $0 != "." })) + "v"
        }
        return values
    }

    private static func stamps(seed: UInt64, count: Int) throws -> [Stamp] {
        var chance = Chance(seed: seed)
        return try (0..<count).map { _ in try Stamp(try manifest(values(&chance))) }
    }

    private func check(_ facts: borrowing LineFacts, _ line: [UInt8], _ stamp: Stamp, _ format: LineFormat) {
        let shown = String(decoding: line, as: UTF8.self)
        #expect(facts.format == format && !facts.isRepeated, "\(shown)")
        for field in ProvenanceField.allCases {
            let read = facts.provenance[field].map { Array($0.text(line.span).utf8) }
            #expect(read == stamp.values[field].map { Array($0.utf8) }, "\(field) of \(shown)")
        }
    }

    @Test("a recommendation line says what the stamp says, and is still one line of its own fields")
    func survivesRecommendationLines() throws {
        let original = Array(
            "2025-03-04T18:21:03.219384Z,39157,recommendation request /recommend/39157, status 200, result: a,b,c, 42 ms"
                .utf8)
        for stamp in try Self.stamps(seed: 1, count: 2000) {
            let line = original + stamp.logSuffix
            let added = stamp.logSuffix
            #expect(added.allSatisfy { $0 >= 0x20 && $0 < 0x7F })
            #expect(added.count { $0 == UInt8(ascii: ",") } == stamp.recordHeaders.count)
            #expect(added.count { $0 == UInt8(ascii: "=") } == stamp.recordHeaders.count)
            check(LineReader.read(line.span), line, stamp, .recommendation)
        }
    }

    @Test("a text line says what the stamp says")
    func survivesTextLines() throws {
        for stamp in try Self.stamps(seed: 2, count: 1000) {
            let line = Array("the server said, a=1, that all is well".utf8) + stamp.logSuffix
            check(LineReader.read(line.span), line, stamp, .text)
        }
    }

    @Test("a JSON object has the members of the stamp, and those it had")
    func survivesJSONLines() throws {
        for stamp in try Self.stamps(seed: 3, count: 2000) {
            let line =
                Array(#"{"user":39157,"n":{"model_version":"nested"},"#.utf8) + stamp.jsonMembers + Array("}".utf8)
            let object = try #require(try JSONParser.parse(line).object)
            #expect(object.members.count == 2 + stamp.recordHeaders.count)
            check(LineReader.read(line.span), line, stamp, .json)
        }
    }

    @Test("a logfmt line has the pairs of the stamp, and those it had")
    func survivesLogfmtLines() throws {
        for stamp in try Self.stamps(seed: 4, count: 2000) {
            let line =
                Array("level=info msg=\"it said model_version=no\" ".utf8) + stamp.logfmtPairs + Array(" last=1".utf8)
            #expect(!stamp.logfmtPairs.contains { $0 < 0x20 })
            check(LineReader.read(line.span), line, stamp, .logfmt)
        }
    }

    @Test("a header block has one line for each value, and nothing else")
    func survivesHeaderBlocks() throws {
        for stamp in try Self.stamps(seed: 5, count: 2000) {
            let block = stamp.headerBlock(.exact)
            var facts = HeaderFacts()
            var lines = 0
            for line in block.split(separator: 0x0A) {
                #expect(line.last == 0x0D)
                // RFC 9110, 5.5: a field value is visible ASCII here, no more.
                #expect(line.dropLast().allSatisfy { $0 >= 0x20 && $0 < 0x7F })
                let bytes = Array(line.dropLast())
                let read = HeaderFacts.field(bytes.span)
                let field = try #require(read)
                facts.take(name: field.name.lowercased(), value: field.value)
                lines += 1
            }
            #expect(!facts.isRepeated && facts.attribution == "exact")
            #expect(lines == stamp.recordHeaders.count + 1 - (stamp.values.pipelineBranch == nil ? 0 : 1))
            for field in ProvenanceField.allCases where field != .pipelineBranch {
                #expect(facts.provenance[field].map { Array($0.utf8) } == stamp.values[field].map { Array($0.utf8) })
            }
        }
    }
}
