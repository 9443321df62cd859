import Kafka
import Provenance
import Runtime
import Sidecar

extension Command {
    static let devBroker = Command(
        path: ["dev-broker"], summary: "Run a Kafka broker for trying things out; it keeps nothing",
        options: [
            Option(
                name: "topic", value: "TOPIC", help: "a topic that it has from the start (recommendations)",
                repeats: true),
            Option(name: "partitions", value: "N", help: "how many partitions each of these has, 1 to 64 (1)"),
        ],
        details: """
            Runs librdkafka's mock cluster on a loopback port that it picks, prints its address, and ends on SIGTERM or Ctrl-C. It is
            for development alone: it holds a few megabytes of each partition in memory, forgets the oldest without a word, makes any
            topic that is asked for, only seems to know transactions, and has no security. What must not be lost needs a real Kafka.
            """,
        examples: [("colophon dev-broker --topic recommendations", "a broker to try `colophon enrich --to` with")],
        run: devBroker)

    private static func devBroker(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        guard let partitions = Int32(arguments.value("partitions") ?? "1"), (1...64).contains(partitions) else {
            throw arguments.usage("--partitions takes a number from 1 to 64")
        }
        let named = arguments.all("topic")
        let topics = named.isEmpty ? ["recommendations"] : named
        for (index, topic) in topics.enumerated() {
            guard SettingKey.isTopic(topic) else {
                throw arguments.usage(
                    "--topic takes 1 to 249 letters, digits, dots, dashes and underscores, not \"\(topic.onOneLine)\"")
            }
            guard !topics[..<index].contains(where: { $0.hasSameBytes(as: topic) }) else {
                throw arguments.usage("--topic names \(topic) twice")
            }
        }
        let signals = try CommandError.wrap { () throws(SystemError) in try Signals() }
        let cluster: MockCluster
        do throws(KafkaError) {
            cluster = try MockCluster(brokers: 1)
            for topic in topics { try cluster.createTopic(topic, partitions: partitions) }
        } catch { throw CommandError(.failed, "the broker does not start: \(error)") }
        let output = Output()
        try CommandError.wrap { () throws(SystemError) in
            try output.write(cluster.addresses + "\n")
            try output.flush()
        }
        complain(
            "colophon: a broker for development on \(cluster.addresses), with \(topics.joined(separator: ", ")); it keeps nothing. Ctrl-C ends it"
        )
        while true {
            _ = Readiness.wait([signals.number], milliseconds: -1)
            if signals.next() != nil { return .fine }
        }
    }
}
