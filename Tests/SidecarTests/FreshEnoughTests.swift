import Synchronization
import Testing

@testable import Sidecar

@Suite("What is fresh enough")
struct FreshEnoughTests {
    @Test("who asks now and then gets it made anew; who asks all the time, at most a moment old and seldom made")
    func makesSeldom() {
        let clock = Mutex<Int64>(1_000_000)
        let made = Mutex(0)
        let page = FreshEnough<Int64>(clock: { clock.withLock { $0 } })
        func ask(after microseconds: Int64) -> (age: Int64, count: Int) {
            let now = clock.withLock { time in
                time += microseconds
                return time
            }
            let value = page.value {
                made.withLock { $0 += 1 }
                return now
            }
            return (now - value, made.withLock { $0 })
        }
        for number in 1...200 {
            let (age, count) = ask(after: 10_000)
            #expect(age == 0 && count == number)
        }
        // A thousand a second, for ten seconds.
        var oldest: Int64 = 0
        let before = made.withLock { $0 }
        for _ in 0..<10_000 { oldest = max(oldest, ask(after: 1000).age) }
        #expect(oldest < 10_000)
        #expect(made.withLock { $0 } - before <= 20 + 10 * 100 + 1)
        #expect(ask(after: 10_000).age == 0)
    }
}
