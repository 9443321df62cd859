import Glibc
import Provenance
import TestSupport
import Testing

@Suite("The program")
struct ProgramTests {
    private let colophon = Colophon()

    @Test("it is small, and stands on no Foundation")
    func isSmall() throws {
        let stripped = colophon.scratch.path("stripped")
        #expect(Program.run(["strip", "-o", stripped, Program.colophonPath]).status == 0, "run make build first")
        let size = try #require(Int(Program.run(["stat", "-c", "%s", stripped]).output.filter(\.isNumber)))
        #expect(size < 15 << 20)
        let libraries = Program.run(["ldd", Program.colophonPath]).output
        #expect(libraries.contains("libcrypto") && libraries.contains("libsqlite3"))
        #expect(!libraries.contains("Foundation") && !libraries.contains("libswift") && !libraries.contains("icu"))
        // A statically linked Foundation leaves its mangled names in the binary.
        let symbols = Program.run(["nm", Program.colophonPath]).output
        #expect(symbols.contains("$s10Provenance"))
        #expect(!symbols.contains("$s10Foundation") && !symbols.contains("$s20FoundationEssentials"))
    }

    static let commands = [
        "", "serve", "enrich", "trace", "history", "manifest create", "manifest verify", "manifest show",
        "manifest diff", "index add", "index list", "index search", "index rebuild", "dev-broker", "config check",
        "config show", "config schema", "completions", "man", "version",
    ]

    @Test("the help of each command is as it was reviewed", arguments: commands)
    func helps(_ command: String) throws {
        let words = command.split(separator: " ").map(String.init)
        let help = colophon.run(words + ["--help"])
        #expect(help.status == 0 && help.errors.isEmpty)
        let name = command.isEmpty ? "colophon" : words.joined(separator: "-")
        let reviewed = Scratch.text(of: Program.root + "/Tests/Fixtures/help/\(name).txt")
        #expect(help.output == reviewed, "if the new text is right: Tools/accept-help")
        #expect(colophon.run(["help"] + words).output == help.output)
        #expect(help.output.split(separator: "\n").allSatisfy { $0.count <= 130 })
        let options = help.output.split(separator: "\n").filter { $0.hasPrefix("  --") }.map {
            $0.split(separator: " ")[0]
        }
        #expect(Set(options).count == options.count, "an option is listed twice")
    }

    @Test("every command of the help has a reviewed text")
    func helpsWithAll() {
        let overview = colophon.run("--help").output
        for command in Self.commands where !command.isEmpty { #expect(overview.contains("  \(command) ")) }
        let listed = overview.split(separator: "\n").filter { $0.hasPrefix("  ") }
        #expect(listed.count == Self.commands.count - 1)
    }

    @Test("the version is told to people and machines")
    func tellsItsVersion() throws {
        #expect(colophon.run("version").output.hasPrefix("colophon 0.1.0 (SQLite 3."))
        #expect(colophon.run("--version").output == colophon.run("version").output)
        let json = try JSONParser.parse(colophon.run("version", "--json").output).object
        #expect(json?.text("colophon") == "0.1.0")
    }

    @Test("a progress bar shows on a terminal when the work takes long, and never in a pipe")
    func showsProgress() throws {
        // A file of zeros that takes no room, and longer than anybody waits.
        let scratch = colophon.scratch
        _ = Program.run(["truncate", "-s", "1T", scratch.path("a.bin")])
        let digest = String(repeating: "0", count: 64)
        let path = scratch.write(
            "m.json", "{\"model_version\":\"v\",\"artifacts\":{\"a\":{\"path\":\"a.bin\",\"sha256\":\"\(digest)\"}}}")
        let piped = Program.start(
            [Program.colophonPath, "manifest", "verify", path], output: scratch.path("out"),
            errors: scratch.path("err"),
            in: scratch.directory)
        let command = "stty cols 100; exec \(Program.colophonPath) manifest verify \(path)"
        let onTerminal = Program.start(
            ["script", "-qefc", command, "/dev/null"], output: scratch.path("terminal"), errors: "/dev/null",
            in: scratch.directory)
        defer {
            for pid in [piped, onTerminal] {
                kill(pid, SIGKILL)
                _ = Program.wait(for: pid)
            }
        }
        var seen = ""
        while !seen.contains(" of 1 TiB"), !Program.hasEnded(onTerminal) {
            seen = scratch.read("terminal") ?? ""
            Program.pause()
        }
        #expect(seen.contains("verifying █") || seen.contains("verifying ░"))
        // The one in the pipe began before, and has said nothing.
        #expect(scratch.read("err") == "" && scratch.read("out") == "")
    }

    @Test("where nobody knows how much there will be, progress says how much there was")
    func showsProgressOfLines() throws {
        let path = colophon.scratch.write("m.json", "{\"model_version\":\"v\"}")
        let command =
            "stty cols 100; exec \(Program.colophonPath) enrich --manifest \(path) --data-dir data --unix socket --to file:out"
        let onTerminal = Program.start(
            ["script", "-qefc", command, "/dev/null"], output: colophon.scratch.path("terminal"), errors: "/dev/null",
            in: colophon.scratch.directory)
        defer {
            kill(onTerminal, SIGKILL)
            _ = Program.wait(for: onTerminal)
        }
        var seen = ""
        while !seen.contains("delivered 0 lines"), !Program.hasEnded(onTerminal) {
            seen = colophon.scratch.read("terminal") ?? ""
            Program.pause()
        }
        #expect(seen.contains("delivered 0 lines  0 lines/s"), "\(seen)")
        // Its terminal is closed: that ends it, and its socket is gone.
        kill(onTerminal, SIGKILL)
        while Program.run(["test", "-e", colophon.scratch.path("socket")]).status == 0 { Program.pause() }
    }

    @Test("output that nobody reads any more ends it quietly; output that cannot be written is told")
    func losesItsReader() throws {
        let path = try colophon.write(1)
        #expect(colophon.run("index", "add", path).status == 0)
        let input = String(repeating: "als-1\n", count: 20_000)
        colophon.scratch.write("input", input)
        let command = "\(Program.colophonPath) trace - < input | head -n 1"
        let result = colophon.run(["version"])
        #expect(result.status == 0)
        let piped = Program.run(
            ["sh", "-c", command], environment: ["COLOPHON_DATA_DIR": colophon.dataDirectory],
            in: colophon.scratch.directory)
        #expect(piped.output.hasPrefix("line 1: exact") && piped.errors.isEmpty)
        let full = Program.run(
            ["sh", "-c", "\(Program.colophonPath) trace als-1 > /dev/full"],
            environment: ["COLOPHON_DATA_DIR": colophon.dataDirectory])
        #expect(full.status == 1 && full.errors.contains("cannot write to standard output: no space left on device"))
    }
}
