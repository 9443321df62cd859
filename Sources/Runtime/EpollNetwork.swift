import CSystem
import Glibc
import Provenance

/// The network of the kernel, by epoll: one for each worker, used by its thread alone.
package struct EpollNetwork: Network, ~Copyable {
    private let poll: Descriptor
    private let events: UnsafeMutablePointer<epoll_event>
    /// Kept open to be given up when there is no descriptor left: so a connection can be taken, and closed.
    private var spare: Int32
    private static let eventLimit = 512

    package init() throws(SystemError) {
        let number = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard number >= 0 else { throw SystemError("create", "an epoll instance") }
        poll = Descriptor(owning: number)
        events = .allocate(capacity: Self.eventLimit)
        spare = epoll_create1(Int32(EPOLL_CLOEXEC))
    }

    deinit {
        events.deallocate()
        if spare >= 0 { Glibc.close(spare) }
    }

    /// Asks for connections of a listener. With `isShared`, several workers watch the same one, and one of them is woken.
    package mutating func watchListener(_ listener: Int32, token: UInt64, isShared: Bool) throws(SystemError) {
        let exclusive: UInt32 = 1 << 28
        var event = epoll_event(
            events: EPOLLIN.rawValue | (isShared ? exclusive : 0), data: epoll_data_t(u64: token))
        guard epoll_ctl(poll.number, EPOLL_CTL_ADD, listener, &event) == 0 else {
            throw SystemError("watch", "a listener")
        }
    }

    package mutating func watch(_ descriptor: Int32, token: UInt64) -> Bool {
        // EPOLLET is the highest bit, which the imported enumeration does not hold.
        let edge: UInt32 = 1 << 31
        var event = epoll_event(
            events: EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | edge, data: epoll_data_t(u64: token))
        return epoll_ctl(poll.number, EPOLL_CTL_ADD, descriptor, &event) == 0
    }

    package mutating func wait(milliseconds: Int32) -> Int {
        let count = epoll_wait(poll.number, events, Int32(Self.eventLimit), milliseconds)
        return count > 0 ? Int(count) : 0
    }

    package func event(_ index: Int) -> NetworkEvent {
        precondition(index >= 0 && index < Self.eventLimit, "an event beyond the list")
        let bits = events[index].events
        let broken = EPOLLHUP.rawValue | EPOLLERR.rawValue
        return NetworkEvent(
            token: events[index].data.u64, isReadable: bits & EPOLLIN.rawValue != 0,
            isWritable: bits & EPOLLOUT.rawValue != 0, isHangup: bits & (EPOLLRDHUP.rawValue | broken) != 0,
            isBroken: bits & broken != 0)
    }

    package func monotonic() -> Int64 { Clock.monotonic() }
    package func wallTime() -> Int64 { Clock.now().microseconds }

    package mutating func accept(_ listener: Int32, from peer: inout PeerName) -> Int32 {
        var address = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        while true {
            let number = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    accept4(listener, $0, &length, flags)
                }
            }
            if number >= 0 {
                peer.set(address)
                return number
            }
            let reason = errno
            if reason == EMFILE || reason == ENFILE { closeOne(of: listener) }
            // A connection that was given up before it was taken is no reason to stop.
            if reason != EINTR, reason != ECONNABORTED { return -reason }
        }
    }

    /// Takes a connection and closes it: left in the queue, it would wake us for ever.
    private mutating func closeOne(of listener: Int32) {
        if spare >= 0 { Glibc.close(spare) }
        let number = accept4(listener, nil, nil, Int32(SOCK_CLOEXEC.rawValue))
        if number >= 0 { Glibc.close(number) }
        spare = epoll_create1(Int32(EPOLL_CLOEXEC))
    }

    package mutating func connect(to address: SocketAddress) -> Int32 {
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let number = socket(address.family, kind, 0)
        guard number >= 0 else { return -errno }
        if !address.isUnix { Sockets.set(number, Int32(IPPROTO_TCP), TCP_NODELAY, 1) }
        let code = address.with { Glibc.connect(number, $0, $1) }
        if code == 0 || errno == EINPROGRESS { return number }
        let reason = errno
        Glibc.close(number)
        return -reason
    }

    package func failure(of descriptor: Int32) -> Int32 {
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0 ? code : errno
    }

    package func isQuietAndOpen(_ descriptor: Int32) -> Bool {
        var byte: UInt8 = 0
        let count = Glibc.recv(descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT))
        return count < 0 && errno == EAGAIN
    }

    package mutating func receive(_ descriptor: Int32, into bytes: UnsafeMutableRawPointer, count: Int) -> Int {
        let received = recv(descriptor, bytes, count, 0)
        return received >= 0 ? received : Int(-errno)
    }

    package mutating func send(_ descriptor: Int32, _ bytes: UnsafeRawPointer, count: Int) -> Int {
        let sent = Glibc.send(descriptor, bytes, count, Int32(MSG_NOSIGNAL))
        return sent >= 0 ? sent : Int(-errno)
    }

    package mutating func acknowledge(_ descriptor: Int32) {
        Sockets.set(descriptor, Int32(IPPROTO_TCP), TCP_QUICKACK, 1)
    }

    package mutating func finishSending(_ descriptor: Int32) { shutdown(descriptor, Int32(SHUT_WR)) }

    package mutating func close(_ descriptor: Int32) { Glibc.close(descriptor) }

    package mutating func reset(_ descriptor: Int32) {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
        Glibc.close(descriptor)
    }

    package mutating func clearWake(_ descriptor: Int32) {
        var count: UInt64 = 0
        _ = read(descriptor, &count, 8)
    }

    package mutating func closeListener(_ listener: Int32) {
        var event = epoll_event()
        epoll_ctl(poll.number, EPOLL_CTL_DEL, listener, &event)
        // Whoever comes now is refused. The descriptor has an owner, who closes it.
        shutdown(listener, Int32(SHUT_RDWR))
    }
}
