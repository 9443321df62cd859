import Kafka
import Provenance
import Runtime
import Synchronization

/// From all sources to Kafka, on one thread: what comes in is enriched and spooled, what is spooled is delivered, and what is
/// delivered is acknowledged, backwards to where it came from.
package final class LinePipeline {
    package let intake: LineIntake
    private let sink: KafkaSink
    private let sources: [any LineSource]
    private let fsync: Int64
    private var nextSync: Int64?
    /// Ends when all that came in is delivered, and nothing more will come.
    private let endsWhenDone: Bool
    private let isStopping = Atomic<Bool>(false)
    private let wake: Wake
    private let tell: (LineNews) -> Void
    private var reportedProblem: String?
    private var reportedSpool: String?
    package private(set) var delivered: UInt64 = 0
    package private(set) var resent: UInt64 = 0
    /// By how many lines a source was asked to shed.
    private var positions: [Int64] = [0]

    package init(
        _ intake: LineIntake, sink: KafkaSink, sources: [any LineSource], fsyncMilliseconds: Int, endsWhenDone: Bool,
        tell: @escaping (LineNews) -> Void
    ) throws(SystemError) {
        self.intake = intake
        self.sink = sink
        self.sources = sources
        fsync = Int64(fsyncMilliseconds) * 1000
        self.endsWhenDone = endsWhenDone
        self.tell = tell
        wake = try Wake()
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
            wait()
        }
        intake.spool.close()
    }

    package var counters: LineCounters { intake.enricher.counters }
    /// How many lines are neither delivered nor dead.
    package var waiting: Int64 { Int64(intake.delivery.unsettled) + intake.spool.unsyncedLines + intake.spool.unread }
    package var dead: UInt64 { intake.deadLetters.count }

    /// Whether nothing waits to be delivered.
    private var isEmpty: Bool {
        intake.delivery.isEmpty && !intake.spool.hasUnsynced && intake.spool.unread == 0
    }

    private func turn() {
        takeEvents()
        intake.refresh()
        decideFileMode()
        for source in sources {
            source.pull(intake)
            for news in source.takeNews() { tell(news) }
        }
        syncSpool()
        feed()
        send()
        acknowledge()
        tellProblems()
    }

    /// While nothing arrives, what files have goes into the spool, so that they may be rotated away; after that it is first to go out.
    private func decideFileMode() {
        if intake.delivery.isStalled(now: Clock.monotonic()) {
            intake.fileMode = .spool
        } else {
            intake.fileMode = intake.spool.readPosition >= intake.spooledFiles ? .direct : .wait
        }
    }

    // MARK: - The spool

    private func syncSpool() {
        guard intake.spool.hasUnsynced else { return }
        intake.spool.write()
        let now = Clock.monotonic()
        let due = nextSync ?? now + fsync
        nextSync = due
        guard now >= due || intake.spool.mustSync || sources.allSatisfy({ $0.isAtEnd }) else { return }
        if intake.spool.sync() {
            nextSync = nil
            for source in sources { source.spooled() }
        } else {
            nextSync = now + Self.retry
        }
    }

    private static let retry: Int64 = 1_000_000

    /// Takes from the spool what there is room for.
    private func feed() {
        let intake = intake
        intake.spool.read { found in
            let size = found.record.length
            guard let memory = intake.delivery.reserve(size) else { return false }
            memory.copyMemory(from: found.record.bytes)
            let copy = LineRecord(base: memory.baseAddress.unsafelyUnwrapped)
            copy.source = found.source
            copy.stamp = found.stamp
            intake.delivery.commit(size, owner: Self.spoolOwner, start: found.sequence)
            return true
        }
    }

    private static let spoolOwner = 0

    // MARK: - Delivery

    private func send() {
        let now = Clock.monotonic()
        while let (token, record) = intake.delivery.next() {
            switch sink.send(record, token: token) {
            case .sent: intake.delivery.sent(token, now: now)
            case .later: return
            case .refused(let code):
                guard bury(record, code) else { return }
                intake.delivery.settle(token, now: now)
            }
        }
    }

    /// Puts a record that nobody takes among the dead letters; false when there is no room for it.
    private func bury(_ record: LineRecord, _ code: Int32) -> Bool {
        let reason = "\(KafkaError.reason(code)) (\(KafkaError.name(code)))"
        return intake.deadLetters.append(record.value, origin: sink.originText(record), reason: reason)
    }

    private func takeEvents() {
        let now = Clock.monotonic()
        let isFatal = sink.takeEvents { token, code in
            if code == 0 {
                intake.delivery.settle(token, now: now)
                delivered += 1
            } else {
                fail(token, code, now)
            }
        }
        guard isFatal else { return }
        sink.restart()
        intake.delivery.restart()
    }

    private func fail(_ token: UInt, _ code: Int32, _ now: Int64) {
        let isRefused = KafkaError.verdict(code) == .recordRefused
        if isRefused, intake.delivery.isAlone(token), let record = intake.delivery.record(token), bury(record, code) {
            intake.delivery.settle(token, now: now)
            intake.delivery.clearSuspicion()
            return
        }
        resent += 1
        intake.delivery.fail(token, isSuspected: isRefused)
    }

    /// Tells sources how far all has arrived.
    private func acknowledge() {
        if positions.count < intake.ownerCount {
            positions += Array(repeating: 0, count: intake.ownerCount - positions.count)
        }
        positions[Self.spoolOwner] = intake.spool.readPosition
        for source in sources { source.report(&positions) }
        intake.delivery.lower(&positions)
        intake.spool.acknowledge(positions[Self.spoolOwner])
        // A file's position may follow the spool, but not what could not be written there.
        if intake.spool.isWritten { for source in sources { source.settle(positions) } }
    }

    // MARK: - Waiting

    private func wait() {
        var due = nextSync ?? .max
        for source in sources { if let at = source.wakeAt { due = min(due, at) } }
        if let at = intake.delivery.stallsAt, intake.fileMode == .direct { due = min(due, at) }
        if intake.delivery.hasWaiting { due = min(due, Clock.monotonic() + Self.retry / 10) }
        let left = due == .max ? -1 : max(0, due - Clock.monotonic() + 999) / 1000
        let canTake = intake.hasRoom(0)
        var descriptors = [wake.number, sink.wake.number]
        if canTake { for source in sources { descriptors += source.descriptors } }
        let ready = Readiness.wait(descriptors, milliseconds: Int32(clamping: left))
        if ready[0] { wake.clear() }
    }

    private func tellProblems() {
        if reportedProblem != sink.problem {
            if let problem = sink.problem {
                // One line for the first of a series: others follow by the second while a broker is away.
                if reportedProblem == nil { tell(LineNews(.warn, "kafka-failed", [("reason", .string(problem))])) }
            } else {
                tell(LineNews(.info, "kafka-reached", []))
            }
            reportedProblem = sink.problem
        }
        if reportedSpool != intake.spool.news.problem {
            reportedSpool = intake.spool.news.problem
            if let reportedSpool { tell(LineNews(.warn, "spool-failed", [("reason", .string(reportedSpool))])) }
        }
    }
}
