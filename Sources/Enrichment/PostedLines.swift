import Provenance
import Runtime
import Synchronization

/// Lines that came over HTTP. A body is taken whole or not at all, and answered when the disk has it.
package final class PostedLines: LineSource {
    package enum Outcome: Sendable {
        case taken
        /// There was no room for it in time; nothing of it was taken.
        case noRoom
        /// There never will be.
        case tooLarge
    }

    /// What other threads hand over: a lock for each body, not for each line.
    package final class Box: Sendable {
        fileprivate let bodies = Mutex<[Body]>([])
        fileprivate let wake: Wake

        package init() throws(SystemError) { wake = try Wake() }

        /// How many bytes may wait here.
        private static let limit = 16 << 20
        fileprivate let held = Atomic<Int>(0)
        fileprivate let turnedAway = Atomic<Int>(0)

        /// Any thread may call it. `done` is called by another one, or at once where too many wait already.
        package func put(_ bytes: [UInt8], _ done: @escaping @Sendable (Outcome) -> Void) {
            guard held.add(bytes.count, ordering: .relaxed).newValue <= Self.limit else {
                held.subtract(bytes.count, ordering: .relaxed)
                turnedAway.add(1, ordering: .relaxed)
                return done(.noRoom)
            }
            let lines = bytes.reduce(1) { $0 + ($1 == 0x0A ? 1 : 0) }
            let body = Body(bytes: bytes, lines: lines, since: Clock.monotonic(), done: done)
            bodies.withLock { $0.append(body) }
            wake.signal()
        }
    }

    fileprivate struct Body: Sendable {
        let bytes: [UInt8]
        let lines: Int
        let since: Int64
        let done: @Sendable (Outcome) -> Void
    }

    package let name: StaticString = "http"
    private let box: Box
    private let lineLimit: Int
    private var waiting: [Body] = []
    /// Taken, and not yet on the disk.
    private var unsynced: [@Sendable (Outcome) -> Void] = []
    package private(set) var refused: UInt64 = 0

    /// How long a body waits for room.
    private static let patience: Int64 = 5_000_000

    package init(_ box: Box, lineLimit: Int) {
        self.box = box
        self.lineLimit = lineLimit
    }

    package func descriptors(_ intake: LineIntake) -> [Int32] { [box.wake.number] }
    package var isHeldUp: Bool { !waiting.isEmpty }
    package var isAtEnd: Bool { false }
    package var wantsSync: Bool { !unsynced.isEmpty }
    package var wakeAt: Int64? { waiting.first.map { $0.since + Self.patience } }

    package var figures: [(name: String, value: Int)] {
        [("waiting_bodies", waiting.count), ("refused_bodies", Int(refused) + box.turnedAway.load(ordering: .relaxed))]
    }

    package func pull(_ intake: LineIntake) {
        box.wake.clear()
        waiting += box.bodies.withLock { list in
            defer { list.removeAll() }
            return list
        }
        if !waiting.isEmpty { intake.refresh() }
        while let body = waiting.first {
            guard intake.canEverHold(body.bytes.count, lines: body.lines) else {
                end(.tooLarge)
                continue
            }
            guard intake.hasRoom(body.bytes.count, lines: body.lines), bury(body, intake) else { break }
            var cutter = LineCutter(limit: lineLimit)
            body.bytes.withUnsafeBytes { bytes in
                cutter.take(bytes) { piece, line in take(piece, line, intake) }
            }
            cutter.finish { piece, line in take(piece, line, intake) }
            unsynced.append(body.done)
            forgetFirst()
        }
        let now = Clock.monotonic()
        while let oldest = waiting.first, now - oldest.since >= Self.patience { end(.noRoom) }
    }

    /// Before anything of it is taken, its lines that are too long must be where they belong.
    private func bury(_ body: Body, _ intake: LineIntake) -> Bool {
        body.bytes.withUnsafeBytes { intake.buryOverlong(of: $0, from: self) }
    }

    private func take(_ piece: LineCutter.Piece, _ line: Span<UInt8>, _ intake: LineIntake) {
        if case .overlong(let number, _, _) = piece { return intake.countOverlong(number, line.count) }
        intake.take(piece, line, from: self)
    }

    private func end(_ outcome: Outcome) {
        refused += 1
        waiting[0].done(outcome)
        forgetFirst()
    }

    private func forgetFirst() {
        box.held.subtract(waiting[0].bytes.count, ordering: .relaxed)
        waiting.removeFirst()
    }

    package func spooled() {
        for done in unsynced { done(.taken) }
        unsynced.removeAll()
    }

    package func stop(_ intake: LineIntake) {
        waiting += box.bodies.withLock { list in
            defer { list.removeAll() }
            return list
        }
        while !waiting.isEmpty { end(.noRoom) }
    }
}
