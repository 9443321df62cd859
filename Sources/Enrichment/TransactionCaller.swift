import Kafka
import Runtime
import Synchronization

/// Makes the calls of transactions that wait for brokers, on a thread of its own, one at a time.
final class TransactionCaller: Sendable {
    private struct Job: @unchecked Sendable {
        let call: Transaction.Call
        let producer: KafkaProducer
        let offsets: GroupOffsets?
    }

    struct Outcome: Sendable {
        let answer: Transaction.Answer
        /// What went wrong, if anything did.
        let failure: TransactionFailure?
    }

    private struct State {
        var job: Job?
        var isBusy = false
        var outcome: Outcome?
        var isEnding = false
    }

    private let state = Mutex(State())
    private let bell: Wake
    /// Written to when a call has ended.
    private let done: Wake

    init(done: Wake) throws(SystemError) {
        bell = try Wake()
        self.done = done
        _ = try Threads.start("transactions") { self.run() }
    }

    func call(_ call: Transaction.Call, _ producer: KafkaProducer, _ offsets: GroupOffsets?) {
        state.withLock { state in
            state.isBusy = true
            state.job = Job(call: call, producer: producer, offsets: offsets)
        }
        bell.signal()
    }

    /// What came of the call, once.
    func takeOutcome() -> Outcome? {
        state.withLock { state in
            guard let outcome = state.outcome else { return nil }
            state.outcome = nil
            state.isBusy = false
            return outcome
        }
    }

    var isBusy: Bool { state.withLock { $0.isBusy } }

    /// No other call is made after the one that is under way.
    func end() {
        state.withLock { $0.isEnding = true }
        bell.signal()
    }

    private func run() {
        while true {
            _ = Readiness.wait([bell.number], milliseconds: -1)
            bell.clear()
            let (job, isEnding) = state.withLock { state in
                let job = state.job
                state.job = nil
                return (job, state.isEnding)
            }
            if let job {
                let outcome = perform(job)
                state.withLock { $0.outcome = outcome }
                done.signal()
            }
            if isEnding { return }
        }
    }

    private func perform(_ job: Job) -> Outcome {
        while true {
            do throws(TransactionFailure) {
                switch job.call {
                case .start: try job.producer.startTransactions(milliseconds: Self.patience)
                case .commit:
                    if let offsets = job.offsets {
                        do throws(TransactionFailure) { try job.producer.send(offsets) } catch {
                            if case .mustAbort = error {
                                return Outcome(answer: .mustAbort(rereads: true), failure: error)
                            }
                            throw error
                        }
                    }
                    try job.producer.commitTransaction()
                case .abort: try job.producer.abortTransaction()
                }
                return Outcome(answer: .done, failure: nil)
            } catch {
                switch error {
                // Brokers that are not there may come back.
                case .passing where !state.withLock({ $0.isEnding }):
                    _ = Readiness.wait([bell.number], milliseconds: Self.pause)
                case .mustAbort: return Outcome(answer: .mustAbort(rereads: false), failure: error)
                case .passing, .fatal, .fenced: return Outcome(answer: .lost, failure: error)
                }
            }
        }
    }

    private static let patience: Int32 = 5000
    private static let pause: Int32 = 100
}
