/// One transaction after another, as a pure machine: which records are in the one that is open, what is asked of the client next, and what
/// became of the records. Nothing in it counts as arrived before all of it is committed.
struct Transaction {
    /// What is asked of the client, one at a time.
    enum Call: Equatable, Sendable {
        /// What an earlier process left open is ended.
        case start
        case commit
        case abort
    }

    enum Answer: Equatable, Sendable {
        case done
        /// It can only be aborted. `rereads` when the group has moved on: what was read is to be read again, by whoever that falls to.
        case mustAbort(rereads: Bool)
        /// The client is beyond use, and nobody knows what came of the transaction.
        case lost
    }

    private enum Phase: Equatable {
        case new
        case idle
        case open
        case doomed
        /// A call is on its way.
        case calling(Call)
    }

    private let limit: Int
    private let interval: Int64
    private var phase = Phase.new
    private var tokens: [UInt] = []
    /// Why some of them were not taken; nil for those that may be another time.
    private var failures: [UInt: (reason: String, isOfTime: Bool)?] = [:]
    private var since: Int64 = 0

    /// At most `limit` records, and at most `interval` microseconds, before it is committed.
    init(limit: Int, interval: Int64) {
        self.limit = max(1, limit)
        self.interval = interval
    }

    var canSend: Bool { phase == .idle || phase == .open && tokens.count < limit }
    /// Whether the client has yet to be told to begin.
    var isNew: Bool { phase == .new }
    /// Whether the next record opens another one.
    var isIdle: Bool { phase == .idle }
    /// When it is to be committed, as far as time decides that.
    var dueAt: Int64? { phase == .open ? since + interval : nil }
    var isCalling: Bool { if case .calling = phase { true } else { false } }

    mutating func open(now: Int64) {
        phase = .open
        since = now
    }

    mutating func sent(_ token: UInt) { tokens.append(token) }

    /// What the brokers said of one record; `reason` where they will never take it.
    mutating func failed(_ token: UInt, _ refusal: (reason: String, isOfTime: Bool)?) {
        failures[token] = .some(refusal)
        if phase == .open { phase = .doomed }
    }

    /// What is to be asked now, if anything is. `isLeaving` when what was read belongs to somebody else from now on.
    mutating func nextCall(now: Int64, isLeaving: Bool) -> Call? {
        let call: Call
        switch phase {
        case .new: call = .start
        case .doomed: call = .abort
        case .open where isLeaving: call = .abort
        case .open where tokens.count >= limit || now - since >= interval: call = .commit
        default: return nil
        }
        phase = .calling(call)
        return call
    }

    /// Takes the answer to the call that was made, and hands on what became of the records. True when all of it is committed.
    mutating func answered(_ answer: Answer, _ body: (UInt, Arrival) -> Void) -> Bool {
        guard case .calling(let call) = phase else { return false }
        switch (call, answer) {
        case (.start, .done): phase = .idle
        case (.commit, .done):
            for token in tokens { body(token, .arrived) }
            forget(.idle)
        case (.abort, .done):
            for token in tokens {
                if case .some(.some(let refusal)) = failures[token] {
                    body(token, .refused(reason: refusal.reason, isOfTime: refusal.isOfTime))
                } else {
                    body(token, .failed)
                }
            }
            forget(.idle)
        case (.commit, .mustAbort): phase = .doomed
        case (_, .mustAbort), (_, .lost): forget(.new)
        }
        return (call, answer) == (.commit, .done)
    }

    /// Whoever asked is to make another client: all records are to be sent again.
    mutating func reset() { forget(.new) }

    private mutating func forget(_ phase: Phase) {
        self.phase = phase
        tokens.removeAll(keepingCapacity: true)
        failures.removeAll(keepingCapacity: true)
    }
}
