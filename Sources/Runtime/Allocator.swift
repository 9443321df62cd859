import CSystem
import Glibc

/// The memory of C libraries, as far as it can be told what to do.
package enum Allocator {
    private static let variable = "GLIBC_TUNABLES"
    private static let setting = "glibc.malloc.tcache_count"
    /// As many as may be on their way at once by default.
    private static let blocks = 5000

    /// Begins this program anew, so that glibc keeps small blocks at hand: librdkafka takes seven for a record, thousands of records wait at
    /// once, and of each size glibc keeps seven. It reads how many it is to keep when a program begins, and at no other time.
    ///
    /// Called before anything is opened. Goes on as it is where somebody has said a number already, or where it cannot be.
    package static func keepSmallBlocks() {
        let given = getenv(variable).map { String(cString: $0) }
        // Programs that have more rights than whoever began them are not told.
        guard given?.contains(setting) != true, getauxval(UInt(AT_SECURE)) == 0, let program = program() else { return }
        let others = given.map { $0.isEmpty ? "" : $0 + ":" } ?? ""
        setenv(variable, "\(others)\(setting)=\(blocks)", 1)
        execv(program, CommandLine.unsafeArgv)
        // It is not to be tried again, nor to look as if it had been done.
        if let given { setenv(variable, given, 1) } else { unsetenv(variable) }
    }

    /// This program's file; nil where it cannot be told.
    private static func program() -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX) + 1) { path in
            guard let base = path.baseAddress else { return nil }
            let count = readlink("/proc/self/exe", base, Int(PATH_MAX))
            guard count > 0, count < Int(PATH_MAX) else { return nil }
            base[count] = 0
            return String(cString: base)
        }
    }
}
