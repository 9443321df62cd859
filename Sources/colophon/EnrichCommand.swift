import Enrichment
import Ledger
import Provenance
import Runtime
import Sidecar

extension Command {
    static let enrich = Command(
        path: ["enrich"], summary: "Add to each log line which manifest it came from, and pass it on",
        options: [
            Option(
                name: "manifest", value: "FILE",
                help: "take this manifest, as it is at the start, for the active one; no ledger is needed"),
            .manifests, .configuration, .dataDirectory,
            Option(
                name: "instance", value: "NAME", help: "the name under which its spool and positions are kept (enrich)"),
            Option(
                name: "once", help: "with --files or --from-kafka-topic: end where they end, rather than follow them"),
        ] + enrichKeys.map(option) + [.json],
        details: """
            Reads lines from standard input, or from files, which it follows, sockets or another topic. A line that tells of a
            recommendation gets the version, commit, branch, data version and digest of the manifest that made it, at its end; its own
            bytes are never changed. Lines go to standard output, unless --to or --kafka-brokers say where else. On their way to Kafka
            they wait where they can be found again, in a spool, their file or their topic, until the brokers have them: none is lost,
            whatever is killed. A summary ends it, on standard error.
            """,
        examples: [
            (
                "colophon enrich --manifest model_manifest.json < server.log > enriched.log",
                "enrich a file, by this manifest"
            ),
            (
                "model-server | colophon enrich --to kafka://127.0.0.1:9092/recommendations",
                "publish what a server writes, by the ledger's activations"
            ),
        ],
        run: enrich)

    /// It has no listener of its own.
    private static let enrichKeys =
        SettingKey.lines.filter { $0.name != "logs.http" } + SettingKey.besidesLines.compactMap(SettingKey.named)

    /// A key of `logs` goes without that word too.
    private static func option(_ key: SettingKey) -> Option {
        let flag = key.flag
        guard key.name.hasPrefix("logs.") else { return Option(key) }
        let short = String(flag.dropFirst(5))
        let value = short == "to" ? "kafka://HOST:PORT/TOPIC|stdout|file:PATH" : key.value
        let help = short == "to" ? "where lines go (stdout)" : key.help
        return Option(name: short, value: value, help: help, repeats: key.repeats, aliases: [flag])
    }

    private static func enrich(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let configuration = try arguments.configuration(
            try arguments.sources(try flags(arguments)), linesGo: .standardOutput)
        let settings = configuration.settings
        let readsTopic = !settings.lines.fromTopic.isEmpty
        guard !arguments.has("once") || !settings.lines.files.isEmpty || readsTopic else {
            throw arguments.usage("--once goes with --files or --from-kafka-topic")
        }
        guard !arguments.has("once") || settings.lines.unix.isEmpty else {
            throw arguments.usage("--once and --unix exclude each other: a socket never ends")
        }
        guard destinationIsUsed(settings.lines) else {
            throw arguments.usage("--kafka-topic and --kafka-create-topic need brokers: --to kafka://HOST:PORT/TOPIC")
        }
        let destination = settings.lines.destination(otherwise: .standardOutput)
        let index = try Lookup.index(arguments, configured: settings.dataDirectory)
        let isPipe = settings.lines.files.isEmpty && settings.lines.unix.isEmpty && !readsTopic
        switch destination {
        case .standardOutput where isPipe:
            return try filter(settings, index, Pipes.standardOutput, "standard output", arguments)
        case .file(let path) where isPipe:
            let file = try CommandError.wrap { () throws(SystemError) in try RawFile.openLines(path) }
            return try filter(settings, index, file, path, arguments)
        case .auto, .off: throw arguments.usage("--to off leaves nothing to do")
        default: return try pass(configuration, destination, index, arguments)
        }
    }

    /// Whether what is said of Kafka means anything.
    private static func destinationIsUsed(_ lines: LineSettings) -> Bool {
        let usual = KafkaSettings()
        return !lines.kafka.brokers.isEmpty
            || lines.kafka.topic.hasSameBytes(as: usual.topic) && !lines.kafka.createsTopic
    }

    private static func isOtherDestination(_ text: String) -> Bool {
        ["kafka", "stdout", "auto", "off"].contains(text) || text.hasPrefix("file:") && text.utf8.count > 5
    }

    private static func flags(_ arguments: Arguments) throws(CommandError) -> [Configuration.Flag] {
        var flags: [Configuration.Flag] = []
        for key in enrichKeys {
            guard let flag = try arguments.flag(key, as: option(key).name) else { continue }
            guard key.name == "logs.to" else {
                flags.append(flag)
                continue
            }
            let text = arguments.value("to") ?? ""
            guard let address = KafkaAddress(text) else {
                guard isOtherDestination(text) else {
                    throw arguments.usage(
                        "--to takes kafka://HOST:PORT/TOPIC, stdout or file:PATH, not \"\(text.onOneLine)\"")
                }
                flags.append(flag)
                continue
            }
            guard !address.brokers.isEmpty else {
                throw arguments.usage("--to names no broker: write kafka://HOST:PORT/TOPIC")
            }
            flags.append(contentsOf: try self.flags(address, arguments))
        }
        return flags
    }

