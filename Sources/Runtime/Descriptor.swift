import CSystem
import Glibc

/// An open file descriptor with one owner, which closes it.
package struct Descriptor: ~Copyable {
    /// Keeps the numbers of standard input, output and errors from being taken where they are closed: whoever reads or writes there fails as
    /// before. Before anything else is opened.
    package static func holdStandard() {
        // The lowest free number is taken each time; nothing can be read that is opened to be written, nor the other way.
        for number: Int32 in 0...2 where fcntl(number, F_GETFD) < 0 {
            _ = colophon_open("/dev/null", number == 0 ? O_WRONLY : O_RDONLY, 0)
        }
    }

    package let number: Int32

    package init(owning number: Int32) { self.number = number }

    deinit { close(number) }

    /// Opens a regular file for reading. Anything else is refused without waiting for it: a FIFO must not hang us.
    package static func openRegular(_ path: String) throws(SystemError) -> Descriptor {
        let number = retrying { colophon_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0) }
        guard number >= 0 else { throw SystemError("read", path) }
        let descriptor = Descriptor(owning: number)
        let status = try descriptor.status(path)
        guard status.isRegular else { throw SystemError("read", path, code: status.isDirectory ? EISDIR : EINVAL) }
        return descriptor
    }

    /// Creates a file that must not exist.
    package static func create(_ path: String, mode: mode_t) throws(SystemError) -> Descriptor {
        let number = retrying { colophon_open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode) }
        guard number >= 0 else { throw SystemError("create", path) }
        return Descriptor(owning: number)
    }

    /// Opens a file to append to, and creates it where it is missing.
    package static func append(_ path: String, mode: mode_t) throws(SystemError) -> Descriptor {
        let number = retrying { colophon_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, mode) }
        guard number >= 0 else { throw SystemError("write", path) }
        return Descriptor(owning: number)
    }

    package borrowing func status(_ path: String) throws(SystemError) -> FileStatus {
        var status = stat()
        guard fstat(number, &status) == 0 else { throw SystemError("examine", path) }
        return FileStatus(status)
    }

    /// Reads what there is, at most as much as fits; 0 at the end.
    package borrowing func read(into buffer: UnsafeMutableRawBufferPointer, _ path: String) throws(SystemError) -> Int {
        let number = number
        let count = retrying { Glibc.read(number, buffer.baseAddress, buffer.count) }
        guard count >= 0 else { throw SystemError("read", path) }
        return count
    }

    /// Reads what there is, at most as much as fits; 0 at the end.
    package borrowing func read(into buffer: inout [UInt8], _ path: String) throws(SystemError) -> Int {
        let number = number
        let count = buffer.withUnsafeMutableBytes { bytes in
            retrying { Glibc.read(number, bytes.baseAddress, bytes.count) }
        }
        guard count >= 0 else { throw SystemError("read", path) }
        return count
    }

    package borrowing func write(_ bytes: RawSpan, _ path: String) throws(SystemError) {
        let number = number
        var start = 0
        while start < bytes.byteCount {
            let count = bytes.extracting(start..<bytes.byteCount).withUnsafeBytes { part in
                retrying { Glibc.write(number, part.baseAddress, part.count) }
            }
            guard count >= 0 else { throw SystemError("write", path) }
            start += count
        }
    }

    /// Waits until the file is on the disk.
    package borrowing func sync(_ path: String) throws(SystemError) {
        let number = number
        guard retrying({ fsync(number) }) == 0 else { throw SystemError("write", path) }
    }
}

/// Calls again for as long as a signal interrupts.
func retrying<Result: SignedInteger>(_ call: () -> Result) -> Result {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}

/// What a file is, and how large.
package struct FileStatus: Sendable {
    package let isRegular: Bool
    package let isDirectory: Bool
    package let size: Int64
    /// Whether any name leads to it.
    package let isLinked: Bool
    package let modification: Modification
    /// Which file it is, whatever its name and contents.
    package let identity: Identity

    package struct Identity: Hashable, Sendable {
        package let device: UInt64
        package let inode: UInt64

        package init(device: UInt64, inode: UInt64) {
            self.device = device
            self.inode = inode
        }

        init(_ status: stat) { self.init(device: UInt64(status.st_dev), inode: UInt64(status.st_ino)) }
    }

    /// When a file was changed, and which file it is: what differs when somebody wrote to it.
    package struct Modification: Hashable, Sendable {
        private let device: UInt64
        private let inode: UInt64
        private let size: Int64
        private let seconds: Int
        private let nanoseconds: Int
        private let changeSeconds: Int
        private let changeNanoseconds: Int

        /// When it was last written to, in nanoseconds since 1970.
        package var time: Int64 { Int64(seconds) &* 1_000_000_000 &+ Int64(nanoseconds) }

        /// When anything about it was changed, its name among that, in microseconds since 1970.
        package var changeTime: Int64 { Int64(changeSeconds) &* 1_000_000 &+ Int64(changeNanoseconds / 1000) }

        init(_ status: stat) {
            device = UInt64(status.st_dev)
            inode = UInt64(status.st_ino)
            size = Int64(status.st_size)
            seconds = status.st_mtim.tv_sec
            nanoseconds = status.st_mtim.tv_nsec
            changeSeconds = status.st_ctim.tv_sec
            changeNanoseconds = status.st_ctim.tv_nsec
        }
    }

    init(_ status: stat) {
        isLinked = status.st_nlink > 0
        modification = Modification(status)
        identity = Identity(status)
        isRegular = status.st_mode & S_IFMT == S_IFREG
        isDirectory = status.st_mode & S_IFMT == S_IFDIR
        size = Int64(status.st_size)
    }

    /// The status of what `path` leads to; nil when there is nothing.
    package static func of(_ path: String) throws(SystemError) -> FileStatus? {
        var status = stat()
        guard stat(path, &status) == 0 else {
            let error = SystemError("examine", path)
            if error.isMissing { return nil }
            throw error
        }
        return FileStatus(status)
    }
}

extension FileStatus {
    /// The status of `path` itself, be it a link; nil when there is nothing.
    package static func ofLink(_ path: String) -> FileStatus? {
        var status = stat()
        return lstat(path, &status) == 0 ? FileStatus(status) : nil
    }

    /// Where `path` leads if it is a symbolic link itself; nil where it is none.
    static func target(of path: String) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) { buffer in
            guard let base = buffer.baseAddress else { return nil }
            let count = readlink(path, base, buffer.count)
            guard count > 0 else { return nil }
            return String(decoding: UnsafeRawBufferPointer(buffer).prefix(count), as: UTF8.self)
        }
    }

    /// Whether `path` itself is a symbolic link.
    package static func isLink(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
    }
}
