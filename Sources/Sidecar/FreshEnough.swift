import Runtime
import Synchronization

/// Something that is made anew for whoever asks, unless it is asked for more than a hundred times a second: then what was made in the last
/// hundredth does, so that asking without end costs little. Any thread may ask.
final class FreshEnough<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var madeAt = Int64.min
        /// How many may be made at once yet.
        var left = FreshEnough.burst
        var countedAt = Int64.min
    }

    private let state = Mutex(State())
    private let clock: @Sendable () -> Int64

    private static var burst: Int64 { 20 }
    /// One more may be made after so many microseconds; and nothing that is older is given out again.
    private static var interval: Int64 { 10_000 }

    init(clock: @escaping @Sendable () -> Int64 = Clock.monotonic) { self.clock = clock }

    func value(_ make: () -> Value) -> Value {
        let recent = state.withLock { state -> Value? in
            let now = clock()
            let earned = state.countedAt == .min ? Self.burst : (now - state.countedAt) / Self.interval
            if earned > 0 {
                state.left = min(Self.burst, state.left + earned)
                state.countedAt = now
            }
            if state.left == 0, let value = state.value, now - state.madeAt < Self.interval { return value }
            state.left = max(0, state.left - 1)
            return nil
        }
        if let recent { return recent }
        let value = make()
        state.withLock { state in
            state.value = value
            state.madeAt = clock()
        }
        return value
    }
}
