import Kafka
import Provenance
import Runtime

/// Publishes records in transactions, each of which also says how far the topic has been read that its lines come from.
package final class TransactionalSink: RecordSink {
    private let sink: KafkaSink
    private let topic: TopicSource
    private let caller: TransactionCaller
    private var transaction: Transaction
    private var offsets: [(partition: Int32, position: Int64)] = []
    private var lastLook: Int64 = 0
    /// When the open transaction began, as long as its end is not known.
    private var since: Int64 = 0
    private var own: String?
    package private(set) var isOver = false

    /// Brokers end a transaction that takes longer than this, and then say the same as if somebody else had come.
    private let lifetime: Int64

    /// After a client was lost: whatever refused it may do so again at once.
    private var retryAt: Int64 = 0

    private static let interval: Int64 = 100_000
    private static let pause: Int64 = 1_000_000
    private static let farewell: Int64 = 3_000_000

    package init(
        _ sink: KafkaSink, _ topic: TopicSource, _ settings: KafkaSettings, _ properties: KafkaProperties
    ) throws(SystemError) {
        self.sink = sink
        self.topic = topic
        // The other half is read and enriched while the brokers commit.
        transaction = Transaction(limit: settings.inFlight / 2, interval: Self.interval)
        lifetime = (properties["transaction.timeout.ms"].flatMap { Int64($0) } ?? 60_000) * 1000
        caller = try TransactionCaller(done: sink.wake)
    }

    var descriptor: Int32 { sink.descriptor }
    var blockedOn: Int32 { sink.blockedOn }
    package var problem: String? { own ?? sink.problem }
    var isBroken: Bool { isOver }
    var figures: ClientFigures? { sink.figures }
    var errors: [(name: String, count: UInt64)] { sink.errors }
    var failureEvent: String { sink.failureEvent }
    var recoveryEvent: String { sink.recoveryEvent }
    var wakeAt: Int64? {
        if transaction.isNew { return retryAt > Clock.monotonic() ? retryAt : nil }
        return transaction.isIdle ? (topic.hasUnsettled ? lastLook + Self.interval : nil) : transaction.dueAt
    }
    var isSettled: Bool { !transaction.isCalling && !topic.hasUnsettled }
    func begin(_ limits: LinePipeline.TopicLimits) { sink.begin(limits) }
    func originText(_ record: LineRecord) -> String { sink.originText(record) }

    // MARK: - Records

    func send(_ record: LineRecord, token: UInt) -> Sending {
        guard transaction.canSend, !topic.isLeaving, let producer = sink.ready() else { return .later }
        if transaction.isIdle, !open(producer) { return .later }
        let sending = sink.send(record, token: token)
        if case .sent = sending { transaction.sent(token) }
        return sending
    }

    private func open(_ producer: KafkaProducer) -> Bool {
        do throws(TransactionFailure) { try producer.beginTransaction() } catch {
            note(error)
            return false
        }
        since = Clock.monotonic()
        transaction.open(now: since)
        return true
    }

    func takeEvents(_ body: (_ token: UInt, _ outcome: Arrival) -> Void) -> Bool {
        let isFatal = sink.takeEvents { token, outcome in
            switch outcome {
            case .arrived: break
            case .failed: transaction.failed(token, nil)
            case .refused(let reason, let isOfTime): transaction.failed(token, (reason, isOfTime))
            }
        }
        guard let outcome = caller.takeOutcome() else {
            // Whoever waits for it is told the same.
            guard isFatal, !transaction.isCalling else { return false }
            return lose(sink.fatal.map { $0.isFencing ? .fenced($0) : .fatal($0) })
        }
        if let failure = outcome.failure { note(failure) } else { own = nil }
        switch outcome.answer {
        case .lost: return lose(outcome.failure)
        case .mustAbort(let rereads): if rereads { topic.startAgain() }
        case .done: break
        }
        if transaction.answered(outcome.answer, body) { topic.settled(offsets) }
        offsets.removeAll(keepingCapacity: true)
        return false
    }

    /// Nobody knows what came of the transaction: another client begins, and what was read is read again from where the group stands.
    private func lose(_ failure: TransactionFailure?) -> Bool {
        if case .fenced(let error) = failure, Clock.monotonic() - since < lifetime {
            isOver = true
            own =
                "another process publishes under this instance's identity (\(error.name)): one data directory was copied, or is used twice; stop one of them, or give it a directory of its own (--data-dir)"
        }
        retryAt = Clock.monotonic() + Self.pause
        topic.startAgain()
        transaction.reset()
        offsets.removeAll()
        return true
    }

    private func note(_ failure: TransactionFailure) { own = failure.error.description }

    // MARK: - Between records

    /// Commits when it is time to. `positions` says up to where the lines of each owner were sent.
    func endTurn(now: Int64, _ positions: () -> [Int64]) {
        if topic.isOver, !isOver {
            isOver = true
            own = topic.problem
        }
        guard !isOver, !transaction.isCalling, now >= retryAt || !transaction.isNew else { return }
        if transaction.isIdle {
            if topic.isLeaving {
                topic.isFree = true
                return
            }
            guard now - lastLook >= Self.interval else { return }
            lastLook = now
            // Lines that are left out move positions too.
            guard topic.hasUnsettled, !topic.unsettled(positions()).isEmpty, let producer = sink.ready(), open(producer)
            else { return }
        }
        guard let producer = sink.ready(), let call = transaction.nextCall(now: now, isLeaving: topic.isLeaving) else {
            return
        }
        var carried: GroupOffsets?
        if call == .commit {
            offsets = topic.unsettled(positions())
            carried = offsets.isEmpty ? nil : topic.groupOffsets(offsets)
        }
        caller.call(call, producer, carried)
    }

    func restart() { sink.restart() }

    var mayStillRead: Bool { caller.isBusy }

    func close() {
        let deadline = Clock.monotonic() + Self.farewell
        while caller.isBusy, Clock.monotonic() < deadline {
            _ = Readiness.wait([sink.descriptor], milliseconds: 20)
            _ = takeEvents { _, _ in }
        }
        // An open transaction would keep readers waiting until the brokers give it up.
        if !caller.isBusy, !isOver, let producer = sink.ready(),
            transaction.nextCall(now: .max, isLeaving: true) == .abort
        {
            caller.call(.abort, producer, nil)
            while caller.isBusy, Clock.monotonic() < deadline {
                _ = Readiness.wait([sink.descriptor], milliseconds: 20)
                _ = takeEvents { _, _ in }
            }
        }
        caller.end()
        topic.close()
        sink.close()
    }
}
