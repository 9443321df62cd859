import Crypto
import Ledger
import Provenance
import TestSupport
import Testing

@Suite("colophon trace")
struct TraceCommandTests {
    private let colophon = Colophon()

    init() throws {
        for number in 1...3 { _ = try colophon.write(number) }
        let added = colophon.run("index", "add", colophon.scratch.path("manifests"))
        #expect(added.status == 0 && added.output.hasPrefix("added 3 manifests  ("))
    }

    @Test("an answer for people has everything there is to tell")
    func answersPeople() throws {
        let manifest = try Specimen.manifest(1)
        let ledger = try Ledger.writing(colophon.dataDirectory, hashing: SHA256.hash)
        for (number, second) in [(1, 0), (2, 60), (1, 120)] {
            _ = try ledger.activate(
                try Specimen.manifest(number).digest, variant: "als_model",
                at: Instant(microseconds: 1_741_111_200_000_000 + Int64(second) * 1_000_000), cause: "pointer",
                actor: "inotify",
                instance: "default")
        }
        let result = colophon.run("trace", "als-1")
        #expect(result.status == 0)
        #expect(
            result.output == """
                exact: found by version
                  manifest   \(manifest.digest)
                  digest     RFC 8785 (JCS)
                  file       \(colophon.scratch.path("manifests/als-1.json"))
                  model      als als-1, trained 2025-03-04T18:12:55.100001Z
                  pipeline   commit \(manifest.pipeline.commit ?? "") on main
                  data       version kafka-20250301  data/interactions.csv
                             sha256 \(manifest.dataset.sha256?.hex ?? "")
                  artifact   als_model  m1.npz  1 byte
                             sha256 \(manifest.artifacts[0].sha256)
                  artifact   shared_map  map.json
                             sha256 \(manifest.artifacts[1].sha256)
                  live       als_model from 2025-03-04T18:02:00Z and still is
                  live       als_model from 2025-03-04T18:00:00Z until 2025-03-04T18:01:00Z

                """)
        let history = colophon.run("history")
        #expect(history.output.split(separator: "\n").count == 3)
        let at = colophon.run("history", "--at", "2025-03-04T18:01Z", "--json")
        let activations = try JSONParser.parse(at.output).object?["activations"]?.array
        #expect(activations?.count == 1 && activations?.first?.object?.text("model_version") == "als-2")
        #expect(activations?.first?.object?.text("until") == "2025-03-04T18:02:00Z")
        #expect(colophon.run("history", "--at", "2025-03-04T17:00Z").status == 4)
        #expect(colophon.run("history", "--variant", "other").status == 0)
        let line = "2025-03-04T18:01:45Z,1,recommendation request /r/1, status 200, variant=als_model, result: a, 9 ms"
        #expect(
            colophon.run("trace", line).output.hasPrefix(
                "inferred: found by variant and time in the recommendation line"))
    }

    @Test("JSON for machines says the same, one object for each input line, in order")
    func answersMachines() throws {
        var lines: [String] = []
        for number in 0..<5000 {
            let stamp = try Stamp(try Specimen.manifest(1 + number % 3))
            lines.append(
                "2025-03-04T18:21:03Z,\(number),recommendation request /r/\(number), status 200, result: a, 9 ms"
                    + String(decoding: stamp.logSuffix, as: UTF8.self))
        }
        let result = colophon.run("trace", "-", "--json", input: lines.joined(separator: "\r\n"))
        #expect(result.status == 0)
        let rows = result.output.split(separator: "\n")
        #expect(rows.count == 5000)
        for (number, row) in rows.enumerated() {
            let object = try #require(try JSONParser.parse(String(row)).object)
            #expect(object["line"].map(JSONWriter.compact.text) == "\(number + 1)")
            #expect(object.text("model_version") == "als-\(1 + number % 3)" && object.text("attribution") == "exact")
        }
        let mixed = colophon.run("trace", "-", "--json", input: "als-1\nnobody\nals-2\n")
        #expect(mixed.status == 4 && mixed.output.split(separator: "\n").count == 3 && mixed.errors.isEmpty)
    }

    @Test("answers come while the input is still open")
    func answersAtOnce() {
        let scratch = colophon.scratch
        _ = Program.run(["mkfifo", scratch.path("pipe")])
        // The shell holds the pipe open until the answer to its first line is there.
        let script = """
            "$0" trace - < pipe > out & exec 3> pipe; echo als-1 >&3
            until grep -q 'found by version' out; do sleep 0.01; done; exec 3>&-; wait $!
            """
        let result = Program.run(
            ["timeout", "60", "sh", "-c", script, Program.colophonPath],
            environment: ["COLOPHON_DATA_DIR": colophon.dataDirectory], in: scratch.directory)
        #expect(result.status == 0)
    }

    @Test("it works without a ledger, on a directory of manifests or on one of them")
    func needsNoLedger() throws {
        let none = ["COLOPHON_DATA_DIR": colophon.scratch.path("none")]
        let folder = colophon.scratch.path("manifests")
        let found = colophon.run("trace", "als-2", "--manifests", folder, environment: none)
        #expect(found.status == 0 && found.output.hasPrefix("exact: found by version"))
        #expect(found.output.contains("\(folder)/als-2.json"))
        let unknown = colophon.run("trace", "als-9", "--manifests", folder, environment: none)
        #expect(unknown.status == 4 && unknown.output.contains("the manifests below \(folder)"))
        let line = "2025-03-04T18:21:30Z,1,recommendation request /r/1, status 200, result: a, 9 ms"
        let active = colophon.run("trace", line, "--manifest", folder + "/als-3.json", environment: none)
        #expect(active.output.hasPrefix("inferred: ") && active.output.contains("als-3"))
        // Nothing was answered with it before it was trained.
        let before = line.replacing("18:21:30", with: "18:01:30")
        #expect(colophon.run("trace", before, "--manifest", folder + "/als-3.json", environment: none).status == 4)
        #expect(colophon.run("trace", line, "--manifests", folder, environment: none).status == 4)
    }

    @Test("--verify tells the state of every file")
    func verifies() throws {
        let scratch = colophon.scratch
        scratch.write("model.bin", "weights")
        scratch.write("map.json", "{}")
        scratch.write("data.csv", "a\n1\n")
        let created = colophon.run(
            "manifest", "create", "--model-family", "als", "--model-version", "v1", "--data", "data.csv", "--artifact",
            "model=model.bin", "--artifact", "map=map.json", "--manifest-dir", "run",
            environment: ["PIPELINE_GIT_COMMIT": "80d8e56", "PIPELINE_GIT_BRANCH": "main", "PIPELINE_GIT_DIRTY": "1"])
        #expect(created.status == 0 && created.errors.isEmpty)
        #expect(colophon.run("index", "add", "run").status == 0)
        let fine = colophon.run("trace", "v1", "--verify", "--json")
        #expect(try JSONParser.parse(fine.output).object?.flag("verified") == true)
        scratch.write("model.bin", "other weights")
        _ = Program.run(["rm", scratch.path("map.json")])
        let row = try #require(try JSONParser.parse(colophon.run("trace", "v1", "--verify", "--json").output).object)
        #expect(!row.flag("verified"))
        let artifacts = row["artifacts"]?.array?.compactMap { $0.object?.text("state") }
        #expect(artifacts == ["changed", "missing"] && row["data"]?.object?.text("state") == "ok")
        #expect(colophon.run("trace", "v1", "--verify").status == 1)
        let text = colophon.run("trace", "v1", "--verify").output
        #expect(text.contains("model  changed  model.bin") && text.contains("map  missing  map.json"))
        #expect(text.contains("commit 80d8e56 on main, with uncommitted changes"))
        #expect(colophon.run("manifest", "verify", "v1", "--skip-dataset").status == 1)
        scratch.write("model.bin", "weights")
        scratch.write("map.json", "{}")
        // Candidates that were not chosen are not hashed, and do not count.
        let rival = scratch.write(
            "rival.json",
            #"{"model_version":"v1","data":{"dataset_version":"other","dataset_path":"gone","dataset_sha256":"\#(String(repeating: "0", count: 64))"}}"#
        )
        scratch.write("model.bin", "weights")
        scratch.write("map.json", "{}")
        #expect(colophon.run("index", "add", rival).status == 0)
        let version = try #require(row["data"]?.object?.text("dataset_version"))
        let chosen = colophon.run("trace", "model_version=v1 data_version=\(version)", "--verify")
        #expect(chosen.status == 0, "\(chosen.output)")
        #expect(colophon.run("trace", "model_version=v1 data_version=other", "--verify").status == 1)
        // From anywhere: files are found from where the manifest lies, also above its `manifests/`.
        let elsewhere = colophon.run("manifest", "verify", row.text("manifest_sha256"), in: "/")
        #expect(elsewhere.status == 0, "\(elsewhere.output)")
        let verified = colophon.run("manifest", "verify", "run")
        #expect(verified.status == 0 && verified.output.hasSuffix("everything that has a hash is ok\n"))
    }

    @Test("a hostile manifest cannot write to a terminal or break a line")
    func escapesTerminals() throws {
        let path = colophon.scratch.write(
            "h.json", #"{"model_version":"v\u001b[2J\n\u202e","data":{"dataset_path":"a\nmanifest   fake"}}"#)
        #expect(colophon.run("index", "add", path).status == 0)
        for arguments in [
            ["trace", "--", "v\u{1B}[2J\n\u{202E}"], ["index", "list"], ["manifest", "show", path],
            ["index", "search", "[2J"],
            ["manifest", "diff", path, colophon.scratch.path("manifests/als-1.json")], ["manifest", "verify", path],
        ] {
            let result = colophon.run(arguments)
            #expect(
                !(result.output + result.errors).unicodeScalars.contains { $0 == "\u{1B}" || $0 == "\u{202E}" },
                "\(arguments)")
            #expect(!result.output.split(separator: "\n").contains("manifest   fake"))
        }
    }

    @Test("lists and searches page, and say when there is nothing")
    func lists() throws {
        let first = colophon.run("index", "list", "--limit", "2")
        #expect(first.output.split(separator: "\n").count == 3)
        let cursor = try #require(first.output.split(separator: " ").last.map { $0.filter(\.isNumber) })
        let rest = colophon.run("index", "list", "--limit", "2", "--after", String(cursor))
        #expect(rest.output.split(separator: "\n").count == 1)
        let json = try JSONParser.parse(colophon.run("index", "search", "kafka", "als-2", "--json").output).object
        #expect(json?["manifests"]?.array?.first?.object?.text("model_version") == "als-2")
        let none = colophon.run("index", "search", "nothing-like-this")
        #expect(none.status == 4 && none.output.isEmpty && none.errors.contains("nothing-like-this"))
    }

    @Test("two builds are compared by path")
    func compares() throws {
        let result = colophon.run("manifest", "diff", "als-1", colophon.scratch.path("manifests/als-2.json"))
        #expect(result.status == 0)
        #expect(result.output.contains("model_version") && result.output.contains("\"als-1\" → \"als-2\""))
        #expect(result.output.contains("artifacts.als_model.size_bytes"))
        let json = try JSONParser.parse(colophon.run("manifest", "diff", "als-1", "als-2", "--json").output).object
        let paths = json?["differences"]?.array?.compactMap { $0.object?.text("path") }
        #expect(paths?.contains("pipeline.git_commit") == true && paths?.contains("data.dataset_version") == false)
        #expect(colophon.run("manifest", "diff", "als-1", "als-1").output == "no difference\n")
        let shown = try JSONParser.parse(colophon.run("manifest", "show", "als-1", "--json").output)
        #expect(JSONWriter.compact.bytes(shown) == JSONWriter.compact.bytes(.object(try Specimen.manifest(1).document)))
    }
}
