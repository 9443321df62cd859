import Crypto
import Glibc
import Ledger
import Provenance
import TestSupport
import Testing

/// What a ledger must survive: other writers, sudden death, full and read-only disks.
@Suite("Robustness")
struct RobustnessTests {
    private let colophon = Colophon()

    private func writeManifests(_ numbers: Range<Int>, _ folder: String) throws {
        for number in numbers {
            colophon.scratch.write("\(folder)/als-\(number).json", bytes: try Specimen.manifest(number).bytes)
        }
    }

    private func start(_ arguments: [String], _ name: String) -> pid_t {
        Program.start(
            [Program.colophonPath] + arguments, output: colophon.scratch.path(name + ".out"),
            errors: colophon.scratch.path(name + ".err"), environment: ["COLOPHON_DATA_DIR": colophon.dataDirectory],
            in: colophon.scratch.directory)
    }

    private func integrity() -> String {
        Program.run(["sqlite3", colophon.dataDirectory + "/ledger.sqlite", "PRAGMA integrity_check"]).output
    }

    @Test("two processes that index at once, while a third reads, all succeed, and nothing is lost")
    func sharesTheLedger() throws {
        try writeManifests(0..<1500, "a")
        try writeManifests(1000..<2500, "b")
        let writers = ["a", "b"].map { start(["index", "add", colophon.scratch.path($0)], $0) }
        var seen = 0
        while seen < 2500 {
            let result = colophon.run("index", "list", "--limit", "1", "--json")
            // Until the first of them has made it, there is no ledger.
            #expect(result.status == 0 || result.errors.contains("there is no ledger"), "\(result.errors)")
            if writers.allSatisfy(Program.hasEnded) { seen = 2500 }
        }
        for (writer, name) in zip(writers, ["a", "b"]) {
            #expect(Program.wait(for: writer) == 0, "\(colophon.scratch.read(name + ".err") ?? "")")
        }
        #expect(try Ledger.reading(colophon.dataDirectory, hashing: SHA256.hash).count() == 2500)
        #expect(integrity() == "ok\n")
    }

    @Test(
        "killed at any instant, the ledger holds whole batches, and the same command finishes the work",
        arguments: 0..<8)
    func survivesKilling(_ round: Int) throws {
        try writeManifests(0..<1200, "m")
        let ledger = colophon.dataDirectory + "/ledger.sqlite"
        let pid = start(["index", "add", colophon.scratch.path("m")], "killed")
        // Each round lets it come further: to some size of the ledger and its log, and then it dies.
        let size = round * 300_000
        while !Program.hasEnded(pid), written(ledger) + written(ledger + "-wal") < size {
            Program.pause(microseconds: 100)
        }
        kill(pid, SIGKILL)
        _ = Program.wait(for: pid)
        if Scratch.bytes(of: ledger) != nil { #expect(integrity() == "ok\n") }
        if let opened = try? Ledger.reading(colophon.dataDirectory, hashing: SHA256.hash) {
            let count = try opened.count()
            #expect(count % 256 == 0 || count == 1200, "\(count) manifests are no whole batches")
            #expect(try opened.search(["als"], after: nil, limit: 1000).items.count == min(1000, count))
        }
        #expect(colophon.run("index", "add", colophon.scratch.path("m")).status == 0)
        #expect(try Ledger.reading(colophon.dataDirectory, hashing: SHA256.hash).count() == 1200)
        #expect(integrity() == "ok\n")
    }

    private func written(_ path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) : 0
    }

