import Provenance
import Runtime
import TestSupport
import Testing

@testable import Enrichment

/// The spool over a disk that fails by lot. A failure names its seed: `COLOPHON_SEED=… make test` runs that one alone.
@Suite("The spool")
struct SpoolTests {
    /// A record whose value is `text`.
    static func record(
        _ text: String, source: UInt32, stamp: UInt32 = 0, in memory: UnsafeMutableRawBufferPointer
    ) -> LineRecord {
        let record = LineRecord(base: memory.baseAddress.unsafelyUnwrapped)
        let bytes = Array(text.utf8)
        record.fill(.line, valueCount: bytes.count, attribution: .inferred, key: 0..<min(3, bytes.count), position: 7)
        record.source = source
        record.stamp = stamp
        UnsafeMutableRawBufferPointer(rebasing: memory[LineRecord.headerSize...]).copyBytes(from: bytes)
        return record
    }

    static func open(_ disk: SimulatedDisk, _ settings: SpoolSettings = small) throws(SpoolError) -> Spool<
        SimulatedDisk
    > {
        try Spool.open(disk, settings, Definitions()) { () throws(SystemError) in
            "01M7ZH8AF7A2ZZ7TK6TAF7AX\(disk.chance.draw(10))\(disk.chance.draw(10))"
        }
    }

    static let small: SpoolSettings = {
        var settings = SpoolSettings()
        settings.segment = 2048
        settings.bytes = 64 << 10
        settings.unsynced = 16 << 10
        return settings
    }()

    /// Everything that can be read now.
    static func readAll(_ spool: inout Spool<SimulatedDisk>) -> [(sequence: Int64, text: String)] {
        var found: [(sequence: Int64, text: String)] = []
        spool.read { one in
            found.append((one.sequence, String(decoding: one.record.value, as: UTF8.self)))
            return true
        }
        return found
    }

    static func sync(_ spool: inout Spool<SimulatedDisk>) {
        let isSynced = spool.sync()
        #expect(isSynced)
    }

    /// Each line synced by itself, so that they are in many segments.
    static func fill(_ spool: inout Spool<SimulatedDisk>, lines: Int, _ memory: UnsafeMutableRawBufferPointer) {
        for number in 0..<lines {
            spool.append(record("line \(number)", source: spool.definitions.source([1]), in: memory))
            sync(&spool)
        }
    }

    static func withMemory<Result>(_ body: (UnsafeMutableRawBufferPointer) throws -> Result) rethrows -> Result {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
        defer { memory.deallocate() }
        return try body(memory)
    }

    @Test("what was appended is read in order, only when it is synced, with its source and manifest")
    func keepsOrder() throws {
        let disk = SimulatedDisk(seed: 1)
        var spool = try Self.open(disk)
        let source = spool.definitions.source(Array("http/x".utf8))
        Self.withMemory { memory in
            for number in 0..<100 { spool.append(Self.record("line \(number)", source: source, in: memory)) }
            let early = Self.readAll(&spool)
            #expect(early.isEmpty)
            Self.sync(&spool)
            var found: [String] = []
            spool.read { one in
                found.append(String(decoding: one.record.value, as: UTF8.self))
                #expect(one.source == source)
                #expect(one.record.key.map { String(decoding: $0, as: UTF8.self) } == "lin")
                #expect(one.record.position == 7 && one.record.attribution == .inferred)
                return true
            }
            #expect(found == (0..<100).map { "line \($0)" })
        }
    }

    /// A record whose value is `bytes`, sealed as number `sequence`.
    private static func sealed(_ bytes: [UInt8], sequence: Int64) -> [UInt8] {
        withMemory { memory in
            let record = LineRecord(base: memory.baseAddress.unsafelyUnwrapped)
            record.fill(.line, valueCount: bytes.count, attribution: .exact)
            record.sequence = sequence
            UnsafeMutableRawBufferPointer(rebasing: memory[LineRecord.headerSize...]).copyBytes(from: bytes)
            record.seal(0)
            return Array(record.bytes)
        }
    }

