import CSystem
import Glibc

/// Signals as something to wait for: blocked for all threads, and read from a descriptor by one.
package struct Signals: ~Copyable {
    private let descriptor: Descriptor

    package enum Signal: Sendable {
        case terminate
        /// `sender` is nil where the kernel sent it, or somebody whom this process cannot see: in another namespace of processes.
        case hangup(sender: String?)
    }

    package var number: Int32 { descriptor.number }

    /// Before any other thread is started: threads inherit what is blocked.
    package init() throws(SystemError) {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&set, signal) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
        // These come as errors of the call that they are about.
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
        let number = signalfd(-1, &set, Int32(SFD_NONBLOCK | SFD_CLOEXEC))
        guard number >= 0 else { throw SystemError("open", "a descriptor for signals") }
        descriptor = Descriptor(owning: number)
    }

    /// The next signal that has come; nil when none has.
    package borrowing func next() -> Signal? {
        var info = signalfd_siginfo()
        let size = MemoryLayout<signalfd_siginfo>.size
        guard Glibc.read(descriptor.number, &info, size) == size else { return nil }
        guard Int32(info.ssi_signo) == SIGHUP else { return .terminate }
        return .hangup(sender: info.ssi_pid == 0 ? nil : "process \(info.ssi_pid) of user \(info.ssi_uid)")
    }
}

/// Signals for who may hang in a read or a write: the first one asks, and the second ends the process at once, as ever.
package enum Interruption {
    private nonisolated(unsafe) static var wakeNumber: Int32 = -1

    /// What becomes readable with the first signal. To be asked for once in a process.
    package static func watched() throws(SystemError) -> Wake {
        let wake = try Wake()
        wakeNumber = wake.number
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in
            let kept = errno
            var one: UInt64 = 1
            _ = write(Interruption.wakeNumber, &one, 8)
            errno = kept
        }
        action.sa_flags = Int32(
            bitPattern: UInt32(bitPattern: SA_RESTART) | UInt32(bitPattern: Int32(truncatingIfNeeded: SA_RESETHAND)))
        for signal in [SIGTERM, SIGINT, SIGHUP] where !isIgnored(signal) { sigaction(signal, &action, nil) }
        return wake
    }

    /// Under `nohup`, a hang-up is nobody's wish.
    private static func isIgnored(_ signal: Int32) -> Bool {
        var action = sigaction()
        return sigaction(signal, nil, &action) == 0
            && unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
                == unsafeBitCast(SIG_IGN, to: Int.self)
    }
}

/// Wakes a thread that waits for descriptors. Any thread may call.
package final class Wake: Sendable {
    package let number: Int32

    package init() throws(SystemError) {
        number = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard number >= 0 else { throw SystemError("create", "an event descriptor") }
    }

    deinit { close(number) }

    package func signal() {
        var one: UInt64 = 1
        _ = write(number, &one, 8)
    }

    package func clear() {
        var count: UInt64 = 0
        _ = read(number, &count, 8)
    }
}

/// Waits for a few descriptors to become readable.
package enum Readiness {
    /// Whether reading would not wait.
    package static func isReadable(_ descriptor: Int32) -> Bool { wait([descriptor], milliseconds: 0)[0] }

    /// Returns which of `descriptors` are readable; none after `milliseconds`.
    package static func wait(_ descriptors: [Int32], writable: Int32 = -1, milliseconds: Int32) -> [Bool] {
        var polled = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        if writable >= 0 { polled.append(pollfd(fd: writable, events: Int16(POLLOUT), revents: 0)) }
        let count = poll(&polled, nfds_t(polled.count), milliseconds)
        return count > 0 ? polled.prefix(descriptors.count).map { $0.revents != 0 } : descriptors.map { _ in false }
    }
}
