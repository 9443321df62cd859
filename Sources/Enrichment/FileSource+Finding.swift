import Provenance
import Runtime

/// Which files there are to be followed: those that globs match, and those that were followed before, under whatever name they have now.
extension FileSource {
    func scan(_ intake: LineIntake) {
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
        line(up: newcomers)
        newcomers = []
        for file in files where !seen.contains(file.mark.identity) { lookAfter(file, intake) }
        warnOfCrowd()
    }

    /// Lets each new file wait for those of the same log that are older.
    private func line(up newcomers: [(file: FollowedFile, modified: Int64)]) {
        for (file, modified) in newcomers {
            for other in files where other !== file && other.file != nil && other.isKin(of: file) {
                guard let also = newcomers.first(where: { $0.file === other }) else {
                    file.follows(other)
                    continue
                }
                // Of two that were written at the same time, the one with the longer name was rotated away.
                let isOlder =
                    also.modified == modified
                    ? other.path.utf8.count > file.path.utf8.count : also.modified < modified
                if isOlder { file.follows(other) }
            }
        }
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
    func lookAfter(_ file: FollowedFile, _ intake: LineIntake) {
        let directory = Paths.directory(of: file.path)
        let place = disk.paths(in: directory).first { disk.state(of: $0)?.identity == file.mark.identity }
        if !file.isRotated {
            file.isRotated = true
            rotations += 1
        }
        file.isUnlinked = place == nil && disk.isDirectory(directory)
        // Once it is gone, what was read of it can be read nowhere again.
        if file.isUnlinked { intake.secure(owner: file.owner) }
        guard file.isFinished else { return }
        if let place, let state = disk.state(of: place) {
            // A server may write to it until it reopens its log.
            file.path = place
            reconsider(file, state, intake)
        } else if disk.isDirectory(directory) {
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
        var formerPath: String?
        if let index {
            checkpoint = remembered.remove(at: index)
            formerPath = checkpoint.path
            checkpoint.path = path
        } else {
            guard let generation = newGeneration() else { return disk.close(number) }
            let mark = FileMark(
                identity: state.identity, fingerprintCount: 0,
                fingerprint: FileMark.fingerprint(UnsafeRawBufferPointer(start: nil, count: 0)))
            checkpoint = Checkpoint(path: path, mark: mark, generation: generation, position: 0)
        }
        let file = FollowedFile(
            owner: intake.newOwner(), checkpoint, isDescribed: index != nil, file: number,
            source: intake.fileSource(checkpoint.generation), disk: disk)
        if let formerPath { file.noteName(formerPath) }
        newcomers.append((file, state.modified))
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
            if paths.isEmpty, !disk.isDirectory(directory) { continue }
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