    @Test(
        "bytes of a record within a line are never taken for one, whatever a crash left of that line",
        arguments: [1, 2, 1 << 40, .max] as [Int64], [false, true])
    func distrustsRecordsInLines(sequence: Int64, isHeadLost: Bool) throws {
        let disk = SimulatedDisk(seed: 1)
        var spool = try Self.open(disk)
        let forged = Self.sealed(Array("forged".utf8), sequence: sequence)
        Self.withMemory { memory in
            let source = spool.definitions.source([1])
            spool.append(Self.record("first", source: source, in: memory))
            let outer = Self.record("", source: source, in: memory)
            let value = forged + Array(repeating: 0x78, count: 400)
            outer.fill(.line, valueCount: value.count)
            outer.source = source
            UnsafeMutableRawBufferPointer(rebasing: memory[LineRecord.headerSize...]).copyBytes(from: value)
            spool.append(outer)
            Self.sync(&spool)
        }
        let name = try #require(try disk.names().first { $0.hasSuffix(".segment") })
        let bytes = try #require(disk.contents(name))
        let start = bytes.indices.dropLast(forged.count).last { bytes[$0..<$0 + forged.count].elementsEqual(forged) }
        let place = try #require(start)
        disk.kill()
        let number = try disk.open(name)
        try disk.truncate(number, to: place + forged.count + 24)
        disk.close(number)
        if isHeadLost { for offset in 0..<8 { disk.damage(name, at: place - LineRecord.headerSize + offset) } }
        var again = try Self.open(disk)
        let found = Self.readAll(&again).map(\.text)
        #expect(found == ["first"])
        let (next, torn) = (again.next, again.news.torn)
        #expect(next == 1 && torn > 0)
    }

    @Test("what was not acknowledged is there after a restart, what was is not, and delivered segments are gone")
    func survivesRestarts() throws {
        let disk = SimulatedDisk(seed: 2)
        try Self.withMemory { memory in
            var spool = try Self.open(disk)
            for number in 0..<100 {
                spool.append(Self.record("line \(number)", source: spool.definitions.source([1]), in: memory))
                if number % 10 == 9 { Self.sync(&spool) }
            }
            let files = try disk.names().count
            _ = Self.readAll(&spool)
            spool.acknowledge(60)
            let left = try disk.names().count
            #expect(left < files)
            disk.kill()
            var again = try Self.open(disk)
            let (generation, recovered) = (again.generation, again.news.recovered)
            let before = spool.generation
            #expect(generation == before)
            #expect(recovered == 40)
            let found = Self.readAll(&again)
            #expect(found.map(\.sequence) == Array(60..<100))
            #expect(found.map(\.text) == (60..<100).map { "line \($0)" })
        }
    }

    @Test("a record that was changed on the disk is counted as lost, and those of other segments are not")
    func noticesDamage() throws {
        let disk = SimulatedDisk(seed: 3)
        try Self.withMemory { memory in
            var spool = try Self.open(disk)
            Self.fill(&spool, lines: 60, memory)
            let segments = try disk.names().filter { $0.hasSuffix(".segment") }
            #expect(segments.count >= 3)
            disk.damage(segments[0], at: 700)
            let found = Self.readAll(&spool)
            let lost = Int(spool.news.lost)
            #expect(lost > 0)
            #expect(found.count + lost == 60)
            #expect(found.last?.text == "line 59")
        }
    }

