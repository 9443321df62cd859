import Runtime
import TestSupport
import Testing

@Suite("Timers")
struct TimerWheelTests {
    @Test(
        "deadlines fire once, not early, and at most a tick late, whatever is set, moved and cleared", arguments: 0..<50
    )
    func firesInTime(seed: Int) {
        var chance = Chance(seed: UInt64(seed))
        let count = 40
        var now: Int64 = Int64.random(in: 0...1_000_000_000_000, using: &chance)
        var wheel = TimerWheel(capacity: count, now: now)
        var expected = [Int64](repeating: .max, count: count)
        for _ in 0..<400 {
            let index = Int.random(in: 0..<count, using: &chance)
            switch Int.random(in: 0..<4, using: &chance) {
            case 0:
                wheel.clear(index)
                expected[index] = .max
            case 1:
                wheel.set(index, .max)
                expected[index] = .max
            default:
                let far: Int64 = Bool.random(using: &chance) ? 2_000_000 : 200_000_000
                expected[index] = now + Int64.random(in: 0...far, using: &chance)
                wheel.set(index, expected[index])
            }
            let wait = wheel.wait(now)
            let due = expected.min() ?? .max
            if due != .max { #expect(wait >= 0 && now + Int64(wait) * 1000 <= due + 2 * TimerWheel.tick) }
            let jump: Int64 = Int.random(in: 0..<20, using: &chance) == 0 ? 300_000_000 : 100_000
            now += Int64.random(in: 0...jump, using: &chance)
            while let fired = wheel.nextExpired(now) {
                #expect(expected[fired] <= now, "timer \(fired) is early")
                expected[fired] = .max
            }
            for (index, deadline) in expected.enumerated() where deadline != .max {
                #expect(deadline > now - 2 * TimerWheel.tick, "timer \(index) is late")
            }
        }
    }

    @Test("nothing is waited for when nothing is set")
    func waitsForever() {
        var wheel = TimerWheel(capacity: 2, now: 5)
        #expect(wheel.wait(5) == -1)
        wheel.set(0, 1_000_000)
        #expect(wheel.wait(5) >= 0)
        wheel.clear(0)
        #expect(wheel.wait(5) == -1)
    }
}

@Suite("Addresses")
struct SocketAddressTests {
    @Test(
        "what is no address says why",
        arguments: [
            ("", "has no port"), ("a", "has no port"), ("a:", "is not a number"), ("a:b", "is not a number"),
            ("a:70000", "is not a number"), ("a:-1", "is not a number"), (":80", "has no host"),
            ("::1:80", "needs brackets"),
            ("http://a:80", "no scheme"), ("unix:", "has no path"),
            ("unix:/" + String(repeating: "a", count: 120), "at most"),
            ("no.such.host.invalid:80", "does not resolve"),
        ])
    func refuses(text: String, reason: String) {
        do {
            _ = try SocketAddress.resolve(text)
            Issue.record("\(text) is taken")
        } catch {
            #expect(error.description.utf8.count < 400)
            #expect(error.reason.contains(reason), "\(error)")
        }
    }

    @Test("addresses know whether only this machine can reach them")
    func knowsLoopback() throws {
        for (text, isLoopback) in [
            ("127.0.0.1:1", true), ("127.9.9.9:1", true), ("[::1]:1", true), ("[::ffff:127.0.0.1]:1", true),
            ("unix:/a", true), ("0.0.0.0:1", false), ("[::]:1", false), ("192.0.2.1:1", false),
        ] {
            #expect(try SocketAddress.resolve(text)[0].isLoopback == isLoopback, "\(text)")
        }
    }
}
