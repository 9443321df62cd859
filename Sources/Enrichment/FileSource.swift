import Provenance
import Runtime

/// What keeps a file, or a part of it, from being followed as it should be.
package enum FileProblem: String, CaseIterable, Sendable {
    case unreadable
    case noMatch = "no_match"
    case directoryGone = "directory_gone"
    case gone
    case checkpointSetAside = "checkpoint_set_aside"
    case tooMany = "too_many"

    package var figure: String { "problems_\(rawValue)" }
}

/// Lines of files that match globs, through rotation of both kinds. Their positions move when their lines have arrived.
package final class FileSource: LineSource {
    package let name: StaticString = "file"
    let globs: [String]
    /// The file that lines are written to, where they go to one.
    let output: String?
    let ownOutputs: [FileStatus.Identity]
    let disk: any FollowedDisk
    let checkpoints: Checkpoints
    let newGeneration: () -> String?
    private let clock: () -> Int64
    var files: [FollowedFile] = []
    /// Found at the start, and not yet met again.
    var remembered: [Checkpoint] = []
    var watch: FileWatch?
    private var nextScan: Int64 = 0
    private var nextSync: Int64 = 0
    var news: [LineNews] = []
    var unmatchedGlobs: Set<String> = []
    var unreadable: Set<String> = []
    /// Those that were met in this look around, and when they were written to.
    var newcomers: [(file: FollowedFile, modified: Int64)] = []
    private let buffer: UnsafeMutableRawBufferPointer
    private let lineLimit: Int
    /// More can be read at once.
    private var hasMore = false
    /// Something could not be handed on for want of room, or not yet.
    var isUnfinished = true
    /// There are more files than are followed at once.
    var isCrowded = false
    var wasCrowded = false
    private var reportedProblem: String?
    package internal(set) var troubles = 0
    /// Bytes that were truncated before they were read.
    package private(set) var bytesLost: Int64 = 0
    /// Zeros that were passed over.
    private var holeBytes: Int64 = 0
    /// And bytes of files that were removed before they were read.
    package private(set) var bytesRemoved: Int64 = 0
    /// What kept files from being followed as they should be.
    var problems: [FileProblem: Int] = [:]
    /// Where globs look, once it was there, and whether it is now.
    var directories: [String: Bool] = [:]
    package private(set) var truncations: UInt64 = 0
    package internal(set) var rotations: UInt64 = 0
    /// Ends where the files end now, rather than following them.
    let endsAtEnd: Bool

    private static let scanInterval: Int64 = 1_000_000
    /// A file that was rotated away is done with when nothing was written to it for so long.
    private static let quiet: Int64 = 5_000_000
    /// One that was removed, after so long: until then it takes room on its disk. Sooner where others wait for its place.
    private static let removedQuiet: Int64 = 60_000_000
    /// And one whose last line has no end, or that was moved to where it is not looked for, after so long.
    private static let longQuiet: Int64 = 600_000_000
    static let mostOpen = 1000

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
        problems[.checkpointSetAside] = setAside.count
        for one in setAside {
            news.append(
                LineNews(
                    .warn, "checkpoint-set-aside",
                    [
                        ("checkpoint", .string(one.name)), ("reason", .string(one.reason)),
                        (
                            "effect",
                            .string(
                                "its file is read from its beginning, so its lines are sent again, under new origins")
                        ),
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
            ("followed", files.count { !$0.isFinished }), ("rotations", Int(rotations)),
            ("truncations", Int(truncations)),
            ("bytes_lost_truncated", Int(bytesLost)), ("bytes_lost_removed", Int(bytesRemoved)),
            ("checkpoint_failures", Int(checkpoints.failures)), ("hole_bytes", Int(holeBytes)),
            ("behind_bytes", files.reduce(0) { $0 + Int($1.behind) }),
        ] + FileProblem.allCases.map { ($0.figure, problems[$0] ?? 0) }
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
            // Also what is not read now: if it is cut, that much is known to be lost.
            for file in files {
                let lost = file.look()
                if lost > 0 { tellTruncated(file, lost: lost) }
            }
            nextScan = now + Self.scanInterval
        }
        hasMore = false
        isUnfinished = isCrowded && endsAtEnd
        readAll(files.filter { $0.file != nil && isTurn(of: $0, intake) }, intake, now)
        if files.contains(where: { $0.file != nil && !isTurn(of: $0, intake) }) { isUnfinished = true }
        // Others may find room now.
        if isCrowded, endsAtEnd { nextScan = 0 }
    }

    /// Whether lines of a file may be taken now. While others wait in the spool, only what can be read by nobody later, and what is just
    /// being written and may be cut away: a file of which much is left can wait.
    private func isTurn(of file: FollowedFile, _ intake: LineIntake) -> Bool {
        switch intake.fileMode {
        case .direct, .spool: true
        case .wait: file.isUnlinked || file.isCut
        case .follow: file.isUnlinked || file.isCut || file.behind <= Self.mostFollowed
        }
    }

    private static let mostFollowed: Int64 = 4 << 20

    /// Reads each of `files` once, those that others follow before them.
    private func readAll(_ files: [FollowedFile], _ intake: LineIntake, _ now: Int64) {
        var left = files
        while !left.isEmpty {
            let ready = left.filter { !$0.mustWait() }
            guard !ready.isEmpty else {
                // Those that they wait for have more, or no room.
                isUnfinished = true
                return
            }
            for file in ready { read(file, intake, now) }
            left.removeAll { file in ready.contains { $0 === file } }
        }
    }

    private func read(_ file: FollowedFile, _ intake: LineIntake, _ now: Int64) {
        // Before any of its lines goes out: after a kill they must come again under the same name.
        guard file.isDescribed || describe(file) else {
            isUnfinished = true
            return
        }
        var isFresh = false
        let reading = file.read(
            into: buffer, now: now, lineLimit: lineLimit,
            { line, position in
                if !isFresh { intake.refresh() }
                isFresh = true
                return intake.take(
                    line, source: file.source, owner: file.owner, position: position, isLastChance: file.isUnlinked)
            },
            bury: { line, position, piece, isLast in
                intake.bury(line, source: file.source, position: position, piece: piece, isLast: isLast)
            })
        if file.isMarkNew { _ = describe(file) }
        if let bytes = file.takePassedHole() {
            holeBytes += bytes
            news.append(
                LineNews(
                    .info, "file-hole",
                    [
                        ("file", .string(file.path)), ("bytes", .integer(Int(bytes))),
                        (
                            "advice",
                            .string(
                                "zeros, which are no line: whoever writes to it does not append, and it was cut off (copytruncate); have it append, or rotate by renaming"
                            )
                        ),
                    ]))
        }
        switch reading {
        case .more:
            hasMore = true
            isUnfinished = true
        case .full: isUnfinished = true
        case .atEnd: if isDone(file, now), !finish(file, intake) { isUnfinished = true }
        case .truncated(let lost): truncate(file, lost: lost, intake)
        case .failed(let error):
            complain(file.path, error)
            // What comes after it does not wait for what may never be read.
            file.lose()
        }
    }

    private func describe(_ file: FollowedFile) -> Bool {
        guard checkpoints.describe(file.checkpoint) else { return false }
        file.noteDescribed()
        return true
    }

    private func isDone(_ file: FollowedFile, _ now: Int64) -> Bool {
        if endsAtEnd { return true }
        guard file.isRotated, let since = file.quietSince else { return false }
        let wait =
            if file.isUnlinked {
                // It is found by nobody again, and whoever has it open may go on writing: in vain where it was removed.
                file.isGone ? isCrowded ? Self.quiet : Self.removedQuiet : Self.longQuiet
            } else {
                // Whoever has begun a line may go on with it.
                file.unread == 0 ? Self.quiet : Self.longQuiet
            }
        return now - since >= wait
    }

    /// False while its last line finds no room.
    private func finish(_ file: FollowedFile, _ intake: LineIntake) -> Bool {
        intake.refresh()
        let isTaken = file.finishLine(into: buffer) { line, position in
            intake.take(
                line, source: file.source, owner: file.owner, position: position, isLastChance: file.isUnlinked)
        }
        if isTaken { file.finish() }
        return isTaken
    }

    private func truncate(_ file: FollowedFile, lost: Int64, _ intake: LineIntake) {
        // What was read of it can be read nowhere again: until it is safe, nothing of the new contents is taken, nor its place forgotten.
        guard intake.secureFiles() else {
            isUnfinished = true
            return
        }
        tellTruncated(file, lost: lost)
        checkpoints.forget(file.generation)
        guard let generation = newGeneration() else { return }
        file.begin(generation: generation, source: intake.fileSource(generation))
        hasMore = true
    }

    private func tellTruncated(_ file: FollowedFile, lost: Int64) {
        truncations += 1
        bytesLost += lost
        let facts: [(name: String, value: JSON)] = [
            ("file", .string(file.path)), ("bytes", .integer(Int(lost))), ("reason", .string("truncated")),
            (
                "advice",
                .string(
                    "copytruncate loses what is written until it is read, also what nobody has seen: rotate by renaming"
                )
            ),
        ]
        // Even where nothing is known to be lost: what was written and cut away between two looks nobody has seen.
        news.append(lost > 0 ? LineNews(.warn, "bytes-lost", facts) : LineNews(.info, "file-truncated", facts))
    }

    func complain(_ path: String, _ error: SystemError) {
        guard unreadable.insert(path).inserted else { return }
        troubles += 1
        problems[.unreadable, default: 0] += 1
        news.append(
            LineNews(.warn, "file-unreadable", [("file", .string(path)), ("reason", .string(error.description))]))
    }

    // MARK: - The end

    /// What is in files that no name leads to is gone with this process.
    package func stop(_ intake: LineIntake) {
        for file in files where disk.state(of: file.path)?.identity != file.mark.identity { lookAfter(file, intake) }
        for file in files where file.isUnlinked && file.file != nil {
            readRest(file, intake)
            let left = file.unread
            guard left > 0 else { continue }
            bytesRemoved += left
            troubles += 1
            news.append(
                LineNews(
                    .warn, "bytes-lost",
                    [
                        ("file", .string(file.path)), ("bytes", .integer(Int(left))), ("reason", .string("removed")),
                        (
                            "advice",
                            .string(
                                "the file was removed before its lines could be taken, for want of room in the spool: keep rotated files until then"
                            )
                        ),
                    ]))
        }
    }

    private func readRest(_ file: FollowedFile, _ intake: LineIntake) {
        var before: Int64 = -1
        while file.position > before {
            before = file.position
            read(file, intake, clock())
        }
    }

    // MARK: - Positions

    package func report(_ positions: inout [Int64]) {
        for file in files { positions[file.owner] = file.handedOn }
    }

    package func settle(_ positions: [Int64]) {
        for file in files where positions[file.owner] > file.checkpointed {
            // What could not be written is tried again.
            guard checkpoints.move(file.generation, to: positions[file.owner]) else { continue }
            file.checkpointed = positions[file.owner]
        }
        let now = clock()
        guard now >= nextSync else { return }
        checkpoints.sync()
        nextSync = now + Self.scanInterval
    }
}
