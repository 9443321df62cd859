import Enrichment
import Kafka
import Provenance
import Runtime

/// Everything between the sources of lines and Kafka, put together: the instance's directory, spool, dead letters, the client.
package final class LineService {
    package let pipeline: LinePipeline
    private let instance: Instance

    /// Opens the spool and everything else, and asks the brokers about the topic. `tell` is called by the thread that runs the pipeline.
    package init(
        _ settings: LineSettings, index: any ManifestIndex, dataDirectory: String, instance name: String,
        endsWhenDone: Bool, tell: @escaping (LineNews) -> Void,
        sources: (Instance, LineSettings) throws(SidecarError) -> [any LineSource]
    ) throws(SidecarError) {
        guard !settings.kafka.brokers.isEmpty else {
            throw .setting(
                SettingError(key: "--kafka-brokers", reason: "is missing: name at least one, HOST:PORT"))
        }
        var properties: KafkaProperties
        do { properties = try settings.kafka.producerProperties() } catch { throw .kafka(error) }
        let instance: Instance
        do { instance = try Instance.open(dataDirectory: dataDirectory, name: name) } catch { throw .instance(error) }
        let definitions = Definitions()
        let spool = try Self.openSpool(settings, instance, definitions, tell)
        try Self.checkTopic(settings, &properties, tell)
        let (deadLetters, sink) = try Self.system { () throws(SystemError) in
            (
                try DeadLetterFile(Self.deadLetterPath(instance), limit: settings.deadLetterBytes),
                try KafkaSink(settings.kafka, properties, definitions, instance: instance.identity)
            )
        }
        var limits = Delivery.Limits()
        limits.records = settings.kafka.inFlight
        let enricher = LineEnricher(settings.enriching, LineAttributor(index, settings.attributing))
        let intake = LineIntake(
            settings.intake, enricher: enricher, spool: spool, delivery: Delivery(limits), definitions: definitions,
            deadLetters: deadLetters)
        let list = try sources(instance, settings)
        pipeline = try Self.system { () throws(SystemError) in
            try LinePipeline(
                intake, sink: sink, sources: list, fsyncMilliseconds: settings.fsyncMilliseconds,
                endsWhenDone: endsWhenDone, tell: tell)
        }
        self.instance = instance
    }

    /// Runs the pipeline on a thread of its own until it is done, or a signal ends it. True when nothing was left undone.
    package func run(until signals: borrowing Signals) -> Bool {
        let pipeline = pipeline
        let done: Wake
        let thread: Threads.Handle
        do throws(SystemError) {
            done = try Wake()
            let box = PipelineBox(pipeline)
            let ending = done
            thread = try Threads.start("lines") {
                box.pipeline.run()
                ending.signal()
            }
        } catch { return false }
        while true {
            let ready = Readiness.wait([done.number, signals.number], milliseconds: -1)
            if ready[0] { break }
            while let signal = signals.next() { if case .terminate = signal { pipeline.stop() } }
        }
        thread.join()
        return pipeline.waiting == 0
    }

    /// A pipeline that one thread hands to another.
    private final class PipelineBox: @unchecked Sendable {
        let pipeline: LinePipeline

        init(_ pipeline: LinePipeline) { self.pipeline = pipeline }
    }

    /// Files to follow, with their checkpoints in the instance's directory.
    package static func fileSource(
        _ settings: LineSettings, _ instance: Instance, endsAtEnd: Bool
    ) throws(SidecarError) -> FileSource {
        let checkpoints = try system { () throws(SystemError) in
            try Checkpoints(Paths.join(instance.path, "checkpoints"), host: Host.identity)
        }
        return FileSource(
            settings.files, lineLimit: settings.intake.lineLimit, checkpoints: checkpoints, endsAtEnd: endsAtEnd)
    }

    private static func system<Result: ~Copyable>(
        _ body: () throws(SystemError) -> Result
    ) throws(SidecarError) -> Result {
        do throws(SystemError) { return try body() } catch { throw .system(error) }
    }

    private static func deadLetterPath(_ instance: Instance) throws(SystemError) -> String {
        let directory = Paths.join(instance.path, "dead-letters")
        try Files.makeDirectory(directory, mode: 0o700)
        return Paths.join(directory, "dead-letters.jsonl")
    }

    private static func openSpool(
        _ settings: LineSettings, _ instance: Instance, _ definitions: Definitions, _ tell: (LineNews) -> Void
    ) throws(SidecarError) -> Spool<SpoolDirectory> {
        let path = Paths.join(instance.path, "spool")
        let directory = try system { () throws(SystemError) in try SpoolDirectory(path) }
        let spool: Spool<SpoolDirectory>
        do throws(SpoolError) {
            spool = try Spool.open(directory, settings.spool, definitions) { () throws(SystemError) in
                try Instance.newULID()
            }
        } catch { throw .spool(path: path, error) }
        let news = spool.news
        if news.recovered > 0 || news.torn > 0 {
            tell(
                LineNews(
                    .info, "spool-recovered",
                    [("lines", .integer(Int(news.recovered))), ("torn_bytes", .integer(Int(news.torn)))]))
        }
        if !news.setAside.isEmpty {
            tell(
                LineNews(
                    .warn, "spool-damaged",
                    [
                        ("set_aside", .array(news.setAside.map(JSON.string))),
                        ("advice", .string("their lines cannot be read: look at the disk under \(path)")),
                    ]))
        }
        return spool
    }

    private static func checkTopic(
        _ settings: LineSettings, _ properties: inout KafkaProperties, _ tell: (LineNews) -> Void
    ) throws(SidecarError) {
        let wake = try system { () throws(SystemError) in try Wake() }
        let outcome = TopicCheck.run(
            settings.kafka, properties, window: settings.intake.windowBack, lineLimit: settings.intake.lineLimit,
            wake: wake.number)
        switch outcome {
        case .found(_, let limit, let warnings):
            for warning in warnings { tell(LineNews(.warn, "kafka-topic", [("reason", .string(warning))])) }
            // A whole batch would be refused that is larger than the topic takes.
            if let limit, limit < 1 << 20, properties["batch.size"] == nil {
                properties["message.max.bytes"] = String(max(1000, limit))
                properties["batch.size"] = String(max(1, limit / 2))
            }
        case .missing(let reason), .refused(let reason): throw .topic(reason)
        case .unreachable(let reason):
            tell(
                LineNews(
                    .warn, "kafka-unreachable",
                    [("reason", .string(reason)), ("advice", .string("lines wait in the spool until one does"))]))
        }
    }
}
