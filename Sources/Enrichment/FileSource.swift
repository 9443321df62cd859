import Provenance
import Runtime

/// Lines of files that match globs, through rotation of both kinds. Their positions move when their lines have arrived.
package final class FileSource: LineSource {
    package let name: StaticString = "file"
    private let globs: [String]
    /// The file that lines are written to, where they go to one.
    private let output: String?
    private let ownOutputs: [FileStatus.Identity]
    private let disk: any FollowedDisk
    private let checkpoints: Checkpoints
    private let newGeneration: () -> String?
    private let clock: () -> Int64
    private var files: [FollowedFile] = []
    /// Found at the start, and not yet met again.
    private var remembered: [Checkpoint] = []
    private var watch: FileWatch?
    private var nextScan: Int64 = 0
    private var nextSync: Int64 = 0
    private var news: [LineNews] = []
    private var unmatchedGlobs: Set<String> = []
    private var unreadable: Set<String> = []
    private let buffer: UnsafeMutableRawBufferPointer
    private let lineLimit: Int
    /// More can be read at once.
    private var hasMore = false
    /// Something could not be handed on for want of room, or not yet.
    private var isUnfinished = true
    /// There are more files than are followed at once.
    private var isCrowded = false
    private var wasCrowded = false
    private var reportedProblem: String?
    package private(set) var troubles = 0
    /// Bytes that were truncated before they were read.
    package private(set) var bytesLost: Int64 = 0
    package private(set) var truncations: UInt64 = 0
    package private(set) var rotations: UInt64 = 0
    /// Ends where the files end now, rather than following them.
    private let endsAtEnd: Bool

    private static let scanInterval: Int64 = 1_000_000
    /// A file that was rotated away is done with when nothing was written to it for so long.
    private static let quiet: Int64 = 5_000_000
    private static let mostOpen = 1000

    package init(
        _ globs: [String], lineLimit: Int, checkpoints: Checkpoints, output: String? = nil,
        disk: any FollowedDisk = LocalDisk(),
        endsAtEnd: Bool = false, clock: @escaping () -> Int64 = Clock.monotonic,
        newGeneration: @escaping () -> String? = { try? Instance.newULID() }
    ) {
        self.globs = globs
        self.output = output
        self.lineLimit = lineLimit
        self.checkpoints = checkpoints
        self.disk = disk
        self.endsAtEnd = endsAtEnd
        self.clock = clock
        self.newGeneration = newGeneration
        buffer = .allocate(byteCount: max(256 << 10, lineLimit + 4096), alignment: 4096)
        var setAside: [(name: String, reason: String)] = []
        remembered = checkpoints.load(setAside: &setAside)
        for one in setAside {
            news.append(
                LineNews(
                    .warn, "checkpoint-set-aside",
                    [
                        ("checkpoint", .string(one.name)), ("reason", .string(one.reason)),
                        ("effect", .string("its file is read from its beginning, so some lines are sent again")),
                    ]))
        }
        watch = try? FileWatch()
        ownOutputs = disk.ownOutputs
    }

    deinit { buffer.deallocate() }

    // MARK: - Waiting

    package func descriptors(_ intake: LineIntake) -> [Int32] { if let number = watch?.number { [number] } else { [] } }
    package var isAtEnd: Bool { endsAtEnd && nextScan > 0 && !isUnfinished }
    package var isHeldUp: Bool { isUnfinished && nextScan > 0 }
    package var wakeAt: Int64? { hasMore ? 0 : min(nextScan, nextSync) }

    package var figures: [(name: String, value: Int)] {
        [
            ("followed", files.count), ("rotations", Int(rotations)), ("truncations", Int(truncations)),
            ("bytes_lost_truncated", Int(bytesLost)), ("checkpoint_failures", Int(checkpoints.failures)),
            ("behind_bytes", files.reduce(0) { $0 + Int($1.behind) }),
        ]
    }

    package func addFiles(to figures: inout LineStatus.Figures) {
        for file in files where !file.isFinished { figures.files.append((file.path, file.position)) }
    }

    package func takeNews() -> [LineNews] {
        if (checkpoints.problem == nil) != (reportedProblem == nil) {
            reportedProblem = checkpoints.problem
            if let reportedProblem {
                news.append(
                    LineNews(
                        .warn, "checkpoint-failed",
                        [
                            ("reason", .string(reportedProblem)),
                            ("effect", .string("until it can be written, a restart sends lines again")),
                        ]))
            }
        }
        defer { news.removeAll() }
        return news
    }

    // MARK: - Reading

    package func pull(_ intake: LineIntake) {
        let now = clock()
        watch?.clear()
        if now >= nextScan {
            scan(intake)
            nextScan = now + Self.scanInterval
        }
        hasMore = false
        isUnfinished = isCrowded && endsAtEnd
        guard intake.fileMode != .wait else {
            isUnfinished = files.contains { $0.file != nil }
            return
        }
        for file in files where file.file != nil { read(file, intake, now) }
        // Others may find room now.
        if isCrowded, endsAtEnd { nextScan = 0 }
    }

    private func read(_ file: FollowedFile, _ intake: LineIntake, _ now: Int64) {
        let reading = file.read(
            into: buffer, now: now, lineLimit: lineLimit,
            { line, position in
                intake.take(
                    line, source: file.source, owner: file.owner, position: position, isLastChance: file.isUnlinked)
            },
            bury: { line, position, piece, isLast in
                intake.bury(line, source: file.source, position: position, piece: piece, isLast: isLast)
            })
        if file.isMarkNew, checkpoints.describe(file.checkpoint) { file.noteDescribed() }
        switch reading {
        case .more:
            hasMore = true
            isUnfinished = true
        case .full: isUnfinished = true
        case .atEnd: if isDone(file, now), !finish(file, intake) { isUnfinished = true }
        case .truncated(let lost): truncate(file, lost: lost, intake)
        case .failed(let error): complain(file.path, error)
        }
    }

    private func isDone(_ file: FollowedFile, _ now: Int64) -> Bool {
        if endsAtEnd { return true }
        guard file.isRotated, let since = file.quietSince else { return false }
        return now - since >= Self.quiet
    }

    /// False while its last line finds no room.
    private func finish(_ file: FollowedFile, _ intake: LineIntake) -> Bool {
        let isTaken = file.finishLine(into: buffer) { line, position in
            intake.take(
                line, source: file.source, owner: file.owner, position: position, isLastChance: file.isUnlinked)
        }
        if isTaken { file.finish() }
        return isTaken
    }

    private func truncate(_ file: FollowedFile, lost: Int64, _ intake: LineIntake) {
        truncations += 1
        bytesLost += lost
        // What was read of it can be read nowhere again.
        intake.secure(owner: file.owner)
        if lost > 0 {
            news.append(
                LineNews(
                    .warn, "bytes-lost",
                    [
                        ("file", .string(file.path)), ("bytes", .integer(Int(lost))), ("reason", .string("truncated")),
                        (
                            "advice",
                            .string("copytruncate loses what is written until it is read: rotate by renaming")
                        ),
                    ]))
        }
        checkpoints.forget(file.generation)
        guard let generation = newGeneration() else { return }
        file.begin(generation: generation, source: intake.fileSource(generation))
        hasMore = true
    }

    private func complain(_ path: String, _ error: SystemError) {
        guard unreadable.insert(path).inserted else { return }
        troubles += 1
        news.append(
            LineNews(.warn, "file-unreadable", [("file", .string(path)), ("reason", .string(error.description))]))
    }

    // MARK: - Positions

    package func report(_ positions: inout [Int64]) {
        for file in files { positions[file.owner] = file.position }
    }

    package func settle(_ positions: [Int64]) {
        for file in files where positions[file.owner] > file.checkpointed {
            file.checkpointed = positions[file.owner]
            checkpoints.move(file.generation, to: file.checkpointed)
        }
        let now = clock()
        guard now >= nextSync else { return }
        checkpoints.sync()
        nextSync = now + Self.scanInterval
    }

    // MARK: - Finding files

    private func scan(_ intake: LineIntake) {
        for glob in globs { watch?.addWithWrites(Globs.directory(of: glob)) }
        var seen: Set<FileStatus.Identity> = []
        isCrowded = false
        for glob in globs {
            let paths = disk.paths(glob)
            if !paths.contains(where: { disk.state(of: $0) != nil }), unmatchedGlobs.insert(glob).inserted {
                complainOfNoFile(glob)
            }
            for path in paths where !isOwnOutput(path) { meet(path, &seen, intake) }
        }
        findRotated(&seen, intake)
        for file in files where !seen.contains(file.mark.identity) { lookAfter(file, intake) }
        warnOfCrowd()
    }

    private func complainOfNoFile(_ glob: String) {
        if endsAtEnd { troubles += 1 }
        let advice =
            endsAtEnd
            ? "no file matches it: check the path" : "no file matches it yet; it is followed as soon as one does"
        news.append(LineNews(.warn, "no-file", [("glob", .string(glob)), ("advice", .string(advice))]))
    }

    /// What lines are written to here is never read here: they would come back for ever.
    private func isOwnOutput(_ path: String) -> Bool {
        guard let identity = disk.state(of: path)?.identity,
            ownOutputs.contains(identity) || output.map({ disk.state(of: $0)?.identity == identity }) ?? false
        else { return false }
        if unreadable.insert(path).inserted {
            news.append(
                LineNews(
                    .warn, "own-output",
                    [
                        ("file", .string(path)),
                        ("advice", .string("the lines go there, so it is not read: let the globs leave it out")),
                    ]))
        }
        return true
    }

    /// A file that no glob finds any more: rotated away, or removed.
    private func lookAfter(_ file: FollowedFile, _ intake: LineIntake) {
        let directory = Paths.directory(of: file.path)
        let place = disk.paths(in: directory).first { disk.state(of: $0)?.identity == file.mark.identity }
        if !file.isRotated {
            file.isRotated = true
            rotations += 1
        }
        file.isUnlinked = place == nil && disk.state(of: directory) != nil
        // Once it is gone, what was read of it can be read nowhere again.
        if file.isUnlinked { intake.secure(owner: file.owner) }
        guard file.isFinished else { return }
        if let place, let state = disk.state(of: place) {
            // A server may write to it until it reopens its log.
            file.path = place
            reconsider(file, state, intake)
        } else if disk.state(of: directory) != nil || !disk.paths(in: directory).isEmpty {
            drop(file, intake)
        }
    }

    private func warnOfCrowd() {
        guard isCrowded, !endsAtEnd, !wasCrowded else { return }
        wasCrowded = true
        news.append(
            LineNews(
                .warn, "too-many-files",
                [
                    ("followed", .integer(Self.mostOpen)),
                    ("advice", .string("narrow the globs: the others are followed when some of these are done with")),
                ]))
    }

    /// A file under a name that a glob matches.
    private func meet(_ path: String, _ seen: inout Set<FileStatus.Identity>, _ intake: LineIntake) {
        guard let state = disk.state(of: path), seen.insert(state.identity).inserted else { return }
        if let known = files.first(where: { $0.mark.identity == state.identity }) {
            known.path = path
            known.isRotated = false
            if known.isFinished { reconsider(known, state, intake) }
            return
        }
        guard files.count(where: { $0.file != nil }) < Self.mostOpen else {
            isCrowded = true
            return
        }
        follow(path, state, intake)
    }

    /// A finished file that has grown, or whose inode another one has now.
    private func reconsider(_ file: FollowedFile, _ state: FollowedState, _ intake: LineIntake) {
        guard let number = try? disk.open(file.path) else { return }
        if matches(file.mark, number) {
            guard state.size > file.position else { return disk.close(number) }
            file.resume(number)
            isUnfinished = true
        } else if file.isRotated {
            // Somebody else's, under a name that was never asked for.
            disk.close(number)
            drop(file, intake)
        } else {
            checkpoints.forget(file.generation)
            guard let generation = newGeneration() else { return disk.close(number) }
            file.begin(generation: generation, source: intake.fileSource(generation))
            file.resume(number)
        }
    }

    private func follow(_ path: String, _ state: FollowedState, _ intake: LineIntake) {
        let number: Int32
        do { number = try disk.open(path) } catch {
            complain(path, error)
            return
        }
        unreadable.remove(path)
        let index = remembered.firstIndex { $0.mark.identity == state.identity && matches($0.mark, number) }
        var checkpoint: Checkpoint
        if let index {
            checkpoint = remembered.remove(at: index)
            checkpoint.path = path
        } else {
            guard let generation = newGeneration() else { return disk.close(number) }
            let mark = FileMark(
                identity: state.identity, fingerprintCount: 0,
                fingerprint: FileMark.fingerprint(UnsafeRawBufferPointer(start: nil, count: 0)))
            checkpoint = Checkpoint(path: path, mark: mark, generation: generation, position: 0)
        }
        let file = FollowedFile(
            owner: intake.newOwner(), checkpoint, file: number, source: intake.fileSource(checkpoint.generation),
            disk: disk)
        files.append(file)
        news.append(
            LineNews(
                .info, "follow",
                [("file", .string(path)), ("from", .integer(Int(checkpoint.position)))]))
    }

    private func matches(_ mark: FileMark, _ file: Int32) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: FileMark.longest, alignment: 8) { buffer in
            let wanted = UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(mark.fingerprintCount, buffer.count)])
            guard let count = try? disk.read(file, at: 0, into: wanted), count == mark.fingerprintCount else {
                return false
            }
            return FileMark.fingerprint(UnsafeRawBufferPointer(wanted)) == mark.fingerprint
        }
    }

    /// Files that were followed before this start and have another name now, which no glob needs to match.
    private func findRotated(_ seen: inout Set<FileStatus.Identity>, _ intake: LineIntake) {
        for checkpoint in remembered {
            let directory = Paths.directory(of: checkpoint.path)
            let paths = disk.paths(in: directory)
            // A directory that is not there may come back, with everything in it.
            if paths.isEmpty { continue }
            let place = paths.first { path in
                guard let state = disk.state(of: path), state.identity == checkpoint.mark.identity else { return false }
                guard let number = try? disk.open(path) else { return true }
                defer { disk.close(number) }
                return matches(checkpoint.mark, number)
            }
            guard let place, let state = disk.state(of: place) else {
                forget(checkpoint)
                continue
            }
            // Under its old name, which no glob finds: it is not asked for any more.
            if place.hasSameBytes(as: checkpoint.path) { continue }
            let count = files.count
            follow(place, state, intake)
            if files.count > count {
                files[count].isRotated = true
                seen.insert(state.identity)
            }
        }
    }

    private func forget(_ checkpoint: Checkpoint) {
        remembered.removeAll { $0.generation == checkpoint.generation }
        checkpoints.forget(checkpoint.generation)
        news.append(
            LineNews(
                .warn, "file-gone",
                [
                    ("file", .string(checkpoint.path)), ("delivered_to", .integer(Int(checkpoint.position))),
                    (
                        "advice",
                        .string("it was removed or overwritten while nothing followed it: what came after that is lost")
                    ),
                ]))
    }

    private func drop(_ file: FollowedFile, _ intake: LineIntake) {
        guard file.checkpointed >= file.position else { return }
        checkpoints.forget(file.generation)
        intake.returnOwner(file.owner)
        files.removeAll { $0 === file }
    }
}
