import Provenance
import Runtime

/// Lines from a Unix socket: a stream of them on each connection, or a line, or several, in each datagram.
package final class UnixSource: LineSource {
    package let name: StaticString = "unix"
    private let listener: UnixListener
    private let lineLimit: Int
    private var connections: [Int32: LineCutterBox] = [:]
    private let buffer: UnsafeMutableRawBufferPointer
    /// How much is taken of a connection at once, or how long a datagram is at most.
    private let largest: Int
    /// Where those stand in the buffer that were received together.
    private var datagrams: [Range<Int>] = []
    private let path: String
    private var news: [LineNews] = []
    /// Datagrams for which there was no room.
    package private(set) var shed: UInt64 = 0
    private var reportedShed: UInt64 = 0
    /// Datagrams that were too long to be read.
    package private(set) var cut: UInt64 = 0
    private var isFull = false
    package private(set) var refusedConnections: UInt64 = 0

    private static let mostConnections = 256
    private static let atOnce = 256 << 10
    /// So many lines are in a piece at most, as a rule.
    private static let usualLines = 4096
    /// How many are read in one turn, so that others get theirs.
    private static let turn = 64

    /// The cutter of one connection.
    private final class LineCutterBox {
        var cutter: LineCutter

        init(limit: Int) { cutter = LineCutter(limit: limit) }
    }

    package init(_ path: String, isDatagram: Bool, lineLimit: Int) throws(SystemError) {
        self.path = path
        self.lineLimit = lineLimit
        // A datagram is read whole or not at all, and small ones many at once.
        largest = isDatagram ? max(Self.atOnce, lineLimit + 1) : Self.atOnce
        buffer = .allocate(byteCount: isDatagram ? largest + Self.atOnce : largest, alignment: 4096)
        listener = try UnixListener(path, isDatagram: isDatagram)
        news.append(
            LineNews(
                .info, "listen",
                [("socket", .string(path)), ("takes", .string(isDatagram ? "datagrams" : "streams of lines"))]))
    }

    deinit {
        for number in connections.keys { RawFile.close(number) }
        buffer.deallocate()
    }

    package var isAtEnd: Bool { false }
    package var troubles: Int { Int(clamping: shed + cut) }

    package func descriptors(_ intake: LineIntake) -> [Int32] {
        // Datagrams that are not read now are dropped by the kernel, where nobody counts them.
        if listener.isDatagram || !hasRoom(intake) { return [listener.number] }
        return [listener.number] + connections.keys
    }

    package var isHeldUp: Bool { isFull }

    private func hasRoom(_ intake: LineIntake) -> Bool {
        intake.hasRoom(largest, lines: Self.usualLines, neverWaits: listener.isDatagram)
    }

    package var figures: [(name: String, value: Int)] {
        [
            ("connections", connections.count), ("shed_datagrams", Int(shed)), ("overlong_datagrams", Int(cut)),
            ("refused_connections", Int(refusedConnections)), ("held_up", isFull ? 1 : 0),
        ]
    }

    package func takeNews() -> [LineNews] {
        if shed + cut > reportedShed {
            news.append(
                LineNews(
                    .warn, "lines-shed",
                    [
                        ("source", .string("unix")), ("datagrams", .integer(Int(shed + cut - reportedShed))),
                        (
                            "advice",
                            .string(
                                "the spool is full (spool.bytes), or they are longer than limits.line_bytes: use a stream socket, which waits"
                            )
                        ),
                    ]))
            reportedShed = shed + cut
        }
        defer { news.removeAll() }
        return news
    }

    package func pull(_ intake: LineIntake) {
        if listener.isDatagram { return pullDatagrams(intake) }
        acceptAll()
        isFull = false
        for (number, box) in connections {
            guard hasRoom(intake) else {
                isFull = true
                return
            }
            pull(number, box, intake)
        }
    }

    private func acceptAll() {
        while let number = listener.accept() {
            guard connections.count < Self.mostConnections else {
                refusedConnections += 1
                RawFile.close(number)
                continue
            }
            connections[number] = LineCutterBox(limit: lineLimit)
        }
    }

    /// Takes what has come on a connection; false when nothing has, or it has ended.
    @discardableResult
    private func pull(_ number: Int32, _ box: LineCutterBox, _ intake: LineIntake) -> Bool {
        let count = listener.receive(number, into: buffer)
        if count == UnixListener.nothing { return false }
        intake.refresh()
        if count > 0 {
            box.cutter.take(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { piece, line in
                intake.take(piece, line, from: self, stream: box)
            }
            return true
        }
        box.cutter.finish { piece, line in intake.take(piece, line, from: self, stream: box) }
        RawFile.close(number)
        connections[number] = nil
        return false
    }

    /// What the kernel has taken for us already is ours, and what connections have begun is not forgotten, even when it has no line end.
    package func stop(_ intake: LineIntake) {
        if listener.isDatagram { return pullDatagrams(intake, most: Self.mostAtEnd) }
        acceptAll()
        for (number, box) in connections {
            listener.refuseMore(number)
            while hasRoomAtEnd(intake), pull(number, box, intake) {}
            guard connections[number] != nil else { continue }
            noteUnread(number)
            box.cutter.finish { piece, line in intake.take(piece, line, from: self, stream: box) }
        }
    }

    /// Nobody else writes what was taken any more.
    private func hasRoomAtEnd(_ intake: LineIntake) -> Bool {
        hasRoom(intake) || intake.spool.sync() && hasRoom(intake)
    }

    /// Of what there was no room for at the end, the size is all that is known.
    private func noteUnread(_ number: Int32) {
        var left = 0
        while case let count = listener.receive(number, into: buffer), count > 0 { left += count }
        guard left > 0 else { return }
        news.append(
            LineNews(
                .warn, "bytes-lost",
                [
                    ("source", .string("unix")), ("bytes", .integer(left)), ("reason", .string("full")),
                    (
                        "advice",
                        .string(
                            "the spool was full at the end (spool.bytes): whoever sends should wait for room, or raise it"
                        )
                    ),
                ]))
    }

    /// More than any queue of a socket holds.
    private static let mostAtEnd = 100_000

    private func pullDatagrams(_ intake: LineIntake, most: Int = turn) {
        var left = most
        while left > 0, receiveDatagrams(&left) {
            // Once for all that have come: it takes longer than to read a line.
            intake.refresh()
            for range in datagrams {
                guard hasRoom(intake) else {
                    shed += 1
                    continue
                }
                var cutter = LineCutter(limit: lineLimit)
                cutter.take(UnsafeRawBufferPointer(rebasing: buffer[range])) { piece, line in
                    intake.take(piece, line, from: self)
                }
                cutter.finish { piece, line in intake.take(piece, line, from: self) }
            }
        }
    }

    /// Receives datagrams one behind the other, for as long as the largest one would find room; false when none has come.
    private func receiveDatagrams(_ left: inout Int) -> Bool {
        datagrams.removeAll(keepingCapacity: true)
        var used = 0
        var hasCome = false
        while left > 0, buffer.count - used >= largest {
            let room = UnsafeMutableRawBufferPointer(rebasing: buffer[used..<used + largest])
            let count = listener.receive(listener.number, into: room)
            // An empty one is nothing, and others may stand behind it.
            guard count != UnixListener.nothing else { break }
            hasCome = true
            left -= 1
            guard count <= largest else {
                // The system's own limit lies below this as a rule.
                cut += 1
                continue
            }
            datagrams.append(used..<used + count)
            used += count
        }
        return hasCome
    }
}
