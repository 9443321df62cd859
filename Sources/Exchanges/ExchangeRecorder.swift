import Runtime
import Synchronization

/// Takes what workers hand over of exchanges, now and then, so that their rings never fill up: the one thread that writes records.
package final class ExchangeRecorder: Sendable {
    package let memory: ExchangeMemory
    private let isEnding = Atomic<Bool>(false)
    private let bell: Bell

    private static let pause: Int32 = 20

    package init(_ memory: ExchangeMemory, _ bell: Bell) {
        self.memory = memory
        self.bell = bell
    }

    /// Any thread may call it.
    package func stop() {
        isEnding.store(true, ordering: .releasing)
        bell.wake.signal()
    }

    package func run() {
        while !isEnding.load(ordering: .acquiring) {
            bell.wake.clear()
            if memory.drain() {
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
    }
}
