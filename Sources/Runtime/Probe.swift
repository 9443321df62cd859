import CSystem
import Glibc

/// Asks whether somebody listens, by connecting and closing at once.
package enum Probe {
    private static let patienceMilliseconds: Int32 = 1000

    /// Whether one of `addresses` accepts a connection within a second.
    package static func connects(to addresses: [SocketAddress]) -> Bool {
        addresses.contains { connects(to: $0) }
    }

    private static func connects(to address: SocketAddress) -> Bool {
        guard var network = try? EpollNetwork() else { return false }
        let descriptor = network.connect(to: address)
        guard descriptor >= 0 else { return false }
        defer { network.close(descriptor) }
        var polled = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return poll(&polled, 1, patienceMilliseconds) == 1 && network.failure(of: descriptor) == 0
    }
}

/// How many files the process may have open.
package enum DescriptorLimit {
    /// Raises the limit to `needed`, or as far as the system allows. Returns what it is then.
    package static func raise(towards needed: Int) throws(SystemError) -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            throw SystemError("read", "the limit of open files")
        }
        guard limit.rlim_cur < rlim_t(needed) else { return needed }
        limit.rlim_cur = min(rlim_t(needed), limit.rlim_max)
        guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            throw SystemError("raise", "the limit of open files")
        }
        return Int(limit.rlim_cur)
    }
}
