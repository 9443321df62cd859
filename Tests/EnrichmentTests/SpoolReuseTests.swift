import Provenance
import Runtime
import TestSupport
import Testing

@testable import Enrichment

/// Segments that are written over those that were delivered.
@Suite("The spool's files, written over")
struct SpoolReuseTests {
    private typealias Records = SpoolTests

    /// Delivers segments of `disk` until the file of one is written over by another, with one line, and answers its name.
    private static func reuse(
        _ spool: inout Spool<SimulatedDisk>, _ disk: SimulatedDisk, _ memory: UnsafeMutableRawBufferPointer
    ) throws -> String {
        Records.fill(&spool, lines: 40, memory)
        deliver(&spool)
        #expect(try disk.names() == ["cursor", "spare"])
        Records.fill(&spool, lines: 1, memory)
        let names = try disk.names()
        #expect(names.count == 2 && !names.contains("spare"))
        return try #require(names.first { $0.hasSuffix(".segment") })
    }

    private static func deliver(_ spool: inout Spool<SimulatedDisk>) {
        _ = Records.readAll(&spool)
        spool.acknowledge(spool.synced)
    }

    @Test("a delivered segment is written over by the next one, and nothing of what it held comes back")
    func reusesSegments() throws {
        let disk = SimulatedDisk(seed: 8)
        try Records.withMemory { memory in
            var spool = try Records.open(disk)
            let name = try Self.reuse(&spool, disk, memory)
            Records.fill(&spool, lines: 2, memory)
            let bytes = try #require(disk.contents(name))
            #expect(bytes.count > 1500, "it is as long as the one before")
            let (size, generation, taken) = (spool.segments.last?.size ?? 0, spool.generation, spool.bytes)
            #expect(taken == bytes.count)
            #expect(bytes[(size + SpoolFormat.endMarkSize)...].contains { $0 != 0 }, "older bytes stand behind")
            // Killed between two writes: nothing is torn, and numbers go on under the same name, at this start and at later ones.
            for _ in 0..<3 {
                disk.kill()
                var again = try Records.open(disk)
                let (torn, lost, damages) = (again.news.torn, again.news.lost, again.news.damages)
                #expect(torn == 0 && lost == 0 && damages == 0)
                let after = again.generation
                #expect(after == generation)
                #expect(disk.contents(name)?.count == size, "what the older one left is cut off")
                #expect(Records.readAll(&again).map(\.sequence) == [40, 41, 42])
            }
        }
    }

    @Test("after an orderly end in a file that was written over, starts tell of nothing torn")
    func endsInOrder() throws {
        let disk = SimulatedDisk(seed: 11)
        try Records.withMemory { memory in
            var spool = try Records.open(disk)
            let name = try Self.reuse(&spool, disk, memory)
            let (size, generation) = (spool.segments.last?.size ?? 0, spool.generation)
            spool.close()
            #expect(disk.contents(name)?.count == size)
            for _ in 0..<3 {
                var again = try Records.open(disk)
                let (torn, after, recovered) = (again.news.torn, again.generation, again.news.recovered)
                #expect(torn == 0 && after == generation && recovered == 1)
                again.close()
            }
        }
    }

    @Test("an orderly end leaves none of the lines that were delivered, and numbers go on", arguments: [true, false])
    func leavesNothingDelivered(isReused: Bool) throws {
        let disk = SimulatedDisk(seed: 16)
        try Records.withMemory { memory in
            var spool = try Records.open(disk)
            if isReused { _ = try Self.reuse(&spool, disk, memory) } else { Records.fill(&spool, lines: 3, memory) }
            Self.deliver(&spool)
            let (next, generation) = (spool.next, spool.generation)
            spool.close()
            #expect(try disk.names() == ["cursor"])
            disk.cutPower()
            let again = try Records.open(disk)
            let (first, after, recovered) = (again.next, again.generation, again.news.recovered)
            #expect(first == next && after == generation && recovered == 0)
        }
    }

    @Test(
        "where the end mark is not what was written, something was being written: numbers go on under another name",
        arguments: [0, 3, 4, 7])
    func noticesTornMark(byte: Int) throws {
        let disk = SimulatedDisk(seed: 9)
        try Records.withMemory { memory in
            var spool = try Records.open(disk)
            let name = try Self.reuse(&spool, disk, memory)
            let (size, generation) = (spool.segments.last?.size ?? 0, spool.generation)
            disk.damage(name, at: size + byte)
            disk.kill()
            var again = try Records.open(disk)
            let (torn, after) = (again.news.torn, again.generation)
            #expect(torn > 0 && after != generation)
            #expect(Records.readAll(&again).map(\.sequence) == [40])
        }
    }

