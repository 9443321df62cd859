import Provenance
import Runtime

/// Lines from a descriptor that is read once: standard input.
package final class StandardInput: LineSource {
    private let number: Int32
    private var cutter: LineCutter
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 4096)
    private var pieces = 0
    package private(set) var isAtEnd = false
    private var news: [LineNews] = []

    package let name: StaticString = "stdin"

    package init(_ number: Int32, lineLimit: Int) {
        self.number = number
        cutter = LineCutter(limit: lineLimit)
        Pipes.widen(number)
    }

    deinit { buffer.deallocate() }

    package func descriptors(hasRoom: Bool) -> [Int32] { isAtEnd || !hasRoom ? [] : [number] }

    package func takeNews() -> [LineNews] {
        defer { news.removeAll() }
        return news
    }

    package func pull(_ intake: LineIntake) {
        guard !isAtEnd, intake.hasRoom(buffer.count), Readiness.isReadable(number) else { return }
        do throws(SystemError) {
            let count = try Pipes.read(number, into: buffer)
            if count > 0 {
                cutter.take(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { piece, line in
                    intake.take(piece, line, from: self)
                }
                return
            }
        } catch {
            news.append(LineNews(.warn, "stdin-failed", [("reason", .string(error.description))]))
        }
        isAtEnd = true
        cutter.finish { piece, line in intake.take(piece, line, from: self) }
    }
}
