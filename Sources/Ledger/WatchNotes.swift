import Provenance
import Runtime

/// What a sidecar has noted of a pointer: until when it was seen to name what is active.
package struct WatchNote: Sendable {
    package let time: Instant
    /// By when another look was promised: when that has passed, nobody looks any more.
    package let due: Instant
    /// The pointer, absolute: what another one did meanwhile, nobody can tell from this one.
    package let path: String

    package init(time: Instant, due: Instant, path: String) {
        self.time = time
        self.due = due
        self.path = path
    }

    /// Copies have other times than what was copied, so the time is written into the file too: the earlier one counts. Nil where there is none.
    package init?(_ file: String) {
        guard let status = (try? FileStatus.of(file)) ?? nil,
            let bytes = (try? Files.read(file, limit: 64 << 10)) ?? nil
        else { return nil }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", maxSplits: 2)
        guard lines.count == 3, let time = Instant(String(lines[0])), let due = Instant(String(lines[1])) else {
            return nil
        }
        self.time = min(time, Instant(microseconds: status.modification.time / 1000))
        self.due = due
        path = String(lines[2])
    }

    package func write(_ file: String) throws(SystemError) {
        try Files.replaceUnsynced(Array("\(time)\n\(due)\n\(path)".utf8), at: file, time: time, mode: 0o644)
    }
}

/// Each sidecar notes in a directory of its own, beside the ledger: whoever may read that may know how far it can be believed.
extension Ledger {
    private static let watched = "watched"

    package static func watchDirectory(in dataDirectory: String, of instance: String) -> String {
        Paths.join(Paths.join(dataDirectory, watched), instance)
    }

    /// The name of the note that says how long the pointer of `variant` was seen to name what this activation made live. Another ledger has others.
    package func noteName(of variant: String, since: Instant) -> String {
        String(hashing(Array((variant + "\n" + since.description).utf8)).hex.prefix(16))
    }

    /// From when on nobody watched the pointer of a variant, whose activation lasts since `since`: it may have led anywhere. Nil while
    /// somebody watches it, and where nobody ever noted that he did.
    func unwatched(_ variant: String, since: Instant) -> DoubtedTime? {
        guard !watchedHere.contains(where: { $0.hasSameBytes(as: variant) }) else { return nil }
        let key = ByteKey(variant)
        let now = Clock.monotonic()
        let known = watching[key].flatMap { $0.since == since ? $0 : nil }
        if let known, now - known.lookedAt < Self.lookAgain { return known.doubt }
        let doubt = doubtByNotes(of: variant, since: since)
        if let known, known.doubt != doubt { watchChanges += 1 }
        watching[key] = Watching(variant: variant, since: since, lookedAt: now, doubt: doubt)
        return doubt
    }

    /// Looks again who watches what was asked for before: a number that changes when somebody began, or ceased, to.
    package func lookWhoWatches() -> Int64 {
        for known in watching.values { _ = unwatched(known.variant, since: known.since) }
        return watchChanges
    }

    /// What all sidecars together have noted of a pointer.
    package enum Noted: Sendable {
        /// Nobody ever noted anything here: a ledger that came without notes.
        case nothing
        /// There are notes, and none of this that says anything: it was never written, or is damaged.
        case unreadable
        case note(WatchNote)
    }

    /// The last note of any sidecar on what this activation made live.
    package func noted(of variant: String, since: Instant) -> Noted {
        let directory = Paths.join(Paths.directory(of: path), Self.watched)
        guard (try? FileStatus.of(directory)) ?? nil != nil else { return .nothing }
        let name = noteName(of: variant, since: since)
        var last: WatchNote?
        for instance in (try? Files.names(in: directory)) ?? [] {
            guard let note = WatchNote(Paths.join(Paths.join(directory, instance), name)) else { continue }
            guard let other = last, (other.due, other.time) > (note.due, note.time) else {
                last = note
                continue
            }
        }
        return last.map(Noted.note) ?? .unreadable
    }

    /// Removes notes of activations that others have followed: they say nothing any more, whoever wrote them.
    package func tidyNotes() {
        let directory = Paths.join(Paths.directory(of: path), Self.watched)
        guard let variants = try? variants() else { return }
        var kept: Set<String> = []
        for variant in variants {
            guard let last = try? activation(of: variant, at: Instant(microseconds: .max)) else { return }
            kept.insert(noteName(of: variant, since: last.from))
        }
        for instance in (try? Files.names(in: directory)) ?? [] {
            let own = Paths.join(directory, instance)
            for name in (try? Files.names(in: own)) ?? [] where !kept.contains(name) {
                try? RawFile.remove(Paths.join(own, name))
            }
        }
    }

    /// What was found of notes the last time.
    struct Watching {
        let variant: String
        let since: Instant
        let lookedAt: Int64
        let doubt: DoubtedTime?
    }

    /// So often is enough, whatever is asked.
    private static let lookAgain: Int64 = 1_000_000

    private func doubtByNotes(of variant: String, since: Instant) -> DoubtedTime? {
        let now = Clock.now()
        switch noted(of: variant, since: since) {
        case .nothing: return nil
        case .note(let note) where note.time <= now.advanced(by: Self.clockStep):
            guard note.due <= now else { return nil }
            return DoubtedTime(from: note.time, until: nil, reason: "nobody has watched the pointer since")
        // A note from the future says nothing: the clock was set back.
        case .unreadable, .note:
            return DoubtedTime(from: since, until: nil, reason: "nobody has noted that the pointer was watched")
        }
    }

    /// Clocks are put right by this much without anybody noticing.
    private static let clockStep: Int64 = 1_000_000
}
