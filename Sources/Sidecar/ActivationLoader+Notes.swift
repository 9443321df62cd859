import Ledger
import Provenance
import Runtime

/// What is noted for the next start, and for those who look from outside meanwhile: until when pointers were watched.
extension ActivationLoader {
    /// A note that this process has written.
    struct OwnNote {
        let file: String
        let note: WatchNote

        /// How long after it the next one was promised; 0 when none was.
        var promise: Int64 { note.due.microseconds - note.time.microseconds }
    }

    private func noteFile(_ variant: String, _ since: Instant) -> String {
        Paths.join(watchedDirectory, ledger.noteName(of: variant, since: since))
    }

    /// Until when the pointer was watched, by whichever sidecar, and whether it was the one that is watched now: what another one did since,
    /// nobody can tell from this one. A note that is damaged leaves nothing sure.
    func watchedUntil(_ index: Int, _ last: Activation) -> (time: Instant, isHere: Bool)? {
        func told(_ note: WatchNote) -> (time: Instant, isHere: Bool) {
            (note.time, note.path.hasSameBytes(as: Paths.absolute(states[index].path)))
        }
        switch ledger.noted(of: states[index].variant, since: last.from) {
        case .nothing: return nil
        case .unreadable: return isNoted(index, last) ? (last.from, false) : nil
        case .note(let note) where note.due > Clock.now() && !told(note).isHere:
            // Somebody watches another pointer just now: what is his to know is no doubt of this one.
            return WatchNote(noteFile(states[index].variant, last.from)).map(told)
        case .note(let note): return told(note)
        }
    }

    private func isNoted(_ index: Int, _ last: Activation) -> Bool {
        (try? FileStatus.of(noteFile(states[index].variant, last.from))) ?? nil != nil
    }

    /// Notes that all is on record until now: whatever happens while nobody watches comes later. What is not sure is promised no longer. Where
    /// that fails, more is doubted, not less.
    func noteWatched(isLast: Bool = false) {
        var problem: SystemError?
        for (index, state) in states.enumerated() {
            do throws(SystemError) {
                if state.isCurrent, state.unwrittenDoubts.isEmpty, let since = state.activeSince {
                    try note(index, state, since, isLast)
                } else {
                    try withdraw(index, state)
                }
            } catch { problem = error }
        }
        if let problem, !notesFail {
            log.write(
                .warn, "notes-not-written",
                [
                    ("reason", .string(problem.description)),
                    ("effect", .string("enrich, trace and history take it that nobody watches the pointers")),
                ])
        }
        notesFail = problem != nil
        if !hasTidiedNotes {
            hasTidiedNotes = true
            ledger.tidyNotes()
        }
    }

    private func note(_ index: Int, _ state: State, _ since: Instant, _ isLast: Bool) throws(SystemError) {
        let (file, path, time) = (noteFile(state.variant, since), Paths.absolute(state.path), lookedAt[index])
        let promise = isLast ? 0 : 2 * (Self.noteInterval + settings.poll)
        let before = watchedNotes[index]
        if let before, before.file == file, before.note.path.hasSameBytes(as: path), before.promise == promise,
            (0..<Self.noteInterval).contains(time.microseconds - before.note.time.microseconds), !isLast
        {
            return
        }
        try write(WatchNote(time: time, due: time.advanced(by: promise), path: path), index, file)
        if let before, before.file != file { try? RawFile.remove(before.file) }
    }

    /// It is sure until it was looked at before the first of the doubts.
    private func withdraw(_ index: Int, _ state: State) throws(SystemError) {
        guard let before = watchedNotes[index], before.promise > 0 else { return }
        let doubts = state.unwrittenDoubts.map(\.since) + [state.doubt?.since ?? lookedAt[index], lookedAt[index]]
        let time = max(before.note.time, doubts.min() ?? before.note.time)
        try write(WatchNote(time: time, due: time, path: before.note.path), index, before.file)
    }

    /// The directory may have been removed meanwhile. Where all of the data directory has gone, nothing is put in its way when it comes back.
    private func write(_ note: WatchNote, _ index: Int, _ file: String) throws(SystemError) {
        do { try note.write(file) } catch {
            guard ledger.isInPlace else { throw error }
            try Files.makeDirectory(watchedDirectory)
            try note.write(file)
        }
        watchedNotes[index] = OwnNote(file: file, note: note)
    }

    static let noteInterval: Int64 = 5_000_000
}
