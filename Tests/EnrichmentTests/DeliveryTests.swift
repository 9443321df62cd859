import Provenance
import TestSupport
import Testing

@testable import Enrichment

/// Delivery against brokers that refuse, fail and forget by lot.
@Suite("Delivery")
struct DeliveryTests {
    /// Brokers with some partitions, as a client with idempotence and without gaps sees them: when a batch is refused, nothing that
    /// was sent after it is taken.
    private struct Brokers {
        var partitions: [[(token: UInt, number: Int)]]
        var log: [[Int]]

        init(_ count: Int) {
            partitions = Array(repeating: [], count: count)
            log = Array(repeating: [], count: count)
        }
    }

    /// Runs with `poison` records that are refused wherever they go.
    static func run(seed: UInt64) -> [String] {
        var chance = Chance(seed: seed)
        var problems: [String] = []
        var limits = Delivery.Limits()
        limits.records = 5 + chance.draw(60)
        limits.bytes = 16 << 10
        var delivery = Delivery(limits)
        let partitionCount = 1 + chance.draw(3)
        var brokers = Brokers(partitionCount)
        let total = 50 + chance.draw(300)
        let poison = Set((0..<chance.draw(4)).map { _ in chance.draw(total) })
        var dead: [Int] = []
        var next = 0
        var acknowledged: Int64 = 0
        var clock: Int64 = 0
        func check() {
            var positions = [Int64(next)]
            delivery.lower(&positions)
            if positions[0] < acknowledged { problems.append("the position goes back to \(positions[0])") }
            acknowledged = positions[0]
            for number in 0..<Int(acknowledged) {
                let isThere = brokers.log[number % partitionCount].contains(number) || dead.contains(number)
                if !isThere { problems.append("\(number) counts as delivered and is nowhere") }
            }
        }
        func restart(isTold: Bool) {
            // What the brokers took of what was on its way, and told nobody.
            for index in brokers.partitions.indices {
                if !isTold {
                    for one in brokers.partitions[index].prefix(chance.draw(brokers.partitions[index].count + 1)) {
                        if poison.contains(one.number) { break }
                        brokers.log[index].append(one.number)
                    }
                }
                brokers.partitions[index].removeAll()
            }
            delivery.restart()
        }
        func answer(_ index: Int) {
            let batch = brokers.partitions[index].prefix(1 + chance.draw(20))
            guard !batch.isEmpty else { return }
            brokers.partitions[index].removeFirst(batch.count)
            guard batch.contains(where: { poison.contains($0.number) }) else {
                for one in batch {
                    brokers.log[index].append(one.number)
                    delivery.settle(one.token, now: clock)
                }
                return
            }
            for one in batch {
                if delivery.isAlone(one.token) {
                    if !poison.contains(one.number) { problems.append("\(one.number) is dead, and was not at fault") }
                    dead.append(one.number)
                    delivery.settle(one.token, now: clock)
                    delivery.clearSuspicion()
                } else {
                    delivery.fail(one.token, isSuspected: true)
                }
            }
            // Nothing behind it is taken there, and the client is beyond use after that.
            brokers.partitions[index].removeAll()
            restart(isTold: false)
        }
        var steps = 0
        while dead.count + Set(brokers.log.flatMap { $0 }).count < total, steps < 200_000 {
            steps += 1
            clock += Int64(chance.draw(1000))
            switch chance.draw(10) {
            case 0..<4:
                let size = LineRecord.size(ofValue: chance.draw(300))
                guard next < total, let memory = delivery.reserve(size) else { break }
                let record = LineRecord(base: memory.baseAddress.unsafelyUnwrapped)
                record.fill(.line, valueCount: size - LineRecord.headerSize, position: Int64(next))
                delivery.commit(size, owner: 0, start: Int64(next))
                next += 1
            case 4..<7:
                guard let (token, record) = delivery.next() else { break }
                let number = Int(record.position)
                brokers.partitions[number % partitionCount].append((token, number))
                delivery.sent(token, now: clock)
            case 7..<9: answer(chance.draw(partitionCount))
            default: if chance.percent(3) { restart(isTold: chance.percent(50)) }
            }
            if steps % 64 == 0 { check() }
            if problems.count > 3 { return problems }
        }
        if steps == 200_000 {
            problems.append("it stands still: \(delivery.unsettled) wait, \(delivery.onTheirWay) are on their way")
        }
        if Set(dead) != poison {
            problems.append("dead are \(dead.sorted()), and to be refused were \(poison.sorted())")
        }
        for log in brokers.log {
            var seen: Set<Int> = []
            let firsts = log.filter { seen.insert($0).inserted }
            if firsts != firsts.sorted() { problems.append("a partition is out of order") }
        }
        return problems
    }

    @Test("nothing is lost or out of order, and only what is at fault is dead", arguments: 0..<4)
    func delivers(shard: Int) {
        let seeds = Seeds.some(600)
        for (index, seed) in seeds.enumerated() where seeds.count == 1 ? shard == 0 : index % 4 == shard {
            let problems = Self.run(seed: seed)
            if !problems.isEmpty {
                Issue.record("COLOPHON_SEED=\(seed): \(problems.prefix(5))")
                return
            }
        }
    }

    @Test("it is bounded by records and by bytes, and has room again when the first have arrived")
    func isBounded() {
        var limits = Delivery.Limits()
        limits.records = 3
        limits.bytes = 1024
        var delivery = Delivery(limits)
        for number in 0..<3 {
            let memory = delivery.reserve(128)
            #expect(memory != nil)
            memory.map { LineRecord(base: $0.baseAddress.unsafelyUnwrapped).fill(.line, valueCount: 64) }
            delivery.commit(128, owner: 0, start: Int64(number))
        }
        let isFull = delivery.reserve(128) == nil
        #expect(isFull)
        let first = delivery.next()
        first.map { delivery.sent($0.token, now: 0) }
        first.map { delivery.settle($0.token, now: 1) }
        let tooLong = delivery.reserve(1025) == nil
        #expect(tooLong)
        let fits = delivery.reserve(512) != nil
        #expect(fits)
    }

    @Test("it counts as stalled when nothing has arrived for a second, and not when nothing is on its way")
    func stalls() {
        var delivery = Delivery(Delivery.Limits())
        func state(_ now: Int64) -> Bool { delivery.isStalled(now: now) }
        let memory = delivery.reserve(64)
        memory.map { LineRecord(base: $0.baseAddress.unsafelyUnwrapped).fill(.line, valueCount: 0) }
        delivery.commit(64, owner: 0, start: 0)
        #expect(!state(5_000_000))
        let next = delivery.next()
        next.map { delivery.sent($0.token, now: 5_000_000) }
        #expect(!state(5_999_999))
        #expect(state(6_000_000))
        next.map { delivery.settle($0.token, now: 6_500_000) }
        #expect(!state(9_000_000))
    }
}
