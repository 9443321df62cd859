import Runtime
import TestSupport
import Testing

@Suite("The ring between workers and the lines' thread")
struct HandoverRingTests {
    private static let capacity = 1 << 16

    private static func open(_ path: String) throws -> HandoverRing {
        try HandoverRing(path, capacity: capacity) { () throws(SystemError) in "01M7ZH8AF7A2ZZ7TK6TAF7AXSV" }
    }

    private static func write(_ number: Int, _ count: Int, to ring: HandoverRing) -> Bool {
        guard let place = ring.reserve(count) else { return false }
        for offset in 0..<count {
            place.storeBytes(of: UInt8(truncatingIfNeeded: number + offset), toByteOffset: offset, as: UInt8.self)
        }
        ring.commit(count)
        return true
    }

    @Test("it is filling once more than half of it waits to be read")
    func fills() throws {
        let ring = try HandoverRing(capacity: Self.capacity)
        for number in 0..<4 {
            #expect(!ring.isFilling)
            #expect(Self.write(number, Self.capacity / 8, to: ring))
        }
        #expect(!ring.isFilling)
        #expect(Self.write(4, 8, to: ring))
        #expect(ring.isFilling)
        ring.take(8)
        #expect(!ring.isFilling)
    }

    @Test("a bell wakes a reader that waits, once, and makes no call for one that does not")
    func rings() throws {
        let bell = try Bell()
        func isWoken() -> Bool { Readiness.wait([bell.wake.number], milliseconds: 0)[0] }
        bell.ring()
        #expect(!isWoken())
        bell.await()
        #expect(!isWoken())
        bell.ring()
        #expect(isWoken())
        bell.wake.clear()
        bell.ring()
        #expect(!isWoken())
    }

    @Test("what goes in comes out, in order, past the end of the ring and again from its beginning")
    func wraps() throws {
        let scratch = Scratch()
        let ring = try Self.open(scratch.path("ring"))
        defer { withExtendedLifetime(scratch) {} }
        var chance = Chance(seed: Seeds.some(1)[0])
        var written: [(number: Int, count: Int)] = []
        var taken: UInt64 = 0
        for number in 0..<20_000 {
            let count = 8 + chance.draw(500) * 8
            if Self.write(number, count, to: ring) { written.append((number, count)) }
            guard chance.percent(40) else { continue }
            let (bytes, position) = ring.waiting
            #expect(position == taken)
            var start = 0
            while let first = written.first, chance.percent(80) {
                for offset in stride(from: 0, to: first.count, by: 61) {
                    #expect(bytes[start + offset] == UInt8(truncatingIfNeeded: first.number + offset))
                }
                start += first.count
                written.removeFirst()
            }
            ring.take(start)
            taken += UInt64(start)
        }
        #expect(taken > 20 * UInt64(Self.capacity))
    }

    @Test("it takes no more than it holds, and has room again for what was taken")
    func isBounded() throws {
        let scratch = Scratch()
        let ring = try Self.open(scratch.path("ring"))
        defer { withExtendedLifetime(scratch) {} }
        var count = 0
        while Self.write(count, 1000, to: ring) { count += 1 }
        #expect(count == Self.capacity / 1000)
        #expect(ring.reserve(Self.capacity + 1) == nil)
        ring.take(2000)
        #expect(Self.write(0, 1000, to: ring))
    }

    @Test("what a killed process left in it is there for the next, under the same name; a file of another size is none")
    func survives() throws {
        let scratch = Scratch()
        do {
            let ring = try Self.open(scratch.path("ring"))
            #expect(Self.write(7, 64, to: ring))
        }
        let again = try HandoverRing(scratch.path("ring"), capacity: Self.capacity) { () throws(SystemError) in
            "another"
        }
        #expect(again.generation == "01M7ZH8AF7A2ZZ7TK6TAF7AXSV")
        #expect(again.waiting.bytes.count == 64 && again.waiting.bytes[0] == 7)
        let other = try HandoverRing(scratch.path("ring"), capacity: 2 * Self.capacity) { () throws(SystemError) in
            "01M7ZH8AF7A2ZZ7TK6TAF7AX99"
        }
        #expect(other.generation == "01M7ZH8AF7A2ZZ7TK6TAF7AX99" && other.waiting.bytes.isEmpty)
    }
}
