import Kafka
import Provenance
import Runtime

/// Lines from another topic of the same brokers. How far it was read is part of the transaction in which they are published: a line is in
/// the one topic exactly when it counts as read in the other.
package final class TopicSource: LineSource {
    private struct Partition {
        let number: Int32
        let owner: Int
        let source: UInt32
        /// Behind the last record that was taken; nil before the first.
        var next: Int64?
        /// Up to where the group has read, as far as is known.
        var settled: Int64
        /// Up to where it had read when the partition was assigned; nil when nothing is known of that.
        var begin: Int64?
        var isAtEnd = false
    }

    package let name: StaticString = "topic"
    private let topic: String
    private let lineLimit: Int
    private let endsAtEnd: Bool
    /// The headers that records get here, which those that they bring must not contradict.
    private let ownHeaders: [StaticString]
    private let dropsCloudEvents: Bool
    private let wake: Wake
    private let properties: KafkaProperties
    private var reader: KafkaConsumer?
    private var partitions: [Partition] = []
    private var carried = CarriedHeaders()
    private var startsAgain = false
    private var nextTry: Int64 = 0
    /// Who asks for nothing for too long is taken for dead by its group.
    private var nextPoll: Int64 = 0
    private let pollInterval: Int64
    /// What was deleted before it was read.
    private var lostRecords: Int64 = 0
    private var hasMore = false
    private var hasBegun = false
    private var isClosed = false
    private var records: UInt64 = 0
    private var rebalances: UInt64 = 0
    private var restarts: UInt64 = 0
    private var reported: String?
    private var news: [LineNews] = []
    /// What keeps it from reading.
    package private(set) var problem: String?
    /// What was read and is not published belongs to somebody else: nothing more is sent until the transaction is aborted.
    private(set) var isLeaving = false
    /// Set once no transaction is open.
    var isFree = false
    /// Another one reads under the same name: nothing will ever come here.
    private(set) var isOver = false
    package private(set) var isHeldUp = false

    private static let mostAtOnce = 10_000
    private static let retry: Int64 = 1_000_000

    package init(
        _ topic: String, _ properties: KafkaProperties, _ settings: KafkaSettings, lineLimit: Int, endsAtEnd: Bool
    ) throws(SystemError) {
        let longest = properties["max.poll.interval.ms"].flatMap { Int64($0) } ?? 300_000
        pollInterval = longest * 1000 / 3
        self.properties = properties
        self.topic = topic
        self.lineLimit = lineLimit
        self.endsAtEnd = endsAtEnd
        dropsCloudEvents = settings.cloudEvents
        // What tells of a manifest is never taken over; the other two only where they are given anew.
        ownHeaders = RecordHeader.allCases
            .filter { ($0 != .requestID && $0 != .lineTime) || settings.headers.contains($0) }.map(\.staticName)
        wake = try Wake()
    }

    // MARK: - Waiting

    package var isAtEnd: Bool { endsAtEnd && hasBegun && !isLeaving && !isHeldUp && partitions.allSatisfy(\.isAtEnd) }
    package func descriptors(_ intake: LineIntake) -> [Int32] { isHeldUp ? [] : [wake.number] }
    package var wakeAt: Int64? { hasMore || isFree ? 0 : reader == nil ? nextTry : isLeaving ? nil : nextPoll }
    package var troubles: Int { isOver ? 1 : 0 }

    package var figures: [(name: String, value: Int)] {
        [
            ("partitions", partitions.count), ("records", Int(records)), ("rebalances", Int(rebalances)),
            ("restarts", Int(restarts)), ("behind_records", behind), ("records_lost_deleted", Int(lostRecords)),
        ]
    }

    /// How many records wait to be read, as far as the brokers have said.
    private var behind: Int {
        partitions.reduce(0) { sum, partition in
            guard !partition.isAtEnd, let next = partition.next, let all = reader?.extent(of: partition.number)
            else { return sum }
            return sum + Int(max(0, all.upperBound - next))
        }
    }

    package func takeNews() -> [LineNews] {
        if reported != problem {
            reported = problem
            if let problem {
                news.append(
                    LineNews(
                        .warn, "topic-unread",
                        [("topic", .string(topic)), ("reason", .string(problem))]))
            }
        }
        defer { news.removeAll() }
        return news
    }

    // MARK: - Reading

    package func pull(_ intake: LineIntake) {
        guard !isClosed, !isOver else { return }
        wake.clear()
        hasMore = false
        nextPoll = Clock.monotonic() + pollInterval
        if isLeaving {
            guard isFree else { return }
            leave(intake)
        }
        guard let reader = reader ?? makeOne() else { return }
        isHeldUp = false
        var count = 0
        while let event = reader.next() {
            switch event {
            case .record(let record):
                if count % Self.freshFor == 0 { intake.refresh() }
                guard take(record, intake) else {
                    isHeldUp = true
                    return
                }
                reader.advance()
                records += 1
                count += 1
            case .assigned(let numbers): join(numbers, intake)
            case .revoked:
                rebalances += 1
                isLeaving = true
                return
            case .atEnd(let number): change(number) { $0.isAtEnd = true }
            case .failed(let error): fail(error)
            }
            guard count < Self.mostAtOnce, !isOver, !isLeaving else {
                hasMore = true
                return
            }
        }
    }

    /// Records that came one after the other are looked at by what was known before the first of so many: they were on their way for longer.
    private static let freshFor = 32

    private func makeOne() -> KafkaConsumer? {
        let now = Clock.monotonic()
        guard now >= nextTry else { return nil }
        nextTry = now + Self.retry
        do throws(KafkaError) {
            let made = try KafkaConsumer(properties, topic: topic, wake: wake.number)
            try made.subscribe()
            reader = made
        } catch { problem = error.description }
        return reader
    }

    private func join(_ numbers: [Int32], _ intake: LineIntake) {
        hasBegun = true
        problem = nil
        let begin = reader?.committed(numbers, milliseconds: Self.patience) ?? [:]
        for number in numbers {
            partitions.append(
                Partition(
                    number: number, owner: intake.newOwner(), source: intake.namedSource("\(topic)/\(number)"),
                    settled: -1, begin: begin[number]))
        }
        news.append(
            LineNews(
                .info, "topic-assigned", [("topic", .string(topic)), ("partitions", .integer(numbers.count))]))
        do throws(KafkaError) { try reader?.accept() } catch { fail(error) }
    }

    private static let patience: Int32 = 1000

    /// The brokers may have deleted what the group had not read: then nobody can bring it back, and it must not go unsaid.
    private func lookForGap(_ partition: Partition, _ offset: Int64) {
        // What transactions and compaction leave out was not to be read.
        guard let begin = partition.next ?? partition.begin, offset > begin,
            let all = reader?.extent(of: partition.number)
        else { return }
        let lost = min(all.lowerBound, offset) - begin
        guard lost > 0 else { return }
        lostRecords += lost
        news.append(
            LineNews(
                .warn, "records-lost",
                [
                    ("topic", .string(topic)), ("partition", .integer(Int(partition.number))),
                    ("at_most", .integer(Int(lost))), ("reason", .string("deleted before they were read")),
                    ("advice", .string("raise the topic's retention (retention.ms, retention.bytes)")),
                ]))
    }

    /// Its offsets go back: the topic was deleted and created anew.
    private func beginAnew(_ index: Int, _ offset: Int64) {
        (partitions[index].next, partitions[index].begin) = (nil, nil)
        partitions[index].settled = offset
        news.append(
            LineNews(
                .warn, "topic-began-anew",
                [
                    ("topic", .string(topic)), ("partition", .integer(Int(partitions[index].number))),
                    ("from", .integer(Int(offset))),
                    (
                        "advice",
                        .string(
                            "it was deleted and created anew: origins of its lines repeat, so do not drop duplicates by them across this time"
                        )
                    ),
                ]))
    }

    private func take(_ record: ConsumedRecord, _ intake: LineIntake) -> Bool {
        guard let index = partitions.firstIndex(where: { $0.number == record.partition }) else { return true }
        // Also where that happened while nobody read: the group stands behind what there is.
        if let next = partitions[index].next ?? partitions[index].begin, record.offset < next {
            beginAnew(index, record.offset)
        }
        let partition = partitions[index]
        let value = Span<UInt8>(_unsafeBytes: record.value)
        let isTaken: Bool
        if value.count > lineLimit {
            isTaken = intake.bury(value, source: partition.source, position: record.offset, piece: 0, isLast: true)
        } else {
            carried.take(record, replacing: ownHeaders, dropsCloudEvents: dropsCloudEvents)
            var extras = LineExtras()
            extras.key = record.key
            extras.headers = carried.bytes
            extras.headerCount = carried.count
            isTaken =
                carried.isTooMany || !intake.canEverDeliver(value.count, extras)
                ? intake.bury(
                    value, source: partition.source, position: record.offset, piece: 0, isLast: true,
                    reason: "the key and the headers of the record take more room than any record may have")
                : intake.deliver(
                    value, source: partition.source, owner: partition.owner, position: record.offset, extras: extras,
                    atMost: carried.ceiling)
        }
        guard isTaken else { return false }
        if partition.next == nil { partitions[index].settled = record.offset }
        lookForGap(partition, record.offset)
        partitions[index].next = record.offset + 1
        partitions[index].isAtEnd = false
        problem = nil
        return true
    }

    private func change(_ number: Int32, _ body: (inout Partition) -> Void) {
        guard let index = partitions.firstIndex(where: { $0.number == number }) else { return }
        body(&partitions[index])
    }

    private func fail(_ error: KafkaError) {
        if error.isFencing {
            isOver = true
            problem =
                "another process reads \(topic) under this instance's identity (\(error.name)): one data directory was copied, or is used twice; stop one of them, or give it a directory of its own (--data-dir)"
        } else if error.isMissingTopic {
            problem =
                "the topic \(topic) does not exist: create it, or name another one (--logs-from-kafka-topic); it is read as soon as it is there"
        } else if error.isFatal || !error.isGeneral {
            // That brokers are gone is told of already, by whoever publishes there.
            problem = error.description
            if error.isFatal { startAgain() }
        }
    }

    // MARK: - Leaving

    /// What was read is read again, from where the group stands, once the transaction is aborted.
    func startAgain() {
        guard !startsAgain else { return }
        restarts += 1
        startsAgain = true
        isLeaving = true
    }

    private func leave(_ intake: LineIntake) {
        for partition in partitions {
            intake.delivery.discard(partition.owner)
            intake.returnOwner(partition.owner)
        }
        partitions.removeAll()
        reader?.release()
        if startsAgain { dismiss() }
        (isLeaving, isFree, startsAgain, isHeldUp, hasBegun) = (false, false, false, false, false)
    }

    /// Leaving the group takes a moment, in which lines of others are not to wait.
    private func dismiss() {
        guard let reader else { return }
        let box = ReaderBox(reader)
        self.reader = nil
        _ = try? Threads.start("leaving") { box.empty() }
    }

    private final class ReaderBox: @unchecked Sendable {
        private var reader: KafkaConsumer?

        init(_ reader: KafkaConsumer) { self.reader = reader }

        func empty() { reader = nil }
    }

    /// What was read and not published is not counted as waiting: whoever reads the topic next has it.
    package func stop(_ intake: LineIntake) {
        for partition in partitions { intake.delivery.discard(partition.owner) }
    }

    func close() {
        isClosed = true
        reader = nil
    }

    // MARK: - Positions

    package func report(_ positions: inout [Int64]) {
        for partition in partitions { positions[partition.owner] = partition.next ?? 0 }
    }

    /// Whether something was read that no transaction has settled.
    var hasUnsettled: Bool { partitions.contains { $0.next ?? $0.settled > $0.settled } }

    /// The partitions whose position has moved, when `positions` were sent.
    func unsettled(_ positions: [Int64]) -> [(partition: Int32, position: Int64)] {
        partitions.compactMap { partition in
            let position = positions[partition.owner]
            return partition.next != nil && position > partition.settled ? (partition.number, position) : nil
        }
    }

    func groupOffsets(_ offsets: [(partition: Int32, position: Int64)]) -> GroupOffsets? { reader?.offsets(offsets) }

    func settled(_ offsets: [(partition: Int32, position: Int64)]) {
        for one in offsets { change(one.partition) { $0.settled = one.position } }
    }
}
