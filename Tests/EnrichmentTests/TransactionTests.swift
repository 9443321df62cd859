import Provenance
import TestSupport
import Testing

@testable import Enrichment

/// From topic to topic, against brokers that refuse, abort and forget by lot: each record is published exactly once.
@Suite("Transactions")
struct TransactionTests {
    /// What brokers know: the records of the transaction that is open, what was committed, and how far the group has read.
    private struct Brokers {
        var open: [(token: UInt, number: Int)] = []
        var log: [[Int]]
        var position = 0

        mutating func commit(_ position: Int) {
            for one in open { log[one.number % log.count].append(one.number) }
            open.removeAll()
            self.position = max(self.position, position)
        }
    }

    private struct Run: ~Copyable {
        var chance: Chance
        var problems: [String] = []
        var delivery: Delivery
        var transaction: Transaction
        var brokers: Brokers
        let total: Int
        let poison: Set<Int>
        var dead: Set<Int> = []
        var next = 0
        var clock: Int64 = 0
        var isLeaving = false
        var call: Transaction.Call?
        /// Up to where the call that is under way says that the group has read.
        var offset = 0
        static let owner = 1

        init(seed: UInt64) {
            chance = Chance(seed: seed)
            var limits = Delivery.Limits()
            limits.records = 4 + chance.draw(40)
            limits.bytes = 16 << 10
            delivery = Delivery(limits)
            transaction = Transaction(limit: limits.records / 2, interval: 100)
            brokers = Brokers(log: Array(repeating: [], count: 1 + chance.draw(3)))
            let total = 40 + chance.draw(200)
            self.total = total
            var poison: Set<Int> = []
            for _ in 0..<chance.draw(4) { poison.insert(chance.draw(total)) }
            self.poison = poison
        }
    }

    private static func step(_ run: inout Run) {
        run.clock += Int64(run.chance.draw(30))
        switch run.chance.draw(12) {
        case 0..<4: take(&run)
        case 4..<8: send(&run)
        case 8: endTurn(&run)
        case 9..<11: answer(&run)
        default:
            // The brokers refuse what nobody takes before anybody commits.
            guard run.call == nil, let bad = run.brokers.open.first(where: { run.poison.contains($0.number) }) else {
                if run.chance.percent(4) { run.isLeaving = true }
                return
            }
            run.transaction.failed(bad.token, ("poison", false))
        }
    }

    private static func take(_ run: inout Run) {
        let size = LineRecord.size(ofValue: run.chance.draw(200))
        guard !run.isLeaving, run.next < run.total, let memory = run.delivery.reserve(size) else { return }
        LineRecord(base: memory.baseAddress.unsafelyUnwrapped)
            .fill(.line, valueCount: size - LineRecord.headerSize, position: Int64(run.next))
        run.delivery.commit(size, owner: Run.owner, start: Int64(run.next))
        run.next += 1
    }

    private static func send(_ run: inout Run) {
        guard run.transaction.canSend, !run.isLeaving, let (token, record) = run.delivery.next() else { return }
        if run.transaction.isIdle { run.transaction.open(now: run.clock) }
        run.brokers.open.append((token, Int(record.position)))
        run.transaction.sent(token)
        run.delivery.sent(token, now: run.clock)
    }

    private static func endTurn(_ run: inout Run) {
        if run.transaction.isIdle, run.isLeaving {
            run.delivery.discard(Run.owner)
            run.next = run.brokers.position
            run.isLeaving = false
        }
        guard run.call == nil else { return }
        run.call = run.transaction.nextCall(now: run.clock, isLeaving: run.isLeaving)
        var positions = [0, Int64(run.next)]
        run.delivery.lowerToUnsent(&positions)
        run.offset = Int(positions[Run.owner])
    }

