import Crypto
import Glibc
import Provenance
import Runtime
import TestSupport
import Testing

@testable import Enrichment

/// Files that somebody else writes, rotates, truncates and removes.
private final class SimulatedFiles: FollowedDisk {
    var ownOutputs: [FileStatus.Identity] { [] }
    final class File {
        let inode: UInt64
        var bytes: [UInt8] = []
        var modified: Int64

        init(inode: UInt64, modified: Int64) {
            self.inode = inode
            self.modified = modified
        }
    }

    private(set) var names: [String: File] = [:]
    private var open: [Int32: File] = [:]
    private var lastNumber: Int32 = 100
    private var lastInode: UInt64 = 1
    private var freeInodes: [UInt64] = []
    /// In percent: reads that fail.
    var faults = 0
    var chance: Chance
    /// Counts what is done to files, in the place of a clock.
    private var moment: Int64 = 0

    init(seed: UInt64) { chance = Chance(seed: seed) }

    private func tick() -> Int64 {
        moment += 1
        return moment
    }

    func create(_ name: String) {
        // A file system gives the inode of a removed file to the next one.
        if let inode = freeInodes.popLast() {
            names[name] = File(inode: inode, modified: tick())
        } else {
            lastInode += 1
            names[name] = File(inode: lastInode, modified: tick())
        }
    }

    func append(_ text: String, to name: String) {
        names[name]?.bytes += Array(text.utf8)
        names[name]?.modified = tick()
    }

    func rename(_ name: String, to new: String) {
        names[new] = names[name]
        names[name] = nil
    }

    func remove(_ name: String) {
        guard let file = names.removeValue(forKey: name) else { return }
        // It lives on while it is open.
        if !open.values.contains(where: { $0 === file }) { freeInodes.append(file.inode) }
    }

    /// The process that had them open is gone.
    func closeAll() { open.removeAll() }

    func paths(_ glob: String) -> [String] { names.keys.filter { $0.hasPrefix("/logs/app") }.sorted() }
    func paths(in directory: String) -> [String]? { names.keys.filter { $0.hasPrefix(directory + "/") }.sorted() }

    private func state(_ file: File) -> FollowedState {
        FollowedState(
            identity: FileStatus.Identity(device: 1, inode: file.inode), size: Int64(file.bytes.count),
            modified: file.modified, isLinked: names.values.contains { $0 === file })
    }

    func state(of path: String) -> FollowedState? { names[path].map(state) }

    func state(of number: Int32) throws(SystemError) -> FollowedState {
        guard let file = open[number] else { throw SystemError("examine", "nothing", code: EBADF) }
        return state(file)
    }

    func open(_ path: String) throws(SystemError) -> Int32 {
        guard let file = names[path], !chance.percent(faults) else { throw SystemError("read", path, code: ENOENT) }
        lastNumber += 1
        open[lastNumber] = file
        return lastNumber
    }

    func read(
        _ number: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(SystemError) -> Int {
        guard let file = open[number], !chance.percent(faults) else { throw SystemError("read", "a file", code: EIO) }
        guard offset < file.bytes.count else { return 0 }
        let count = min(buffer.count, file.bytes.count - offset)
        buffer.copyBytes(from: file.bytes[offset..<offset + count])
        return count
    }

    func close(_ number: Int32) { open[number] = nil }
}

@Suite("Following files")
struct FileTests {
    /// A follower with everything behind it, but brokers that are only a list.
    private final class Follower {
        let source: FileSource
        let intake: LineIntake
        private var positions: [Int64] = []
        var clock: Int64 = 10_000_000

