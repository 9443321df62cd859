import Runtime

/// The disk under files that are followed.
package protocol FollowedDisk: AnyObject {
    /// The paths that a glob matches.
    func paths(_ glob: String) -> [String]
    /// The paths of everything in a directory; nil when it cannot be looked into.
    func paths(in directory: String) -> [String]?
    /// Which file a path leads to, and how large it is; nil when there is none.
    func state(of path: String) -> FollowedState?
    func state(of file: Int32) throws(SystemError) -> FollowedState
    func open(_ path: String) throws(SystemError) -> Int32
    /// Reads at most as much as fits; fewer only at the end.
    func read(_ file: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int
    func close(_ file: Int32)
    /// The files that this process writes its own words to.
    var ownOutputs: [FileStatus.Identity] { get }
}

package struct FollowedState: Sendable {
    package let identity: FileStatus.Identity
    package let size: Int64
    /// When it was last written to, in nanoseconds.
    package let modified: Int64
    /// Whether any name leads to it.
    package let isLinked: Bool

    package init(identity: FileStatus.Identity, size: Int64, modified: Int64, isLinked: Bool) {
        self.isLinked = isLinked
        self.identity = identity
        self.size = size
        self.modified = modified
    }
}

/// The machine's own.
package final class LocalDisk: FollowedDisk {
    package init() {}

    package func paths(_ glob: String) -> [String] { Globs.paths(glob) }

    package var ownOutputs: [FileStatus.Identity] {
        [Pipes.standardOutput, Pipes.standardError].compactMap { number in
            guard let status = try? RawFile.status(of: number, "an output"), status.isRegular else { return nil }
            return status.identity
        }
    }

    package func paths(in directory: String) -> [String]? {
        (try? Files.names(in: directory))?.map { Paths.join(directory, $0) }
    }

    package func state(of path: String) -> FollowedState? {
        guard let status = try? FileStatus.of(path), status.isRegular else { return nil }
        return FollowedState(
            identity: status.identity, size: status.size, modified: status.modification.time,
            isLinked: status.isLinked)
    }

    package func state(of file: Int32) throws(SystemError) -> FollowedState {
        let status = try RawFile.status(of: file, "a followed file")
        return FollowedState(
            identity: status.identity, size: status.size, modified: status.modification.time,
            isLinked: status.isLinked)
    }

    package func open(_ path: String) throws(SystemError) -> Int32 { try RawFile.open(path, .read) }

    package func read(
        _ file: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(SystemError) -> Int { try RawFile.read(file, at: offset, into: buffer, "a followed file") }

    package func close(_ file: Int32) { RawFile.close(file) }
}
