import CSystem
import Glibc

/// An advisory lock on a directory, held until it is released or the process ends.
package struct FileLock: ~Copyable {
    private let descriptor: Descriptor

    /// Waits for the lock; whoever holds it does so for milliseconds.
    package static func wait(forDirectory path: String) throws(SystemError) -> FileLock {
        let number = retrying { colophon_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) }
        guard number >= 0 else { throw SystemError("open", path) }
        let descriptor = Descriptor(owning: number)
        guard retrying({ flock(number, LOCK_EX) }) == 0 else { throw SystemError("lock", path) }
        return FileLock(descriptor: descriptor)
    }

    /// Takes the lock at once; nil when somebody else has it.
    package static func attempt(forDirectory path: String) throws(SystemError) -> FileLock? {
        let number = retrying { colophon_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) }
        guard number >= 0 else { throw SystemError("open", path) }
        let descriptor = Descriptor(owning: number)
        guard retrying({ flock(number, LOCK_EX | LOCK_NB) }) == 0 else {
            guard errno == EWOULDBLOCK else { throw SystemError("lock", path) }
            return nil
        }
        return FileLock(descriptor: descriptor)
    }

    package consuming func release() {}
}
