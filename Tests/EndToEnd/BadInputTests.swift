import Provenance
import TestSupport
import Testing

/// One line on standard error that says what, where and what to do; the right exit code; nothing half-written.
@Suite("Bad input")
struct BadInputTests {
    private let colophon = Colophon()

    /// Each command line, its exit code, and parts of its one line. `@x` is a file of the fixture.
    static let cases: [(arguments: [String], code: Int32, parts: [String])] = [
        ([], 2, ["no command", "--help"]),
        (["trcae"], 2, ["unknown command \"trcae\"", "did you mean trace?"]),
        (["manifest"], 2, ["needs one of create, verify, show, diff"]),
        (["manifest", "creat"], 2, ["needs one of create, verify, show, diff"]),
        (["trace"], 2, ["INPUT is missing", "colophon trace --help"]),
        (["trace", ""], 2, ["nothing to trace"]),
        (["trace", "a", "b"], 2, ["unexpected \"b\"", "quotes"]),
        (["enrich", "x.log"], 2, ["unexpected \"x.log\"", "--files x.log", "< x.log"]),
        (["trace", "a", "--verify", "warn"], 2, ["unexpected \"warn\" after --verify"]),
        (
            ["trace", "a", "--manifests", "@empty", "--artifacts-root", "@missing"], 1,
            ["--artifacts-root", "is no directory"]
        ),
        (["index", "serach", "x"], 2, ["needs one of add, list, search, rebuild", "did you mean search?"]),
        (["index", "add", "@empty"], 4, ["no manifest is at or below", "empty"]),
        (["index", "rebuild"], 4, ["no ledger at"]),
        (["trace", "a", "--jsno"], 2, ["unknown option --jsno", "did you mean --json?"]),
        (["trace", "a", "--data-dir"], 2, ["--data-dir needs a value"]),
        (["trace", "a", "--data-dir", "--json"], 2, ["--data-dir needs a value"]),
        (["trace", "a", "--data-dir="], 2, ["--data-dir is empty"]),
        (["trace", "a", "--json=yes"], 2, ["--json takes no value"]),
        (["trace", "a", "--json", "--json"], 2, ["--json is given twice"]),
        (["trace", "a"], 4, ["no ledger at", "colophon index add", "--data-dir"]),
        (["trace", "a", "--manifests", "@missing"], 1, ["missing", "no such file", "check the path"]),
        (["trace", "a", "--manifests", "x", "--manifest", "y"], 2, ["exclude each other"]),
        (["trace", "a", "--manifest", "@array.json"], 1, ["array.json", "this is an array"]),
        (["history"], 4, ["no ledger at"]),
        (["history", "--at", "yesterday"], 2, ["--at takes a time with its zone", "yesterday"]),
        (["history", "--at", "2025-03-04T18:21"], 2, ["--at takes a time with its zone"]),
        (["history", "--limit", "0"], 2, ["--limit takes a number from 1 to 1000"]),
        (["history", "--after", "x"], 2, ["--after takes the number"]),
        (["index", "list", "--limit", "1001"], 2, ["--limit takes a number from 1 to 1000"]),
        (["index", "list"], 4, ["no ledger at"]),
        (["index", "search"], 2, ["TEXT… is missing"]),
        (["index", "search", " "], 2, ["no word"]),
        (["index", "search", "als", "ab"], 2, ["\"ab\" is too short"]),
        (["index", "add"], 2, ["PATH… is missing"]),
        (["index", "add", "@missing"], 1, ["missing", "no such file"]),
        (["index", "add", "@array.json"], 1, ["array.json", "this is an array"]),
        (["index", "add", "@binary.json"], 1, ["binary.json", "no valid JSON", "line 1, column 1"]),
        (["index", "add", "@large.json"], 1, ["large.json", "more than a manifest may have"]),
        (["index", "add", "@number.json"], 1, ["number.json: model_version: expected a string, found the number 7"]),
        (["index", "add", "@slash.json"], 1, ["slash.json: model_version", "holds / or .."]),
        (["index", "add", "@dots.json"], 1, ["dots.json: model_version", "holds / or .."]),
        (
            ["index", "add", "@tampered.json"], 1,
            ["tampered.json: manifest_sha256 is 51ac", "matches these contents in no known form", "--verify warn"]
        ),
        (["index", "add", "@unreadable.json"], 1, ["cannot read", "unreadable.json", "permission denied"]),
        (["index", "add", "@fifo"], 1, ["cannot read", "fifo", "not a regular file"]),
        (["index", "add", "@good.json", "--verify", "maybe"], 2, ["--verify takes strict, warn or off"]),
        (["index", "add", "@good.json", "--data-dir", "@good.json"], 1, ["good.json", "a directory is needed there"]),
        (["index", "rebuild", "@missing"], 1, ["missing", "no such file"]),
        (["manifest", "show"], 2, ["MANIFEST is missing"]),
        (["manifest", "show", "@missing"], 4, ["there is no file", "no ledger at"]),
        (["manifest", "show", "@empty"], 1, ["no manifest in", "model_manifest.json"]),
        (["manifest", "show", "@array.json"], 1, ["array.json", "this is an array"]),
        (["manifest", "show", "@large.json"], 1, ["16 MiB"]),
        (["manifest", "show", "@unreadable.json"], 1, ["permission denied"]),
        (["manifest", "show", "@nan.json"], 1, ["in hyperparameters.alpha", "NaN is no JSON number: write null"]),
        (["manifest", "verify", "@array.json"], 1, ["this is an array"]),
        (["manifest", "verify", "@missing"], 4, ["there is no file"]),
        (["manifest", "diff", "@good.json"], 2, ["A B is needed, and only", "good.json"]),
        (["manifest", "diff", "@good.json", "@tampered.json"], 1, ["tampered.json", "no known form"]),
        (["manifest", "create"], 2, ["--model-family is missing"]),
        (["manifest", "create", "--model-family", "als"], 2, ["--data is missing"]),
        (["manifest", "create", "--model-family", "als", "--data", "@missing"], 1, ["missing", "no such file"]),
        (["manifest", "create", "--model-family", "als", "--data", "@empty"], 1, ["empty", "it is a directory"]),
        (
            ["manifest", "create", "--model-family", "als", "--data", "@data.csv", "--artifact", "x"], 2,
            ["--artifact takes name=value"]
        ),
        (
            ["manifest", "create", "--model-family", "als", "--data", "@data.csv", "--artifact", "x=@missing"], 1,
            ["no such file"]
        ),
        (
            ["manifest", "create", "--model-family", "als", "--data", "@data.csv", "--model-version", "a/b"], 1,
            ["\"a/b\" holds / or .."]
        ),
        (["manifest", "create", "--model-family", "a/b", "--data", "@data.csv"], 1, ["holds / or .."]),
        (
            ["manifest", "create", "--model-family", "als", "--data", "@data.csv", "--profile", "user"], 2,
            ["--profile takes user=COLUMN"]
        ),
        (
            ["manifest", "create", "--model-family", "als", "--data", "@data.csv", "--profile", "user=nobody"], 1,
            ["no column \"nobody\"", "it has user_id, movie_id"]
        ),
        (
            ["manifest", "create", "--model-family", "als", "--data", "@data.csv", "--hyperparameters", "@array.json"],
            1, ["array.json", "hyperparameters are an object"]
        ),
        (
            ["manifest", "create", "--model-family", "als", "--data", "@data.csv", "--manifest-dir", "@good.json"], 1,
            ["good.json"]
        ),
    ]

