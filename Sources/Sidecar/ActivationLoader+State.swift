import Ledger
import Manifests
import Provenance
import Runtime

extension ActivationLoader {
    /// What is known of one variant, for those who report it.
    struct State: Sendable {
        let variant: String
        var path: String
        var manifest: Manifest?
        /// Where it was read.
        var file: String?
        var activeSince: Instant?
        /// Whether the pointer names what is active.
        var isCurrent = false
        /// Why not, when not.
        var problem: String?
        /// What the pointer named when the API activated something else: as long as it names that, it is not followed.
        var overridden: Pointed?
        /// Whether its manifest was ever that of a pointer, `model_manifest.json`, in the directory that its path names.
        var hadPointer = false
        /// What it named when it was last looked at; nil before.
        var pointed: Pointed?
        /// The same, as it looked then: whoever reads lines sees by it that the pointer has changed, before that was looked into. Nil where
        /// looking may take long.
        var watch: PointerWatch?
        /// When it was last seen to look like that.
        var lookedAt: Instant?
        /// Whether the ledger is the problem.
        var isNotRecorded = false
        /// Which activation of this process it was.
        var serial: UInt64 = 0
        var settledAt = Int64.min
        var settlesByReconnecting = false
        var stamp: Stamp?
        /// Why it is not known whether the server still speaks with what is active; nil while it is.
        var doubt: Doubt?
        /// Doubts that have ended and that the ledger does not know of yet.
        var unwrittenDoubts: [Doubt] = []
        private static let mostUnwritten = 64

        /// Notes that it is current now, or no longer. Who sees that a pointer has changed knows only that it had not when it was looked at
        /// before.
        mutating func noteDoubt(from wasCurrent: Bool, lookedAt: Instant, now: Instant) {
            if !isCurrent, doubt == nil, wasCurrent || problem != nil || overridden != nil {
                doubt = Doubt(since: wasCurrent ? min(lookedAt, now) : now)
            }
            if let problem { doubt?.reason = problem }
            guard isCurrent, var ended = doubt else { return }
            doubt = nil
            guard !ended.isEndWritten else { return }
            // A clock that was set back meanwhile leaves a time that came twice: all of it is doubted.
            ended.until = max(ended.since, now)
            ended.since = min(ended.since, now)
            keep(ended)
        }

        /// The clock was set back: the time from `now` on came once before, and who reads a line of it does not know of which.
        mutating func noteSetBack(from before: Instant, to now: Instant) {
            guard isCurrent else { return }
            var repeated = Doubt(since: now)
            repeated.until = before
            repeated.reason = "the clock was set back"
            keep(repeated)
        }

        /// Until it is written; of many, the oldest are joined.
        mutating func keep(_ doubt: Doubt) {
            unwrittenDoubts.append(doubt)
            guard unwrittenDoubts.count > Self.mostUnwritten else { return }
            unwrittenDoubts[0].until = unwrittenDoubts[1].until
            unwrittenDoubts.remove(at: 1)
        }

        /// What was stamped before may still be answered with, from now on, for as long as the settings say.
        mutating func settle(_ settle: SidecarSettings.Settle, alreadyMicroseconds elapsed: Int64 = 0) {
            settledAt = .min
            settlesByReconnecting = false
            switch settle {
            case .after(let microseconds): settledAt = Clock.monotonic() + max(0, microseconds - elapsed)
            case .upstreamRestart: settlesByReconnecting = true
            }
        }
    }
}
