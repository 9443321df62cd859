import Glibc

/// What the kernel knows of this process.
package struct ProcessFigures: Sendable {
    /// Of all its threads, in microseconds.
    package var processorTime: Int64 = 0
    package var residentBytes: Int64 = 0
    package var openDescriptors = 0
    package var allowedDescriptors = 0
    package var threads = 0

    package init() {
        var usage = rusage()
        if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
            for time in [usage.ru_utime, usage.ru_stime] {
                processorTime += Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_usec)
            }
        }
        if let bytes = (try? Files.read("/proc/self/statm", limit: 4096)) ?? nil {
            let fields = String(decoding: bytes, as: UTF8.self).split(separator: " ")
            if fields.count > 1, let pages = Int64(fields[1]) {
                residentBytes = pages * Int64(sysconf(Int32(_SC_PAGESIZE)))
            }
        }
        openDescriptors = ((try? Files.names(in: "/proc/self/fd")) ?? []).count
        threads = ((try? Files.names(in: "/proc/self/task")) ?? []).count
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            allowedDescriptors = Int(clamping: limit.rlim_cur)
        }
    }
}
