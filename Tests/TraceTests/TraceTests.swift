import Crypto
import Ledger
import Provenance
import Runtime
import TestSupport
import Testing
import Trace

@testable import colophon

/// A ledger with a few manifests and activations, and what is traced in it.
final class TraceFixture {
    let scratch = Scratch()
    let manifests: [Manifest]
    let ledger: Ledger
    let tracer: Tracer

    static let start = Instant("2025-03-04T18:00:00Z")?.microseconds ?? 0

    init() throws {
        // Two manifests share a commit, and two a version.
        let texts = [
            #"{"model_version":"als 3, \"x\"=1%","data":{"dataset_version":"é"}}"#,
            #"{"model_version":"twice","n":1}"#, #"{"model_version":"twice","n":2}"#,
        ]
        var manifests = try [1, 2].map { try Specimen.manifest($0, commit: String(repeating: "c0", count: 20)) }
        manifests += try texts.map { try Manifest.parse(Array($0.utf8), hashing: SHA256.hash) }
        let undeclared = #"{"model_version":"tampered","manifest_sha256":"00"}"#
        manifests.append(try Manifest.parse(Array(undeclared.utf8), verification: .warn, hashing: SHA256.hash))
        let ledger = try Ledger.writing(scratch.path("data"), hashing: SHA256.hash)
        try ledger.addAll(manifests) { manifest throws(LedgerError) in
            _ = try ledger.add(manifest, file: nil, at: Instant(microseconds: 1))
        }
        for (index, minute) in [0, 10, 20].enumerated() {
            _ = try ledger.activate(
                manifests[index % 2].digest, variant: "als_model",
                at: Instant(microseconds: Self.start + Int64(minute) * 60_000_000), cause: "pointer", actor: nil,
                instance: "default")
        }
        _ = try ledger.activate(
            manifests[2].digest, variant: "default", at: Instant(microseconds: Self.start), cause: "pointer",
            actor: nil,
            instance: "default")
        self.manifests = manifests
        self.ledger = ledger
        tracer = Tracer(LedgerIndex(ledger), verify: nil)
    }

    /// `status attribution found_by version` of the answers to `input`, one row each.
    func answers(_ input: String) throws -> [String] {
        try json(input).map { row in
            let status = row.text("status")
            let parts = [status, row.text("attribution"), row.text("found_by"), row.text("model_version")]
            return status == "found" ? parts.joined(separator: " | ") : parts[0]
        }
    }

    func json(_ input: String) throws -> [JSONObject] {
        var session = TraceSession(tracer, style: .json)
        var output: [UInt8] = []
        for line in Array(input.utf8).split(separator: 0x0A, omittingEmptySubsequences: false) {
            let line = Array(line)
            try session.take(line.span, to: &output)
        }
        try session.finish(to: &output)
        let rows = String(decoding: output, as: UTF8.self).split(separator: "\n")
        #expect(rows.count == session.answers)
        return try rows.map { try #require(try JSONParser.parse(String($0)).object) }
    }

    func answer(_ input: String) throws -> String { try answers(input).joined(separator: "\n") }

    func line(_ manifest: Manifest, time: String = "2025-03-04T18:05:00Z", variant: String = "als_model") throws
        -> String
    {
        let stamp = try Stamp(manifest)
        return "\(time),1,recommendation request /recommend/1, status 200, variant=\(variant), result: a, 42 ms"
            + String(decoding: stamp.logSuffix, as: UTF8.self)
    }
}

@Suite("Tracing")
struct TraceTests {
    private let fixture: TraceFixture
    private let one: Manifest

    init() throws {
        fixture = try TraceFixture()
        one = fixture.manifests[0]
    }

    @Test("of what lies ahead nobody knows what is active then")
    func knowsNoFuture() throws {
        let early = try #require(Instant("2025-03-04T18:04:00Z"))
        for (clock, expected) in [(early, "unknown"), (early.advanced(by: 60_000_000), "inferred")] {
            var session = TraceSession(Tracer(LedgerIndex(fixture.ledger), verify: nil, clock: { clock }), style: .json)
            var output: [UInt8] = []
            let line =
                "2025-03-04T18:05:00Z,7,recommendation request /recommend/7, status 200, variant=als_model, result: a, 4 ms"
            try session.take(Array(line.utf8).span, to: &output)
            try session.finish(to: &output)
            let answer = try #require(try JSONParser.parse(String(decoding: output, as: UTF8.self)).object)
            #expect(answer.text("attribution") == expected)
            #expect(answer.text("note").contains("ahead of this machine's clock") == (expected == "unknown"))
        }
    }

