import Runtime
import Synchronization

/// Takes what workers hand over of exchanges, now and then, so that their rings never fill up: the one thread that writes records.
package final class ExchangeRecorder: Sendable {
    package let memory: ExchangeMemory
    private let isEnding = Atomic<Bool>(false)
    private let bell: Bell

    private static let pause: Int32 = 20

    private let tell: @Sendable (_ problem: String?) -> Void

    /// `tell` hears why nothing can be written, and that it can again.
    package init(_ memory: ExchangeMemory, _ bell: Bell, tell: @escaping @Sendable (_ problem: String?) -> Void) {
        self.memory = memory
        self.bell = bell
        self.tell = tell
    }

    /// Any thread may call it.
    package func stop() {
        isEnding.store(true, ordering: .releasing)
        bell.wake.signal()
    }

    package func run() {
        var told: String?
        while true {
            bell.wake.clear()
            // After the clearing: what told of the end may be what was cleared.
            if isEnding.load(ordering: .acquiring) { break }
            if memory.drain() {
                tellProblem(&told)
                // While there are some, others are looked for without being told.
                _ = Readiness.wait([bell.wake.number], milliseconds: Self.pause)
                continue
            }
            bell.await()
            // One that came in between would have told nobody.
            if memory.drain() { continue }
            _ = Readiness.wait([bell.wake.number], milliseconds: -1)
        }
        memory.drain()
        tellProblem(&told)
    }

    private func tellProblem(_ told: inout String?) {
        let problem = memory.figures.problem
        guard (problem == nil) != (told == nil) else { return }
        told = problem
        tell(problem)
    }
}