    @Test(
        "killed at any instant, making a manifest leaves the old pointer or the new one, and whole files",
        arguments: 0..<12)
    func survivesKillingCreation(_ round: Int) throws {
        let scratch = colophon.scratch
        scratch.write("data.csv", "a\n1\n")
        func create(_ version: String) -> [String] {
            [
                "manifest", "create", "--model-family", "als", "--model-version", version, "--data",
                scratch.path("data.csv"),
                "--manifest-dir", scratch.path("run"),
            ]
        }
        #expect(colophon.run(create("v0")).status == 0)
        var chance = Chance(seed: UInt64(round))
        for number in 1...8 {
            let pid = start(create("v\(number)"), "create")
            for _ in 0..<Int.random(in: 0...20_000, using: &chance) where !Program.hasEnded(pid) { sched_yield() }
            kill(pid, SIGKILL)
            _ = Program.wait(for: pid)
            let shown = colophon.run("manifest", "show", scratch.path("run"), "--json")
            #expect(shown.status == 0, "\(shown.errors)")
            let version = try #require(try JSONParser.parse(shown.output).object?.text("model_version"))
            #expect(version == "v\(number)" || scratch.read("run/manifests/\(version).json") != nil)
            #expect(colophon.run(create("v\(number)")).status == 0)
            #expect(colophon.run("manifest", "show", scratch.path("run")).output.contains("als v\(number)"))
        }
        #expect(
            colophon.run("index", "add", scratch.path("run")).output.hasPrefix("added 9 manifests  ("))
    }

    @Test("a full disk is told, and what was not finished is undone")
    func survivesFullDisks() throws {
        try writeManifests(0..<1500, "m")
        let scratch = colophon.scratch
        // A file system of its own, in a mount namespace of its own; it is gone with the shell.
        let script = """
            mkdir small && mount -t tmpfs -o size=2m none small || exit 99
            "$0" index add m --data-dir small; echo "exit $?"
            sqlite3 small/ledger.sqlite 'PRAGMA integrity_check'
            "$0" index list --limit 1 --data-dir small >/dev/null; echo "list $?"
            dd if=/dev/zero of=small/rest bs=4k 2>/dev/null
            "$0" manifest create --model-family als --data m/als-1.json --manifest-dir small/run --model-version v; echo "create $?"
            find small/run -type f -size +0 | wc -l
            """
        let result = Program.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", script, Program.colophonPath],
            environment: ["COLOPHON_DATA_DIR": colophon.dataDirectory], in: scratch.directory)
        #expect(result.output == "exit 1\nok\nlist 0\ncreate 1\n0\n", "\(result.output)\(result.errors)")
        #expect(
            result.errors.contains("no space is left for the ledger small/ledger.sqlite: free some and run it again"))
        #expect(result.errors.contains("no space left on device: free some space and run it again"))
    }

    @Test("a directory that cannot be written is told; a ledger in it is still read")
    func survivesReadOnlyDisks() throws {
        try writeManifests(0..<3, "m")
        #expect(colophon.run("index", "add", colophon.scratch.path("m")).status == 0)
        let script = """
            mount --bind data data && mount -o remount,ro,bind data || exit 99
            "$0" trace als-1 --data-dir data | head -n 1
            "$0" index add m --data-dir data; echo "add $?"
            "$0" index add m --data-dir data/new; echo "new $?"
            """
        let result = Program.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", script, Program.colophonPath],
            in: colophon.scratch.directory)
        #expect(result.output == "exact: found by version\nadd 1\nnew 1\n", "\(result.output)\(result.errors)")
        #expect(result.errors.contains("data/ledger.sqlite is read as a copy that nobody writes"))
        #expect(
            result.errors.contains("the ledger data/ledger.sqlite cannot be opened")
                && result.errors.contains("check the permissions"))
        #expect(
            result.errors.contains("cannot create data/new: read-only file system: name a place that can be written"))
    }

    @Test("a ledger of the first release that nobody may write is read as it is")
    func readsOldCopies() throws {
        let fixture = Program.root + "/Tests/Fixtures/databases/ledger-0.1.0.sqlite"
        colophon.scratch.write("old/ledger.sqlite", bytes: try #require(Scratch.bytes(of: fixture)))
        let script = """
            mount --bind old old && mount -o remount,ro,bind old || exit 99
            "$0" trace --data-dir old "$(date -u +%FT%TZ),7,recommendation request /recommend/7, status 200, variant=als_model, result: a, 5 ms" |
                head -n 1
            """
        let result = Program.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", script, Program.colophonPath],
            in: colophon.scratch.directory)
        #expect(result.output.hasPrefix("inferred: found by variant and time"), "\(result.output)\(result.errors)")
        #expect(result.errors.contains("is read as a copy that nobody writes"), "\(result.errors)")
    }

    @Test("a damaged ledger says what to do, and that works")
    func survivesDamage() throws {
        try writeManifests(0..<300, "m")
        #expect(colophon.run("index", "add", colophon.scratch.path("m")).status == 0)
        let path = colophon.dataDirectory + "/ledger.sqlite"
        var bytes = try #require(Scratch.bytes(of: path))
        for index in stride(from: 100, to: bytes.count, by: 512) { bytes[index] ^= 0xFF }
        colophon.scratch.write("data/ledger.sqlite", bytes: bytes)
        for arguments in [
            ["index", "list"], ["trace", "als-1"], ["index", "add", colophon.scratch.path("m")], ["index", "rebuild"],
        ] {
            let result = colophon.run(arguments)
            #expect(result.status == 1 && result.complaints.count == 1, "\(arguments) \(result.errors)")
            #expect(result.errors.contains("is damaged") && result.errors.contains("colophon index rebuild DIRECTORY"))
        }
        _ = Program.run(["mv", path, path + ".damaged"])
        let rebuilt = colophon.run("index", "rebuild", colophon.scratch.path("m"))
        #expect(rebuilt.status == 0 && rebuilt.output.contains("added 300 manifests"))
        #expect(colophon.run("trace", "als-1").status == 0)
    }

    @Test("a rebuild reads the files again, and keeps what files that are gone have said")
    func rebuilds() throws {
        try writeManifests(0..<5, "m")
        #expect(colophon.run("index", "add", colophon.scratch.path("m")).status == 0)
        _ = Program.run(["rm", colophon.scratch.path("m/als-0.json")])
        let rebuilt = colophon.run("index", "rebuild")
        #expect(rebuilt.output.hasPrefix("derived 5 manifests again; 1 file is gone, what they held is kept\n"))
        #expect(colophon.run("trace", "als-0").status == 0)
    }
}
