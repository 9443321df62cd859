import Runtime
import TestSupport
import Testing

/// `colophon enrich` and the lines of `serve`, against a real Kafka. The tests are written in Python, where clients of Kafka live; see
/// `Tests/EndToEnd/lines/cluster.py`, which says which broker is taken.
@Suite("Enriching, to a real Kafka", .serialized)
struct EnrichingTests {
    /// Whether a broker is found; on a machine that decides what lands, one must be.
    private static var hasBroker: Bool {
        let isDecisive = Environment.value("COLOPHON_CI") != nil
        let homes = [Environment.value("KAFKA_HOME"), Program.root + "/../shared/kafka"].compactMap { $0 }
        return isDecisive || Environment.value("COLOPHON_TEST_KAFKA") != nil
            || homes.contains { Files.isDirectory($0 + "/libs", writable: false) }
    }

    @Test(
        "from standard input and sockets, whatever comes, faster than it can be taken, and whoever stops it",
        arguments: ["pipe", "sockets"])
    func takes(script: String) {
        let result = Program.runScript("lines/\(script).py")
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        #expect(Program.passed(result) == Program.testCount(of: "lines/\(script).py"))
    }

    private static let absence: Comment = "no Kafka is found (COLOPHON_TEST_KAFKA, KAFKA_HOME, ../shared/kafka)"

    /// The commit's, so that every commit looks where none has looked before, and one that fails fails again.
    private static let seed: String = {
        let commit = Program.run(["git", "rev-parse", "HEAD"], in: Program.root).output
        return String(UInt32(commit.prefix(8), radix: 16) ?? 1)
    }()

    @Test(
        "every answer and every line stay right while manifests, configuration, brokers, servers and clients change",
        .enabled(if: hasBroker, absence))
    func soaks() {
        let result = Program.runScript("lines/soak.py", ["15", Self.seed])
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        #expect(result.output.hasSuffix("ok\n"))
    }

    @Test(
        "records say what their lines say, and arrive through rotations, kills and refusals",
        .enabled(if: hasBroker, absence),
        arguments: ["delivery", "lost", "order", "refusals", "topics"])
    func delivers(script: String) {
        let result = Program.runScript("lines/\(script).py")
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        // A script that runs nothing would also end well.
        // Some run against the broker in the box, too.
        #expect(Program.passed(result) >= Program.testCount(of: "lines/\(script).py"))
    }

    @Test(
        "nothing is lost while everything is killed, stopped, paused and filled up", .enabled(if: hasBroker, absence),
        arguments: [["commit", "1"], ["commit", "3"], ["commit", "1", "topic"], ["6", "1"]])
    func losesNothing(how: [String]) {
        // One of those whose spool fills up is always among them.
        let seed = how[0] == "commit" ? Self.seed : how[0]
        let result = Program.runScript(
            "lines/loss.py", ["15", seed] + how.dropFirst(), through: ["unshare", "--map-root-user", "--mount"])
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        #expect(result.output.hasSuffix("ok\n"))
    }
}