    @Test("one changed byte costs one record, wherever it is, and no number is given out again", arguments: 0..<60)
    func losesOne(place: Int) throws {
        let disk = SimulatedDisk(seed: UInt64(place))
        try Self.withMemory { memory in
            var spool = try Self.open(disk)
            for number in 0..<15 {
                spool.append(
                    Self.record("line \(number)", source: spool.definitions.source([UInt8(number / 5)]), in: memory))
            }
            Self.sync(&spool)
            let name = try #require(try disk.names().first { $0.hasSuffix(".segment") })
            let size = try #require(disk.contents(name)).count
            disk.kill()
            disk.damage(name, at: SpoolFormat.headSize + place * (size - SpoolFormat.headSize) / 60)
            var again = try Self.open(disk)
            let found = Self.readAll(&again)
            #expect(found.count >= 14 && found.map(\.sequence) == found.map(\.sequence).sorted())
            for one in found { #expect(one.text == "line \(one.sequence)") }
            let next = again.next
            // At the very end nobody can know whether there was one more.
            #expect(next == 15 || next == 14 && found.count == 14)
        }
    }

    @Test("a spool of a later version is refused, and a segment that is no spool is put aside")
    func refusesOthers() throws {
        let disk = SimulatedDisk(seed: 4)
        try Self.withMemory { memory in
            var spool = try Self.open(disk)
            spool.append(Self.record("one", source: spool.definitions.source([1]), in: memory))
            Self.sync(&spool)
        }
        let name = try #require(try disk.names().first { $0.hasSuffix(".segment") })
        disk.kill()
        disk.damage(name, at: 40)
        let again = try Self.open(disk)
        let setAside = again.news.setAside
        #expect(setAside == [name])
        let names = try disk.names()
        #expect(names.contains(name + ".damaged"))

        let lost = again.news.lost
        #expect(lost == 1)

        let other = SimulatedDisk(seed: 5)
        let file = try other.create("0000000000000000.segment")
        let head = SpoolFormat.write(
            SpoolFormat.Head(first: 0, generation: "01M7ZH8AF7A2ZZ7TK6TAF7AXSV", secret: 1), version: 3)
        try other.write(head, to: file)
        other.kill()
        #expect(throws: SpoolError.self) { _ = try Self.open(other) }
    }

    @Test(
        "of segments that are put aside every line is counted, wherever they stood",
        arguments: [[0], [1], [2], [0, 1], [2, 3], [-1], [0, -1]])
    func countsWhatIsPutAside(spoilt: [Int]) throws {
        let disk = SimulatedDisk(seed: 6)
        try Self.withMemory { memory in
            var spool = try Self.open(disk)
            Self.fill(&spool, lines: 120, memory)
        }
        let names = try disk.names().filter { $0.hasSuffix(".segment") }.sorted()
        try #require(names.count > 4)
        disk.kill()
        for index in spoilt { disk.damage(names[index < 0 ? names.count + index : index], at: 40) }
        var again = try Self.open(disk)
        let found = Self.readAll(&again).count
        let lost = again.news.lost
        #expect(found > 0 && lost > 0 && UInt64(found) + lost == 120, "\(found) are there and \(lost) counted")
        let unread = again.unread
        #expect(unread == 0)
    }

    @Test("long lines of a segment that is put aside are counted as well")
    func countsLongLinesPutAside() throws {
        let disk = SimulatedDisk(seed: 15)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 8)
        defer { memory.deallocate() }
        var spool = try Self.open(disk)
        for _ in 0..<3 {
            spool.append(
                Self.record(String(repeating: "x", count: 5000), source: spool.definitions.source([1]), in: memory))
        }
        Self.sync(&spool)
        let name = try #require(try disk.names().first { $0.hasSuffix(".segment") })
        disk.kill()
        disk.damage(name, at: 40)
        let again = try Self.open(disk)
        let lost = again.news.lost
        #expect(lost == 3)
    }

    @Test("a full spool has no room, and has some again when its lines are delivered")
    func isBounded() throws {
        let disk = SimulatedDisk(seed: 6)
        try Self.withMemory { memory in
            var spool = try Self.open(disk)
            var count = 0
            while spool.hasRoom(for: 40) {
                spool.append(
                    Self.record(
                        "a line of forty bytes, more or less ….", source: spool.definitions.source([1]), in: memory))
                Self.sync(&spool)
                count += 1
                if count > 10_000 { break }
            }
            #expect(count > 300 && count < 1000)
            let full = spool.bytes
            #expect(full <= Self.small.bytes)
            _ = Self.readAll(&spool)
            spool.acknowledge(spool.synced)
            let (hasRoom, left) = (spool.hasRoom(for: 40), spool.bytes)
            #expect(hasRoom && left < 8192)
        }
    }

    @Test("adopted records are passed over, once")
    func passesOverAdopted() throws {
        let disk = SimulatedDisk(seed: 7)
        try Self.withMemory { memory in
            var spool = try Self.open(disk)
            for number in 0..<30 {
                spool.append(Self.record("line \(number)", source: spool.definitions.source([1]), in: memory))
            }
            spool.adopt(10..<20)
            Self.sync(&spool)
            let found = Self.readAll(&spool).map(\.sequence)
            #expect(found == Array(0..<10) + Array(20..<30))
        }
    }

    // MARK: - Simulation

