import TestSupport
import Testing

/// `colophon serve` between real clients and real servers. The tests are written in Python, where those live; see
/// `Tests/EndToEnd/proxy/harness.py`.
@Suite("Serving", .serialized)
struct ServingTests {
    @Test(
        "clients, servers and operators get what they were promised",
        arguments: ["stamping", "exchanges", "operation", "clients", "records", "configured", "observed"])
    func serves(script: String) {
        let python = Program.root + "/.venv/bin/python3"
        let result = Program.run(
            [python, "-W", "ignore", Program.root + "/Tests/EndToEnd/proxy/\(script).py", Program.colophonPath])
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        // A script that runs nothing would also end well.
        #expect(result.output.split(separator: "\n").count >= 7)
    }
}