    private static func answer(_ run: inout Run) {
        guard let call = run.call else { return }
        run.call = nil
        let outcome: Transaction.Answer
        switch call {
        case .start: outcome = run.chance.percent(10) ? .lost : .done
        case .abort: outcome = run.chance.percent(10) ? .lost : .done
        case .commit:
            let hasPoison = run.brokers.open.contains { run.poison.contains($0.number) }
            for one in run.brokers.open where run.poison.contains(one.number) {
                run.transaction.failed(one.token, ("poison", false))
            }
            if hasPoison {
                outcome = .mustAbort(rereads: false)
            } else {
                switch run.chance.draw(20) {
                case 0: outcome = .mustAbort(rereads: true)
                case 1: outcome = .mustAbort(rereads: false)
                case 2: outcome = .lost
                default: outcome = .done
                }
                // What is lost may have been committed all the same.
                if outcome == .done || outcome == .lost && run.chance.percent(50) { run.brokers.commit(run.offset) }
            }
        }
        if outcome == .lost {
            run.brokers.open.removeAll()
            run.isLeaving = true
            run.transaction.reset()
            run.delivery.restart()
            return
        }
        if outcome == .mustAbort(rereads: true) { run.isLeaving = true }
        if call == .abort { run.brokers.open.removeAll() }
        var arrivals: [(UInt, Arrival)] = []
        _ = run.transaction.answered(outcome) { arrivals.append(($0, $1)) }
        for (token, arrival) in arrivals { settle(&run, token, arrival) }
    }

    /// As the pipeline does.
    private static func settle(_ run: inout Run, _ token: UInt, _ arrival: Arrival) {
        switch arrival {
        case .arrived: run.delivery.settle(token, now: run.clock)
        case .failed: run.delivery.fail(token, isSuspected: false)
        case .refused:
            guard run.delivery.isAlone(token), let record = run.delivery.record(token) else {
                return run.delivery.fail(token, isSuspected: true)
            }
            let number = Int(record.position)
            if !run.poison.contains(number) { run.problems.append("\(number) is dead, and was not at fault") }
            run.dead.insert(number)
            run.delivery.settle(token, now: run.clock)
            run.delivery.clearSuspicion()
        }
    }

    private static func problems(seed: UInt64) -> [String] {
        var run = Run(seed: seed)
        var steps = 0
        while steps < 300_000 {
            steps += 1
            step(&run)
            if run.problems.count > 3 { return run.problems }
            if run.brokers.log.reduce(0, { $0 + $1.count }) + run.poison.count >= run.total, run.dead == run.poison {
                break
            }
        }
        if steps == 300_000 { run.problems.append("it stands still") }
        for (index, log) in run.brokers.log.enumerated() {
            let wanted = (0..<run.total).filter { $0 % run.brokers.log.count == index && !run.poison.contains($0) }
            if log != wanted { run.problems.append("partition \(index) has \(log.count) records, not \(wanted.count)") }
        }
        return run.problems
    }

    @Test("each record is published once, in order, and only what is at fault is dead", arguments: 0..<4)
    func publishesOnce(shard: Int) {
        let seeds = Seeds.some(800)
        for (index, seed) in seeds.enumerated() where seeds.count == 1 ? shard == 0 : index % 4 == shard {
            let problems = Self.problems(seed: seed)
            if !problems.isEmpty {
                Issue.record("COLOPHON_SEED=\(seed): \(problems.prefix(5))")
                return
            }
        }
    }

    @Test("nothing counts as arrived before all of it is committed")
    func waitsForCommit() {
        var transaction = Transaction(limit: 2, interval: 100)
        #expect(transaction.nextCall(now: 0, isLeaving: false) == .start)
        #expect(!transaction.canSend)
        _ = transaction.answered(.done) { _, _ in Issue.record("nothing was sent") }
        transaction.open(now: 0)
        transaction.sent(1)
        #expect(transaction.nextCall(now: 99, isLeaving: false) == nil)
        transaction.sent(2)
        #expect(!transaction.canSend)
        #expect(transaction.nextCall(now: 99, isLeaving: false) == .commit)
        #expect(transaction.nextCall(now: 99, isLeaving: false) == nil)
        var arrived: [UInt] = []
        let isCommitted = transaction.answered(.done) { token, _ in arrived.append(token) }
        #expect(isCommitted)
        #expect(arrived == [1, 2])
        #expect(transaction.isIdle)
    }
}
