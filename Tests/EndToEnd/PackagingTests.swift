import TestSupport
import Testing

/// The ways to install; written in Python beside the other end-to-end tests.
@Suite("Packaging")
struct PackagingTests {
    @Test("the documents for users tell what works")
    func documents() {
        let python = Program.root + "/.venv/bin/python3"
        let result = Program.run([
            python, "-W", "ignore", Program.root + "/Tests/EndToEnd/documents.py", Program.colophonPath,
        ])
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        #expect(result.output.split(separator: "\n").count >= 7)
    }

    @Test("the package, the unit, the manual page, completions and container files are what they say")
    func packages() {
        let python = Program.root + "/.venv/bin/python3"
        let result = Program.run([
            python, "-W", "ignore", Program.root + "/Tests/EndToEnd/installing.py", Program.colophonPath,
        ])
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        #expect(result.output.split(separator: "\n").count >= 7)
    }
}