    init() {
        let scratch = colophon.scratch
        scratch.write("fixture/array.json", "[1]")
        scratch.write("fixture/binary.json", bytes: [0xFF, 0xFE, 0x00])
        scratch.write("fixture/large.json", String(repeating: " ", count: 17 << 20))
        scratch.write("fixture/number.json", #"{"model_version":7}"#)
        scratch.write("fixture/slash.json", #"{"model_version":"a/b"}"#)
        scratch.write("fixture/dots.json", #"{"model_version":"a..b"}"#)
        scratch.write("fixture/nan.json", #"{"model_version":"v","hyperparameters":{"alpha":NaN}}"#)
        let digest = "51ac" + String(repeating: "0", count: 60)
        scratch.write("fixture/tampered.json", #"{"model_version":"v","manifest_sha256":"\#(digest)"}"#)
        scratch.write("fixture/good.json", #"{"model_version":"v"}"#)
        scratch.write("fixture/unreadable.json", #"{"model_version":"v"}"#)
        scratch.write("fixture/data.csv", "user_id,movie_id\n1,a\n")
        scratch.write("fixture/empty/not-a-manifest.txt", "")
        _ = Program.run(["mkfifo", scratch.path("fixture/fifo")])
        _ = Program.run(["chmod", "000", scratch.path("fixture/unreadable.json")])
        _ = Program.run(["chmod", "-R", "a+rX", scratch.directory])
        _ = Program.run(["chmod", "000", scratch.path("fixture/unreadable.json")])
    }

    @Test("each gets one line that says what, where and what to do, and leaves nothing behind")
    func explainsItself() {
        let scratch = colophon.scratch
        // Root reads everything, so the tests run the program as nobody where they can.
        let isRoot = Program.run(["id", "-u"]).output == "0\n"
        let asNobody = isRoot ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : []
        let home = scratch.path("home")
        _ = Program.run(["mkdir", "-m", "777", home])
        let before = Program.run(["find", scratch.path("fixture"), "-printf", "%p %s\n"]).output
        for (arguments, code, parts) in Self.cases {
            let words = arguments.map { word -> String in
                let halves = word.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
                return halves.count == 2 ? halves[0] + scratch.path("fixture/") + halves[1] : word
            }
            let result = Program.run(
                asNobody + [Program.colophonPath] + words,
                environment: ["HOME": home, "XDG_DATA_HOME": home, "COLOPHON_DATA_DIR": home + "/data"],
                in: scratch.directory)
            let shown = "colophon \(arguments.joined(separator: " ")): \(result.errors)"
            #expect(result.status == code, "\(shown)")
            #expect(
                result.output.isEmpty || code == 1 && result.output.contains("0 manifests"), "\(shown)\(result.output)")
            let complaints = result.complaints.filter { !$0.contains("no git commit was found") }
            #expect(complaints.count == 1 && complaints[0].hasPrefix("colophon: "), "\(shown)")
            for part in parts { #expect(result.errors.contains(part), "\(shown) lacks \(part)") }
        }
        #expect(Program.run(["find", scratch.path("fixture"), "-printf", "%p %s\n"]).output == before)
        #expect(colophon.run("trace", "v", "--data-dir", home + "/data").status == 4, "nothing was indexed")
    }

    @Test("one bad file among good ones is named, and the good ones are added")
    func addsTheGoodOnes() throws {
        let scratch = colophon.scratch
        for number in 0..<5 { scratch.write("mixed/\(number).json", bytes: try Specimen.manifest(number).bytes) }
        scratch.write("mixed/broken.json", "{\"model_version\":")
        scratch.write("mixed/user_map.json", "{\"1\":2}")
        scratch.write("mixed/notes.txt", "no JSON")
        scratch.write("mixed/.hidden.json", "{")
        let result = colophon.run("index", "add", scratch.path("mixed"), "--json")
        #expect(result.status == 1)
        #expect(result.complaints.count == 1 && result.errors.contains("mixed/broken.json: no valid JSON"))
        #expect(
            result.output.hasPrefix(#"{"added":5,"known":0,"pointers":0,"passed_over":1,"refused":1,"conflicts":0,"#))
        let again = colophon.run("index", "add", scratch.path("mixed"), "--json")
        #expect(
            again.output.hasPrefix(#"{"added":0,"known":5,"pointers":0,"passed_over":1,"refused":1,"conflicts":0,"#))
    }

    @Test("a manifest with a known digest and other bytes is a conflict, and the first one stays")
    func keepsTheFirst() throws {
        let manifest = try Specimen.manifest(1)
        let path = try colophon.write(1)
        #expect(colophon.run("index", "add", path).status == 0)
        colophon.scratch.write("other.json", " " + String(decoding: manifest.bytes, as: UTF8.self))
        let result = colophon.run("index", "add", colophon.scratch.path("other.json"))
        #expect(result.status == 3)
        #expect(result.errors.contains("its bytes differ"))
        #expect(colophon.run("manifest", "verify", "als-1").output.contains("ok"))
    }

    @Test("a tampered manifest is taken under its own digest when asked, and never called exact")
    func takesTamperedOnes() {
        let digest = "51ac" + String(repeating: "0", count: 60)
        let path = colophon.scratch.write("t.json", #"{"model_version":"v","manifest_sha256":"\#(digest)"}"#)
        #expect(colophon.run("index", "add", path, "--verify", "warn").status == 0)
        #expect(colophon.run("trace", "model_version=v").output.hasPrefix("inferred: "))
        #expect(colophon.run("trace", "manifest_sha256=\(digest)").status == 4)
        #expect(colophon.run("manifest", "verify", "v").status == 1)
        #expect(colophon.run("manifest", "verify", path).output.hasPrefix("changed"))
    }
}
