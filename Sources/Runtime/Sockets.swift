import CSystem
import Glibc

/// Sockets as they are opened and set.
package enum Sockets {
    @discardableResult
    static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) -> Bool {
        var value = value
        return setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size)) == 0
    }
}

/// A socket that takes connections. For a Unix socket it also owns the file.
package struct Listener: ~Copyable {
    private let descriptor: Descriptor
    /// What it is bound to: the port that was found, where 0 was asked for.
    package let name: String
    private let socketPath: String?

    package var number: Int32 { descriptor.number }

    private static let backlog: Int32 = 4096

    private init(_ descriptor: consuming Descriptor, name: String, socketPath: String?) {
        self.descriptor = descriptor
        self.name = name
        self.socketPath = socketPath
    }

    deinit {
        if let socketPath { unlink(socketPath) }
    }

    /// Opens one listener. With `sharesPort`, further ones may be opened on the same port by this process.
    package static func open(_ address: SocketAddress, sharesPort: Bool) throws(SystemError) -> Listener {
        if let path = address.path { return try openUnix(address, path) }
        let descriptor = try socket(for: address)
        Sockets.set(descriptor.number, SOL_SOCKET, SO_REUSEADDR, 1)
        if sharesPort { Sockets.set(descriptor.number, SOL_SOCKET, SO_REUSEPORT, 1) }
        if address.family == AF_INET6 { Sockets.set(descriptor.number, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
        // Connections inherit it from their listener.
        Sockets.set(descriptor.number, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        let number = descriptor.number
        guard address.with({ bind(number, $0, $1) }) == 0 else {
            throw SystemError("listen on", address.text, advice: advice(errno))
        }
        guard listen(number, backlog) == 0 else { throw SystemError("listen on", address.text, advice: advice(errno)) }
        let name = SocketAddress.name(ofSocket: number) ?? address.text
        return Listener(descriptor, name: name, socketPath: nil)
    }

    /// Whether the port is free: bound without sharing it, so that a second Colophon never silently takes half of the
    /// connections of the first.
    package static func checkFree(_ address: SocketAddress) throws(SystemError) {
        guard !address.isUnix else { return }
        let descriptor = try socket(for: address)
        Sockets.set(descriptor.number, SOL_SOCKET, SO_REUSEADDR, 1)
        if address.family == AF_INET6 { Sockets.set(descriptor.number, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
        let number = descriptor.number
        guard address.with({ bind(number, $0, $1) }) == 0 else {
            throw SystemError("listen on", address.text, advice: advice(errno))
        }
    }

    /// Opens a Unix socket that takes datagrams instead of connections.
    package static func openDatagrams(_ address: SocketAddress) throws(SystemError) -> Listener {
        guard let path = address.path else {
            throw SystemError("listen on", address.text, code: EINVAL, advice: "name a path")
        }
        return try openUnix(address, path, kind: SOCK_DGRAM)
    }

    private static func openUnix(
        _ address: SocketAddress, _ path: String, kind: __socket_type = SOCK_STREAM
    ) throws(SystemError) -> Listener {
        let descriptor = try socket(for: address, kind: kind)
        let number = descriptor.number
        if address.with({ bind(number, $0, $1) }) != 0 {
            if errno == EADDRINUSE, !isSocket(path) {
                throw SystemError(
                    "listen on", address.text, code: EADDRINUSE, advice: "a file that is no socket has that name")
            }
            guard errno == EADDRINUSE, try isStale(address, path, kind) else {
                throw SystemError("listen on", address.text, advice: advice(errno))
            }
            // The file of a process that is gone.
            unlink(path)
            guard address.with({ bind(number, $0, $1) }) == 0 else {
                throw SystemError("listen on", address.text, advice: advice(errno))
            }
        }
        guard kind == SOCK_DGRAM || listen(number, backlog) == 0 else { throw SystemError("listen on", address.text) }
        return Listener(descriptor, name: address.text, socketPath: path)
    }

    private static func isSocket(_ path: String) -> Bool {
        var status = stat()
        defer { errno = EADDRINUSE }
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }

    /// Whether `path` is a socket to which nobody listens any more.
    private static func isStale(
        _ address: SocketAddress, _ path: String, _ kind: __socket_type
    ) throws(SystemError) -> Bool {
        let probe = try socket(for: address, kind: kind)
        let number = probe.number
        let isRefused = address.with { connect(number, $0, $1) } != 0 && errno == ECONNREFUSED
        errno = EADDRINUSE
        return isRefused
    }

    private static func socket(
        for address: SocketAddress, kind: __socket_type = SOCK_STREAM
    ) throws(SystemError) -> Descriptor {
        let kind = Int32(kind.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let number = Glibc.socket(address.family, kind, 0)
        guard number >= 0 else { throw SystemError("open", "a socket for \(address.text)") }
        return Descriptor(owning: number)
    }

    private static func advice(_ code: Int32) -> String? {
        switch code {
        case EADDRINUSE: "another process has it: stop that one, or choose another address"
        case EADDRNOTAVAIL: "this machine does not have that address"
        case EACCES: "run as a user who may, or choose a port above 1023"
        case ENOENT: "make its directory first"
        default: nil
        }
    }
}
