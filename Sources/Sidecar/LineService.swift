import Enrichment
import Kafka
import Provenance
import Runtime
import Synchronization

/// Everything between the sources of lines and where they go, put together: the instance's directory, spool, dead letters, sink.
package final class LineService: @unchecked Sendable {
    package let pipeline: LinePipeline
    private let instance: Instance
    private let sendsToKafka: Bool
    private let settings: LineSettings
    private let properties: KafkaProperties
    private let tell: (LineNews) -> Void
    private let isTopicKnown = Atomic<Bool>(false)
    private let ended = Atomic<Bool>(false)
    /// Whether the brokers were asked about the topic: by the thread that starts the others, or by the one that watches.
    private var hasAsked = false

    /// The instance's directory, which nobody else may have.
    package static func openInstance(_ dataDirectory: String, _ name: String) throws(SidecarError) -> Instance {
        do { return try Instance.open(dataDirectory: dataDirectory, name: name) } catch { throw .instance(error) }
    }

    /// Where workers hand over the lines of exchanges: a ring for each, which keeps what a killed process left in it.
    static func rings(_ instance: Instance, workers: Int) throws(SidecarError) -> [HandoverRing] {
        try system { () throws(SystemError) in
            let directory = Paths.join(instance.path, "rings")
            try Files.makeDirectory(directory, mode: 0o700)
            // Those of more workers than there are now may hold lines too.
            let names = try Files.names(in: directory)
            var rings: [HandoverRing] = []
            var number = 0
            while number < workers || names.contains("worker-\(number)") {
                rings.append(
                    try HandoverRing(Paths.join(directory, "worker-\(number)"), capacity: ringCapacity) {
                        () throws(SystemError) in try Instance.newULID()
                    })
                number += 1
            }
            return rings
        }
    }

    private static let ringCapacity = 4 << 20

    /// Opens the spool and everything else. `endsAtEnd` when a topic ends where it ends now. `tell` is called by the thread that runs the pipeline.
    package init(
        _ settings: LineSettings, to destination: LineSettings.Destination, index: any ManifestIndex,
        instance: Instance, endsWhenDone: Bool, endsAtEnd: Bool = false,
        records: (any ExchangeRecords)? = nil, doubts: @escaping (Bool) -> Doubts,
        tell: @escaping (LineNews) -> Void,
        sources: (Instance, LineSettings) throws(SidecarError) -> [any LineSource]
    ) throws(SidecarError) {
        self.settings = settings
        self.tell = tell
        try settings.check(to: destination)
        let member = "colophon-" + instance.identity
        do throws(KafkaSettingsError) {
            properties = try settings.kafka.producerProperties(lineLimit: settings.intake.lineLimit)
        } catch { throw .kafka(error) }
        self.instance = instance
        let definitions = Definitions()
        let spool = try Self.openSpool(settings, instance, definitions, tell)
        let unread = spool.unread
        try Self.keepDestination(destination, settings, instance, waiting: unread)
        let deadLetters = try system { [instance] () throws(SystemError) in
            try DeadLetterFile(Self.deadLetterPath(instance), limit: settings.deadLetterBytes)
        }
        var limits = Delivery.Limits()
        limits.records = settings.kafka.inFlight
        limits.bytes = max(8 << 20, 4 * settings.intake.lineLimit)
        let enricher = LineEnricher(
            settings.enriching, LineAttributor(index, settings.attributing, records: records, doubts: doubts))
        let intake = LineIntake(
            settings.intake, enricher: enricher, spool: spool, delivery: Delivery(limits), definitions: definitions,
            deadLetters: deadLetters, identity: instance.identity)
        let list = try sources(instance, settings)
        sendsToKafka = destination == .kafka
        if !settings.fromTopic.isEmpty {
            let topic = try Self.topicSource(settings, member: member, endsAtEnd: endsAtEnd)
            let properties = try Self.transactional(settings, member)
            pipeline = try system { [instance] () throws(SystemError) in
                let sink = try TransactionalSink(
                    KafkaSink(settings.kafka, properties, definitions, instance: instance.identity), topic,
                    settings.kafka, properties)
                return try LinePipeline(
                    intake, transactions: sink, sources: list + [topic], fsyncMilliseconds: settings.fsyncMilliseconds,
                    endsWhenDone: endsWhenDone, tell: tell)
            }
            return
        }
        if sendsToKafka {
            pipeline = try system { [instance, properties] () throws(SystemError) in
                let sink = try KafkaSink(settings.kafka, properties, definitions, instance: instance.identity)
                return try LinePipeline(
                    intake, kafka: sink, sources: list, fsyncMilliseconds: settings.fsyncMilliseconds,
                    endsWhenDone: endsWhenDone, tell: tell)
            }
            return
        }
        let stream = try Self.stream(destination, definitions, instance.identity)
        pipeline = try system { () throws(SystemError) in
            try LinePipeline(
                intake, stream: stream, sources: list, fsyncMilliseconds: settings.fsyncMilliseconds,
                endsWhenDone: endsWhenDone, tell: tell)
        }
    }

    private static func transactional(
        _ settings: LineSettings, _ member: String
    ) throws(SidecarError) -> KafkaProperties {
        do {
            return try settings.kafka.producerProperties(lineLimit: settings.intake.lineLimit, transactionalID: member)
        } catch { throw .kafka(error) }
    }

    private static func topicSource(
        _ settings: LineSettings, member: String, endsAtEnd: Bool
    ) throws(SidecarError) -> TopicSource {
        let properties: KafkaProperties
        do { properties = try settings.kafka.consumerProperties(group: settings.fromGroup, name: member) } catch {
            throw .kafka(error)
        }
        return try system { () throws(SystemError) in
            try TopicSource(
                settings.fromTopic, properties, settings.kafka, lineLimit: settings.intake.lineLimit,
                endsAtEnd: endsAtEnd)
        }
    }

    private static func stream(
        _ destination: LineSettings.Destination, _ definitions: Definitions, _ identity: String
    ) throws(SidecarError) -> StreamSink {
        guard case .file(let path) = destination else {
            return StreamSink(Pipes.standardOutput, "standard output", definitions, identity: identity)
        }
        let number = try system { () throws(SystemError) in try RawFile.openLines(path) }
        return StreamSink(number, path, definitions, identity: identity)
    }

    /// Files to follow, with their checkpoints in the instance's directory.
    package static func fileSource(
        _ settings: LineSettings, _ instance: Instance, endsAtEnd: Bool
    ) throws(SidecarError) -> FileSource {
        let checkpoints = try system { () throws(SystemError) in
            try Checkpoints(Paths.join(instance.path, "checkpoints"), host: Host.identity)
        }
        // The next start may have another working directory.
        var output: String?
        if case .file(let path) = settings.destination(otherwise: .off) { output = path }
        return FileSource(
            settings.files.map(Paths.absolute), lineLimit: settings.intake.lineLimit, checkpoints: checkpoints,
            output: output, endsAtEnd: endsAtEnd)
    }

    /// What of its lines is not delivered when it all has ended.
    func logRest(_ log: EventLog) {
        if pipeline.lost > 0 {
            log.write(
                .warn, "lines-lost",
                [
                    ("lines", .integer(Int(clamping: pipeline.lost))),
                    ("reason", .string("they were read, and neither the spool nor the dead letters took them")),
                    ("advice", .string("make room there before it is stopped: /readyz tells what is full")),
                ])
        }
        guard pipeline.waiting > 0 else { return }
        log.write(
            .warn, "lines-wait",
            [
                ("lines", .integer(Int(clamping: pipeline.waiting))),
                ("where", .string("in the spool, or in their files: the next start delivers them")),
            ])
    }

    /// The sockets that lines come in on.
    package static func unixSources(_ settings: LineSettings) throws(SidecarError) -> [any LineSource] {
        var list: [any LineSource] = []
        for socket in settings.unix {
            list.append(
                try system { () throws(SystemError) in
                    try UnixSource(socket.path, isDatagram: socket.isDatagram, lineLimit: settings.intake.lineLimit)
                })
        }
        return list
    }

    /// Where lines lie that can never be delivered.
    package var deadLetters: String { Self.deadLetterFile(instance) }

    private static func deadLetterFile(_ instance: Instance) -> String {
        Paths.join(Paths.join(instance.path, "dead-letters"), "dead-letters.jsonl")
    }

    private static func deadLetterPath(_ instance: Instance) throws(SystemError) -> String {
        try Files.makeDirectory(Paths.join(instance.path, "dead-letters"), mode: 0o700)
        return deadLetterFile(instance)
    }

    /// What waits in the spool was meant for where it was to go when it was taken.
    private static func keepDestination(
        _ destination: LineSettings.Destination, _ settings: LineSettings, _ instance: Instance, waiting: Int64
    ) throws(SidecarError) {
        let now =
            switch destination {
            case .kafka: "the topic \(settings.kafka.topic)"
            case .file(let path): "the file \(Paths.absolute(path))"
            default: "standard output"
            }
        try system { [instance] () throws(SystemError) in
            let record = Paths.join(instance.path, "destination")
            let bytes = try FileStatus.of(record) == nil ? nil : try Files.read(record, limit: 8192)
            let was = bytes.map { String(decoding: $0, as: UTF8.self) } ?? now
            if was.hasSameBytes(as: now), bytes != nil { return nil as SidecarError? }
            if waiting > 0, !was.hasSameBytes(as: now) {
                return .spoolElsewhere(record: record, lines: waiting, was: was, now: now)
            }
            _ = try Files.place(Array(now.utf8), at: record, .replacing, mode: 0o600)
            return nil
        }.map { error throws(SidecarError) in throw error }
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
                        ("lost_lines", .integer(Int(clamping: news.lost))),
                        ("advice", .string("their lines cannot be read: look at the disk under \(path)")),
                    ]))
        }
        return spool
    }

    // MARK: - The topic

    /// Asks the brokers until one answers, once in a while: limits and a missing topic matter whenever they come.
    package func watchTopic() {
        guard sendsToKafka, let pause = try? Wake() else { return }
        var isFirst = !hasAsked
        while !isTopicKnown.load(ordering: .relaxed), !pipeline.isEnding {
            if !isFirst { _ = Readiness.wait([pause.number], milliseconds: Self.topicPause) }
            do throws(SidecarError) {
                if let refusal = try checkTopic(isFirst: isFirst) {
                    tell(LineNews(.warn, "kafka-topic", [("reason", .string(refusal))]))
                }
            } catch { tell(LineNews(.warn, "kafka-topic", [("reason", .string(error.description))])) }
            isFirst = false
        }
    }

    private static let topicPause: Int32 = 5000

    /// Asks the brokers about the topic, and tells what contradicts the settings. Nil when lines can be sent, or when no broker answers
    /// and they wait; else why not. It takes some seconds where nobody answers.
    package func checkTopic(isFirst: Bool = true) throws(SidecarError) -> String? {
        guard sendsToKafka else {
            pipeline.begin(LinePipeline.TopicLimits())
            return nil
        }
        hasAsked = true
        let wake = try system { () throws(SystemError) in try Wake() }
        let outcome = TopicCheck.run(
            settings.kafka, properties, window: settings.intake.windowBack, lineLimit: settings.intake.lineLimit,
            wake: wake.number)
        if case .found = outcome, let refusal = missingSource(wake.number) {
            isTopicKnown.store(true, ordering: .relaxed)
            pipeline.begin(LinePipeline.TopicLimits())
            return refusal
        }
        switch outcome {
        case .found(_, let limits, let warnings):
            for warning in warnings { tell(LineNews(.warn, "kafka-topic", [("reason", .string(warning))])) }
            isTopicKnown.store(true, ordering: .relaxed)
            pipeline.begin(limits)
            return nil
        case .missing(let reason), .refused(let reason):
            isTopicKnown.store(true, ordering: .relaxed)
            pipeline.begin(LinePipeline.TopicLimits())
            return reason
        case .unreachable(let reason):
            guard isFirst else { return nil }
            tell(
                LineNews(
                    .warn, "kafka-unreachable",
                    [("reason", .string(reason)), ("advice", .string(adviceWhileWaiting))]))
            pipeline.begin(LinePipeline.TopicLimits())
            return nil
        }
    }

    private var adviceWhileWaiting: String {
        settings.fromTopic.isEmpty
            ? "lines wait in the spool, or in their files, until one does; it is tried again and again, and what is stopped meanwhile goes on with the next start"
            : "nothing is read before one does; it is tried again and again"
    }

    /// Why nothing can be read from the topic that lines come from; nil when it can, or none does.
    private func missingSource(_ wake: Int32) -> String? {
        guard !settings.fromTopic.isEmpty,
            let properties = try? settings.kafka.consumerProperties(group: settings.fromGroup, name: "colophon-look"),
            let consumer = try? KafkaConsumer(properties, topic: settings.fromTopic, wake: wake)
        else { return nil }
        let state: TopicState?
        do throws(KafkaError) { state = try consumer.topicState(milliseconds: Self.sourcePatience) } catch {
            state = nil
        }
        switch state {
        case .missing:
            return
                "the topic \(settings.fromTopic) does not exist: create it, or name another one (--logs-from-kafka-topic)"
        case .refused(let reason): return "the topic \(settings.fromTopic) cannot be read: \(reason)"
        case .found, nil: return nil
        }
    }

    private static let sourcePatience: Int32 = 3000
    private static let progressPause: Int32 = 200

    // MARK: - Running

    /// Whether the pipeline has ended: what is known of it does not change any more.
    package var hasEnded: Bool { ended.load(ordering: .acquiring) }

    /// Starts the pipeline on a thread of its own; `onEnd` is called when it has ended.
    package func start(
        onEnd: @escaping @Sendable () -> Void = {}
    ) throws(SidecarError) -> Threads.Handle {
        try system { () throws(SystemError) in
            try Threads.start("lines", .brief) { [self] in
                pipeline.run()
                ended.store(true, ordering: .releasing)
                onEnd()
            }
        }
    }

    /// Runs the pipeline until it is done, or a signal ends it; `progress` is told how many more lines have arrived. True when nothing was
    /// left undone.
    package func run(
        until signals: borrowing Signals, progress: (Int64) -> Void
    ) throws(SidecarError) -> Bool {
        let done = try system { () throws(SystemError) in try Wake() }
        if sendsToKafka, !isTopicKnown.load(ordering: .relaxed) {
            _ = try system { () throws(SystemError) in try Threads.start("topic") { self.watchTopic() } }
        }
        let thread = try start(onEnd: { done.signal() })
        var arrived: UInt64 = 0
        while true {
            let ready = Readiness.wait([done.number, signals.number], milliseconds: Self.progressPause)
            if ready[0] { break }
            let figures = pipeline.status.figures
            progress(Int64(clamping: figures.delivered + figures.dead - arrived))
            arrived = figures.delivered + figures.dead
            // That the terminal is closed ends it too: there is nothing to load anew.
            while signals.next() != nil { pipeline.stop() }
        }
        thread.join()
        return pipeline.waiting == 0 && pipeline.lost == 0 && pipeline.troubles == 0 && !pipeline.isBroken
    }
}

private func system<Result: ~Copyable>(
    _ body: () throws(SystemError) -> Result
) throws(SidecarError) -> Result {
    do throws(SystemError) { return try body() } catch { throw .system(error) }
}
