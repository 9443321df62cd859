import Ledger
import Provenance
import Runtime
import Synchronization

/// What was doubted stays doubted: it goes into the ledger, where those look who come later to a line of that time.
extension ActivationLoader {
    /// A time in which it was not known whether the server still spoke with what was active.
    struct Doubt: Sendable {
        let since: Instant
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
        if !hasChanged, states[index].isCurrent { lookedAt[index] = now }
        return hasChanged
    }

    /// The doubt that an activation ends and that the ledger does not know of. At a start it is that the pointer may have led elsewhere for
    /// as long as nobody watched it.
    func unwrittenDoubt(_ index: Int, lastActivation: Instant?, cause: Cause) -> DoubtedTime? {
        if cause == .start {
            return lastActivation.map {
                DoubtedTime(from: unwatchedSince(index, $0), until: nil, reason: Self.unwatched)
            }
        }
        guard let doubt = states[index].doubt, !doubt.isBegun else { return nil }
        return doubt.time
    }

    private static let unwatched = "the pointer changed while nobody watched it"

    /// Where nobody has noted when it was last watched, its own last change is the best that is known.
    private func unwatchedSince(_ index: Int, _ lastActivation: Instant) -> Instant {
        max(lastActivation, min(watchedUntil ?? watches[index].changedAt ?? lastActivation, Clock.now()))
    }

    /// The pointer names what was active when the last sidecar ended: what that one doubted is sure again. But if it was changed since, it may
    /// have led elsewhere meanwhile.
    func endEarlierDoubt(_ index: Int, since lastActivation: Instant, at now: Instant) throws(LedgerError) {
        let variant = states[index].variant
        if try ledger.openDoubt(of: variant) != nil { return try ledger.endDoubts(of: variant, at: now) }
        guard let watchedUntil, let changedAt = watches[index].changedAt,
            changedAt.advanced(by: Self.coarseness) > watchedUntil
        else { return }
        let from = min(unwatchedSince(index, lastActivation), now)
        try ledger.add(
            Ledger.Doubt(
                variant: variant, time: DoubtedTime(from: from, until: now, reason: Self.unwatched),
                instance: settings.instance))
    }

    /// The clock of file systems stands still for some milliseconds at a time.
    private static let coarseness: Int64 = 50_000

    /// Notes that all is on record until now: whatever happens while nobody watches comes later. Where that fails, more is doubted, not less.
    func noteWatched() {
        let states = states
        let isOnRecord = states.allSatisfy { state in
            state.unwrittenDoubts.isEmpty && (state.isCurrent || state.doubt?.isBegun ?? true)
        }
        let times = zip(states, lookedAt).filter(\.0.isCurrent).map(\.1)
        guard isOnRecord, let time = times.min() else { return }
        try? Files.touch(watchedFile, at: time, mode: 0o600)
    }

    /// The pointer cannot be followed at the start: what was live until then is doubted from when it was last sure.
    func beginDoubtAtStart(_ index: Int) {
        let variant = states[index].variant
        guard let last = try? ledger.activation(of: variant, at: Instant(microseconds: .max)) else { return }
        let earlier = (try? ledger.openDoubt(of: variant)) ?? nil
        var doubt = Doubt(since: earlier?.from ?? unwatchedSince(index, last.from))
        doubt.isBegun = earlier != nil
        shared.withLock { $0[index].doubt = doubt }
    }

    /// Ends what the ledger knows as lasting, before anybody is told that it has ended: lines of afterwards are not to find it there.
    func endDoubt(_ index: Int) {
        guard states[index].doubt?.isBegun ?? false,
            (try? ledger.endDoubts(of: states[index].variant, at: Clock.now())) != nil
        else { return }
        shared.withLock { $0[index].doubt?.isEndWritten = true }
    }

    /// Writes what the ledger does not know of yet; what cannot be written is kept, and tried again in the next turn.
    func writeDoubts() {
        for index in states.indices {
            let state = states[index]
            let isBegunUnwritten = state.doubt.map { !$0.isBegun } ?? false
            guard state.activeSince != nil || state.doubt != nil, isBegunUnwritten || !state.unwrittenDoubts.isEmpty
            else {
                continue
            }
            do throws(LedgerError) {
                guard ledger.isInPlace else { continue }
                for doubt in state.unwrittenDoubts {
                    if doubt.isBegun, let until = doubt.until {
                        try ledger.endDoubts(of: state.variant, at: until)
                    } else {
                        try ledger.add(
                            Ledger.Doubt(variant: state.variant, time: doubt.time, instance: settings.instance))
                    }
                    shared.withLock { _ = $0[index].unwrittenDoubts.removeFirst() }
                }
                if let doubt = state.doubt, !doubt.isBegun {
                    try ledger.add(Ledger.Doubt(variant: state.variant, time: doubt.time, instance: settings.instance))
                    shared.withLock { $0[index].doubt?.isBegun = true }
                }
                doubtProblem = nil
            } catch {
                let reason = error.description
                guard doubtProblem.map({ !$0.hasSameBytes(as: reason) }) ?? true else { continue }
                doubtProblem = reason
                log.write(
                    .warn, "doubt-not-recorded", [("variant", .string(state.variant)), ("reason", .string(reason))])
            }
        }
    }
}