    @Test(
        "a last record that the disk has lost passes for no end, whether it is zeros or one byte of it is another",
        arguments: [true, false])
    func noticesLostEnd(isCleared: Bool) throws {
        let disk = SimulatedDisk(seed: 12)
        try Records.withMemory { memory in
            var spool = try Records.open(disk)
            let name = try Self.reuse(&spool, disk, memory)
            let before = spool.segments.last?.size ?? 0
            Records.fill(&spool, lines: 1, memory)
            let (size, generation) = (spool.segments.last?.size ?? 0, spool.generation)
            if isCleared { disk.clear(name, before..<size) } else { disk.damage(name, at: before + 80) }
            disk.kill()
            let again = try Records.open(disk)
            // Number 41 was handed on: under the same name it must not be given to another line.
            let (torn, after) = (again.news.torn, again.generation)
            #expect(torn > 0 && after != generation)
        }
    }

    @Test("a file that is kept to be written over makes room for lines, and for a full disk")
    func givesUpSpare() throws {
        let disk = SimulatedDisk(seed: 10)
        try Records.withMemory { memory in
            var spool = try Records.open(disk)
            _ = try Self.reuse(&spool, disk, memory)
            // While one is written to, another is delivered and kept.
            Records.fill(&spool, lines: 60, memory)
            _ = Records.readAll(&spool)
            spool.acknowledge(spool.synced - 1)
            #expect(try disk.names().contains("spare"))
            while spool.hasRoom(for: 40) {
                Records.fill(&spool, lines: 1, memory)
                let taken = spool.bytes
                #expect(taken <= SpoolTests.small.bytes)
            }
            #expect(try !disk.names().contains("spare"))
            Self.deliver(&spool)
            #expect(try disk.names().contains("spare"))
            disk.writeFaults = 100
            spool.append(Records.record("no room", source: spool.definitions.source([1]), in: memory))
            let isWritten = spool.write()
            #expect(!isWritten)
            #expect(try !disk.names().contains("spare"))
            disk.writeFaults = 0
            Records.sync(&spool)
        }
    }

    @Test("lines that will be written over older bytes have all the room that they have in a new file")
    func hasAllRoom() throws {
        func mostRoom(_ spool: borrowing Spool<SimulatedDisk>) -> Int {
            (0..<SpoolTests.small.unsynced).last { spool.hasRoom(for: $0, in: .half) } ?? 0
        }
        try Records.withMemory { memory in
            var fresh = try Records.open(SimulatedDisk(seed: 1))
            Records.fill(&fresh, lines: 1, memory)
            let disk = SimulatedDisk(seed: 2)
            var spool = try Records.open(disk)
            _ = try Self.reuse(&spool, disk, memory)
            let (before, after) = (mostRoom(fresh), mostRoom(spool))
            #expect(before > 0 && before == after)
        }
    }

    @Test(
        "a segment whose end was put down elsewhere after an error is not kept, and all that the disk holds is counted")
    func keepsNoFailed() throws {
        let disk = SimulatedDisk(seed: 13)
        try Records.withMemory { memory in
            var spool = try Records.open(disk)
            Records.fill(&spool, lines: 5, memory)
            for number in 5..<30 {
                spool.append(Records.record("line \(number)", source: spool.definitions.source([1]), in: memory))
            }
            let isWritten = spool.write()
            disk.syncFaults = 100
            for _ in 0..<5 {
                let isSynced = spool.sync()
                #expect(isWritten && !isSynced)
            }
            disk.syncFaults = 0
            #expect(try disk.names().count <= 4, "attempts that failed do not pile up")
            Records.sync(&spool)
            Self.deliver(&spool)
            let (taken, held) = (spool.bytes, disk.total)
            #expect(held <= taken + 128)
            Records.fill(&spool, lines: 1, memory)
            disk.kill()
            var again = try Records.open(disk)
            let torn = again.news.torn
            #expect(torn == 0)
            #expect(Records.readAll(&again).map(\.text) == ["line 0"])
        }
    }

    /// What all words of `file` say that a record's head could: that a long one begins there.
    private static func forged(_ count: Int) -> [UInt8] {
        let words: [UInt32] = [UInt32(count / 2), 0, 1, 0]
        return (0..<count / 4).flatMap { word in
            (0..<4).map { UInt8(truncatingIfNeeded: words[word % 4] >> UInt32(8 * $0)) }
        }
    }

