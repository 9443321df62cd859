import TestSupport
import Testing

@testable import Enrichment

@Suite("Lag of lines")
struct LineLagTests {
    @Test("the age of the oldest line is known to a tenth of a second while waits are short", arguments: 0..<50)
    func knowsTheOldest(seed: Int) {
        var chance = Chance(seed: UInt64(seed))
        var lag = LineLag()
        var now: Int64 = 1_000_000
        /// When each line that waits has come.
        var waiting: [Int64] = []
        var gone: UInt64 = 0
        for _ in 0..<2000 {
            now += Int64.random(in: 0...20_000, using: &chance)
            if Bool.random(using: &chance) {
                waiting += repeatElement(now, count: Int.random(in: 0...50, using: &chance))
            }
            if Int.random(in: 0..<3, using: &chance) == 0 {
                let left = Int.random(in: 0...waiting.count, using: &chance)
                waiting.removeFirst(left)
                gone += UInt64(left)
            }
            let since = lag.note(come: gone + UInt64(waiting.count), gone: gone, now: now)
            guard let oldest = waiting.first else {
                #expect(since == nil)
                continue
            }
            guard let since else {
                Issue.record("a line waits and nothing is said of it")
                return
            }
            // What comes within a step of one another is one, and turns are up to 20 ms apart.
            #expect(abs(since - oldest) <= 120_000, "\(since - oldest)")
        }
    }

    @Test("a long wait keeps its beginning, in bounded memory")
    func keepsTheBeginning() {
        var lag = LineLag()
        var come: UInt64 = 0
        for second in 1...100_000 {
            come += 10
            let since = lag.note(come: come, gone: 0, now: Int64(second) * 1_000_000)
            #expect(since == 1_000_000)
        }
        #expect(lag.note(come: come, gone: come, now: 0) == nil)
    }
}
