import Provenance
import Runtime
import Synchronization

/// From all sources to Kafka, on one thread: what comes in is enriched and spooled, what is spooled is delivered, and what is
/// delivered is acknowledged, backwards to where it came from.
package final class LinePipeline {
    package let intake: LineIntake
    private let sink: any RecordSink
    private let sources: [any LineSource]
    private let fsync: Int64
    private var nextSync: Int64?
    /// Ends when all that came in is delivered, and nothing more will come.
    private let endsWhenDone: Bool
    private let isStopping = Atomic<Bool>(false)
    private let wake: Wake
    private let tell: (LineNews) -> Void
    package let status = LineStatus()
    private var reportedProblem: String?
    private var reportedSpool: String?
    private var reportedLetters: String?
    private var reportedDamages: UInt64 = 0
    private var quietUntil: Int64 = 0
    private var remindAt: Int64 = 0
    private var lastLines: UInt64 = 0
    private var lag = LineLag()
    /// Nothing is sent before: there was no room for a dead letter.
    private var heldUntil: Int64 = 0
    package private(set) var delivered: UInt64 = 0
    package private(set) var resent: UInt64 = 0
    /// Up to where the lines of each owner have arrived; the spool is the first of them.
    private var positions: [Int64] = [0]

    package convenience init(
        _ intake: LineIntake, kafka sink: KafkaSink, sources: [any LineSource], fsyncMilliseconds: Int,
        endsWhenDone: Bool, tell: @escaping (LineNews) -> Void
    ) throws(SystemError) {
        try self.init(intake, sink: sink, sources, fsyncMilliseconds, endsWhenDone, tell)
    }

    package convenience init(
        _ intake: LineIntake, transactions sink: TransactionalSink, sources: [any LineSource], fsyncMilliseconds: Int,
        endsWhenDone: Bool, tell: @escaping (LineNews) -> Void
    ) throws(SystemError) {
        try self.init(intake, sink: sink, sources, fsyncMilliseconds, endsWhenDone, tell)
    }

    package convenience init(
        _ intake: LineIntake, stream sink: StreamSink, sources: [any LineSource], fsyncMilliseconds: Int,
        endsWhenDone: Bool, tell: @escaping (LineNews) -> Void
    ) throws(SystemError) {
        try self.init(intake, sink: sink, sources, fsyncMilliseconds, endsWhenDone, tell)
    }

    private init(
        _ intake: LineIntake, sink: any RecordSink, _ sources: [any LineSource], _ fsyncMilliseconds: Int,
        _ endsWhenDone: Bool, _ tell: @escaping (LineNews) -> Void
    ) throws(SystemError) {
        self.intake = intake
        self.sink = sink
        self.sources = sources
        fsync = Int64(fsyncMilliseconds) * 1000
        self.endsWhenDone = endsWhenDone
        self.tell = tell
        wake = try Wake()
        // Whoever asks before the first turn is done is not told that nothing waits.
        publish()
    }

    /// Any thread may call it: what is spooled stays for the next start.
    package func stop() {
        isStopping.store(true, ordering: .releasing)
        wake.signal()
    }

    package func run() {
        while !isStopping.load(ordering: .acquiring) {
            turn()
            if endsWhenDone, sources.allSatisfy({ $0.isAtEnd }), isEmpty { break }
            // Whoever filters into something that is gone has nothing left to do.
            if endsWhenDone, sink.isBroken { break }
            if sink.isOver { break }
            wait()
        }
        finishSending()
        for source in sources { source.stop(intake) }
        if intake.spool.write() { for source in sources { source.written() } }
        intake.spool.sync()
        // Before the spool is closed: its cursor is a file of its own.
        acknowledge()
        lostInSpool = intake.spool.close()
        lost = lostInSpool + intake.owed
        // Before the memory that its records lie in.
        sink.close()
        // Their memory stays for as long as the process does.
        if sink.mayStillRead { _ = Unmanaged.passRetained(intake) }
        for source in sources where !intake.spool.hasUnsynced && intake.owesNothing { source.spooled() }
        publish()
        tellNews()
    }

    /// How many lines were taken and could be kept nowhere.
    package private(set) var lost: Int64 = 0
    private var lostInSpool: Int64 = 0
    /// What keeps lines from going out, if anything does.
    package var problem: String? { sink.problem }
    package var isBroken: Bool { sink.isBroken }
    package var isOver: Bool { sink.isOver }
    package var troubles: Int { sources.reduce(0) { $0 + $1.troubles } + Int(clamping: intake.spool.news.lost) }

    package var isEnding: Bool { isStopping.load(ordering: .acquiring) }
    package var counters: LineCounters { intake.enricher.counters }
    /// How many lines are neither delivered nor dead.
    package var waiting: Int64 {
        Int64(intake.delivery.unsettled) + intake.spool.unsyncedLines + intake.spool.unread - intake.spool.adoptedAhead
            - lostInSpool
    }
    package var dead: UInt64 { intake.deadLetters.count }
    /// Why the ledger could not be asked, if it ever could not.
    package var ledgerProblem: String? { intake.enricher.problem }

    /// What is on its way gets a moment to arrive, so that it is not sent again after the next start.
    private func finishSending() {
        let deadline = Clock.monotonic() + Self.farewell
        while intake.delivery.onTheirWay > 0, Clock.monotonic() < deadline, !sink.isBroken {
            endSinkTurn()
            _ = Readiness.wait([sink.descriptor], writable: sink.blockedOn, milliseconds: 20)
            takeEvents()
        }
    }

    private static let farewell: Int64 = 1_000_000

    /// Whether nothing waits to be delivered.
    private var isEmpty: Bool {
        intake.delivery.isEmpty && !intake.spool.hasUnsynced && intake.spool.unread == 0 && intake.owesNothing
            && sink.isSettled
    }

    private func endSinkTurn() {
        sink.endTurn(now: Clock.monotonic()) {
            fillPositions()
            intake.delivery.lowerToUnsent(&positions)
            return positions
        }
    }

    private func turn() {
        takeEvents()
        if isStopping.load(ordering: .relaxed) { return }
        intake.buryAll()
        applyTopic()
        intake.decideFileMode(now: Clock.monotonic())
        for source in sources { source.pull(intake) }
        syncSpool()
        feed()
        send()
        endSinkTurn()
        takeEvents()
        acknowledge()
        // What is told of is counted already.
        publish()
        tellNews()
    }

    private func tellNews() {
        for source in sources {
            for news in source.takeNews() { tell(news) }
        }
        tellProblems()
    }

    private func publish() {
        var figures = LineStatus.Figures()
        figures.counters = counters
        figures.delivered = delivered
        figures.resent = resent
        figures.dead = dead
        figures.waiting = waiting
        figures.onTheirWay = intake.delivery.onTheirWay
        figures.waitingSince = lag.note(
            come: delivered + dead + UInt64(clamping: waiting), gone: delivered + dead, now: Clock.monotonic())
        figures.deliveryErrors = sink.errors
        figures.spoolBytes = intake.spool.bytes
        figures.isSpoolFull = intake.spool.hasNoRoom
        figures.spoolWaitingBytes = intake.spool.waitingBytes
        figures.spoolLimit = intake.spool.limit
        figures.spoolFailures = intake.spool.news.failures
        figures.lostRecords = intake.spool.news.lost
        figures.outsideWindow = intake.outsideWindow
        figures.ledgerFailures = intake.enricher.ledgerFailures
        figures.problem = sink.problem
        figures.client = sink.figures
        figures.spoolProblem = intake.spool.news.problem ?? intake.spool.news.readProblem
        figures.deadLetterProblem = intake.deadLetters.problem
        figures.sources = sources.map { ("\($0.name)", $0.figures) }
        for source in sources { source.addFiles(to: &figures) }
        status.publish(figures)
    }

    // MARK: - The spool

    private func syncSpool() {
        if intake.spool.news.problem != nil, let nextSync, Clock.monotonic() < nextSync { return }
        if intake.spool.write() { for source in sources { source.written() } }
        guard intake.spool.hasUnsynced else {
            if intake.owesNothing { for source in sources where source.wantsSync { source.spooled() } }
            return
        }
        let now = Clock.monotonic()
        let due = nextSync ?? now + fsync
        nextSync = due
        guard
            now >= due || intake.spool.mustSync || sources.contains(where: { $0.wantsSync })
                || sources.allSatisfy({ $0.isAtEnd })
        else { return }
        if intake.spool.sync() {
            nextSync = nil
            if intake.owesNothing { for source in sources { source.spooled() } }
        } else {
            nextSync = now + Self.retry
        }
    }

    private static let retry: Int64 = 1_000_000
    private static let pause: Int64 = 1_000

    /// Takes from the spool what there is room for.
    private func feed() {
        let intake = intake
        cannotBury = false
        intake.spool.read { found in
            let size = found.record.length
            // From a time when longer lines were allowed.
            if !intake.delivery.canEverHold(size) {
                // Its own numbers mean something only in its segment, and it may be read again there.
                let own = (found.record.source, found.record.position)
                (found.record.source, found.record.position) = (found.source, found.position)
                defer { (found.record.source, found.record.position) = own }
                let isBuried = bury(
                    found.record, "it is larger than what may be on its way at once (limits.line_bytes)")
                cannotBury = !isBuried
                return isBuried
            }
            guard let memory = intake.delivery.reserve(size) else { return false }
            memory.copyMemory(from: found.record.bytes)
            let copy = LineRecord(base: memory.baseAddress.unsafelyUnwrapped)
            copy.source = found.source
            copy.position = found.position
            copy.stamp = found.stamp
            intake.delivery.commit(size, owner: Self.spoolOwner, start: found.sequence)
            return true
        }
    }

    /// Whether what comes next in the spool belongs among the dead letters, and is not taken there.
    private var cannotBury = false
    private static let spoolOwner = 0

    // MARK: - Delivery

    private func send() {
        let now = Clock.monotonic()
        guard now >= heldUntil else { return }
        let wall = Clock.now()
        while let (token, record) = intake.delivery.next() {
            intake.keepInWindow(record, now: wall)
            switch sink.send(record, token: token) {
            case .sent: intake.delivery.sent(token, now: now)
            case .later: return
            case .refused(let reason):
                guard bury(record, reason) else {
                    heldUntil = now + Self.retry
                    return
                }
                intake.delivery.settle(token, now: now)
            }
        }
    }

    /// Puts a record that nobody takes among the dead letters; false when there is no room for it.
    private func bury(_ record: LineRecord, _ reason: String) -> Bool {
        intake.deadLetters.append(record.value, origin: sink.originText(record), reason: reason)
    }

    private func takeEvents() {
        let now = Clock.monotonic()
        let isFatal = sink.takeEvents { token, outcome in
            switch outcome {
            case .arrived:
                intake.delivery.settle(token, now: now)
                delivered += 1
            case .failed:
                resent += 1
                intake.delivery.fail(token, isSuspected: false)
            case .refused(let reason, let isOfTime): refuse(token, reason, isOfTime: isOfTime, now)
            }
        }
        guard isFatal else { return }
        sink.restart()
        intake.delivery.restart()
    }

    private func refuse(_ token: UInt, _ reason: String, isOfTime: Bool, _ now: Int64) {
        // It was on its way for too long, or the brokers' clock is another one: with the time of now it can go.
        if isOfTime, let record = intake.delivery.record(token), intake.renew(record) {
            resent += 1
            return intake.delivery.fail(token, isSuspected: false)
        }
        if intake.delivery.isAlone(token), let record = intake.delivery.record(token) {
            if bury(record, reason) {
                intake.delivery.settle(token, now: now)
                intake.delivery.clearSuspicion()
                return
            }
            heldUntil = now + Self.retry
        }
        resent += 1
        intake.delivery.fail(token, isSuspected: true)
    }

    /// Tells sources how far all has arrived.
    private func acknowledge() {
        fillPositions()
        intake.delivery.lower(&positions)
        intake.spool.acknowledge(positions[Self.spoolOwner])
        // A file's position may follow the spool, but not what could not be written there.
        if intake.spool.isWritten { for source in sources { source.settle(positions) } }
    }

    /// Up to where the lines of each owner were handed on.
    private func fillPositions() {
        if positions.count < intake.ownerCount {
            positions += Array(repeating: 0, count: intake.ownerCount - positions.count)
        }
        positions[Self.spoolOwner] = intake.spool.readPosition
        for source in sources { source.report(&positions) }
    }

    // MARK: - Waiting

    private func wait() {
        var due = nextSync ?? .max
        for source in sources { if let at = source.wakeAt { due = min(due, at) } }
        if let at = sink.wakeAt { due = min(due, at) }
        if reportedProblem != nil { due = min(due, remindAt) }
        if let at = intake.delivery.stallsAt, intake.fileMode == .direct { due = min(due, at) }
        // There is room for more of what is spooled, unless it cannot be read, or buried where nobody takes it.
        if intake.spool.unread > 0, intake.delivery.isEmpty {
            let isHindered = intake.spool.news.readProblem != nil || cannotBury
            due = min(due, Clock.monotonic() + (isHindered ? Self.retry : Self.pause))
        }
        if intake.delivery.hasWaiting { due = min(due, max(heldUntil, Clock.monotonic() + Self.retry / 10)) }
        // Room came free in this very turn.
        if intake.delivery.isEmpty, intake.fileMode == .direct, sources.contains(where: { $0.isHeldUp }) {
            // Where nothing moves, something must happen elsewhere first.
            let moves = counters.lines != lastLines
            lastLines = counters.lines
            due = min(due, Clock.monotonic() + (moves ? Self.pause : Self.retry / 4))
        }
        let left = due == .max ? -1 : max(0, due - Clock.monotonic() + 999) / 1000
        var descriptors = [wake.number, sink.descriptor]
        for source in sources { descriptors += source.descriptors(intake) }
        let ready = Readiness.wait(descriptors, writable: sink.blockedOn, milliseconds: Int32(clamping: left))
        if ready[0] { wake.clear() }
    }

    private func tellProblems() {
        tellSink()
        let spoolProblem = intake.spool.news.problem ?? intake.spool.news.readProblem
        if reportedSpool != spoolProblem {
            reportedSpool = spoolProblem
            if let reportedSpool { tell(LineNews(.warn, "spool-failed", [("reason", .string(reportedSpool))])) }
        }
        if intake.spool.news.damages > reportedDamages {
            reportedDamages = intake.spool.news.damages
            tell(
                LineNews(
                    .warn, "spool-damaged",
                    [
                        ("lost_lines", .integer(Int(clamping: intake.spool.news.lost))),
                        ("advice", .string("the disk has changed what was written to it: see that it is sound")),
                    ]))
        }
        if reportedLetters != intake.deadLetters.problem {
            reportedLetters = intake.deadLetters.problem
            if let reportedLetters {
                tell(LineNews(.warn, "dead-letters-full", [("reason", .string(reportedLetters))]))
            }
        }
    }

    /// Brokers that come and go may do so often: that is said once in a while.
    private func tellSink() {
        let now = Clock.monotonic()
        let isChanged = (reportedProblem == nil) != (sink.problem == nil)
        let isStill = !isChanged && sink.problem != nil && now >= remindAt
        guard isChanged && now >= quietUntil || isStill else { return }
        quietUntil = now + Self.quiet
        remindAt = now + Self.reminder
        reportedProblem = sink.problem
        if let problem = sink.problem {
            tell(
                LineNews(
                    .warn, sink.failureEvent,
                    [("reason", .string(problem)), ("waiting_lines", .integer(Int(clamping: waiting)))]))
        } else {
            tell(LineNews(.info, sink.recoveryEvent, []))
        }
    }

    private static let quiet: Int64 = 5_000_000
    /// So often it is said again that nothing has changed.
    private static let reminder: Int64 = 60_000_000

    // MARK: - What the brokers said of the topic

    /// What was found out about the topic, by another thread.
    package struct TopicLimits: Sendable {
        package var batchBytes: Int?
        package var windowBack: Int64?
        package var windowAhead: Int64?

        package init() {}
    }

    private let topicLimits = Mutex<TopicLimits?>(nil)
    private let hasTopic = Atomic<Bool>(false)

    /// Any thread may call it. Nothing is sent before.
    package func begin(_ limits: TopicLimits) {
        topicLimits.withLock { $0 = limits }
        hasTopic.store(true, ordering: .releasing)
        wake.signal()
    }

    private func applyTopic() {
        guard hasTopic.exchange(false, ordering: .acquiringAndReleasing), let limits = topicLimits.withLock({ $0 })
        else {
            return
        }
        sink.begin(limits)
        intake.narrowWindow(back: limits.windowBack, ahead: limits.windowAhead)
    }
}
