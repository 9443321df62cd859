import Ledger
import Manifests
import Provenance
import Proxy
import Runtime
import Synchronization

/// What was doubted stays doubted: it goes into the ledger, where those look who come later to a line of that time.
extension ActivationLoader {
    /// A time in which it was not known whether the server still spoke with what was active.
    struct Doubt: Sendable {
        var since: Instant
        /// Nil while it lasts.
        var until: Instant?
        var reason = "the pointer named something that was not active yet"
        /// Whether the ledger has it, as one that lasts.
        var isBegun = false
        /// Whether the ledger knows that it has ended.
        var isEndWritten = false

        init(since: Instant) { self.since = since }

        var time: DoubtedTime { DoubtedTime(from: since, until: until, reason: reason) }
    }

    /// Whether the pointer has changed since it was looked at.
    func look(_ index: Int) -> Bool {
        let now = Clock.now()
        let hasChanged = watches[index].hasChanged()
        noteSetBack(index, now)
        if !hasChanged, states[index].isCurrent { lookedAt[index] = now }
        if !hasChanged { publishWatch(index) }
        return hasChanged
    }

    /// What the pointer looks like has been looked into.
    func publishWatch(_ index: Int, _ seen: PointerWatch? = nil) {
        let watch = seen ?? watches[index]
        let answersAtOnce = watch.isLocal
        shared.withLock {
            $0[index].watch = answersAtOnce ? watch : nil
            $0[index].lookedAt = lookedAt[index]
        }
    }

    private func noteSetBack(_ index: Int, _ now: Instant) {
        if now < lookedAt[index] { shared.withLock { $0[index].noteSetBack(from: lookedAt[index], to: now) } }
    }

    /// What has to be done while one pointer's manifest takes long: another one may name something else meanwhile. One that was only written
    /// anew, with what it named before, waits for its turn.
    func lookAtOthers(than index: Int?) {
        for other in watches.indices where other != index && states[other].isCurrent {
            let now = Clock.now()
            var seen = watches[other]
            if seen.hasMoved {
                // Its turn comes, whatever it names.
                seen.remember()
                guard pointed(other) == states[other].pointed else {
                    change(other) { $0.isCurrent = false }
                    continue
                }
            }
            noteSetBack(other, now)
            lookedAt[other] = now
            publishWatch(other, seen)
        }
        noteWatched()
        board?.reclaim()
    }

    private func pointed(_ index: Int) -> Pointed {
        guard let file = try? ManifestFile.load(states[index].path, verification: settings.verify) else {
            return .unreadable
        }
        return .manifest(file.manifest.digest)
    }

    /// The doubt that an activation ends and that the ledger does not know of. At a start it is that the pointer may have led elsewhere for
    /// as long as nobody watched it.
    func unwrittenDoubt(_ index: Int, _ last: Activation?, cause: Cause) -> DoubtedTime? {
        if cause == .start {
            return last.map {
                DoubtedTime(from: unwatchedSince(index, $0), until: nil, reason: Self.unwatched)
            }
        }
        guard let doubt = states[index].doubt, !doubt.isBegun else { return nil }
        return doubt.time
    }

    private static let unwatched = "the pointer changed while nobody watched it"

    /// Where nobody has noted when it was last watched, its own last change is the best that is known. A note from the future says nothing.
    private func unwatchedSince(_ index: Int, _ last: Activation) -> Instant {
        let now = Clock.now()
        guard let watched = watchedUntil(index, last) else {
            return max(last.from, min(watches[index].changedAt ?? now, now))
        }
        return watched.time > now ? last.from : max(last.from, watched.time)
    }

    /// The pointer names what was active when the last sidecar ended: what that one doubted is sure again. But if it was changed since, it may
    /// have led elsewhere meanwhile. True where it was known to.
    func endEarlierDoubt(_ index: Int, since last: Activation, at now: Instant) throws(LedgerError) -> Bool {
        let variant = states[index].variant
        let open = try ledger.openDoubt(of: variant)
        if open != nil { try ledger.endDoubts(of: variant, at: now, waits: true) }
        let wasDoubted = open != nil
        guard let watched = watchedUntil(index, last), let changedAt = watches[index].changedAt,
            // A doubt that began while somebody watched goes on from there.
            open.map({ $0.from > watched.time.advanced(by: 2 * Self.noteInterval) }) ?? true,
            !watched.isHere || watched.time > now || changedAt.advanced(by: Self.coarseness) > watched.time
        else { return wasDoubted }
        let from = min(unwatchedSince(index, last), now)
        try ledger.add(
            DoubtedTime(from: from, until: now, reason: Self.unwatched), of: variant, by: settings.instance,
            waits: true)
        return wasDoubted
    }

