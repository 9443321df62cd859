import Provenance
import Runtime
import TestSupport
import Testing

@testable import Sidecar

@Suite("Watching pointers")
struct PointerWatchTests {
    @Test("what had just changed when it was read is read once more: a second change may have left the same time")
    func readsAgain() throws {
        let scratch = Scratch()
        scratch.write("m.json", bytes: [0x31])
        let path = scratch.path("m.json")
        var watch = PointerWatch(path)
        let written = try #require(watch.changedAt)
        func at(_ seconds: Double) -> Instant { written.advanced(by: Int64(seconds * 1_000_000)) }
        watch.remember(now: at(0.1))
        #expect(!watch.hasChanged(now: at(1)))
        #expect(watch.hasChanged(now: at(2.2)))
        watch.remember(now: at(2.2))
        #expect(!watch.hasChanged(now: at(1000)))
        // A clock that was set back since changes nothing of that; a later change is seen at once.
        #expect(!watch.hasChanged(now: at(-1000)))
        scratch.write("m.json", bytes: [0x32, 0x33])
        #expect(watch.hasChanged(now: at(3)))
    }
}
