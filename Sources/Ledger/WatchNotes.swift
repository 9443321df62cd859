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
        if let known = watching[key], known.since == since, now - known.lookedAt < Self.lookAgain { return known.doubt }
        let doubt = lookForNotes(of: variant, since: since)
        watching[key] = Watching(variant: variant, since: since, lookedAt: now, doubt: doubt)
        return doubt
    }

    /// A number that changes when somebody began, or ceased, to watch what was asked for before.
    package func watchRevision() -> Int64 {
        for known in watching.values {
            let doubt = unwatched(known.variant, since: known.since)
            if doubt != known.doubt { watchChanges += 1 }
        }
        return watchChanges
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

    private func lookForNotes(of variant: String, since: Instant) -> DoubtedTime? {
        let directory = Paths.join(Paths.directory(of: path), Self.watched)
        let name = noteName(of: variant, since: since)
        var last: Instant?
        for instance in (try? Files.names(in: directory)) ?? [] {
            guard let note = WatchNote(Paths.join(Paths.join(directory, instance), name)) else { continue }
            if note.due > Clock.now() { return nil }
            last = max(last ?? note.time, note.time)
        }
        return last.map { DoubtedTime(from: $0, until: nil, reason: "nobody has watched the pointer since") }
    }
}
