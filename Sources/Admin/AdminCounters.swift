import Synchronization

/// What the admin listener has answered, and whom it has turned away.
package final class AdminCounters: Sendable {
    private struct State {
        var answers: [Int: Int] = [:]
        var crowdedOut = 0
        var timeouts = 0
    }

    private let state = Mutex(State())

    package init() {}

    /// How often each status was answered, in their order.
    package var answers: [(status: Int, count: Int)] {
        state.withLock { $0.answers.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }
    }
    /// Connections that were closed to make room for others.
    package var crowdedOut: Int { state.withLock { $0.crowdedOut } }
    /// Connections that took too long.
    package var timeouts: Int { state.withLock { $0.timeouts } }

    func count(status: Int) { state.withLock { $0.answers[status, default: 0] += 1 } }

    func countCrowdedOut() { state.withLock { $0.crowdedOut += 1 } }

    func countTimeout() { state.withLock { $0.timeouts += 1 } }
}