    /// Appends, syncs, reads, acknowledges, fails, is killed and loses power, by lot.
    static func run(seed: UInt64) throws -> [String] {
        let disk = SimulatedDisk(seed: seed)
        var chance = Chance(seed: seed ^ 0xABCD)
        var problems: [String] = []
        /// What was handed on under each number of each generation: never two things under one.
        var named: [String: String] = [:]
        /// Not acknowledged: by number, and whether the disk has it for sure.
        var owed: [Int64: (text: String, isSynced: Bool)] = [:]
        var acknowledged: Int64 = 0
        var serial = 0
        var isCursorOld = false
        /// Up to where everything was written once: no kill may take it.
        var writtenUpTo: Int64 = 0
        var spool = try open(disk)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 8)
        defer { memory.deallocate() }
        var readUpTo: Int64 = 0
        /// What a power cut may have taken: it was never synced.
        var forgiven: Set<Int64> = []
        func note(_ found: [(sequence: Int64, text: String)], _ generation: String) {
            for one in found {
                let name = "\(generation):\(one.sequence)"
                if let before = named[name], before != one.text {
                    problems.append("\(name) is \(before) and \(one.text)")
                }
                named[name] = one.text
                if one.sequence >= acknowledged, owed[one.sequence]?.text != one.text {
                    problems.append("\(one.sequence) is \(one.text), not \(owed[one.sequence]?.text ?? "nothing")")
                }
            }
            for (left, right) in zip(found, found.dropFirst())
            where !(left.sequence + 1..<right.sequence).allSatisfy({ forgiven.contains($0) }) {
                problems.append("\(left.sequence) is followed by \(right.sequence)")
            }
        }
        for _ in 0..<400 {
            switch chance.draw(20) {
            case 0..<8:
                serial += 1
                let text = "line \(serial) " + String(repeating: "x", count: chance.draw(200))
                guard spool.hasRoom(for: text.utf8.count) else { break }
                let source = spool.definitions.source(Array("s\(chance.draw(3))".utf8))
                owed[spool.append(record(text, source: source, in: memory))] = (text, false)
            case 8..<11: if spool.write() { writtenUpTo = spool.next }
            case 11..<14:
                if spool.sync() {
                    writtenUpTo = spool.next
                    for key in owed.keys { owed[key]?.isSynced = true }
                }
            case 14..<17:
                let found = readAll(&spool)
                note(found, spool.generation)
                if let last = found.last { readUpTo = last.sequence + 1 }
            case 17:
                guard readUpTo > acknowledged else { break }
                acknowledged += Int64(chance.draw(Int(readUpTo - acknowledged) + 1))
                spool.acknowledge(acknowledged)
                isCursorOld = !spool.isCursorWritten
                for key in owed.keys where key < acknowledged { owed[key] = nil }
            case 18:
                disk.writeFaults = chance.percent(50) ? 30 : 0
                disk.syncFaults = chance.percent(50) ? 30 : 0
            default:
                guard chance.percent(25) else { break }
                let isPower = chance.percent(50)
                // A kill leaves what was written; only what was never written is gone with the process.
                let lastWritten = max(writtenUpTo, spool.synced)
                if isPower { disk.cutPower() } else { disk.kill() }
                disk.writeFaults = 0
                disk.syncFaults = 0
                spool = try open(disk)
                writtenUpTo = spool.next
                let found = readAll(&spool)
                for key in owed.keys.sorted() where !isPower && key < lastWritten || owed[key]?.isSynced == true {
                    if !found.contains(where: { $0.sequence == key && $0.text == owed[key]?.text }) {
                        problems.append("\(key) is gone after \(isPower ? "a power cut" : "a kill")")
                    }
                }
                if isPower { for (key, one) in owed where !one.isSynced { forgiven.insert(key) } }
                // What came back is owed from now on, and what did not is forgotten.
                let first = found.first?.sequence ?? spool.next
                if first < acknowledged, !isPower, !isCursorOld {
                    problems.append("\(first) came back after its acknowledgement")
                }
                acknowledged = min(acknowledged, first)
                owed = [:]
                for one in found { owed[one.sequence] = (one.text, true) }
                note(found, spool.generation)
                readUpTo = spool.readPosition
            }
            if problems.count > 5 { break }
        }
        disk.writeFaults = 0
        disk.syncFaults = 0
        if !spool.sync() { problems.append("it does not sync on a disk that works") }
        note(readAll(&spool), spool.generation)
        spool.close()
        if disk.openCount != 0 { problems.append("\(disk.openCount) files stay open") }
        return problems
    }

    @Test("nothing is lost, repeated under another number or out of order, whatever the disk does", arguments: 0..<4)
    func survives(shard: Int) throws {
        let seeds = Seeds.some(1000)
        for (index, seed) in seeds.enumerated() where seeds.count == 1 ? shard == 0 : index % 4 == shard {
            let problems = try Self.run(seed: seed)
            if !problems.isEmpty {
                Issue.record("COLOPHON_SEED=\(seed): \(problems.prefix(5))")
                return
            }
        }
    }
}
