import HTTP
import Runtime
import Synchronization

/// Serves the admin listener on a thread of its own: few connections, and none of them in the way of the data plane.
package final class AdminServer: Sendable {
    private let routes: AdminRoutes
    private let counters: AdminCounters
    /// Takes the lines of a body, or a question; what came of it is told to `finish`, from any thread, by the number that goes with it.
    private let takeLines: @Sendable ([UInt8], UInt64) -> Void
    private let ask: @Sendable (AdminQuestion, UInt64) -> Void
    private let finished = Mutex<[(number: UInt64, response: AdminResponse)]>([])
    private let wake: Wake
    private let isStopping = Atomic<Bool>(false)

    package init(
        _ routes: AdminRoutes, _ counters: AdminCounters,
        takeLines: @escaping @Sendable ([UInt8], UInt64) -> Void,
        ask: @escaping @Sendable (AdminQuestion, UInt64) -> Void
    ) throws(SystemError) {
        self.routes = routes
        self.counters = counters
        self.takeLines = takeLines
        self.ask = ask
        wake = try Wake()
    }

    package func stop() {
        isStopping.store(true, ordering: .releasing)
        wake.signal()
    }

    /// Answers the request whose lines went with `number`. Any thread may call it.
    package func finish(_ number: UInt64, _ response: AdminResponse) {
        finished.withLock { $0.append((number, response)) }
        wake.signal()
    }

    /// Serves until `stop`.
    package func run(on listener: borrowing Listener) {
        guard var connections = AdminConnections(listener.number, wake.number, routes, counters) else { return }
        while !isStopping.load(ordering: .acquiring) {
            connections.turn(hand, finished: takeFinished)
        }
        // What is on the disk already is said to be.
        connections.end(takeFinished())
    }

    private func hand(_ handed: AdminConversation.Handed, _ number: UInt64) {
        switch handed {
        case .lines(let lines): takeLines(lines, number)
        case .question(let question): ask(question, number)
        }
    }

    private func takeFinished() -> [(number: UInt64, response: AdminResponse)] {
        wake.clear()
        return finished.withLock { list in
            defer { list.removeAll() }
            return list
        }
    }
}
