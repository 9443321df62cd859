import Provenance
import Runtime

/// The directory of one sidecar under the data directory: spool, checkpoints and dead letters, which nobody else may use meanwhile.
package final class Instance {
    package let path: String
    /// A ULID, made once: the beginning of every line's origin.
    package let identity: String
    private let lock: FileLock

    package static func isName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 64 && name != "." && name != ".."
            && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") }
    }

    package static func open(dataDirectory: String, name: String) throws(InstanceError) -> Instance {
        guard isName(name) else { throw .name(name) }
        let path = Paths.join(Paths.join(dataDirectory, "instances"), name)
        let identity: String
        let lock: FileLock?
        do throws(SystemError) {
            // The ledger is for all who may trace; what belongs to an instance is not.
            try Files.makeDirectory(dataDirectory)
            try Files.makeDirectory(path, mode: 0o700)
            lock = try FileLock.attempt(forDirectory: path)
        } catch { throw .system(error) }
        guard let lock else { throw .held(path, name) }
        do throws(SystemError) { identity = try readIdentity(path) } catch { throw .system(error) }
        return Instance(path: path, identity: identity, lock: lock)
    }

    private static func readIdentity(_ path: String) throws(SystemError) -> String {
        let file = Paths.join(path, "identity")
        if try FileStatus.of(file) != nil, let bytes = try Files.read(file, limit: 64), bytes.count >= 26,
            ULID.time(Array(bytes[..<26])) != nil
        {
            return String(decoding: bytes[..<26], as: UTF8.self)
        }
        let identity = try newULID()
        _ = try Files.place(Array((identity + "\n").utf8), at: file, .replacing, mode: 0o600)
        return identity
    }

    package static func newULID() throws(SystemError) -> String {
        let words = try Entropy.words()
        return ULID.text(Clock.now(), (words.0, words.1))
    }

    private init(path: String, identity: String, lock: consuming FileLock) {
        self.path = path
        self.identity = identity
        self.lock = lock
    }
}

package enum InstanceError: Error, Sendable, CustomStringConvertible {
    case name(String)
    case held(String, String)
    case system(SystemError)

    package var isConflict: Bool { if case .held = self { true } else { false } }

    package var description: String {
        switch self {
        case .name(let name):
            "\"\(name.onOneLine)\" is no name for an instance: take up to 64 printable characters without spaces or slashes (--instance)"
        case .held(let path, let name):
            "the instance \(name) is in use (\(path.onOneLine) is locked by another process): stop that one, or give this one a --data-dir of its own, or, where it stands in front of the same server or serves other variants, a name of its own (--instance)"
        case .system(let error): error.description
        }
    }
}
