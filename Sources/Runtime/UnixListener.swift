import CSystem
import Glibc

/// A Unix socket that lines come in on.
package final class UnixListener {
    private let listener: Listener
    package let isDatagram: Bool

    package var number: Int32 { listener.number }

    /// What `receive` answers when there is nothing to read now.
    package static let nothing = -1

    /// Opens the socket at `path`. A file that a process left there which is gone is replaced.
    package init(_ path: String, isDatagram: Bool) throws(SystemError) {
        let addresses: [SocketAddress]
        do { addresses = try SocketAddress.resolve("unix:" + path) } catch {
            throw SystemError("listen on", path, code: ENAMETOOLONG, advice: error.reason)
        }
        listener =
            isDatagram ? try Listener.openDatagrams(addresses[0]) : try Listener.open(addresses[0], sharesPort: false)
        self.isDatagram = isDatagram
    }

    /// The next connection; nil when none waits.
    package func accept() -> Int32? {
        let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let number = retrying { accept4(listener.number, nil, nil, flags) }
        return number >= 0 ? number : nil
    }

    /// Nobody can send on this connection any more; what was sent before can still be received.
    package func refuseMore(_ number: Int32) { shutdown(number, Int32(SHUT_RD)) }

    /// How many bytes came; more than fit when a datagram was longer. 0 at the end of a connection, `nothing` when it would have to
    /// wait.
    package func receive(_ number: Int32, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let flags = Int32(MSG_DONTWAIT) | (isDatagram ? Int32(MSG_TRUNC) : 0)
        let count = retrying { recv(number, buffer.baseAddress, buffer.count, flags) }
        if count >= 0 { return count }
        return errno == EAGAIN ? Self.nothing : 0
    }
}