    @Test("what a stamp wrote is read back, for every manifest and in every place")
    func readsStamps() throws {
        for manifest in fixture.manifests {
            let stamp = try Stamp(manifest)
            let suffix = String(decoding: stamp.logSuffix, as: UTF8.self)
            let headers = String(decoding: stamp.headerBlock(.exact), as: UTF8.self)
            let places = [
                try fixture.line(manifest), "some text" + suffix,
                "{\"user\":1,\(String(decoding: stamp.jsonMembers, as: UTF8.self))}",
                "level=info \(String(decoding: stamp.logfmtPairs, as: UTF8.self))", "HTTP/1.1 200 OK\r\n\(headers)",
                String(headers),
            ]
            // A manifest that declares another digest than it has is never claimed to be exact.
            let sure = manifest.isDigestVerified ? "exact" : "inferred"
            for place in places {
                for _ in 0..<2 {
                    let found = try fixture.answer(place)
                    #expect(found == "found | \(sure) | manifest_sha256 | \(manifest.version)", "\(place)")
                }
            }
        }
    }

    @Test("names lead to their manifest: digests, prefixes, versions, commits, data versions, hashes")
    func findsNames() throws {
        let digest = one.digest.hex
        #expect(try fixture.answer(digest) == "found | exact | digest | als-1")
        #expect(try fixture.answer(digest.uppercased()) == "found | exact | digest | als-1")
        #expect(try fixture.answer(String(digest.prefix(8))) == "found | exact | digest prefix | als-1")
        #expect(try fixture.answer("als-2") == "found | exact | version | als-2")
        #expect(try fixture.answer("als 3, \"x\"=1%") == "found | exact | version | als 3, \"x\"=1%")
        #expect(try fixture.answer("é") == "found | exact | data version | als 3, \"x\"=1%")
        #expect(try fixture.answer(one.artifacts[0].sha256.hex) == "found | exact | artifact hash | als-1")
        #expect(try fixture.answer("  als-2\t") == "found | exact | version | als-2")
    }

    @Test("what names several manifests lists them")
    func listsCandidates() throws {
        for text in ["twice", "c0c0c0c0", "kafka-20250301", one.artifacts[1].sha256.hex, "model_version=twice"] {
            let row = try #require(try fixture.json(text).first)
            #expect(row.text("status") == "ambiguous", "\(text)")
            #expect(row["candidates"]?.array?.count == 2, "\(text)")
            #expect(row["more"].map(JSONWriter.compact.text) == "false")
        }
    }

