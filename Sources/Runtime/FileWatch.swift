import CSystem
import Glibc

/// Becomes readable when something changes in one of some directories (inotify). It may miss changes, on network mounts for
/// example: who watches also looks from time to time.
package struct FileWatch: ~Copyable {
    private let descriptor: Descriptor

    package var number: Int32 { descriptor.number }

    package init() throws(SystemError) {
        let number = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        guard number >= 0 else { throw SystemError("open", "an inotify instance") }
        descriptor = Descriptor(owning: number)
    }

    /// Watches a directory for writes too; false when it cannot be watched.
    @discardableResult
    package borrowing func addWithWrites(_ directory: String) -> Bool {
        let events = IN_MODIFY | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE
        return inotify_add_watch(descriptor.number, directory.isEmpty ? "." : directory, UInt32(events)) >= 0
    }

    /// Watches a directory; false when it cannot be watched. Watching one again changes nothing.
    @discardableResult
    package borrowing func add(_ directory: String) -> Bool {
        // Not every write: a busy log beside a manifest would keep the watcher busy too.
        let events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE
        return inotify_add_watch(descriptor.number, directory.isEmpty ? "." : directory, UInt32(events)) >= 0
    }

    /// Reads away what came.
    package borrowing func clear() {
        withUnsafeTemporaryAllocation(byteCount: 16 << 10, alignment: 8) { buffer in
            while Glibc.read(descriptor.number, buffer.baseAddress, buffer.count) > 0 {}
        }
    }
}
