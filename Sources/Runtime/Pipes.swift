import CSystem
import Glibc

/// Descriptors that bytes stream through, whoever opened them.
package enum Pipes {
    package static let standardOutput = STDOUT_FILENO
    package static let standardError = STDERR_FILENO
    package static let standardInput = STDIN_FILENO

    /// Gives a pipe more room, so that fewer turns are taken; does nothing to anything else.
    package static func widen(_ number: Int32) { _ = colophon_pipe_size(number, 1 << 20) }

    /// Reads what there is; 0 at the end.
    package static func read(
        _ number: Int32, into buffer: UnsafeMutableRawBufferPointer
    ) throws(SystemError) -> Int {
        while true {
            let count = retrying { Glibc.read(number, buffer.baseAddress, buffer.count) }
            if count >= 0 { return count }
            guard errno == EAGAIN else { throw SystemError("read", name(of: number)) }
            wait(number, POLLIN)
        }
    }

    /// Reads up to the end of the line at hand, as far as that is there and fits: nothing of the next line. How many bytes that were.
    package static func readLineEnd(_ number: Int32, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        var count = 0
        while count < buffer.count, count == 0 || buffer[count - 1] != 0x0A, Readiness.isReadable(number) {
            guard retrying({ Glibc.read(number, buffer.baseAddress.map { $0 + count }, 1) }) == 1 else { break }
            count += 1
        }
        return count
    }

    /// Writes all of it, waiting for as long as it takes.
    package static func writeAll(_ number: Int32, _ bytes: RawSpan, _ name: String) throws(SystemError) {
        var start = 0
        while start < bytes.byteCount {
            let count = bytes.extracting(start..<bytes.byteCount).withUnsafeBytes { part in
                retrying { Glibc.write(number, part.baseAddress, part.count) }
            }
            if count < 0 {
                // Whoever shares the descriptor may have made it non-blocking.
                guard errno == EAGAIN else { throw SystemError("write", name) }
                wait(number, POLLOUT)
                continue
            }
            start += count
        }
    }

    /// Whether some bytes can be written without waiting.
    package static func isWritable(_ number: Int32) -> Bool {
        var polled = pollfd(fd: number, events: Int16(POLLOUT), revents: 0)
        return poll(&polled, 1, 0) > 0
    }

    /// Writes what fits now; how many bytes that were.
    package static func writeSome(_ number: Int32, _ bytes: RawSpan, _ name: String) throws(SystemError) -> Int {
        let count = bytes.withUnsafeBytes { part in retrying { Glibc.write(number, part.baseAddress, part.count) } }
        if count >= 0 { return count }
        guard errno == EAGAIN else { throw SystemError("write", name) }
        return 0
    }

    private static func wait(_ number: Int32, _ event: Int32) {
        var polled = pollfd(fd: number, events: Int16(event), revents: 0)
        _ = poll(&polled, 1, -1)
    }

    private static func name(of number: Int32) -> String {
        number == STDIN_FILENO ? "standard input" : "descriptor \(number)"
    }
}
