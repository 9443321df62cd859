import Provenance
import Runtime

/// Lines from a descriptor that is read once: standard input.
package final class StandardInput: LineSource {
    private let number: Int32
    private var cutter: LineCutter
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 4096)
    private var hasEnded = false
    /// There is no room for even a little more.
    private var isFull = false
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

    package var isHeldUp: Bool { isFull }

    package func descriptors(_ intake: LineIntake) -> [Int32] { isAtEnd || isFull ? [] : [number] }

    package func takeNews() -> [LineNews] {
        defer { news.removeAll() }
        return news
    }

    package func pull(_ intake: LineIntake) {
        guard !isAtEnd else { return }
        if !hasEnded {
            // No more is read than there is room for: what is in the pipe is safe from a kill, and what is here is not.
            let most = Self.sizes.first { intake.hasRoom($0 + cutter.carriedCount, lines: 1 + $0 / Self.shortLine) }
            isFull = most == nil
            guard let most, Readiness.isReadable(number) else { return }
            var count = 0
            do throws(SystemError) {
                count = try Pipes.read(number, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<most]))
            } catch {
                troubles += 1
                news.append(LineNews(.warn, "stdin-failed", [("reason", .string(error.description))]))
            }
            hasEnded = count == 0
            intake.refresh()
            cutter.take(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { piece, line in
                intake.take(piece, line, from: self)
            }
        }
        guard hasEnded else { return }
        isFull = !intake.hasRoom(cutter.carriedCount, lines: 1)
        if !isFull { finish(intake) }
    }

    /// Whoever writes on and on is not waited for: a pipe has no more than a MiB, of which so much is read at once.
    private static let mostInPipe = 32
    private static let sizes = [64 << 10, 16 << 10, 4 << 10, 1 << 10, 256, 64]
    /// Shorter ones than these, all at once, may pass the bound of the spool by a little.
    private static let shortLine = 16

    private func finish(_ intake: LineIntake) {
        isAtEnd = true
        intake.refresh()
        cutter.finish { piece, line in intake.take(piece, line, from: self) }
    }

    /// What was written is not forgotten, even when it has no line end; who reads on begins with a whole line, if that can be.
    package func stop(_ intake: LineIntake) {
        guard !isAtEnd else { return }
        // What whoever writes has got rid of is in the pipe: it is taken, as far as there is room for it.
        var left = Self.mostInPipe
        while left > 0, !hasEnded, Readiness.isReadable(number) {
            pull(intake)
            if isFull { break }
            left -= 1
        }
        if isAtEnd { return }
        if !hasEnded, cutter.carriedCount > 0 {
            intake.refresh()
            let count = Pipes.readLineEnd(number, into: buffer)
            cutter.take(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { piece, line in
                intake.take(piece, line, from: self)
            }
        }
        finish(intake)
    }
}
