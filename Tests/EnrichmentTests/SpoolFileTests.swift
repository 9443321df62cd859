import Provenance
import Runtime
import TestSupport
import Testing

@testable import Enrichment

/// Spools and checkpoints as files: those that older versions left, and those that somebody has spoilt.
@Suite("The spool's files")
struct SpoolFileTests {
    private static let fixtures = Program.root + "/Tests/Fixtures/"

    /// A copy of a directory of fixtures: opening one may write to it.
    private static func copy(_ name: String) throws -> Scratch {
        let scratch = Scratch()
        for file in try Files.names(in: fixtures + name) {
            scratch.write(file, bytes: try Files.read(fixtures + name + "/" + file, limit: 1 << 20) ?? [])
        }
        return scratch
    }

    private static func open(_ directory: String) throws -> Spool<SpoolDirectory> {
        try Spool.open(SpoolDirectory(directory), SpoolSettings(), Definitions()) { () throws(SystemError) in
            try Instance.newULID()
        }
    }

    private static func text(_ bytes: UnsafeRawBufferPointer?) -> String? {
        bytes.map { String(decoding: $0, as: UTF8.self) }
    }

    @Test("a spool of version 1 is read for ever, and gone on with")
    func readsVersion1() throws {
        let scratch = try Self.copy("spool-v1")
        var spool = try Self.open(scratch.directory)
        let (first, next, unread) = (spool.readPosition, spool.next, spool.unread)
        #expect(first == 2 && next == 5 && unread == 3)
        let definitions = spool.definitions
        var lines: [String] = []
        spool.read { one in
            let record = one.record
            lines.append(Self.text(record.value) ?? "")
            let source = String(decoding: definitions.sourceName(one.source), as: UTF8.self)
            #expect(source == "stdin/01M7ZWZKQJAC650DQ18DPB2S2W")
            #expect(one.position == one.sequence)
            let manifest = definitions.stampValue(one.stamp, .manifestSHA256).map {
                String(decoding: $0, as: UTF8.self)
            }
            let isLine = one.sequence < 4
            #expect(manifest == (isLine ? "5caa2655ae64653569b73da23ac5817ebfe70889ec614bd7fb1fdd27418ddb6a" : nil))
            #expect(record.attribution == (isLine ? .inferred : .unknown))
            #expect(Self.text(record.key) == [2: "39157", 3: "7"][one.sequence])
            #expect(Self.text(record.requestID) == (one.sequence == 3 ? "r-1" : nil))
            #expect(
                record.lineTime == [2: 1_741_112_463_219_384, 3: 1_741_112_464_000_000][one.sequence]
                    ?? LineRecord.noTime)
            return true
        }
        #expect(lines.count == 3)
        #expect(
            lines.first?.hasSuffix(
                ", 42 ms, model_version=als-20250304, pipeline_commit=80d8e56, pipeline_branch=main, data_version=kafka-20250301, manifest_sha256=5caa2655ae64653569b73da23ac5817ebfe70889ec614bd7fb1fdd27418ddb6a"
            ) == true)
        #expect(lines.last == "GET /data/m/heat+1995/17.mpg")
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
        defer { memory.deallocate() }
        let number = spool.append(SpoolTests.record("one more", source: 0, in: memory))
        #expect(number == 5)
        spool.acknowledge(5)
        let lost = spool.close()
        #expect(lost == 0)
        let again = try Self.open(scratch.directory)
        let left = again.unread
        #expect(left == 1)
    }

    @Test("a spool of version 2 is read for ever: with a secret, a key in another spelling and no cursor yet")
    func readsVersion2() throws {
        let scratch = try Self.copy("spool-v2")
        var spool = try Self.open(scratch.directory)
        let (unread, news) = (spool.unread, spool.news)
        #expect(unread == 3 && news.torn == 0 && news.damages == 0)
        var keys: [String?] = []
        spool.read { one in
            keys.append(Self.text(one.record.key))
            return true
        }
        #expect(keys == ["39157", "391", "7"])
        let lost = news.lost
        #expect(lost == 0)
    }

    @Test("a checkpoint of version 1 is read for ever")
    func readsCheckpoint1() throws {
        let scratch = try Self.copy("checkpoint-v1")
        var setAside: [(name: String, reason: String)] = []
        let found = try Checkpoints(scratch.directory, host: "a-host").load(setAside: &setAside)
        #expect(setAside.isEmpty)
        #expect(found.map(\.path) == ["/var/log/server.log"])
        #expect(found.first?.position == 9)
        #expect(found.first?.generation == "01M7ZWYMV2P2TZNG2054EE116Z")
        let mark = FileMark(
            identity: FileStatus.Identity(device: 65024, inode: 16_229_546), fingerprintCount: 9,
            fingerprint: Array("line one\n".utf8).withUnsafeBytes { FileMark.fingerprint($0) })
        #expect(found.first?.mark == mark)
    }

    /// Changes bytes by lot; and seals some records anew, so that not the checksum alone has to find what is wrong.
    private static func spoil(_ bytes: [UInt8], _ chance: inout Chance) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<chance.draw(12) where !bytes.isEmpty {
            switch chance.draw(4) {
            case 0: bytes[chance.draw(bytes.count)] = UInt8(chance.draw(256))
            case 1: bytes.removeSubrange(chance.draw(bytes.count)...)
            case 2: bytes += (0..<chance.draw(200)).map { _ in UInt8(chance.draw(256)) }
            default:
                let from = chance.draw(bytes.count)
                let piece = bytes[from..<min(bytes.count, from + chance.draw(300))]
                bytes.insert(contentsOf: piece, at: chance.draw(bytes.count))
            }
        }
        guard chance.percent(70) else { return bytes }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count + 8, alignment: 8)
        defer { memory.deallocate() }
        memory.copyBytes(from: bytes)
        var offset = SpoolFormat.headSize
        while offset + LineRecord.headerSize <= bytes.count, let base = memory.baseAddress {
            let record = LineRecord(base: base + offset)
            let isWhole = record.length >= LineRecord.headerSize && record.length % 8 == 0
            guard isWhole, offset + record.length <= bytes.count else { break }
            record.seal(0)
            offset += record.length
        }
        return Array(memory[..<bytes.count])
    }

    @Test(
        "whatever lies in the directory, it is opened or refused, and what is read stays within its bytes",
        arguments: 0..<4)
    func survivesRubbish(shard: Int) throws {
        let segment = try Files.read(Self.fixtures + "spool-v1/0000000000000002.segment", limit: 1 << 20) ?? []
        let cursor = try Files.read(Self.fixtures + "spool-v1/cursor", limit: 1 << 20) ?? []
        #expect(segment.count > 1000 && cursor.count == 128)
        let seeds = Seeds.some(400)
        for (index, seed) in seeds.enumerated() where seeds.count == 1 ? shard == 0 : index % 4 == shard {
            var chance = Chance(seed: seed)
            let scratch = Scratch()
            let names = ["0000000000000002", "0000000000000000", "0000000000000005", "ffffffffffffffff", "x"]
            for name in names.prefix(1 + chance.draw(names.count)) {
                scratch.write("spool/\(name).segment", bytes: Self.spoil(segment, &chance))
            }
            scratch.write("spool/cursor", bytes: chance.percent(50) ? cursor : Self.spoil(cursor, &chance))
            var spool: Spool<SpoolDirectory>
            do { spool = try Self.open(scratch.path("spool")) } catch { continue }
            var total = 0
            let definitions = spool.definitions
            spool.read { one in
                total += one.record.value.reduce(0) { $0 + Int($1) } + (one.record.key?.count ?? 0)
                _ = definitions.sourceName(one.source)
                for field in ProvenanceField.allCases { _ = definitions.stampValue(one.stamp, field) }
                one.record.forEachCarried { _, _ in total += 1 }
                return true
            }
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
            defer { memory.deallocate() }
            let source = definitions.source(Array("x".utf8))
            spool.append(SpoolTests.record("goes on", source: source, in: memory))
            let isSynced = spool.sync()
            #expect(isSynced, "COLOPHON_SEED=\(seed)")
            var last = ""
            spool.read { one in
                last = Self.text(one.record.value) ?? ""
                return true
            }
            #expect(last == "goes on", "COLOPHON_SEED=\(seed)")
            spool.close()
        }
    }
}
