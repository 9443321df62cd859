import Synchronization

/// Wakes a reader, but only when it waits: writers are not to make a call for each thing that they hand over.
package final class Bell: Sendable {
    package let wake: Wake
    private let isAwaited = Atomic<Bool>(false)

    package init() throws(SystemError) { wake = try Wake() }

    /// Whatever was handed over before is seen, or its reader is woken: one call is enough for many things.
    package func ring() {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        guard isAwaited.load(ordering: .relaxed) else { return }
        if isAwaited.exchange(false, ordering: .acquiringAndReleasing) { wake.signal() }
    }

    /// From now on the reader waits. What came in between told nobody: it looks once more.
    package func await() {
        isAwaited.store(true, ordering: .relaxed)
        atomicMemoryFence(ordering: .sequentiallyConsistent)
    }
}
