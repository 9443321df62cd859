import TestSupport
import Testing

/// `colophon serve` between real clients and real servers. The tests are written in Python, where those live; see
/// `Tests/EndToEnd/proxy/harness.py`.
@Suite("Serving", .serialized)
struct ServingTests {
    @Test(
        "clients, servers and operators get what they were promised",
        arguments: [
            "stamping", "exchanges", "operation", "clients", "records", "configured", "observed", "asked", "kept",
            "doubted", "unwatched", "described", "starting",
        ])
    func serves(script: String) {
        let result = Program.runScript("proxy/\(script).py")
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        // A script that runs nothing would also end well.
        #expect(Program.passed(result) == Program.testCount(of: "proxy/\(script).py"))
    }

    @Test("the admin API is what its own description says, whatever is sent")
    func keepsItsDescription() {
        let commit = Program.run(["git", "rev-parse", "HEAD"], in: Program.root).output
        let seed = UInt32(commit.prefix(8), radix: 16) ?? 1
        let result = Program.runScript("api.py", ["20", "\(seed)"])
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        #expect(result.output.split(separator: "\n").filter { $0.contains(" passed") }.count >= 4)
    }
}
