import Provenance
import Testing

@testable import Sidecar

/// What one variant's state notes of times in which nobody knew what its server spoke with.
@Suite("Doubts while a pointer is watched")
struct StateTests {
    private static func at(_ seconds: Int64) -> Instant { Instant(microseconds: seconds * 1_000_000) }

    private static func times(_ state: ActivationLoader.State) -> [[Instant?]] {
        state.unwrittenDoubts.map { [$0.since, $0.until] }
    }

    private static func state(isCurrent: Bool) -> ActivationLoader.State {
        var state = ActivationLoader.State(variant: "als", path: "m.json")
        state.isCurrent = isCurrent
        return state
    }

    @Test("a doubt lasts from when the pointer was last seen right until it is again")
    func lasts() {
        var state = Self.state(isCurrent: false)
        state.noteDoubt(from: true, lookedAt: Self.at(10), now: Self.at(12))
        #expect(state.doubt?.since == Self.at(10) && state.unwrittenDoubts.isEmpty)
        state.isCurrent = true
        state.noteDoubt(from: false, lookedAt: Self.at(10), now: Self.at(20))
        #expect(state.doubt == nil && Self.times(state) == [[Self.at(10), Self.at(20)]])
    }

    @Test("where the clock is set back while it lasts, all of the time that came twice is doubted")
    func endsBeforeItBegan() {
        var state = Self.state(isCurrent: false)
        state.noteDoubt(from: true, lookedAt: Self.at(10), now: Self.at(12))
        state.isCurrent = true
        state.noteDoubt(from: false, lookedAt: Self.at(10), now: Self.at(3))
        #expect(Self.times(state) == [[Self.at(3), Self.at(10)]])
    }

    @Test("where the clock is set back while nothing is doubted, the time that comes again is")
    func doubtsWhatComesAgain() {
        var state = Self.state(isCurrent: true)
        state.noteSetBack(from: Self.at(10), to: Self.at(4))
        #expect(Self.times(state) == [[Self.at(4), Self.at(10)]])
        #expect(state.unwrittenDoubts.first?.reason == "the clock was set back")
        var doubted = Self.state(isCurrent: false)
        doubted.noteSetBack(from: Self.at(10), to: Self.at(4))
        #expect(doubted.unwrittenDoubts.isEmpty)
    }

    @Test("of many doubts that cannot be written the oldest are joined, and none is forgotten")
    func joins() {
        var state = Self.state(isCurrent: true)
        for number in 0..<200 as Range<Int64> {
            state.noteSetBack(from: Self.at(10 * number + 5), to: Self.at(10 * number))
        }
        #expect(state.unwrittenDoubts.count <= 64)
        #expect(state.unwrittenDoubts.first?.since == Self.at(0) && state.unwrittenDoubts.last?.until == Self.at(1995))
    }
}
