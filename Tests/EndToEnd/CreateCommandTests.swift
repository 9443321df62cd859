import Provenance
import TestSupport
import Testing

@Suite("colophon manifest create")
struct CreateCommandTests {
    private let colophon = Colophon()

    private func manifest(_ path: String = "out/model_manifest.json") throws -> JSONObject {
        let text = try #require(colophon.scratch.read(path))
        return try #require(try JSONParser.parse(text).object)
    }

    @Test("the spellings of the seed work, and hyperparameters come from a file")
    func understandsTheSeed() throws {
        let scratch = colophon.scratch
        scratch.write("artifacts/m.npz", "weights")
        scratch.write("data.csv", "a\n1\n")
        scratch.write("h.json", #"{"rank":64,"alpha":1e-05}"#)
        let result = colophon.run(
            "manifest", "create", "--model_family", "als", "--model_version", "v1", "--data_version", "kafka-1",
            "--manifest_dir", "out", "--data_path", "data.csv", "--artifact_dir", "artifacts", "--artifact", "m=m.npz",
            "--hyperparameters", "h.json", "--hyperparameter", "note=", "--hyperparameter", "on=true",
            environment: ["PIPELINE_GIT_COMMIT": "80d8e56"])
        #expect(result.status == 0 && result.errors.isEmpty, "\(result.errors)")
        let document = try manifest()
        #expect(document.text("model_version") == "v1")
        #expect(document["data"]?.object?.text("dataset_version") == "kafka-1")
        #expect(document["artifacts"]?.object?["m"]?.object?.text("path") == "artifacts/m.npz")
        let parameters = try #require(document["hyperparameters"])
        #expect(JSONWriter.compact.text(parameters) == #"{"rank":64,"alpha":1e-05,"note":"","on":true}"#)
        #expect(colophon.run("manifest", "verify", "out").status == 0)
        #expect(scratch.read("out/manifests/v1.json") == scratch.read("out/model_manifest.json"))
    }

    @Test("git tells commit, branch and cleanliness; the environment comes first, and alone")
    func asksGit() throws {
        let scratch = colophon.scratch
        scratch.write("data.csv", "a\n1\n")
        let setup = """
            git init -q -b trunk && git add data.csv && git -c user.name=t -c user.email=t@t commit -q -m x && git rev-parse HEAD
            """
        let commit = Program.run(["sh", "-c", setup], in: scratch.directory).output.filter { !$0.isNewline }
        func pipeline(_ version: String, _ environment: [String: String] = [:]) throws -> String {
            let result = colophon.run(
                "manifest", "create", "--model-family", "als", "--model-version", version, "--data", "data.csv",
                "--manifest-dir", "out", environment: environment)
            #expect(result.status == 0, "\(result.errors)")
            let pipeline = try #require(try manifest()["pipeline"])
            return JSONWriter.compact.text(pipeline)
        }
        #expect(try pipeline("v1") == #"{"git_commit":"\#(commit)","git_branch":"trunk","git_dirty":"0"}"#)
        scratch.write("data.csv", "a\n2\n")
        #expect(try pipeline("v2") == #"{"git_commit":"\#(commit)","git_branch":"trunk","git_dirty":"1"}"#)
        #expect(
            try pipeline("v3", ["PIPELINE_GIT_COMMIT": "x"])
                == #"{"git_commit":"x","git_branch":null,"git_dirty":null}"#)
        let wrong = colophon.run(
            "manifest", "create", "--model-family", "als", "--data", "data.csv",
            environment: ["PIPELINE_GIT_DIRTY": "maybe"])
        #expect(wrong.status == 2 && wrong.errors.contains("write 0 or 1"))
    }

    @Test("trainers that race for a version and a pointer, all as process 1, leave whole files and one winner")
    func races() throws {
        let scratch = colophon.scratch
        scratch.write("data.csv", "a\n1\n")
        let script = """
            for i in 1 2 3 4 5 6; do
                unshare --map-root-user --pid --fork "$0" manifest create --model-family als --model-version v$((i % 2)) \\
                    --hyperparameter n=$((i / 4)) --data data.csv --manifest-dir out >out.$i 2>&1 &
                pids="$pids $!"
            done
            for pid in $pids; do wait $pid; echo $?; done
            """
        for _ in 0..<10 {
            let result = Program.run(["sh", "-c", script, Program.colophonPath], in: scratch.directory)
            let codes = result.output.split(separator: "\n")
            #expect(codes.count == 6 && codes.allSatisfy { $0 == "0" || $0 == "3" } && codes.contains("0"), "\(codes)")
            #expect(colophon.run("manifest", "show", "out").status == 0)
            for version in ["v0", "v1"] {
                #expect(colophon.run("manifest", "show", "out/manifests/\(version).json").status == 0)
            }
            #expect(
                Program.run(["sh", "-c", "ls -A out out/manifests | grep -c tmp"], in: scratch.directory).output
                    == "0\n")
            _ = Program.run(["rm", "-r", scratch.path("out")])
        }
    }
}

