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
        /// Whether the ledger is the problem.
        var isNotRecorded = false
        /// Which activation of this process it was.
        var serial: UInt64 = 0
        var settledAt = Int64.min
        var settlesByReconnecting = false
        var stamp: Stamp?
        /// Since when it has not been known whether the server still speaks with what is active; nil while it is.
        var doubtedSince: Instant?
        /// When that was so before, the last times.
        var doubted: [(from: Instant, until: Instant)] = []
        private static let mostDoubted = 64

        /// Notes that it is current now, or no longer. Before anybody saw that a pointer has changed, as much as a look at it takes to come
        /// round may have passed.
        mutating func noteDoubt(from wasCurrent: Bool, now: Instant, poll: Int64) {
            if !isCurrent, doubtedSince == nil, wasCurrent || problem != nil || overridden != nil {
                doubtedSince = wasCurrent ? now.advanced(by: -poll) : now
            }
            guard isCurrent, let since = doubtedSince else { return }
            doubtedSince = nil
            if doubted.count >= Self.mostDoubted { doubted.removeFirst() }
            doubted.append((since, now))
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