        init(_ disk: SimulatedFiles, _ scratch: String, clock: Int64) throws {
            let index = KnownManifests()
            index.add(try Specimen.manifest(1))
            var settings = LineEnricher.Settings()
            settings.match = .all
            var limits = Delivery.Limits()
            limits.records = 40
            limits.bytes = 1 << 20
            let definitions = Definitions()
            let spool = try Spool.open(try SpoolDirectory(scratch + "/spool"), SpoolSettings(), definitions) {
                () throws(SystemError) in try Instance.newULID()
            }
            intake = LineIntake(
                LineIntake.Settings(), enricher: LineEnricher(settings, LineAttributor.kept(index)), spool: spool,
                delivery: Delivery(limits), definitions: definitions,
                deadLetters: try DeadLetterFile(scratch + "/dead", limit: 1 << 30), identity: "i")
            let time = Time()
            time.now = clock
            self.time = time
            checkpoints = scratch + "/checkpoints"
            source = FileSource(
                ["/logs/app*"], lineLimit: 1000, checkpoints: try Checkpoints(checkpoints, host: "h"),
                disk: disk, clock: { time.now })
        }

        private let checkpoints: String

        /// A file stands where their directory was.
        func blockCheckpoints() {
            try? RawFile.rename(checkpoints, to: checkpoints + ".away")
            if let file = try? RawFile.open(checkpoints, .createIfMissing) { RawFile.close(file) }
        }

        func unblockCheckpoints() {
            try? RawFile.remove(checkpoints)
            try? RawFile.rename(checkpoints + ".away", to: checkpoints)
        }

        final class Time { var now: Int64 = 0 }
        let time: Time

        /// One turn of a pipeline: takes lines in, sends them, and has some of them arrive.
        func turn(arriving share: Int, _ chance: inout Chance, _ arrived: (LineRecord, UInt32) -> Void) {
            intake.decideFileMode(now: time.now)
            modes.insert(intake.fileMode)
            source.pull(intake)
            intake.spool.write()
            intake.spool.sync()
            feed()
            while let (token, _) = intake.delivery.next() { intake.delivery.sent(token, now: time.now) }
            var token: UInt = lastSettled + 1
            while let record = intake.delivery.record(token), chance.percent(share) {
                arrived(record, record.source)
                intake.delivery.settle(token, now: time.now)
                lastSettled = token
                token += 1
            }
            positions = Array(repeating: 0, count: intake.ownerCount)
            positions[0] = intake.spool.readPosition
            source.report(&positions)
            intake.delivery.lower(&positions)
            intake.spool.acknowledge(positions[0])
            source.settle(positions)
        }

        private var lastSettled: UInt = 0
        /// All that files were in.
        private(set) var modes: Set<LineIntake.FileMode> = []

        /// What waits in the spool goes into delivery, as far as there is room.
        private func feed() {
            intake.spool.read { found in
                guard let memory = intake.delivery.reserve(found.record.length) else { return false }
                memory.copyMemory(from: found.record.bytes)
                let copy = LineRecord(base: memory.baseAddress.unsafelyUnwrapped)
                copy.source = found.source
                copy.position = found.position
                intake.delivery.commit(found.record.length, owner: 0, start: found.sequence)
                return true
            }
        }

        /// Whether all that stands in files was taken.
        var hasTakenAll: Bool { source.files.allSatisfy { $0.unread == 0 } }
    }

