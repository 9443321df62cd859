import Provenance
import Runtime
import Synchronization
import TestSupport
import Testing

@testable import Exchanges

/// What is known of exchanges by their request ids, in memory and on disk.
@Suite("Records of exchanges")
struct ExchangesTests {
    private static func hand(
        _ ring: HandoverRing, _ id: String, _ manifest: String?, _ attribution: Attribution = .inferred,
        time: Int64 = 10_000_000, microseconds: Int64 = 1_999_999, status: Int = 200,
        variant: UInt8 = 0
    ) -> Bool {
        let bytes = Array(id.utf8)
        let size = ExchangeEntry.size(idCount: bytes.count)
        guard let place = ring.reserve(size) else { return false }
        bytes.withUnsafeBytes { id in
            guard let base = id.baseAddress else { return }
            Array((manifest ?? "").utf8).withUnsafeBytes { prefix in
                ExchangeEntry(place).fill(
                    id: base, idCount: id.count, time: time, microseconds: microseconds, status: status,
                    strength: attribution.strength,
                    variant: variant, prefix: manifest == nil ? nil : prefix.baseAddress)
            }
        }
        ring.commit(size)
        return true
    }

    private static func known(_ manifest: String?, _ attribution: Attribution) -> ExchangeRecord {
        ExchangeRecord(
            manifest: manifest.flatMap { HexPrefix($0) }, attribution: attribution,
            begin: Instant(microseconds: 8_000_000),
            end: Instant(microseconds: 10_000_000))
    }

    private static func record(_ memory: ExchangeMemory, _ id: String) -> ExchangeRecord? {
        memory.record(of: Array(id.utf8).span)
    }

    private static let first = "51ac0912ffee"
    private static let second = "00000000000a"

    @Test("a recorder ends whenever it is told to, also while it asks whether it is")
    func ends() throws {
        let patience: Int64 = 10_000_000
        var chance = Chance(seed: Seeds.some(1)[0])
        for _ in 0..<10_000 {
            let bell = try Bell()
            let ring = try HandoverRing(capacity: 1 << 12)
            let memory = ExchangeMemory([ring], names: ["default"], index: nil, seed: 7)
            let recorder = ExchangeRecorder(memory, bell) { _ in }
            let ended = Ended()
            let thread = try Threads.start("recorder") {
                ended.hasBegun.store(true, ordering: .releasing)
                recorder.run()
                ended.flag.store(true, ordering: .releasing)
            }
            while !ended.hasBegun.load(ordering: .acquiring) {}
            // The word is to come at every point of its first turn.
            for _ in 0..<chance.draw(100) { _ = ended.hasBegun.load(ordering: .acquiring) }
            recorder.stop()
            let deadline = Clock.monotonic() + patience
            while !ended.flag.load(ordering: .acquiring), Clock.monotonic() < deadline {}
            let isInTime = ended.flag.load(ordering: .acquiring)
            // Whoever missed the word hears it now, so that the test ends in any case.
            bell.wake.signal()
            thread.join()
            try #require(isInTime, "it was told to end, and waits")
        }
    }

    private final class Ended: Sendable {
        let hasBegun = Atomic<Bool>(false)
        let flag = Atomic<Bool>(false)
    }

    @Test("an id leads to what its response was stamped with, as surely as that was")
    func remembers() throws {
        let ring = try HandoverRing(capacity: 1 << 16)
        let memory = ExchangeMemory([ring], names: ["default"], index: nil, seed: 7)
        #expect(Self.hand(ring, "abc", Self.first, .exact))
        #expect(Self.hand(ring, "none", nil, .unknown))
        #expect(Self.record(memory, "abc") == Self.known(Self.first, .exact))
        #expect(Self.record(memory, "none") == Self.known(nil, .unknown))
        #expect(Self.record(memory, "abd") == nil)
        #expect(Self.record(memory, "") == nil)
        // Used again with the same manifest it is as sure as the weaker one, with another one nothing is known.
        #expect(Self.hand(ring, "abc", Self.first, .mixed))
        memory.drain()
        #expect(Self.record(memory, "abc") == Self.known(Self.first, .mixed))
        #expect(Self.hand(ring, "abc", Self.second, .exact))
        memory.drain()
        #expect(Self.record(memory, "abc") == nil)
        // It lasted from the first one's begin to the last one's end.
        #expect(Self.hand(ring, "wide", Self.first, time: 5_000_000, microseconds: 0))
        #expect(Self.hand(ring, "wide", Self.first, time: 9_000_000, microseconds: 999))
        let wide = Self.record(memory, "wide")
        #expect(wide?.begin.microseconds == 4_999_000 && wide?.end.microseconds == 9_000_000)
        #expect(wide?.contains(Instant(microseconds: 5_000_000)) == true)
        #expect(wide?.contains(Instant(microseconds: 9_000_001)) == false)
        #expect(wide?.contains(Instant(microseconds: 9_000_001), reach: 1) == true)
        #expect(Self.hand(ring, "leading-zeros", Self.second, .inferred))
        #expect(Self.record(memory, "leading-zeros")?.manifest?.digits == Self.second)
    }