    @Test(
        "lines that look like the heads of long records hold up no start, not even behind a torn end",
        arguments: [true, false])
    func isNotHeldUp(isTorn: Bool) throws {
        let disk = SimulatedDisk(seed: 14)
        try Records.withMemory { memory in
            var spool = try Records.open(disk)
            let name = try Self.reuse(&spool, disk, memory)
            let size = spool.segments.last?.size ?? 0
            disk.kill()
            let file = try disk.open(name)
            try Self.forged(8 << 20).withUnsafeBytes {
                try disk.write(file, at: size + SpoolFormat.endMarkSize, $0)
            }
            // As if that had been there when it was begun.
            var head = try disk.contents(name).map { bytes in try bytes.withUnsafeBytes { try SpoolFormat.readHead($0) }
            }
            head?.reused = 8 << 20
            try SpoolFormat.write(try #require(head)).withUnsafeBytes { try disk.write(file, at: 0, $0) }
            if isTorn { disk.damage(name, at: size) }
            disk.kill()
            var again = try Records.open(disk)
            #expect(Records.readAll(&again).map(\.sequence) == [40])
            let torn = again.news.torn
            #expect((torn > 0) == isTorn)
        }
    }

    // MARK: - Simulation

    /// Lines come and are delivered, until the process or the machine stands still in the midst of any change to the disk; then it begins
    /// again. Answers how often a file was being written over.
    private static func run(seed: UInt64, _ memory: UnsafeMutableRawBufferPointer) throws -> Int {
        let disk = SimulatedDisk(seed: seed)
        disk.spoilsTails = false
        var chance = Chance(seed: seed ^ 0x5EED)
        var spool = try Records.open(disk)
        var reused = 0
        var doubtful: UInt64 = 0
        /// What was synced and not acknowledged; and what was handed on under which name.
        var owed: [Int64: String] = [:]
        var named: [String: String] = [:]
        func read() {
            for one in Records.readAll(&spool) {
                let name = "\(spool.generation):\(one.sequence)"
                #expect(named[name, default: one.text] == one.text, "COLOPHON_SEED=\(seed)")
                named[name] = one.text
                owed[one.sequence] = nil
            }
        }
        for number in 0..<120 {
            if chance.percent(10) { disk.changesLeft = chance.draw(14) }
            for line in 0..<chance.draw(20) {
                let text = "line \(number) \(line)"
                owed[spool.append(Records.record(text, source: spool.definitions.source([1]), in: memory))] = text
            }
            if chance.percent(80) { spool.sync() } else { spool.write() }
            let synced = spool.synced
            read()
            if chance.percent(50) { spool.acknowledge(spool.readPosition) }
            if spool.segments.last?.reused ?? 0 > 0 { reused += 1 }
            guard disk.changesLeft == 0 else { continue }
            let isPower = chance.percent(50)
            if isPower { disk.cutPower() } else { disk.kill() }
            disk.changesLeft = nil
            let waiting = owed.filter { $0.key < synced }
            // A power cut may have taken some of these, and not those behind them; that is so at later starts too.
            if isPower { doubtful += UInt64(spool.unsyncedLines) }
            spool = try Records.open(disk)
            let setAside = spool.news.setAside
            #expect(setAside.isEmpty, "COLOPHON_SEED=\(seed)")
            let found = Records.readAll(&spool)
            for (key, text) in waiting {
                #expect(found.contains { $0.sequence == key && $0.text == text }, "COLOPHON_SEED=\(seed): \(key)")
            }
            for one in found {
                let name = "\(spool.generation):\(one.sequence)"
                #expect(named[name, default: one.text] == one.text, "COLOPHON_SEED=\(seed): \(name)")
                named[name] = one.text
            }
            let (lost, damages, names) = (spool.news.lost, spool.news.damages, try disk.names())
            #expect(lost <= doubtful && (damages == 0 || doubtful > 0), "COLOPHON_SEED=\(seed)")
            #expect(!names.contains("spare"))
            owed = [:]
        }
        return reused
    }

    @Test(
        "whatever a kill or a power cut leaves of a file that is being written over, nothing is lost, repeated, or taken for damaged"
    )
    func survives() throws {
        var reused = 0
        let seeds = Seeds.some(100)
        try Records.withMemory { memory in
            for seed in seeds { reused += try Self.run(seed: seed, memory) }
        }
        #expect(reused > 10 * seeds.count)
    }
}
