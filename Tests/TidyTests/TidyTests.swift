import TestSupport
import Testing

/// The project's own rules, as far as a machine can tell.
@Suite("Tidiness")
struct TidyTests {
    struct File: Sendable {
        let path: String
        let lines: [String]

        var module: String { String(path.split(separator: "/").dropFirst().first ?? "") }
    }

    /// Every file that git follows, or would: new files count before they are committed.
    static let files: [File] = {
        let list = Program.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], in: Program.root)
        return list.output.split(separator: "\n").map(String.init).compactMap { path in
            guard let text = Scratch.text(of: Program.root + "/" + path) else { return nil }
            return File(
                path: path, lines: text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
        }
    }()

    static let sources = files.filter { $0.path.hasPrefix("Sources/") && $0.path.hasSuffix(".swift") }
    static let swift = files.filter { $0.path.hasSuffix(".swift") }

    /// The modules that a file imports, also by `@testable import X`, `package import X` and `import struct X.Y`.
    private static func imports(_ file: File) -> [String] {
        file.lines.compactMap { line in
            let words = line.split(separator: " ").map(String.init)
            guard let index = words.firstIndex(of: "import"), let name = words.last, index + 1 < words.count,
                words[..<index].allSatisfy({
                    $0.hasPrefix("@") || ["public", "package", "internal", "private"].contains($0)
                })
            else { return nil }
            return name.split(separator: ".").first.map(String.init)
        }
    }

    @Test("every script of tests is run by some test")
    func runsEveryScript() {
        let tests = Self.swift.filter { $0.path.hasPrefix("Tests/EndToEnd/") }.flatMap(\.lines).joined(separator: "\n")
        let scripts = Self.files.filter { file in
            file.path.hasPrefix("Tests/EndToEnd/") && file.path.hasSuffix(".py")
                && file.lines.contains { $0.hasPrefix("run(") || $0.hasPrefix("main()") || $0.hasPrefix("if __name__") }
        }
        #expect(scripts.count > 15)
        for script in scripts {
            let name = script.path.split(separator: "/").last?.dropLast(3) ?? ""
            #expect(
                tests.contains("\"\(name)\"") || tests.contains("/\(name).py") || tests.contains("\"\(name).py"),
                "\(script.path) is run by nothing")
        }
    }

    @Test("there are sources to look at")
    func looksAtSomething() {
        #expect(Self.sources.count > 40)
    }

    @Test("files are one thing each: at most 450 lines")
    func boundsFiles() {
        for file in Self.swift where file.path != "Package.swift" && file.path.hasPrefix("Sources/") {
            #expect(file.lines.count <= 450, "\(file.path)")
        }
    }

    @Test("functions fit a screen: at most 70 lines")
    func boundsFunctions() {
        for file in Self.sources {
            var start: (line: Int, indent: String)?
            var measured = 0
            for (number, line) in file.lines.enumerated() {
                let indent = String(line.prefix { $0 == " " })
                let words = line.split(separator: " ")
                let begins =
                    words.contains("func") || words.contains { $0.hasPrefix("init(") || $0.hasPrefix("init?(") }
                if start == nil, begins, !line.contains("//"), line != indent + "}", line.last != "}" {
                    start = (number, indent)
                } else if let begun = start, line == begun.indent + "}" {
                    #expect(number - begun.line <= 70, "\(file.path):\(begun.line + 1)")
                    start = nil
                    measured += 1
                }
            }
            if file.lines.contains(where: { $0.contains("func ") && $0.hasSuffix("{") }) {
                #expect(measured > 0, "\(file.path)")
            }
        }
    }

    /// Who may import whom; see ARCHITECTURE.md. What is not listed may not be imported.
    static let allowed: [String: Set<String>] = [
        "Provenance": [],
        "Runtime": ["Glibc", "CSystem", "Synchronization", "Provenance"],
        "Crypto": ["CCrypto", "Provenance"],
        "SQLite": ["CSQLite"],
        "Manifests": ["Provenance", "Runtime", "Crypto", "Synchronization"],
        "Ledger": ["Provenance", "Runtime", "SQLite", "Glibc"],
        "Trace": ["Provenance"],
        "HTTP": ["Provenance"],
        "Kafka": ["CRdKafka", "Glibc"],
        "Checksum": ["CXXHash"],
        "YAML": ["CYAML"],
        "Enrichment": ["Provenance", "Runtime", "Kafka", "Checksum", "Glibc", "Synchronization"],
        "Exchanges": ["Provenance", "Runtime", "Checksum", "CSystem", "Glibc", "Synchronization"],
        "Proxy": ["Provenance", "HTTP", "Runtime", "Exchanges", "Synchronization"],
        "Telemetry": [],
        "Admin": ["Provenance", "HTTP", "Runtime", "Synchronization"],
        "Sidecar": [
            "Provenance", "Runtime", "Crypto", "Manifests", "Ledger", "Kafka", "Enrichment", "Exchanges", "Proxy",
            "Admin", "Trace", "YAML", "Telemetry", "Synchronization",
        ],
        "colophon": [
            "Provenance", "Runtime", "Crypto", "SQLite", "Manifests", "Ledger", "Trace", "Kafka", "Enrichment",
            "Exchanges",
            "Sidecar", "YAML",
            "Glibc",
        ],
    ]

    @Test("nobody imports Foundation, tests neither")
    func avoidsFoundation() {
        for file in Self.swift {
            for name in Self.imports(file) { #expect(!name.hasPrefix("Foundation"), "\(file.path) imports \(name)") }
        }
    }

    @Test("imports point one way, and features never import one another")
    func directsImports() {
        for file in Self.sources {
            let allowed = Self.allowed[file.module]
            #expect(allowed != nil, "\(file.path) is in a module without rules")
            for name in Self.imports(file) {
                #expect(allowed?.contains(name) == true, "\(file.path) imports \(name)")
            }
        }
    }

    @Test("what is unfinished, switched off or merely printed has no place")
    func refusesMarks() {
        let marks = ["TO" + "DO", "FIX" + "ME", ".dis" + "abled(", "try" + "!", "as" + "! ", "fatalError(\"un"]
        for file in Self.swift {
            for (number, line) in file.lines.enumerated() {
                for mark in marks { #expect(!line.contains(mark), "\(file.path):\(number + 1) has \(mark)") }
            }
        }
        for file in Self.sources {
            for (number, line) in file.lines.enumerated() {
                #expect(!line.contains("usleep(") && !line.contains(" sleep("), "\(file.path):\(number + 1) sleeps")
            }
        }
    }

    @Test("lines have no trailing space, no tabs, and end; files end in one line end")
    func endsLines() {
        let skipped = ["Tests/Fixtures/", "Makefile", "LICENSE"]
        for file in Self.files where !skipped.contains(where: { file.path.hasPrefix($0) }) {
            for (number, line) in file.lines.enumerated() {
                #expect(line.last != " " && line.last != "\t" && line.last != "\r", "\(file.path):\(number + 1)")
            }
            #expect(
                file.lines.last == "" && file.lines.dropLast().last != "", "\(file.path) does not end in one line end")
        }
    }

    @Test("every path that the documents name is there")
    func keepsDocumentsTrue() {
        let documents = Self.files.filter { $0.path.hasSuffix(".md") }
        #expect(documents.count > 5)
        let roots = [
            "Sources/", "Tests/", "docs/", "Examples/", "Benchmarks/", "Fuzz/", "Tools/", "Config/", "Packaging/",
        ]
        for document in documents {
            for line in document.lines {
                for span in line.split(separator: "`", omittingEmptySubsequences: false).enumerated()
                where span.offset % 2 == 1 && roots.contains(where: { span.element.hasPrefix($0) }) {
                    let path = span.element.split(separator: " ")[0]
                    let isThere = Self.files.contains {
                        $0.path == path || $0.path.hasPrefix(path + (path.last == "/" ? "" : "/"))
                    }
                    if !isThere { Issue.record("\(document.path) names \(path), which is not there") }
                }
            }
        }
    }
}