    private static func run(seed: UInt64, _ modes: inout Set<LineIntake.FileMode>) throws -> [String] {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: seed)
        var chance = Chance(seed: seed ^ 77)
        var problems: [String] = []
        var arrived: Set<Int> = []
        var last: [UInt32: Int64] = [:]
        /// The last line that came for the first time.
        var newest = -1
        var next = 0
        var rotated = 0
        var time: Int64 = 10_000_000
        var isWhole = true
        let hasFaults = seed % 3 == 0
        disk.create("/logs/app.log")
        var follower = try Follower(disk, scratch.path("."), clock: time)
        func take(_ record: LineRecord, _ source: UInt32) {
            let text = String(decoding: record.value, as: UTF8.self)
            guard let number = Int(text.dropFirst(1).prefix { $0.isNumber }), text.hasPrefix("n"), number < next else {
                problems.append("a line came that nobody wrote: \(text.prefix(40))")
                return
            }
            // Whatever file it is in by now: what one writer wrote comes in its order, for the first time. A file that could not be opened
            // holds nobody up.
            if arrived.insert(number).inserted {
                if number < newest, !hasFaults { problems.append("\(number) comes for the first time after \(newest)") }
                newest = max(newest, number)
            }
            if let before = last[source], before >= record.position { problems.append("\(number) comes out of order") }
            last[source] = record.position
        }
        /// All that was written is taken, and none of it has arrived: first straight into delivery, and then, when that is full and stalled,
        /// into the spool.
        func taken() {
            disk.faults = 0
            for round in 0..<60 {
                // All files are found first.
                time += 1..<6 ~= round ? 10_000 : 1_100_000
                follower.time.now = time
                follower.turn(arriving: 0, &chance, take)
                if round > 1, follower.hasTakenAll { return }
            }
            problems.append("not all was taken")
        }
        /// Whoever follows notices what was just done to the files.
        func noticed() {
            time += 1_100_000
            follower.time.now = time
            follower.turn(arriving: 0, &chance, take)
        }
        func settled() {
            // As long as it takes for all that was written to arrive.
            disk.faults = 0
            for _ in 0..<400 {
                time += 1_100_000
                follower.time.now = time
                follower.turn(arriving: 100, &chance, take)
                if arrived.count == next { return }
            }
        }
        for _ in 0..<150 {
            switch chance.draw(20) {
            case 0..<8:
                for _ in 0..<chance.draw(30) where isWhole {
                    disk.append("n\(next) \(String(repeating: "x", count: chance.draw(60)))\n", to: "/logs/app.log")
                    next += 1
                }
            case 8: if isWhole { disk.append("", to: "/logs/app.log") }
            case 9:
                rotated += 1
                disk.rename("/logs/app.log", to: "/logs/app.log.\(rotated)")
                disk.create("/logs/app.log")
            case 10:
                // Truncation loses what was not read; so it waits here until all was, whether it has arrived or not.
                taken()
                disk.names["/logs/app.log"]?.bytes.removeAll()
                noticed()
            case 11:
                taken()
                if rotated > 0 { disk.remove("/logs/app.log.\(1 + chance.draw(rotated))") }
                noticed()
            case 12: disk.faults = hasFaults && chance.percent(50) ? 20 : 0
            case 13:
                // Killed: what had not arrived is in the files, or in the spool.
                disk.closeAll()
                last.removeAll()
                follower = try Follower(disk, scratch.path("."), clock: time)
            default:
                time += Int64(chance.draw(800_000))
                follower.time.now = time
                follower.turn(arriving: chance.draw(100), &chance, take)
            }
            modes.formUnion(follower.modes)
            if problems.count > 3 { return problems }
        }
        isWhole = true
        settled()
        if arrived.count != next { problems.append("\(next - arrived.count) of \(next) lines never came") }
        return problems
    }

