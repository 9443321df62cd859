import CSystem
import Glibc

/// A file that lines are appended to, by any thread, and that can be rotated: reopened under the same descriptor.
package final class LogFile: Sendable {
    package let number: Int32
    private let path: String

    package init(_ path: String) throws(SystemError) {
        self.path = path
        number = try Self.open(path)
    }

    deinit { close(number) }

    private static func open(_ path: String) throws(SystemError) -> Int32 {
        let number = retrying { colophon_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0o640) }
        guard number >= 0 else { throw SystemError("write", path) }
        return number
    }

    /// Goes on in the file that has the name now; who writes meanwhile writes into one or the other.
    package func reopen() throws(SystemError) {
        let new = try Self.open(path)
        defer { close(new) }
        guard dup3(new, number, O_CLOEXEC) >= 0 else { throw SystemError("reopen", path) }
    }

    /// Appends lines; how many bytes were written, or fewer than none when that failed.
    package static func append(_ bytes: UnsafeRawBufferPointer, to number: Int32) -> Int {
        retrying { write(number, bytes.baseAddress, bytes.count) }
    }
}
