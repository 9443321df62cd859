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
            let directory = Globs.directory(of: glob)
            // Where something is found there is a directory; only else is it looked into.
            noteDirectory(directory, isThere: !paths.isEmpty || disk.paths(in: directory) != nil)
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

    /// Lets each new file wait for those of the same log that were followed before it, and for the next older one of those that are new too,
    /// which waits for the others.
    private func line(up newcomers: [(file: FollowedFile, modified: Int64)]) {
        guard !newcomers.isEmpty else { return }
        let earlier = files.filter { file in file.file != nil && !newcomers.contains { $0.file === file } }
        // The one whose name is the log's own is the newest, whoever still writes to the others.
        let ordered = newcomers.map { newcomer in
            (
                file: newcomer.file, isOwn: !newcomers.contains { newcomer.file.isNamed(after: $0.file) },
                modified: newcomer.modified, length: newcomer.file.path.utf8.count
            )
        }.sorted { ($0.isOwn ? 1 : 0, $0.modified, -$0.length) < ($1.isOwn ? 1 : 0, $1.modified, -$1.length) }
        for (index, newcomer) in ordered.enumerated() {
            for other in earlier where other.isKin(of: newcomer.file) { newcomer.file.follows(other) }
            if let next = ordered[..<index].last(where: { $0.file.isKin(of: newcomer.file) }) {
                newcomer.file.follows(next.file)
            }
        }
    }

    /// Files in a directory that goes away are read on as long as they are open here; what is written elsewhere meanwhile is not seen.
    private func noteDirectory(_ directory: String, isThere: Bool) {
        let wasThere = directories[directory]
        guard isThere || wasThere != nil, wasThere != isThere else { return }
        directories[directory] = isThere
        switch (wasThere, isThere) {
        case (true, false):
            problems[.directoryGone, default: 0] += 1
            news.append(
                LineNews(
                    .warn, "directory-gone",
                    [
                        ("directory", .string(directory)),
                        ("advice", .string("its files are followed again when it is back: see that its disk is there")),
                    ]))
        case (false, true): news.append(LineNews(.info, "directory-back", [("directory", .string(directory))]))
        default: break
        }
    }

    private func complainOfNoFile(_ glob: String) {
        problems[.noMatch, default: 0] += 1
        if endsAtEnd { troubles += 1 }
        let advice =
            disk.paths(in: glob) != nil
            ? "it is a directory: name the files in it, as in \(Paths.join(glob, "*.log"))"
            : endsAtEnd
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
        let others = disk.paths(in: directory)
        let place = others?.first { disk.state(of: $0)?.identity == file.mark.identity }
        // A directory that is empty, or cannot be looked into, may be one whose disk is not there: that says nothing of its files.
        let isKnown = !(others ?? []).isEmpty
        if !file.isRotated {
            file.isRotated = true
            // One that was only removed, or whose directory is gone, was not rotated.
            if place != nil || disk.state(of: file.path) != nil { rotations += 1 }
        }
        file.isUnlinked = place == nil && (isKnown || file.isGone)
        // Once it is gone, what was read of it can be read nowhere again.
        if file.isUnlinked, !file.isSecured { file.isSecured = intake.secureFiles() }
        guard file.isFinished else { return }
        if let place, let state = disk.state(of: place) {
            // A server may write to it until it reopens its log.
            file.path = place
            reconsider(file, state, intake)
        } else if isKnown {
            drop(file, intake)
        }
    }

    private func warnOfCrowd() {
        guard isCrowded, !endsAtEnd, !wasCrowded else { return }
        wasCrowded = true
        problems[.tooMany, default: 0] += 1
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
            known.isUnlinked = false
            known.isSecured = false
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
        if matches(file.mark, file.position, number) {
            guard state.size > file.position else { return disk.close(number) }
            file.resume(number)
            isUnfinished = true
        } else if !intake.secureFiles() {
            // What was read of it can be read nowhere again.
            disk.close(number)
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
        let index = remembered.firstIndex {
            $0.mark.identity == state.identity && matches($0.mark, $0.position, number)
        }
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
            owner: intake.newOwner(isFile: true), checkpoint, isDescribed: index != nil, file: number,
            source: intake.fileSource(checkpoint.generation), disk: disk)
        if let formerPath { file.noteName(formerPath) }
        newcomers.append((file, state.modified))
        files.append(file)
        news.append(
            LineNews(
                .info, "follow",
                [("file", .string(path)), ("from", .integer(Int(checkpoint.position)))]))
    }

    private func matches(_ mark: FileMark, _ position: Int64, _ file: Int32) -> Bool {
        if mark.fingerprintCount == 0, position > 0 {
            return (try? FollowedFile.beginsWithHole(file, position, disk)) ?? false
        }
        return matches(mark, file)
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
            // A directory that is not there may come back, with everything in it.
            guard let paths = disk.paths(in: directory), !paths.isEmpty else { continue }
            let place = paths.first { path in
                guard let state = disk.state(of: path), state.identity == checkpoint.mark.identity else { return false }
                guard let number = try? disk.open(path) else { return true }
                defer { disk.close(number) }
                return matches(checkpoint.mark, checkpoint.position, number)
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
        problems[.gone, default: 0] += 1
        news.append(
            LineNews(
                .warn, "file-gone",
                [
                    ("file", .string(checkpoint.path)), ("delivered_to", .integer(Int(checkpoint.position))),
                    (
                        "advice",
                        .string(
                            "it was removed or overwritten while nothing followed it: if anything came after that, it is lost"
                        )
                    ),
                ]))
    }

    private func drop(_ file: FollowedFile, _ intake: LineIntake) {
        guard file.checkpointed >= file.handedOn else { return }
        checkpoints.forget(file.generation)
        intake.returnOwner(file.owner)
        files.removeAll { $0 === file }
    }
}
