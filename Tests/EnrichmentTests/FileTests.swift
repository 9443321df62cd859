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

    /// One log and whoever follows it, for tests that tell a story: `pause` lets seconds pass, in which what is on its way arrives.
    private final class Story {
        static let log = "/logs/app.log"
        let disk = SimulatedFiles(seed: 1)
        private let scratch = Scratch()
        private var chance = Chance(seed: 1)
        private(set) var follower: Follower
        /// What has arrived, as it was written.
        private(set) var lines: [String] = []
        /// What stands in the log.
        var bytes: [UInt8] {
            get { disk.names[Self.log]?.bytes ?? [] }
            set { disk.names[Self.log]?.bytes = newValue }
        }

        init(_ text: String) throws {
            disk.create(Self.log)
            disk.append(text, to: Self.log)
            follower = try Follower(disk, scratch.path("."), clock: 10_000_000)
        }

        func pause(seconds: Int, arriving share: Int = 100) {
            for _ in 0..<seconds {
                follower.time.now += 1_000_000
                follower.turn(arriving: share, &chance) { record, _ in
                    let text = String(decoding: record.value, as: UTF8.self)
                    lines.append(String(text.dropLast(text.hasSuffix(Self.added) ? Self.added.count : 0)))
                }
            }
        }

        private static let added = ", attribution=unknown"

        /// The process is killed, and another one begins.
        func restart() throws {
            disk.closeAll()
            follower = try Follower(disk, scratch.path("."), clock: follower.time.now)
        }
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
        let story = try Story("one\ntwo, and")
        story.pause(seconds: 2)
        story.disk.rename(Story.log, to: "/logs/old.log")
        story.disk.create(Story.log)
        story.pause(seconds: 60)
        #expect(story.lines == ["one"])
        story.disk.append(" the rest\n", to: "/logs/old.log")
        story.pause(seconds: 2)
        #expect(story.lines == ["one", "two, and the rest"])
        // What nobody can go on with, because no name leads to it, is over sooner.
        story.disk.append("three", to: "/logs/old.log")
        story.pause(seconds: 2)
        story.disk.remove("/logs/old.log")
        story.pause(seconds: 62)
        #expect(story.lines == ["one", "two, and the rest", "three"])
    }

    @Test(
        "a file that is moved to where nobody looks is read on, and one whose contents are gone has its lines in the spool"
    )
    func readsWhatWasMovedAway() throws {
        let story = try Story("one\n")
        story.pause(seconds: 2)
        // As logrotate's `olddir` does; the server has it open still.
        story.disk.rename(Story.log, to: "/old/app.log.1")
        story.disk.create(Story.log)
        story.pause(seconds: 300)
        story.disk.append("two\n", to: "/old/app.log.1")
        story.pause(seconds: 2)
        #expect(story.lines == ["one", "two"])
        // What is at hand when it is cut off is of the old contents; what had been handed on is safe before they are forgotten.
        story.disk.append("three\nfour\n", to: Story.log)
        story.pause(seconds: 1, arriving: 0)
        story.bytes = []
        story.pause(seconds: 1, arriving: 0)
        try story.restart()
        story.pause(seconds: 3)
        #expect(story.lines == ["one", "two", "three", "four"])
    }

    @Test("a file that was done with is read on when it grows, under whatever name it has in its directory")
    func readsOnWhatGrows() throws {
        let story = try Story("one\n")
        story.pause(seconds: 2)
        story.disk.rename(Story.log, to: "/logs/old.log")
        story.disk.create(Story.log)
        story.pause(seconds: 20)
        #expect(story.follower.source.files.contains { $0.isFinished })
        story.disk.append("two\n", to: "/logs/old.log")
        story.pause(seconds: 3)
        #expect(story.lines == ["one", "two"])
    }

    @Test("zeros that a writer leaves who does not append are no line, however many", arguments: [600, 3_000_000])
    func passesHoles(count: Int) throws {
        let story = try Story("one\n")
        story.pause(seconds: 30)
        // Cut off, and written to where it was before.
        story.bytes = Array(repeating: 0, count: count) + Array("two\n".utf8)
        story.pause(seconds: 30)
        // It is cut off once more, and looks as it did before: but where the last line ended there are zeros now.
        story.bytes = Array(repeating: 0, count: count + 50) + Array("again\n".utf8)
        story.pause(seconds: 30)
        #expect(story.lines == ["one", "two", "again"] && story.follower.source.truncations == 2)
        // A few of them are somebody's, and what nothing follows is not passed over.
        let few = String(repeating: "\0", count: 9) + "three"
        story.disk.append(few + "\n" + String(repeating: "\0", count: 700), to: Story.log)
        story.pause(seconds: 30)
        let end = story.bytes.count - 700
        story.bytes.replaceSubrange(end..<end + 5, with: Array("four\n".utf8))
        story.pause(seconds: 30)
        #expect(story.lines == ["one", "two", "again", few, "four"])
        #expect(story.follower.source.figures.contains { $0.name == "hole_bytes" && $0.value == 2 * count + 50 })
    }

    @Test(
        "room that a writer has made for itself is no line, however much, and what is written there is read",
        arguments: [300, 900, 100_000, 1 << 20], [false, true])
    func readsPreallocated(room: Int, isRestarted: Bool) throws {
        let story = try Story(String(repeating: "\0", count: room))
        var end = 0
        for number in 0..<6 {
            story.pause(seconds: 10)
            // A line in two parts.
            for text in ["line ", "\(number)\n"] {
                story.bytes.replaceSubrange(end..<end + text.utf8.count, with: Array(text.utf8))
                end += text.utf8.count
                story.pause(seconds: 10)
            }
            if isRestarted { try story.restart() }
        }
        story.pause(seconds: 10)
        #expect(story.lines == (0..<6).map { "line \($0)" })
        #expect(story.follower.source.truncations == 0)
    }

    @Test("a file that began with zeros is not taken for another one that has its place")
    func tellsHolesApart() throws {
        let story = try Story(String(repeating: "\0", count: 3000) + "one\n")
        story.pause(seconds: 10)
        // Longer than it was, and a line ends where the other one had been read to.
        story.disk.closeAll()
        story.bytes = Array((String(repeating: "x", count: 2999) + "\n" + "abc\ntwo\n").utf8)
        try story.restart()
        story.pause(seconds: 10)
        #expect(story.lines.first == "one" && story.lines.suffix(2) == ["abc", "two"], "\(story.lines.suffix(3))")
    }

    @Test("a name that comes back to a file is its name again")
    func forgetsThatItWasAway() throws {
        let story = try Story("one\n")
        story.disk.create("/logs/app.other")
        story.pause(seconds: 3)
        story.disk.rename(Story.log, to: "/old/app.log")
        story.pause(seconds: 3)
        #expect(story.follower.source.files.contains { $0.isUnlinked })
        story.disk.rename("/old/app.log", to: Story.log)
        story.pause(seconds: 3)
        #expect(!story.follower.source.files.contains { $0.isUnlinked })
    }

    @Test("a position that could not be written down is written as soon as it can, though nothing else is")
    func writesPositionsAgain() throws {
        let story = try Story("one\n")
        story.pause(seconds: 2, arriving: 0)
        story.follower.blockCheckpoints()
        story.pause(seconds: 2)
        #expect(story.lines == ["one"])
        story.follower.unblockCheckpoints()
        story.pause(seconds: 2)
        try story.restart()
        story.pause(seconds: 2)
        #expect(story.lines == ["one"])
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
        let long = String(repeating: "x", count: 5000)
        let story = try Story("n0 a\nn1 b\nn2 c\n" + long)
        story.pause(seconds: 10, arriving: 0)
        story.disk.append("x\nn3 d\n", to: Story.log)
        try story.restart()
        story.pause(seconds: 10)
        #expect(story.lines == ["n0 a", "n1 b", "n2 c", "n3 d"])
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