    @Test("several manifests of a version are told apart by what else the line says")
    func narrowsCandidates() throws {
        let digest = fixture.manifests[3].digest.hex
        #expect(
            try fixture.answer("model_version=twice manifest_sha256=\(digest)")
                == "found | exact | manifest_sha256 | twice")
        #expect(
            try fixture.answer("model_version=als-1 pipeline_commit=c0c0c0c")
                == "found | exact | model_version | als-1")
    }

    @Test("what is not known is said to be unknown, and why")
    func admitsIgnorance() throws {
        let unknowns: [(input: String, reason: String)] = [
            ("user said hi, model_version=als-1", "has no whole stamp around it"),
            (
                "2025-03-04T17:05:00Z,1,recommendation request /r/1, 5 ms, model_version=als-1, manifest_sha256=\(one.digest)",
                "stands where anybody may have written it"
            ),
            ("{\"model_version\":\"als-1\",\"manifest_sha256\":5}", "is no text"),
            ("8", "give at least 6 digits"),
            ("c0c0c", "give at least 6 digits"),
            ("als-99", "\"als-99\" is no version, digest, commit, data version or hash in the ledger"),
            ("51ac", "give at least 6 digits"),
            ("manifest_sha256=\(String(repeating: "0", count: 64))", "is not in the ledger"),
            ("manifest_sha256=xyz", "the manifest \"xyz\" is not in"),
            ("X-Model-Version: als-99", "the version als-99 is not in"),
            (
                "HTTP/1.1 200 OK\nServer: x",
                "bear no stamp, and no request id that Colophon minted: was the server asked past the proxy?"
            ),
            ("a line that says nothing", "names no manifest"),
            ("{\"a\":1}", "names no manifest"),
            ("{\"a\":", "begins like JSON and is none: column 6: expected a value, found the end of the text"),
            ("{\"model_version\":\"a\",\"model_version\":\"als-1\"}", "stands twice"),
            ("request_id=something-else", "was not minted with a manifest"),
            ("01JNGZ7R2M3N4P5Q6R7S8T9V0W", "was not minted with a manifest"),
            ("01JNGZ7R2M3N4P5Q6R7S8T9V0W-0123456789ab", "begins with 0123456789ab"),
            ("pipeline_branch=main", "a branch alone is not in"),
            // An id that was minted names a manifest, known or not: then time is no better.
            (
                "time=2025-03-04T18:05:00Z variant=als_model request_id=01JNGZ7R2M3N4P5Q6R7S8T9V0W-0123456789ab",
                "begins with 0123456789ab"
            ),
            (
                "2025-03-04T18:05:00Z recommendation request done, request_id=01JNGZ7R2M3N4P5Q6R7S8T9V0W-0123456789ab",
                "stands where anybody may have written it"
            ),
            (
                "2025-03-04T17:59:00Z,1,recommendation request /r/1, status 200, variant=als_model, result: a, 1 ms",
                "no activation of the variant als_model at 2025-03-04T17:59:00Z"
            ),
            (
                "2025-03-04T18:05:00Z,1,recommendation request /r/1, status 200, variant=other, result: a, 1 ms",
                "no activation of the variant other"
            ),
        ]
        for (input, reason) in unknowns {
            let rows = try fixture.json(input)
            #expect(rows.count == 1 && rows[0].text("status") == "unknown", "\(input)")
            #expect(rows[0].text("reason").contains(reason), "\(input): \(rows[0].text("reason"))")
        }
    }

    @Test("a stamp that stands where anybody may have written it counts as far as variant and time say the same")
    func distrustsStampsWithoutDuration() throws {
        let cut = "2025-03-04T18:05:00Z,1,recommendation request /r/1, status 200, variant=als_model, result: a"
        func stamped(_ manifest: Manifest) -> String {
            "\(cut), model_version=\(manifest.version), manifest_sha256=\(manifest.digest)"
        }
        #expect(try fixture.answer(stamped(one)) == "found | inferred | variant and time | als-1")
        let forged = try #require(try fixture.json(stamped(fixture.manifests[1])).first)
        #expect(forged.text("status") == "unknown" && forged.text("reason").contains("do not bear it out"))
    }

    @Test("fields that contradict one another are unknown, whichever of them is wrong")
    func noticesContradictions() throws {
        let line = try fixture.line(one)
        #expect(try fixture.answer(line) == "found | exact | manifest_sha256 | als-1")
        let changes = [
            ("model_version=als-1", "model_version=als-2"), ("pipeline_commit=c0c0c0c", "pipeline_commit=1234567"),
            ("pipeline_branch=main", "pipeline_branch=dev"), ("data_version=kafka-20250301", "data_version=kafka"),
            ("manifest_sha256=\(one.digest)", "manifest_sha256=\(fixture.manifests[1].digest)"),
        ]
        for (from, to) in changes {
            let changed = line.split(separator: from, omittingEmptySubsequences: false).joined(separator: to)
            #expect(changed != line)
            let row = try #require(try fixture.json(changed).first)
            #expect(row.text("status") == "unknown" && row.text("reason").contains("contradiction"), "\(changed)")
        }
        // A longer commit than ours is the same commit.
        let longer = line.split(separator: "pipeline_commit=c0c0c0c").joined(separator: "pipeline_commit=c0c0c0c0c0c0")
        #expect(try fixture.answer(longer) == "found | exact | manifest_sha256 | als-1")
    }

    @Test("an answer is never surer than the sidecar was", arguments: Attribution.allCases)
    func keepsWeakerWords(_ word: Attribution) throws {
        let line = try fixture.line(one) + ", attribution=\(word.rawValue)"
        let headers = String(decoding: try Stamp(one).headerBlock(word), as: UTF8.self)
        for place in [line, headers, "{\"manifest_sha256\":\"\(one.digest)\",\"attribution\":\"\(word.rawValue)\"}"] {
            for _ in 0..<2 {
                #expect(try fixture.answer(place) == "found | \(word.rawValue) | manifest_sha256 | als-1")
            }
        }
        #expect(
            try fixture.answer(try fixture.line(one) + ", attribution=certain")
                == "found | unknown | manifest_sha256 | als-1")
    }

    @Test("a request id leads to the manifest at admission, and contradicts a stamp of another")
    func readsRequestIDs() throws {
        func minted(_ time: String) throws -> String {
            ULID.text(try #require(Instant("2025-03-04T\(time)Z")), (1, 2)) + "-\(one.digest.short)"
        }
        let id = try minted("18:05:00")
        #expect(try fixture.answer(id) == "found | inferred | request id | als-1")
        // By the ledger another one was live then: one of the two is not quite right.
        #expect(try fixture.answer(try minted("18:15:00")) == "found | mixed | request id | als-1")
        #expect(try fixture.answer("X-Request-Id: \(id)") == "found | inferred | request id | als-1")
        #expect(try fixture.answer("{\"request_id\":\"\(id)\"}") == "found | inferred | request id | als-1")
        #expect(
            try fixture.answer("X-Request-Id: \(id)\nX-Model-Manifest: \(one.digest)")
                == "found | exact | manifest_sha256 | als-1")
        #expect(
            try fixture.answer("X-Request-Id: \(id)\nX-Model-Manifest: \(fixture.manifests[1].digest)")
                == "found | mixed | manifest_sha256 | als-2")
    }

    @Test(
        "a line without provenance belongs to what was live then, and near an activation to either",
        arguments: [
            ("18:05:00", 1, "found | inferred | variant and time | als-1"),
            ("18:15:00", 1, "found | inferred | variant and time | als-2"),
            ("18:59:00", 1, "found | inferred | variant and time | als-1"),
            ("18:10:00.900000", 1, "found | mixed | variant and time | als-2"),
            ("18:09:59.200000", 1, "found | mixed | variant and time | als-1"),
            // The model server may still have spoken with the one before, for as long as attribution.settle says.
            ("18:10:29.900000", 1, "found | mixed | variant and time | als-2"),
            ("18:10:30.100000", 1, "found | inferred | variant and time | als-2"),
            ("18:10:30.500000", 31_000, "found | mixed | variant and time | als-2"),
            // The first one has nothing to settle.
            ("18:00:00.500000", 1, "found | mixed | variant and time | als-1"),
            ("18:00:01.500000", 1, "found | inferred | variant and time | als-1"),
        ])
    func findsByTime(_ time: String, _ milliseconds: Int, _ expected: String) throws {
        let line =
            "2025-03-04T\(time)Z,1,recommendation request /r/1, status 200, variant=als_model, result: a, \(milliseconds) ms"
        #expect(try fixture.answer(line) == expected)
        let json = "{\"ts\":\"2025-03-04T\(time)\",\"variant\":\"als_model\",\"duration_ms\":\(milliseconds)}"
        #expect(try fixture.answer(json) == expected)
    }

    @Test("a digest that stands where no server writes it is not read, and that is said, whatever time says")
    func tellsOfUnreadDigest() throws {
        func line(_ items: String) -> String {
            "2025-03-04T18:05:00Z,1,recommendation request /r/1, status 200, variant=als_model\(items), result: a, 1 ms"
        }
        let plain = try #require(try fixture.json(line("")).first)
        #expect(!plain.text("note").contains("manifest_sha256"))
        let found = try #require(try fixture.json(line(", manifest_sha256=\(fixture.manifests[1].digest.hex)")).first)
        #expect(found.text("model_version") == "als-1" && found.text("attribution") == "inferred")
        #expect(found.text("note").hasSuffix("not where a server writes it: at the end, after \", <n> ms\""))
        // Where a server that writes JSON would write it is another matter.
        let json = "{\"ts\":\"2025-03-04T18:05:00\",\"variant\":\"als_model\",\"msg\":\"manifest_sha256=ab\"}"
        let other = try #require(try fixture.json(json).first)
        #expect(other.text("attribution") == "inferred" && !other.text("note").contains("manifest_sha256"))
    }

    @Test("a line that names no variant is the default variant's")
    func takesTheDefaultVariant() throws {
        let line = "2025-03-04T18:05:00Z,1,recommendation request /r/1, status 200, result: a, 1 ms"
        #expect(try fixture.answer(line) == "found | inferred | variant and time | als 3, \"x\"=1%")
    }

    @Test("every file of lines is answered in order, one answer for each line or block")
    func answersInOrder() throws {
        let headers = String(decoding: try Stamp(one).headerBlock(.inferred), as: UTF8.self)
        let input = """
            als-2

            HTTP/1.1 100 Continue\r
            \r
            HTTP/1.1 200 OK\r
            Date: Tue, 04 Mar 2025 18:00:00 GMT\r
            \(headers)\r
            a body, with X-Model-Version: als-2
            als-1
            HTTP/2 200
            x-model-version: als-2

            body
            """
        let rows = try fixture.json(input)
        #expect(rows.map { $0.text("model_version") } == ["als-2", "als-1", "als-2"])
        #expect(rows.map { $0["line"].map(JSONWriter.compact.text) } == ["1", "5", "15"])

        let bare = """
            X-Model-Version: als-1
            X-Model-Version: als-2
            als-1
            X-Model-Manifest: \(one.digest)

            als-2
            """
        #expect(
            try fixture.json(bare).map { $0.text("model_version") } == ["als-1", "als-2", "als-1", "als-1", "als-2"])
    }

    @Test("headers are found in what browsers record, on one line or many")
    func readsRecordedHeaders() throws {
        let list = #"[{"name":"Server","value":"x"},{"name":"x-model-manifest","value":"\#(one.digest)"}]"#
        let entry =
            #"{"request":{"headers":[{"name":"X-Model-Version","value":"no"}]},"response":{"status":200,"headers":\#(list)}}"#
        for text in [list, "{\"headers\":\(list)}", entry] {
            #expect(try fixture.answer(text) == "found | exact | manifest_sha256 | als-1")
            let pretty = JSONWriter.pretty.text(try JSONParser.parse(text))
            #expect(try fixture.answers("als-2\n\(pretty)\nals-2").count == 3)
            #expect(try fixture.answers(pretty) == ["found | exact | manifest_sha256 | als-1"])
        }
    }

    /// Lines that may look like the beginning of something longer, and are not.
    static let openers = [
        "{", "[", "{\"a\":", "[1,", "my-app: start", "warning: disk low", "server: up", "HTTP/1.1 server listening",
        "X-Something: else", "Date: today",
    ]

    @Test(
        "a line that only looks like the beginning of a block or a document costs no other its answer",
        arguments: openers)
    func answersEveryLine(_ opener: String) throws {
        let line = try fixture.line(one)
        let rows = try fixture.json(([opener] + Array(repeating: line, count: 3) + ["als-2"]).joined(separator: "\n"))
        #expect(rows.map { $0["line"].map(JSONWriter.compact.text) } == ["1", "2", "3", "4", "5"])
        #expect(rows.map { $0.text("model_version") } == ["", "als-1", "als-1", "als-1", "als-2"])
    }

    @Test("a body says nothing, whatever is in it")
    func ignoresBodies() throws {
        let body = "hello\nHTTP/1.1 200 OK\nX-Model-Version: als-1\n\n\(try fixture.line(one))\n"
        let head = "HTTP/1.1 200 OK\nContent-Length: \(body.utf8.count)\nX-Model-Version: als-2\n\n"
        #expect(try fixture.answers(head + body) == ["found | exact | model_version | als-2"])
        #expect(
            try fixture.answers(head + body + "als-1") == [
                "found | exact | model_version | als-2", "found | exact | version | als-1",
            ])
        // Answers to HEAD have a length and no body.
        #expect(try fixture.answers(head + head).count == 2)
    }

    @Test("a whole HAR file gets an answer for each of its responses")
    func readsHARFiles() throws {
        let entry = { (version: String) in
            #"{"response":{"headers":[{"name":"X-Model-Version","value":"\#(version)"}]}}"#
        }
        let har = #"{"log":{"entries":[\#(entry("als-1")),\#(entry("als-2"))]}}"#
        for text in [har, JSONWriter.pretty.text(try JSONParser.parse(har)), "   " + har] {
            #expect(try fixture.answers(text).map { $0.suffix(5) } == ["als-1", "als-2"])
        }
    }

    @Test("a version that is also the beginning of a digest is ambiguous")
    func noticesShadowing() throws {
        let shadow = try Manifest.parse(
            Array("{\"model_version\":\"\(one.digest.short)\"}".utf8), hashing: SHA256.hash)
        try fixture.ledger.addAll([shadow]) { manifest throws(LedgerError) in
            _ = try fixture.ledger.add(manifest, file: nil, at: Instant(microseconds: 1))
        }
        #expect(try fixture.answer(one.digest.short) == "ambiguous")
        #expect(try fixture.answer(one.digest.hex) == "found | exact | digest | als-1")
    }

    @Test("a manifest whose digest is not the declared one is never exact, by whatever name")
    func doubtsTheUndeclared() throws {
        let tampered = fixture.manifests[5]
        for name in ["tampered", tampered.digest.hex, tampered.digest.short, "model_version=tampered"] {
            #expect(try fixture.answer(name).hasPrefix("found | inferred | "), "\(name)")
        }
    }

    @Test("of many manifests of one version, what else the line says decides among all of them")
    func comparesMany() throws {
        let texts = (0..<60).map { #"{"model_version":"same","n":\#($0),"data":{"dataset_version":"d\#($0 % 50)"}}"# }
        let manifests = try texts.map { try Manifest.parse(Array($0.utf8), hashing: SHA256.hash) }
        try fixture.ledger.addAll(manifests) { manifest throws(LedgerError) in
            _ = try fixture.ledger.add(manifest, file: nil, at: Instant(microseconds: 1))
        }
        for number in 0..<50 {
            let expected = number < 10 ? "ambiguous" : "found | exact | model_version | same"
            #expect(try fixture.answer("model_version=same data_version=d\(number)") == expected, "d\(number)")
        }
        #expect(try fixture.answer("model_version=same data_version=d50") == "unknown")
        #expect(try fixture.answer("same") == "ambiguous")
    }

    @Test("a ledger that changes while lines come in is asked again")
    func noticesChanges() throws {
        var session = TraceSession(fixture.tracer, style: .json)
        func answer() throws -> String {
            var output: [UInt8] = []
            try session.refresh()
            try session.take(Array("model_version=als-9".utf8).span, to: &output)
            return try JSONParser.parse(output).object?.text("status") ?? ""
        }
        #expect(try answer() == "unknown")
        let other = try Ledger.writing(fixture.scratch.path("data"), hashing: SHA256.hash)
        try other.addAll([try Specimen.manifest(9)]) { manifest throws(LedgerError) in
            _ = try other.add(manifest, file: nil, at: Instant(microseconds: 1))
        }
        #expect(try answer() == "found")
    }

    @Test("no input makes it stumble, and what it prints is clean")
    func survivesRubbish() throws {
        var chance = Chance(seed: 9)
        let seeds = [
            try fixture.line(one), "HTTP/1.1 200 OK", "X-Model-Version: als-1", "{\"model_version\":\"als-1\"}", "{",
            "[", "}", "",
            "als-1", one.digest.hex, "a=b c=\"d\"",
        ]
        for _ in 0..<3000 {
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 1...4, using: &chance) {
                bytes += seeds[Int.random(in: 0..<seeds.count, using: &chance)].utf8
                if Bool.random(using: &chance) { bytes.append(0x0A) }
            }
            for _ in 0..<Int.random(in: 0...3, using: &chance) where !bytes.isEmpty {
                bytes[Int.random(in: 0..<bytes.count, using: &chance)] = UInt8.random(in: 0...255, using: &chance)
            }
            var session = TraceSession(
                fixture.tracer, style: Bool.random(using: &chance) ? .json : .text(numbered: true))
            var output: [UInt8] = []
            for line in bytes.split(separator: 0x0A, omittingEmptySubsequences: false) {
                let line = Array(line)
                try session.take(line.span, to: &output)
            }
            try session.finish(to: &output)
            #expect(String(validating: output, as: UTF8.self) != nil)
            // What is shown to people cannot move their cursor.
            #expect(!output.contains { $0 < 0x20 && $0 != 0x0A })
        }
    }
}
