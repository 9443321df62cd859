import Provenance
import Runtime

/// The lines that the proxy makes of exchanges, taken from its workers' rings.
package final class ExchangeLines: LineSource {
    package let name: StaticString = "proxy"
    private let rings: [HandoverRing]
    private let bell: Bell
    /// What has been put into the spool, and may be taken out of the rings once that is written.
    private var pending: [Int]
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
        for (index, ring) in rings.enumerated() where ring.discarded > 0 {
            discard(index, ring.discarded)
            pending[index] = 0
        }
    }

    package var isAtEnd: Bool { false }
    package func descriptors(_ intake: LineIntake) -> [Int32] { [bell.wake.number] }
    package var wakeAt: Int64? { isBusy ? lastSeen + Self.pause : nil }

    package func pull(_ intake: LineIntake) {
        bell.wake.clear()
        isBusy = false
        for (index, ring) in rings.enumerated() {
            let (bytes, position) = ring.waiting
            guard bytes.count > pending[index] else { continue }
            isBusy = true
            let source = intake.namedSource("proxy/\(ring.generation)")
            // Asked once for all of them, where there is room for all.
            let isRoomy = intake.hasRoom(bytes.count, lines: bytes.count / HandoverEntry.headSize, neverWaits: true)
            while bytes.count - pending[index] >= HandoverEntry.headSize {
                let entry = UnsafeRawBufferPointer(rebasing: bytes[pending[index]...])
                let length = Int(entry.load(fromByteOffset: HandoverEntry.lengthOffset, as: UInt32.self))
                let place = position + UInt64(pending[index])
                let mark = entry.load(fromByteOffset: HandoverEntry.markOffset, as: UInt64.self)
                guard mark == HandoverEntry.mark(place), length >= HandoverEntry.headSize, length <= entry.count else {
                    discard(index, entry.count)
                    break
                }
                guard isRoomy || intake.hasRoom(length, lines: 1, neverWaits: true) else { break }
                intake.take(exchange: entry, source: source, position: Int64(position) + Int64(pending[index]))
                pending[index] += length
            }
        }
        if isBusy { lastSeen = Clock.monotonic() }
        guard !isBusy else { return }
        bell.await()
        // One that came in between would have told nobody.
        if rings.enumerated().contains(where: { $1.waiting.bytes.count > pending[$0] }) { bell.wake.signal() }
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
