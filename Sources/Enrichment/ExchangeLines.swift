import Provenance
import Runtime

/// The lines that the proxy makes of exchanges, taken from its workers' rings.
package final class ExchangeLines: LineSource {
    package let name: StaticString = "proxy"
    private let rings: [HandoverRing]
    private let bell: Bell
    /// What has been put into the spool, and may be taken out of the rings once that is written.
    private var pending: [Int]
    private var heads: [Head?]
    private var sources: [UInt32?]
    /// Where that ends in each ring which an earlier process left there: its clock may have been another one.
    private let oldEnds: [UInt64]
    /// When there were lines the last time.
    private var lastSeen: Int64 = 0
    private var isBusy = false
    private var damagedBytes = 0
    private var news: [LineNews] = []

    /// So long after lines have come, others are looked for without being told: in that time many gather.
    private static let pause: Int64 = 10_000

    package init(_ rings: [HandoverRing], _ bell: Bell) {
        self.rings = rings
        self.bell = bell
        pending = rings.map { _ in 0 }
        heads = rings.map { _ in nil }
        sources = rings.map { _ in nil }
        oldEnds = rings.map { ring in ring.waiting.position + UInt64(ring.waiting.bytes.count) }
        for (index, ring) in rings.enumerated() where ring.discarded > 0 {
            discard(index, ring.discarded)
            pending[index] = 0
        }
    }

    package var isAtEnd: Bool { false }
    package func descriptors(_ intake: LineIntake) -> [Int32] { [bell.wake.number] }
    package var wakeAt: Int64? { isBusy ? lastSeen + Self.pause : nil }

    /// Takes what has ended in the order in which it ended, whichever worker had it: a user's next request may have come to another one.
    ///
    /// Whoever sent a request after an answer had come did so after that answer's line was handed over, and its own is handed over later
    /// still. So of all lines up to a moment, those that came before any of them are there once the rings are looked at after that moment.
    package func pull(_ intake: LineIntake) {
        bell.wake.clear()
        isBusy = false
        let moment = Clock.monotonic()
        for index in rings.indices { heads[index] = head(index) }
        if heads.contains(where: { $0 != nil }) { intake.refresh(saysItself: true) }
        while let index = earliest(notAfter: moment), let head = heads[index] {
            isBusy = true
            guard intake.hasRoomInSpool(head.length, lines: 1, neverWaits: true) else { break }
            intake.take(exchange: head.entry, source: source(index, intake), position: head.place)
            pending[index] += head.length
            heads[index] = self.head(index)
        }
        if isBusy { lastSeen = Clock.monotonic() }
        guard !isBusy else { return }
        bell.await()
        // One that came in between would have told nobody.
        if rings.enumerated().contains(where: { $1.waiting.bytes.count > pending[$0] }) { bell.wake.signal() }
    }

    /// What ended in the last moments: nobody was told of it while others were looked for anyway.
    package func stop(_ intake: LineIntake) { pull(intake) }

    /// The entry that comes next in a ring.
    private struct Head {
        let entry: UnsafeRawBufferPointer
        let length: Int
        let place: Int64
        /// Left by an earlier process: before everything of this one.
        let isOld: Bool
        let time: Int64
    }

    private func head(_ index: Int) -> Head? {
        let (bytes, position) = rings[index].waiting
        guard bytes.count - pending[index] >= HandoverEntry.headSize else { return nil }
        let entry = UnsafeRawBufferPointer(rebasing: bytes[pending[index]...])
        let length = Int(entry.load(fromByteOffset: HandoverEntry.lengthOffset, as: UInt32.self))
        let place = position + UInt64(pending[index])
        let mark = entry.load(fromByteOffset: HandoverEntry.markOffset, as: UInt64.self)
        guard mark == HandoverEntry.mark(place), length >= HandoverEntry.headSize, length <= entry.count else {
            discard(index, entry.count)
            return nil
        }
        return Head(
            entry: entry, length: length, place: Int64(place), isOld: place < oldEnds[index],
            time: entry.load(fromByteOffset: HandoverEntry.timeOffset, as: Int64.self))
    }

    private func earliest(notAfter moment: Int64) -> Int? {
        var found: Int?
        for index in heads.indices {
            guard let head = heads[index], head.isOld || head.time <= moment else { continue }
            guard let best = found, let other = heads[best] else {
                found = index
                continue
            }
            if head.isOld == other.isOld ? head.time < other.time : head.isOld { found = index }
        }
        return found
    }

    private func source(_ index: Int, _ intake: LineIntake) -> UInt32 {
        if let known = sources[index] { return known }
        let number = intake.namedSource("proxy/\(rings[index].generation)")
        sources[index] = number
        return number
    }

    /// A power cut can leave a ring that says more than it holds: nothing in the rest of it can be believed.
    private func discard(_ index: Int, _ count: Int) {
        damagedBytes += count
        pending[index] += count
        news.append(
            LineNews(
                .warn, "bytes-lost",
                [
                    ("source", .string("proxy")), ("bytes", .integer(count)), ("reason", .string("damaged")),
                    (
                        "advice",
                        .string("a power cut left the handover of exchanges incomplete: see that the disk is sound")
                    ),
                ]))
    }

    package var figures: [(name: String, value: Int)] { [("bytes_lost_damaged", damagedBytes)] }

    package func takeNews() -> [LineNews] {
        defer { news.removeAll() }
        return news
    }

    /// What is written in the spool survives: the rings may forget it.
    package func written() {
        for index in rings.indices where pending[index] > 0 {
            rings[index].take(pending[index])
            pending[index] = 0
        }
    }
}
