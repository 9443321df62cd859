import CSystem
import Glibc

/// Files by their descriptors, for those who keep many of them and know themselves when to close one.
package enum RawFile {
    package enum Opening: Sendable {
        case read
        case readAndWrite
        /// It must not exist.
        case createNew
        /// It is created where it is missing.
        case createIfMissing
        /// It is created where it is missing, and every write goes to its end.
        case append
    }

    /// Opens a file for its owner alone. A FIFO or a device is not waited for.
    package static func open(_ path: String, _ opening: Opening) throws(SystemError) -> Int32 {
        let flags =
            switch opening {
            case .read: O_RDONLY | O_NONBLOCK
            case .readAndWrite: O_RDWR
            case .createNew: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW
            case .append: O_WRONLY | O_CREAT | O_APPEND
            case .createIfMissing: O_RDWR | O_CREAT | O_NOFOLLOW
            }
        let number = retrying { colophon_open(path, flags | O_CLOEXEC, 0o600) }
        guard number >= 0 else { throw SystemError(opening == .read ? "read" : "open", path) }
        return number
    }

    /// Opens a file to append lines to. Where a crash has left half a line, that is ended first.
    package static func openLines(_ path: String) throws(SystemError) -> Int32 {
        let number = try open(path, .createIfMissing)
        let size = try size(of: number, path)
        if size > 0 {
            var last: UInt8 = 0
            _ = try withUnsafeMutableBytes(of: &last) { buffer throws(SystemError) in
                try read(number, at: size - 1, into: buffer, path)
            }
            if last != 0x0A {
                var end: UInt8 = 0x0A
                try withUnsafeBytes(of: &end) { bytes throws(SystemError) in
                    try write(number, at: size, bytes, path)
                }
            }
        }
        close(number)
        return try open(path, .append)
    }

    package static func status(of number: Int32, _ path: String) throws(SystemError) -> FileStatus {
        var status = stat()
        guard fstat(number, &status) == 0 else { throw SystemError("examine", path) }
        return FileStatus(status)
    }

    package static func size(of number: Int32, _ path: String) throws(SystemError) -> Int {
        Int(try status(of: number, path).size)
    }

    package static func read(
        _ number: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer, _ path: String
    ) throws(SystemError) -> Int {
        var count = 0
        while count < buffer.count {
            let part = retrying {
                pread(number, buffer.baseAddress.unsafelyUnwrapped + count, buffer.count - count, offset + count)
            }
            guard part >= 0 else { throw SystemError("read", path) }
            if part == 0 { break }
            count += part
        }
        return count
    }

    package static func write(
        _ number: Int32, at offset: Int, _ bytes: UnsafeRawBufferPointer, _ path: String
    ) throws(SystemError) {
        var count = 0
        while count < bytes.count {
            let part = retrying {
                pwrite(number, bytes.baseAddress.unsafelyUnwrapped + count, bytes.count - count, offset + count)
            }
            guard part > 0 else { throw SystemError("write", path) }
            count += part
        }
    }

    /// Waits until the bytes of the file are on the disk.
    package static func sync(_ number: Int32, _ path: String) throws(SystemError) {
        guard retrying({ fdatasync(number) }) == 0 else { throw SystemError("write", path) }
    }

    package static func truncate(_ number: Int32, to size: Int, _ path: String) throws(SystemError) {
        guard retrying({ ftruncate(number, size) }) == 0 else { throw SystemError("shorten", path) }
    }

    package static func close(_ number: Int32) { _ = Glibc.close(number) }

    package static func remove(_ path: String) throws(SystemError) {
        guard unlink(path) == 0 || errno == ENOENT else { throw SystemError("remove", path) }
    }

    package static func rename(_ path: String, to new: String) throws(SystemError) {
        guard Glibc.rename(path, new) == 0 else { throw SystemError("rename", path) }
    }
}
