import Provenance
import Runtime

/// Lines from a Unix socket: a stream of them on each connection, or a line, or several, in each datagram.
package final class UnixSource: LineSource {
    package let name: StaticString = "unix"
    private let listener: UnixListener
    private let lineLimit: Int
    private var connections: [Int32: LineCutterBox] = [:]
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 4096)
    private let path: String
    private var news: [LineNews] = []
    /// Datagrams for which there was no room.
    package private(set) var shed: UInt64 = 0
    private var reportedShed: UInt64 = 0
    package private(set) var refusedConnections: UInt64 = 0

    private static let mostConnections = 256
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
        listener = try UnixListener(path, isDatagram: isDatagram)
    }

    deinit {
        for number in connections.keys { RawFile.close(number) }
        buffer.deallocate()
    }

    package var isAtEnd: Bool { false }

    package func descriptors(hasRoom: Bool) -> [Int32] {
        // Datagrams that are not read now are dropped by the kernel, where nobody counts them.
        if listener.isDatagram { return [listener.number] }
        return hasRoom ? [listener.number] + connections.keys : [listener.number]
    }

    package var figures: [(name: String, value: Int)] {
        [
            ("connections", connections.count), ("shed_datagrams", Int(shed)),
            ("refused_connections", Int(refusedConnections)),
        ]
    }

    package func takeNews() -> [LineNews] {
        if shed > reportedShed {
            news.append(
                LineNews(
                    .warn, "lines-shed",
                    [
                        ("source", .string("unix")), ("datagrams", .integer(Int(shed - reportedShed))),
                        (
                            "advice",
                            .string("the spool is full: raise spool.bytes, or use a stream socket, which waits")
                        ),
                    ]))
            reportedShed = shed
        }
        defer { news.removeAll() }
        return news
    }

    package func pull(_ intake: LineIntake) {
        if listener.isDatagram { return pullDatagrams(intake) }
        while let number = listener.accept() {
            guard connections.count < Self.mostConnections else {
                refusedConnections += 1
                RawFile.close(number)
                continue
            }
            connections[number] = LineCutterBox(limit: lineLimit)
        }
        for (number, box) in connections {
            guard intake.hasRoom(buffer.count) else { return }
            let count = listener.receive(number, into: buffer)
            if count == UnixListener.nothing { continue }
            if count > 0 {
                box.cutter.take(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { piece, line in
                    intake.take(piece, line, from: self)
                }
            } else {
                box.cutter.finish { piece, line in intake.take(piece, line, from: self) }
                RawFile.close(number)
                connections[number] = nil
            }
        }
    }

    private func pullDatagrams(_ intake: LineIntake) {
        for _ in 0..<Self.turn {
            let count = listener.receive(listener.number, into: buffer)
            guard count > 0 else { return }
            guard intake.hasRoom(count) else {
                shed += 1
                continue
            }
            var cutter = LineCutter(limit: lineLimit)
            cutter.take(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { piece, line in
                intake.take(piece, line, from: self)
            }
            cutter.finish { piece, line in intake.take(piece, line, from: self) }
        }
    }
}