    /// What an address says of several keys.
    private static func flags(
        _ address: KafkaAddress, _ arguments: Arguments
    ) throws(CommandError) -> [Configuration.Flag] {
        var said = [("logs.to", "kafka"), ("kafka.brokers", address.brokers)]
        if let topic = address.topic {
            guard !arguments.has("kafka-topic") else {
                throw arguments.usage("--to and --kafka-topic both name a topic")
            }
            said.append(("kafka.topic", topic))
        }
        return said.compactMap { name, value in
            SettingKey.named(name).map { Configuration.Flag($0, [value], spelling: "--to") }
        }
    }

    // MARK: - To a descriptor

    private static func filter(
        _ settings: SidecarSettings, _ index: any ManifestIndex, _ output: Int32, _ name: String,
        _ arguments: Arguments
    ) throws(CommandError) -> ExitCode {
        let doubts = doubts(settings)
        let settings = settings.lines
        let enricher = LineEnricher(
            settings.enriching, LineAttributor(index, settings.attributing, doubts: { _ in doubts }))
        var run = LineFilter(
            enricher, from: Pipes.standardInput, to: output, named: name, lineLimit: settings.intake.lineLimit)
        let size = try? RawFile.status(of: Pipes.standardInput, "standard input")
        let bar = ProgressBar("enriching", total: size?.isRegular == true ? size?.size ?? 0 : 0, unit: .bytes)
        defer { bar.finish() }
        let isWhole = try CommandError.wrap { () throws(SystemError) in
            try run.run(until: try Interruption.watched()) { bar.advance(by: Int64($0)) }
        }
        bar.finish()
        report(LineReport(run.counters, problem: run.problem), arguments)
        if isWhole { return .fine }
        complain("colophon: ended by a signal before standard input did; what was read of it has been written")
        return .failed
    }

    /// The ledger tells when a manifest became active. Whether the model server has been started anew since, nobody sees from here.
    private static func doubts(_ settings: SidecarSettings) -> Doubts {
        Doubts(settle: settings.settle.longest)
    }

    private static func report(_ report: LineReport, _ arguments: Arguments) {
        complain(arguments.wantsJSON ? report.json : "colophon: " + report.text)
    }

    // MARK: - Through the spool

    private static func pass(
        _ configuration: Configuration, _ destination: LineSettings.Destination, _ index: any ManifestIndex,
        _ arguments: Arguments
    ) throws(CommandError) -> ExitCode {
        let settings = configuration.settings
        let log = EventLog(format: .text, level: .info)
        let directory = try arguments.dataDirectory(for: .change, configured: settings.dataDirectory)
        let name = arguments.value("instance") ?? "enrich"
        let once = arguments.has("once")
        let bar = ProgressBar("delivered", total: 0, unit: .lines)
        defer { bar.finish() }
        let tell: @Sendable (LineNews) -> Void = { news in
            bar.finish()
            log.write(news)
        }
        let signals = try CommandError.wrap { () throws(SystemError) in try Signals() }
        do throws(SidecarError) {
            let service = try LineService(
                settings.lines, to: destination, index: index,
                instance: try LineService.openInstance(directory, name), endsWhenDone: true, endsAtEnd: once,
                doubts: { [doubts = doubts(settings)] _ in doubts }, tell: tell,
                sources: { instance, settings throws(SidecarError) in
                    var sources = try LineService.unixSources(settings)
                    if !settings.files.isEmpty {
                        sources.append(try LineService.fileSource(settings, instance, endsAtEnd: once))
                    }
                    if sources.isEmpty, settings.fromTopic.isEmpty {
                        sources.append(StandardInput(Pipes.standardInput, lineLimit: settings.intake.lineLimit))
                    }
                    return sources
                })
            if let refusal = try service.checkTopic() { throw .topic(refusal) }
            let isWhole = try service.run(until: signals) { bar.advance(by: $0) }
            bar.finish()
            var report = LineReport(service.pipeline.counters, problem: service.pipeline.ledgerProblem)
            report.delivered = service.pipeline.delivered
            report.waiting = service.pipeline.waiting
            report.dead = service.pipeline.dead
            report.lost = service.pipeline.lost
            report.deadLetters = service.deadLetters
            self.report(report, arguments)
            if service.pipeline.isBroken, let problem = service.pipeline.problem {
                throw .output(problem)
            }
            let isFine = isWhole && report.dead == 0 && service.pipeline.counters.overlong == 0
            return isFine ? .fine : .failed
        } catch { throw CommandError(error, configuration) }
    }
}

/// `kafka://HOST:PORT,…/TOPIC`
private struct KafkaAddress {
    let brokers: String
    let topic: String?

    init?(_ text: String) {
        guard text.hasPrefix("kafka://") else { return nil }
        let parts = text.dropFirst(8).split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        brokers = String(parts[0])
        topic = parts.count == 2 && !parts[1].isEmpty ? String(parts[1]) : nil
    }
}