    @Test("as many as are promised are remembered, the last ones, by lot and beside a plain list", arguments: 0..<20)
    func remembersTheLast(round: Int) throws {
        for seed in Seeds.some(1).map({ $0 &+ UInt64(round) }) {
            var chance = Chance(seed: seed)
            let rings = try (0..<1 + chance.draw(3)).map { _ in try HandoverRing(capacity: 4096) }
            let most = 1 + chance.draw(40)
            let memory = ExchangeMemory(rings, names: [], index: nil, seed: seed, mostOfWorker: most)
            // What is known of each id, and after how many exchanges it was known.
            var list: [String: (manifest: String??, attribution: Attribution, number: Int)] = [:]
            var number = 0
            for _ in 0..<400 {
                let id = "id-\(chance.draw(120))"
                let manifest = [Self.first, Self.second, nil][chance.draw(3)]
                let attribution = Attribution(strength: chance.draw(4))
                let ring = rings[chance.draw(rings.count)]
                memory.drain()
                guard Self.hand(ring, id, manifest, attribution) else {
                    Issue.record("COLOPHON_SEED=\(seed): a ring that was emptied is full")
                    return
                }
                number += 1
                var one: (manifest: String??, attribution: Attribution, number: Int) = (
                    .some(manifest), attribution, number
                )
                if let older = list[id], number - older.number <= most * rings.count {
                    if older.manifest != one.manifest { one.manifest = nil }
                    one.attribution = min(one.attribution, older.attribution)
                }
                list[id] = one
                // Not every exchange is asked for before the next one.
                if chance.percent(50) { memory.drain() }
                let asked = "id-\(chance.draw(120))"
                memory.drain()
                let last = list[asked].flatMap { number - $0.number < most * rings.count ? $0 : nil }
                let wanted = last.flatMap { last in last.manifest.map { Self.known($0, last.attribution) } }
                let found = Self.record(memory, asked)
                if found != wanted {
                    Issue.record("COLOPHON_SEED=\(seed): \(asked) is \(found as Any), not \(wanted as Any)")
                    return
                }
            }
        }
    }

