import Runtime

/// The disk under a spool. Files are named by numbers that `open` and `create` give.
package protocol SpoolStorage: AnyObject {
    /// The names of all files.
    func names() throws(SystemError) -> [String]
    /// Creates a file that must not exist.
    func create(_ name: String) throws(SystemError) -> Int32
    func open(_ name: String) throws(SystemError) -> Int32
    func size(of file: Int32) throws(SystemError) -> Int
    /// Reads at most as much as fits; fewer only at the end.
    func read(
        _ file: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(SystemError) -> Int
    /// Writes all of it. After an error some of it may have been written.
    func write(_ file: Int32, at offset: Int, _ bytes: UnsafeRawBufferPointer) throws(SystemError)
    func sync(_ file: Int32) throws(SystemError)
    func truncate(_ file: Int32, to size: Int) throws(SystemError)
    func close(_ file: Int32)
    func remove(_ name: String) throws(SystemError)
    func rename(_ name: String, to new: String) throws(SystemError)
    func syncNames() throws(SystemError)
}

/// A directory.
package final class SpoolDirectory: SpoolStorage {
    private let path: String

    /// Makes it where it is missing; only its owner can look into it.
    package init(_ path: String) throws(SystemError) {
        self.path = path
        try Files.makeDirectory(path, mode: 0o700)
    }

    private func path(of name: String) -> String { Paths.join(path, name) }

    package func names() throws(SystemError) -> [String] { try Files.names(in: path) }

    package func create(_ name: String) throws(SystemError) -> Int32 {
        try RawFile.open(path(of: name), .createNew)
    }

    package func open(_ name: String) throws(SystemError) -> Int32 {
        try RawFile.open(path(of: name), .readAndWrite)
    }

    package func size(of file: Int32) throws(SystemError) -> Int { try RawFile.size(of: file, path) }

    package func read(
        _ file: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(SystemError) -> Int { try RawFile.read(file, at: offset, into: buffer, path) }

    package func write(
        _ file: Int32, at offset: Int, _ bytes: UnsafeRawBufferPointer
    ) throws(SystemError) { try RawFile.write(file, at: offset, bytes, path) }

    package func sync(_ file: Int32) throws(SystemError) { try RawFile.sync(file, path) }

    package func truncate(_ file: Int32, to size: Int) throws(SystemError) {
        try RawFile.truncate(file, to: size, path)
    }

    package func close(_ file: Int32) { RawFile.close(file) }

    package func remove(_ name: String) throws(SystemError) { try RawFile.remove(path(of: name)) }

    package func rename(_ name: String, to new: String) throws(SystemError) {
        try RawFile.rename(path(of: name), to: path(of: new))
    }

    package func syncNames() throws(SystemError) { try Files.syncDirectory(path) }
}
