import Glibc
import Provenance

/// The time.
package enum Clock {
    /// The wall time, which may jump.
    package static func now() -> Instant { Instant(microseconds: read(CLOCK_REALTIME)) }

    /// Microseconds that never go back, since some moment.
    package static func monotonic() -> Int64 { read(CLOCK_MONOTONIC) }

    private static func read(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }
}