    @Test("records on disk survive the process, and are found by whoever looks through all instances")
    func keeps() throws {
        let scratch = Scratch()
        let path = ExchangeFiles.directory(of: Paths.join(scratch.directory, "instances/default"))
        for round in 0..<3 {
            let ring = try HandoverRing(capacity: 1 << 16)
            let memory = ExchangeMemory(
                [ring], names: ["als", "pop"], index: try ExchangeIndex(path, bytes: 32 << 20, seed: 3), seed: 7)
            #expect(
                Self.hand(
                    ring, "id-\(round)", Self.first, .inferred, time: Int64(round) * 1_000_000, status: 404, variant: 1)
            )
            #expect(Self.hand(ring, "again", Self.second, .mixed, time: Int64(10 - round)))
            memory.drain()
            #expect(memory.figures.kept == 2 * round + 2)
        }
        let files = ExchangeFiles(dataDirectory: scratch.directory)
        #expect(!files.isEmpty)
        for round in 0..<3 {
            let found = files.exchanges(of: "id-\(round)")
            #expect(found.count == 1)
            #expect(found.first?.record.end == Instant(microseconds: Int64(round) * 1_000_000))
            #expect(found.first?.variant == "pop")
            #expect(found.first?.status == 404)
            #expect(found.first?.record.manifest?.digits == Self.first)
            #expect(found.first?.record.attribution == .inferred)
        }
        #expect(files.exchanges(of: "again").map(\.record.end.microseconds) == [8, 9, 10])
        #expect(files.exchanges(of: "id-3").isEmpty)
        #expect(files.exchanges(of: String(repeating: "x", count: 200)).isEmpty)
        #expect(ExchangeFiles(dataDirectory: scratch.directory + "/nowhere").isEmpty)
    }

    @Test("a thousand exchanges with one id cost no more than one")
    func mergesRepeated() throws {
        let ring = try HandoverRing(capacity: 1 << 20)
        let memory = ExchangeMemory([ring], names: [], index: nil, seed: 7)
        for _ in 0..<5000 { #expect(Self.hand(ring, "same", Self.first)) }
        #expect(Self.record(memory, "same") == Self.known(Self.first, .inferred))
        #expect(memory.figures.seen == 5000)
    }

    @Test("what is none of ours is neither written to nor removed")
    func leavesOthersAlone() throws {
        let scratch = Scratch()
        let path = ExchangeFiles.directory(of: scratch.path("instances/default"))
        for name in ["0000000000000001.exchanges", "ffffffffffffffff.exchanges", "0000000000000007.exchanges", "notes"]
        {
            scratch.write("instances/default/exchanges/" + name, "somebody else's")
        }
        let ring = try HandoverRing(capacity: 1 << 16)
        let memory = ExchangeMemory(
            [ring], names: ["v"], index: try ExchangeIndex(path, bytes: 32 << 20, seed: 3), seed: 7)
        #expect(Self.hand(ring, "id", Self.first))
        memory.drain()
        #expect(memory.figures.kept == 1)
        #expect(try Files.names(in: path).count == 5)
        #expect(scratch.read("instances/default/exchanges/0000000000000007.exchanges") == "somebody else's")
        #expect(ExchangeFiles(dataDirectory: scratch.directory).exchanges(of: "id").count == 1)
    }

    @Test("it is bounded: the oldest segment goes, and what went with it is counted")
    func isBounded() throws {
        let scratch = Scratch()
        let path = ExchangeFiles.directory(of: Paths.join(scratch.directory, "instances/default"))
        let ring = try HandoverRing(capacity: 1 << 20)
        let memory = ExchangeMemory(
            [ring], names: ["v"], index: try ExchangeIndex(path, bytes: 20 << 20, seed: 3), seed: 7)
        let total = 300_000
        for number in 0..<total {
            if !Self.hand(ring, "request-\(number)", Self.first) {
                memory.drain()
                #expect(Self.hand(ring, "request-\(number)", Self.first))
            }
        }
        memory.drain()
        let figures = memory.figures
        #expect(figures.kept + figures.dropped == total)
        #expect(figures.dropped > 0 && figures.failed == 0)
        #expect(try Files.names(in: path).count == 2)
        let files = ExchangeFiles(dataDirectory: scratch.directory)
        for number in stride(from: figures.dropped, to: total, by: 997) {
            #expect(files.exchanges(of: "request-\(number)").count == 1, "request-\(number)")
        }
        #expect(files.exchanges(of: "request-0").isEmpty)
        #expect(files.exchanges(of: "request-\(figures.dropped - 1)").isEmpty)
    }

    @Test("whatever happens to a file, it is read without a crash, and nothing is found that nobody wrote")
    func survivesDamage() throws {
        let scratch = Scratch()
        let path = ExchangeFiles.directory(of: Paths.join(scratch.directory, "instances/default"))
        let ring = try HandoverRing(capacity: 1 << 16)
        var memory: ExchangeMemory? = ExchangeMemory(
            [ring], names: ["v"], index: try ExchangeIndex(path, bytes: 32 << 20, seed: 3), seed: 7)
        for number in 0..<100 { #expect(Self.hand(ring, "id-\(number)", Self.first)) }
        memory?.drain()
        memory = nil
        let file = Paths.join(path, try Files.names(in: path)[0])
        guard let whole = try Files.read(file, limit: 16 << 20) else { return }
        let used = 64 + 4 * (1 << 17) + 100 * 64
        for seed in Seeds.some(60) {
            var chance = Chance(seed: seed)
            var bytes = whole
            for _ in 0..<1 + chance.draw(2000) {
                bytes[chance.percent(70) ? chance.draw(used) : chance.draw(64)] = UInt8(chance.draw(256))
            }
            if chance.percent(10) { bytes.removeLast(chance.draw(bytes.count)) }
            _ = try Files.place(bytes, at: file, .replacing)
            let files = ExchangeFiles(dataDirectory: scratch.directory)
            for number in 0..<100 {
                for found in files.exchanges(of: "id-\(number)") {
                    #expect(found.record.manifest?.digits == Self.first, "COLOPHON_SEED=\(seed)")
                }
            }
            // Whoever writes goes on, in this file or in another one.
            let again = ExchangeMemory(
                [ring], names: ["v"], index: try ExchangeIndex(path, bytes: 32 << 20, seed: 3), seed: 7)
            #expect(Self.hand(ring, "new-\(seed)", Self.second))
            again.drain()
            #expect(again.figures.failed == 0, "COLOPHON_SEED=\(seed)")
            for name in try Files.names(in: path) where Paths.join(path, name) != file {
                try RawFile.remove(Paths.join(path, name))
            }
        }
    }

    @Test(
        "a head that says what cannot be is none of ours, and another file is begun",
        arguments: [
            (24, Int64(-1) << 40), (24, -1024), (24, 12), (24, 1 << 40), (32, .min), (32, .max), (32, -1), (0, 0),
            (8, 2),
        ])
    func refusesHeads(offset: Int, value: Int64) throws {
        let scratch = Scratch()
        let path = ExchangeFiles.directory(of: scratch.path("instances/default"))
        let ring = try HandoverRing(capacity: 1 << 16)
        func memory() throws -> ExchangeMemory {
            ExchangeMemory([ring], names: ["v"], index: try ExchangeIndex(path, bytes: 32 << 20, seed: 3), seed: 7)
        }
        let first = try memory()
        #expect(Self.hand(ring, "before", Self.first))
        first.drain()
        let file = Paths.join(path, try Files.names(in: path)[0])
        let number = try RawFile.open(file, .readAndWrite)
        try withUnsafeBytes(of: value.littleEndian) { bytes throws(SystemError) in
            try RawFile.write(number, at: offset, bytes, file)
        }
        RawFile.close(number)
        let second = try memory()
        #expect(Self.hand(ring, "after", Self.second))
        second.drain()
        #expect(second.figures.kept == 1 && second.figures.failed == 0)
        let files = ExchangeFiles(dataDirectory: scratch.directory)
        #expect(files.exchanges(of: "after").count == 1)
        #expect(files.exchanges(of: "before").isEmpty)
    }

    @Test("a file of the first version is read for ever")
    func readsVersion1() throws {
        let scratch = Scratch()
        let path = ExchangeFiles.directory(of: Paths.join(scratch.directory, "instances/default"))
        try Files.makeDirectory(path)
        // All of it but its zeros: a line for each stretch, its offset and its bytes.
        let text = try Files.read(Program.root + "/Tests/Fixtures/exchanges-v1.txt", limit: 1 << 20) ?? []
        var bytes = [UInt8](repeating: 0, count: 64 + (1 << 19) + (8 << 20))
        for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ")
            var offset = Int(words[0]) ?? 0
            var digits = words[1]
            while !digits.isEmpty {
                bytes[offset] = UInt8(digits.prefix(2), radix: 16) ?? 0
                digits = digits.dropFirst(2)
                offset += 1
            }
        }
        _ = try Files.place(bytes, at: Paths.join(path, "0000000000000001.exchanges"), .replacing)
        let files = ExchangeFiles(dataDirectory: scratch.directory)
        let found = files.exchanges(of: "fixture-1")
        #expect(found.first?.record.manifest?.digits == Self.first)
        #expect(found.first?.record.attribution == .exact)
        #expect(found.first?.record.begin == Instant(microseconds: 1_741_112_463_219_384 - 42_000))
        #expect(found.first?.variant == "als_model")
        #expect(found.first?.record.end == Instant(microseconds: 1_741_112_463_219_384))
        #expect(found.first?.status == 206)
    }
}