    /// The clock of file systems stands still for some milliseconds at a time.
    private static let coarseness: Int64 = 50_000

    /// The pointer cannot be followed at the start: what was live until then is doubted from when it was last sure. Where the pointer was not
    /// followed before either, its own change says nothing of that.
    func beginDoubtAtStart(_ index: Int, isOverridden: Bool = false) {
        let variant = states[index].variant
        guard let last = try? ledger.activation(of: variant, at: Instant(microseconds: .max)) else { return }
        let earlier = (try? ledger.openDoubt(of: variant)) ?? nil
        let isUnknown = isOverridden && watchedUntil(index, last) == nil
        var doubt = Doubt(since: earlier?.from ?? (isUnknown ? Clock.now() : unwatchedSince(index, last)))
        doubt.isBegun = earlier != nil
        shared.withLock { $0[index].doubt = doubt }
    }

    /// Whether nobody has looked for so long that the pointer may have led elsewhere meanwhile.
    func isUnwatchedGap(_ index: Int) -> Bool {
        Clock.now().microseconds - lookedAt[index].microseconds > 2 * settings.poll
    }

    /// The pointer was changed, and names what it named before. True where it may have led elsewhere meanwhile, which is noted.
    func noteGap(_ index: Int) -> Bool {
        guard isUnwatchedGap(index) else { return false }
        var gap = Doubt(since: lookedAt[index])
        gap.until = Clock.now()
        gap.reason = "the pointer changed while it could not be looked at"
        shared.withLock { $0[index].keep(gap) }
        return true
    }

    /// Ends what the ledger knows as lasting, before anybody is told that it has ended: lines of afterwards are not to find it there. Of all
    /// sidecars, where somebody who knows says so.
    func endDoubt(_ index: Int, ofAll: Bool = false) {
        let instance = ofAll ? nil : settings.instance
        guard ofAll || states[index].doubt?.isBegun ?? false,
            (try? ledger.endDoubts(of: states[index].variant, by: instance, at: Clock.now())) != nil
        else { return }
        shared.withLock { states in
            // One that the ledger does not know of has not ended there: it is written as a whole.
            if states[index].doubt?.isBegun ?? false { states[index].doubt?.isEndWritten = true }
        }
    }

    /// Writes what the ledger does not know of yet; what cannot be written is kept, and tried again in the next turn.
    func writeDoubts() {
        for index in states.indices {
            let state = states[index]
            let isBegunUnwritten = state.doubt.map { !$0.isBegun } ?? false
            guard isBegunUnwritten || !state.unwrittenDoubts.isEmpty, ledger.isInPlace else { continue }
            do throws(LedgerError) {
                for doubt in state.unwrittenDoubts {
                    if doubt.isBegun, let until = doubt.until {
                        try ledger.endDoubts(of: state.variant, by: settings.instance, at: until)
                    } else {
                        try ledger.add(doubt.time, of: state.variant, by: settings.instance)
                    }
                    shared.withLock { _ = $0[index].unwrittenDoubts.removeFirst() }
                }
                if let doubt = state.doubt, !doubt.isBegun {
                    try ledger.add(doubt.time, of: state.variant, by: settings.instance)
                    shared.withLock { $0[index].doubt?.isBegun = true }
                }
                doubtFailures = 0
            } catch {
                // That another process writes just now is no news.
                doubtFailures += 1
                guard doubtFailures == 2 else { continue }
                log.write(
                    .warn, "doubt-not-recorded",
                    [("variant", .string(state.variant)), ("reason", .string(error.description))])
            }
        }
    }

    /// The pointer names what is active, perhaps again: then the model server may have followed it elsewhere meanwhile, and comes
    /// back as after an activation.
    func confirm(_ index: Int, _ file: ManifestFile) {
        confirmed.add(1, ordering: .relaxed)
        guard !states[index].isCurrent || states[index].problem != nil || noteGap(index) else { return }
        endDoubt(index)
        lastSerial += 1
        let serial = lastSerial
        let settle = settings.settle
        change(index) { state in
            state.isCurrent = true
            state.problem = nil
            state.isNotRecorded = false
            state.serial = serial
            state.settle(settle)
        }
        log.write(
            .info, "manifest-confirmed",
            [("variant", .string(states[index].variant)), ("model_version", .string(file.manifest.version))])
    }
}
