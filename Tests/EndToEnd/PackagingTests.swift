import Runtime
import TestSupport
import Testing

/// The ways to install; written in Python beside the other end-to-end tests.
@Suite("Packaging", .serialized)
struct PackagingTests {
    @Test("the documents for users tell what works")
    func documents() {
        let result = Program.runScript("documents.py")
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        #expect(Program.passed(result) == Program.testCount(of: "documents.py"))
    }

    @Test("the package, the unit, the manual page, completions and container files are what they say")
    func packages() {
        let result = Program.runScript("installing.py")
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        #expect(Program.passed(result) == Program.testCount(of: "installing.py"))
    }

    /// Making systems needs root; on a machine that decides what lands, they are made.
    private static let canBoot = Environment.value("COLOPHON_CI") != nil || Program.run(["id", "-u"]).output == "0\n"

    @Test(
        "in a Debian of its own apt installs the package, systemd runs it, and the steps of the Dockerfile make an image",
        .enabled(if: canBoot, "making systems of their own needs root"))
    func boots() {
        let result = Program.runScript("booting.py")
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        #expect(Program.passed(result) == Program.testCount(of: "booting.py"))
    }
}