    @Test("a line that was begun in a file that was rotated away stays one line, however long its writer pauses")
    func keepsBegunLines() throws {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: 1)
        var chance = Chance(seed: 1)
        var lines: [String] = []
        disk.create("/logs/app.log")
        let follower = try Follower(disk, scratch.path("."), clock: 10_000_000)
        func pause(seconds: Int64) {
            for _ in 0..<seconds {
                follower.time.now += 1_000_000
                follower.turn(arriving: 100, &chance) { record, _ in
                    lines.append(String(decoding: record.value, as: UTF8.self))
                }
            }
        }
        disk.append("one\ntwo, and", to: "/logs/app.log")
        pause(seconds: 2)
        disk.rename("/logs/app.log", to: "/logs/old.log")
        disk.create("/logs/app.log")
        pause(seconds: 60)
        #expect(lines.map { $0.prefix(3) } == ["one"])
        disk.append(" the rest\n", to: "/logs/old.log")
        pause(seconds: 2)
        #expect(lines.count == 2 && lines[1].hasPrefix("two, and the rest"))
        // What nobody can go on with, because no name leads to it, is over sooner.
        disk.append("three", to: "/logs/old.log")
        pause(seconds: 2)
        disk.remove("/logs/old.log")
        pause(seconds: 62)
        #expect(lines.count == 3 && lines[2].hasPrefix("three"))
    }

    @Test(
        "a file that is moved to where nobody looks is read on, and one whose contents are gone has its lines in the spool"
    )
    func readsWhatWasMovedAway() throws {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: 1)
        var chance = Chance(seed: 1)
        var lines: [String] = []
        disk.create("/logs/app.log")
        disk.append("one\n", to: "/logs/app.log")
        let follower = try Follower(disk, scratch.path("."), clock: 10_000_000)
        func pause(seconds: Int64, arriving: Int = 100) {
            for _ in 0..<seconds {
                follower.time.now += 1_000_000
                follower.turn(arriving: arriving, &chance) { record, _ in
                    lines.append(String(decoding: record.value.prefix { $0 != 0x2C }, as: UTF8.self))
                }
            }
        }
        pause(seconds: 2)
        // As logrotate's `olddir` does; the server has it open still.
        disk.rename("/logs/app.log", to: "/old/app.log.1")
        disk.create("/logs/app.log")
        pause(seconds: 300)
        disk.append("two\n", to: "/old/app.log.1")
        pause(seconds: 2)
        #expect(lines == ["one", "two"])
        // What is at hand when it is cut off is of the old contents; what had been handed on is safe before they are forgotten.
        disk.append("three\nfour\n", to: "/logs/app.log")
        pause(seconds: 1, arriving: 0)
        disk.names["/logs/app.log"]?.bytes.removeAll()
        pause(seconds: 1, arriving: 0)
        disk.closeAll()
        let second = try Follower(disk, scratch.path("."), clock: follower.time.now)
        for _ in 0..<3 {
            second.time.now += 1_000_000
            second.turn(arriving: 100, &chance) { record, _ in
                lines.append(String(decoding: record.value.prefix { $0 != 0x2C }, as: UTF8.self))
            }
        }
        #expect(lines == ["one", "two", "three", "four"])
    }

    @Test("a file that was done with is read on when it grows, under whatever name it has in its directory")
    func readsOnWhatGrows() throws {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: 1)
        var chance = Chance(seed: 1)
        var lines: [String] = []
        disk.create("/logs/app.log")
        disk.append("one\n", to: "/logs/app.log")
        let follower = try Follower(disk, scratch.path("."), clock: 10_000_000)
        func pause(seconds: Int64) {
            for _ in 0..<seconds {
                follower.time.now += 1_000_000
                follower.turn(arriving: 100, &chance) { record, _ in
                    lines.append(String(decoding: record.value.prefix { $0 != 0x2C }, as: UTF8.self))
                }
            }
        }
        pause(seconds: 2)
        disk.rename("/logs/app.log", to: "/logs/old.log")
        disk.create("/logs/app.log")
        pause(seconds: 20)
        #expect(follower.source.files.contains { $0.isFinished })
        disk.append("two\n", to: "/logs/old.log")
        pause(seconds: 3)
        #expect(lines == ["one", "two"])
    }

    @Test("zeros that a writer leaves who does not append are no line, however many", arguments: [600, 3_000_000])
    func passesHoles(count: Int) throws {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: 1)
        var chance = Chance(seed: 1)
        var lines: [String] = []
        disk.create("/logs/app.log")
        disk.append("one\n", to: "/logs/app.log")
        let follower = try Follower(disk, scratch.path("."), clock: 10_000_000)
        func pause() {
            for _ in 0..<30 {
                follower.time.now += 1_000_000
                follower.turn(arriving: 100, &chance) { record, _ in
                    lines.append(String(decoding: record.value.prefix { $0 != 0x2C }, as: UTF8.self))
                }
            }
        }
        pause()
        // Cut off, and written to where it was before.
        disk.names["/logs/app.log"]?.bytes = Array(repeating: 0, count: count) + Array("two\n".utf8)
        pause()
        // It is cut off once more, and looks as it did before: but where the last line ended there are zeros now.
        disk.names["/logs/app.log"]?.bytes = Array(repeating: 0, count: count + 50) + Array("again\n".utf8)
        pause()
        #expect(lines == ["one", "two", "again"] && follower.source.truncations == 2)
        // A few of them are somebody's, and what nothing follows is not passed over.
        disk.append(
            String(repeating: "\0", count: 9) + "three\n" + String(repeating: "\0", count: 700), to: "/logs/app.log")
        pause()
        let end = (disk.names["/logs/app.log"]?.bytes.count ?? 0) - 700
        disk.names["/logs/app.log"]?.bytes.replaceSubrange(end..<end + 5, with: Array("four\n".utf8))
        pause()
        #expect(lines == ["one", "two", "again", String(repeating: "\0", count: 9) + "three", "four"])
        #expect(follower.source.figures.contains { $0.name == "hole_bytes" && $0.value == 2 * count + 50 })
    }

    @Test(
        "room that a writer has made for itself is no line, however much, and what is written there is read",
        arguments: [300, 900, 100_000, 1 << 20], [false, true])
    func readsPreallocated(room: Int, isRestarted: Bool) throws {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: 1)
        var chance = Chance(seed: 1)
        var lines: [String] = []
        disk.create("/logs/app.log")
        disk.names["/logs/app.log"]?.bytes = Array(repeating: 0, count: room)
        var follower = try Follower(disk, scratch.path("."), clock: 10_000_000)
        func pause() {
            for _ in 0..<10 {
                follower.time.now += 1_000_000
                follower.turn(arriving: 100, &chance) { record, _ in
                    lines.append(String(decoding: record.value.prefix { $0 != 0x2C }, as: UTF8.self))
                }
            }
        }
        var end = 0
        for number in 0..<6 {
            pause()
            // A line in two parts.
            for text in ["line ", "\(number)\n"] {
                disk.names["/logs/app.log"]?.bytes.replaceSubrange(end..<end + text.utf8.count, with: Array(text.utf8))
                end += text.utf8.count
                pause()
            }
            guard isRestarted else { continue }
            disk.closeAll()
            follower = try Follower(disk, scratch.path("."), clock: follower.time.now)
        }
        pause()
        #expect(lines == (0..<6).map { "line \($0)" })
        #expect(follower.source.truncations == 0)
    }

    @Test("a file that began with zeros is not taken for another one that has its place")
    func tellsHolesApart() throws {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: 1)
        var chance = Chance(seed: 1)
        var lines: [String] = []
        disk.create("/logs/app.log")
        disk.names["/logs/app.log"]?.bytes = Array(repeating: 0, count: 3000) + Array("one\n".utf8)
        for turn in 0..<2 {
            let follower = try Follower(disk, scratch.path("."), clock: Int64(turn + 1) * 100_000_000)
            for _ in 0..<10 {
                follower.time.now += 1_000_000
                follower.turn(arriving: 100, &chance) { record, _ in
                    lines.append(String(decoding: record.value.prefix { $0 != 0x2C }, as: UTF8.self))
                }
            }
            disk.closeAll()
            // Longer than it was, and a line ends where the other one had been read to.
            let new = String(repeating: "x", count: 2999) + "\n" + "abc\ntwo\n"
            if turn == 0 { disk.names["/logs/app.log"]?.bytes = Array(new.utf8) }
        }
        #expect(lines.first == "one" && lines.suffix(2) == ["abc", "two"], "\(lines.suffix(3))")
    }

    @Test("a name that comes back to a file is its name again")
    func forgetsThatItWasAway() throws {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: 1)
        var chance = Chance(seed: 1)
        disk.create("/logs/app.log")
        disk.append("one\n", to: "/logs/app.log")
        disk.create("/logs/app.other")
        let follower = try Follower(disk, scratch.path("."), clock: 10_000_000)
        func pause() {
            for _ in 0..<3 {
                follower.time.now += 1_000_000
                follower.turn(arriving: 100, &chance) { _, _ in }
            }
        }
        pause()
        disk.rename("/logs/app.log", to: "/old/app.log")
        pause()
        #expect(follower.source.files.contains { $0.isUnlinked })
        disk.rename("/old/app.log", to: "/logs/app.log")
        pause()
        #expect(!follower.source.files.contains { $0.isUnlinked })
    }

    @Test("a checkpoint that says what none can say is set aside", arguments: ["-1", "1025", "9223372036854775807"])
    func setsAsideImpossible(count: String) throws {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: 1)
        var chance = Chance(seed: 1)
        disk.create("/logs/app.log")
        disk.append("one\n", to: "/logs/app.log")
        let first = try Follower(disk, scratch.path("."), clock: 10_000_000)
        first.turn(arriving: 100, &chance) { _, _ in }
        disk.closeAll()
        let directory = scratch.path(".") + "/checkpoints"
        let name = try #require(try Files.names(in: directory).first { $0.hasSuffix(".json") })
        let text = String(decoding: try Files.read(directory + "/" + name, limit: 4096) ?? [], as: UTF8.self)
        let spoiled = text.replacing(/"fingerprint_bytes":[0-9]+/, with: "\"fingerprint_bytes\":\(count)")
        #expect(spoiled != text)
        _ = try Files.place(Array(spoiled.utf8), at: directory + "/" + name, .replacing, mode: 0o600)
        let second = try Follower(disk, scratch.path("."), clock: first.time.now + 2_000_000)
        var lines = 0
        second.turn(arriving: 100, &chance) { _, _ in lines += 1 }
        #expect(second.source.problems[.checkpointSetAside] == 1 && lines == 1)
    }

    @Test("a kill while a line that is too long is being buried loses none of those before it")
    func survivesKillInLongLine() throws {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: 1)
        var chance = Chance(seed: 1)
        disk.create("/logs/app.log")
        disk.append("n0 a\nn1 b\nn2 c\n" + String(repeating: "x", count: 5000), to: "/logs/app.log")
        let first = try Follower(disk, scratch.path("."), clock: 10_000_000)
        for _ in 0..<10 {
            first.time.now += 1_000_000
            first.turn(arriving: 0, &chance) { _, _ in }
        }
        disk.closeAll()
        disk.append("x\nn3 d\n", to: "/logs/app.log")
        var lines: [String] = []
        let second = try Follower(disk, scratch.path("."), clock: first.time.now)
        for _ in 0..<10 {
            second.time.now += 1_000_000
            second.turn(arriving: 100, &chance) { record, _ in
                lines.append(String(decoding: record.value.prefix(4), as: UTF8.self))
            }
        }
        #expect(lines == ["n0 a", "n1 b", "n2 c", "n3 d"])
    }

    @Test("nothing goes out of a file whose place cannot be written down")
    func waitsForCheckpoint() throws {
        let scratch = Scratch()
        let disk = SimulatedFiles(seed: 1)
        var chance = Chance(seed: 1)
        var count = 0
        disk.create("/logs/app.log")
        disk.append("n0 a\nn1 b\n", to: "/logs/app.log")
        let follower = try Follower(disk, scratch.path("."), clock: 10_000_000)
        follower.blockCheckpoints()
        func turn() {
            follower.time.now += 1_100_000
            follower.turn(arriving: 100, &chance) { _, _ in count += 1 }
        }
        for _ in 0..<5 { turn() }
        #expect(count == 0)
        follower.unblockCheckpoints()
        for _ in 0..<5 { turn() }
        #expect(count == 2)
    }

    @Test(
        "no line is lost or out of order, through rotation, truncation, removal, reused inodes and kills",
        arguments: 0..<4)
    func follows(shard: Int) throws {
        let seeds = Seeds.some(120)
        var modes: Set<LineIntake.FileMode> = []
        for (index, seed) in seeds.enumerated() where seeds.count == 1 ? shard == 0 : index % 4 == shard {
            let problems = try Self.run(seed: seed, &modes)
            if !problems.isEmpty {
                Issue.record("COLOPHON_SEED=\(seed): \(problems.prefix(4))")
                return
            }
        }
        #expect(seeds.count == 1 || modes == [.direct, .spool, .wait, .follow])
    }
}