@Suite("colophon index")
struct IndexCommandTests {
    private let colophon = Colophon()

    @Test("odd directories are walked as far as they go, and what was not looked at is told")
    func walksOddDirectories() throws {
        let scratch = colophon.scratch
        scratch.write("tree/a/one.json", bytes: try Specimen.manifest(1).bytes)
        scratch.write("other/two.json", bytes: try Specimen.manifest(2).bytes)
        scratch.write("tree/big.json", String(repeating: " ", count: 17 << 20))
        let setup =
            "cd tree && ln -s loop loop && ln -s ../other linked && ln -s nowhere gone.json && cp a/one.json \"$(printf 'n\\377.json')\""
        #expect(Program.run(["bash", "-c", setup], in: scratch.directory).status == 0)
        let result = colophon.run("index", "add", "tree")
        #expect(result.status == 1 && result.output.hasPrefix("added 1 manifest, "), "\(result.output)\(result.errors)")
        for part in [
            "tree/loop", "tree/linked is a link to a directory, and not followed", "gone.json", "is it UTF-8?",
            "tree/big.json is larger",
        ] {
            #expect(result.errors.contains(part), "\(result.errors) lacks \(part)")
        }
    }

    @Test("a rebuild takes again what was taken with --verify warn")
    func rebuildsTheTampered() {
        let path = colophon.scratch.write("t.json", #"{"model_version":"v","manifest_sha256":"00"}"#)
        #expect(colophon.run("index", "add", path, "--verify", "warn").status == 0)
        let rebuilt = colophon.run("index", "rebuild")
        #expect(rebuilt.status == 0 && rebuilt.output.hasPrefix("derived 1 manifest again"), "\(rebuilt.errors)")
    }

    @Test("looking something up never makes or changes a ledger")
    func onlyLooks() {
        colophon.scratch.write("data/ledger.sqlite", "")
        for arguments in [["trace", "v"], ["index", "list"], ["history"], ["index", "rebuild"]] {
            #expect(colophon.run(arguments).status == 4)
            #expect(colophon.scratch.read("data/ledger.sqlite") == "")
        }
    }

    @Test("a read-only copy whose log has changes is refused, not read without them")
    func refusesUnreadableLogs() throws {
        let path = try colophon.write(1)
        #expect(colophon.run("index", "add", path).status == 0)
        let script = """
            sqlite3 data/ledger.sqlite '.dbconfig no_ckpt_on_close on' 'CREATE TABLE x (y)' >/dev/null
            mkdir copy && cp data/ledger.sqlite data/ledger.sqlite-wal copy && test -s copy/ledger.sqlite-wal || exit 99
            mount --bind copy copy && mount -o remount,ro,bind copy || exit 98
            "$0" trace als-1 --data-dir copy
            """
        let result = Program.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", script, Program.colophonPath],
            in: colophon.scratch.directory)
        #expect(
            result.status == 1 && result.errors.contains("has changes in its -wal file"),
            "\(result.status) \(result.errors)")
    }
}
