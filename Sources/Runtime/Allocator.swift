import CSystem
import Glibc

/// The memory of C libraries, as far as it can be told what to do.
package enum Allocator {
    private static let variable = "GLIBC_TUNABLES"
    private static let setting = "glibc.malloc.tcache_count="
    /// As many as may be on their way at once by default.
    private static let blocks = 5000

    /// Begins this program anew, so that glibc keeps small blocks at hand: librdkafka takes seven for a record, thousands of records wait at
    /// once, and of each size glibc keeps seven. It reads how many it is to keep when a program begins, and at no other time.
    ///
    /// Called before anything is said or opened. Goes on as it is where somebody has said a number already, or where it cannot be.
    package static func keepSmallBlocks() {
        let given = getenv(variable).map { String(cString: $0) } ?? ""
        let isGiven = given.split(separator: ":").contains { $0.hasPrefix(setting) }
        // Programs that have more rights than whoever began them are not told; and one that was begun by the loader, rather than by its own
        // name, would not be begun again.
        guard !isGiven, getauxval(UInt(AT_SECURE)) == 0, getauxval(UInt(AT_BASE)) != 0,
            let program = UnsafePointer<CChar>(bitPattern: getauxval(UInt(AT_EXECFN)))
        else { return }
        setenv(variable, "\(given.isEmpty ? "" : given + ":")\(setting)\(blocks)", 1)
        execv(program, CommandLine.unsafeArgv)
        // It is not to look as if it had been done.
        if given.isEmpty { unsetenv(variable) } else { setenv(variable, given, 1) }
    }
}
