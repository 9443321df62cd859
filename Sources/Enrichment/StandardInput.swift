import Provenance
import Runtime

/// Lines from a descriptor that is read once: standard input.
package final class StandardInput: LineSource {
    private let number: Int32
    private var cutter: LineCutter
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 4096)
    /// What was read, and not taken yet for want of room.
    private var held = 0
    private var start = 0
    private static let piece = 8 << 10
    private var hasEnded = false
    package private(set) var isAtEnd = false
    package private(set) var troubles = 0
    private var news: [LineNews] = []

    package let name: StaticString = "stdin"

    package init(_ number: Int32, lineLimit: Int) {
        self.number = number
        cutter = LineCutter(limit: lineLimit)
        Pipes.widen(number)
    }

    deinit { buffer.deallocate() }

    package var isHeldUp: Bool { held > 0 }

    package func descriptors(_ intake: LineIntake) -> [Int32] { isAtEnd || held > 0 ? [] : [number] }

    package func takeNews() -> [LineNews] {
        defer { news.removeAll() }
        return news
    }

    package func pull(_ intake: LineIntake) {
        guard !isAtEnd else { return }
        if held == 0, !hasEnded {
            guard Readiness.isReadable(number) else { return }
            do throws(SystemError) {
                held = try Pipes.read(number, into: buffer)
                start = 0
                hasEnded = held == 0
            } catch {
                troubles += 1
                news.append(LineNews(.warn, "stdin-failed", [("reason", .string(error.description))]))
                hasEnded = true
            }
        }
        // In small pieces, so that the last of the room is used too.
        while held > 0 {
            let part = UnsafeRawBufferPointer(rebasing: buffer[start..<start + min(held, Self.piece)])
            guard intake.hasRoom(part.count + cutter.carriedCount, lines: 1 + part.count(where: { $0 == 0x0A })) else {
                return
            }
            cutter.take(part) { piece, line in intake.take(piece, line, from: self) }
            start += part.count
            held -= part.count
        }
        guard intake.hasRoom(cutter.carriedCount, lines: 1) else { return }
        guard hasEnded else { return }
        isAtEnd = true
        cutter.finish { piece, line in intake.take(piece, line, from: self) }
    }

    /// What was read is not forgotten, even when it has no line end.
    package func stop(_ intake: LineIntake) {
        guard !isAtEnd else { return }
        hasEnded = true
        if held == 0 || intake.hasRoom(held, lines: 1) { pull(intake) }
    }
}
