import Glibc

/// A file whose bytes are memory: what is written there is in the file when the process is killed.
package final class MappedFile {
    package let base: UnsafeMutableRawPointer
    package let count: Int

    /// Makes a file of zeros. All of its room is taken at once: a disk that is full later must not kill who writes here.
    package init(creating path: String, size: Int) throws(SystemError) {
        let number = try RawFile.open(path, .createIfMissing)
        defer { RawFile.close(number) }
        try RawFile.truncate(number, to: 0, path)
        let code = posix_fallocate(number, 0, size)
        guard code == 0 else {
            try? RawFile.remove(path)
            throw SystemError("make room for", path, code: code)
        }
        base = try Self.map(number, size, PROT_READ | PROT_WRITE, path)
        count = size
    }

    package init(_ path: String, isWritten: Bool) throws(SystemError) {
        let number = try RawFile.open(path, isWritten ? .readAndWrite : .read)
        defer { RawFile.close(number) }
        let size = try RawFile.size(of: number, path)
        guard size > 0 else { throw SystemError("map", path, code: EINVAL) }
        base = try Self.map(number, size, isWritten ? PROT_READ | PROT_WRITE : PROT_READ, path)
        count = size
    }

    deinit { munmap(base, count) }

    private static func map(
        _ number: Int32, _ size: Int, _ access: Int32, _ path: String
    ) throws(SystemError) -> UnsafeMutableRawPointer {
        guard let base = mmap(nil, size, access, MAP_SHARED, number, 0), base != MAP_FAILED else {
            throw SystemError("map", path)
        }
        return base
    }
}
