import Provenance

/// What besides the ledger makes it less sure which manifest a line came from: the sidecar knows it, and says it anew in every turn.
package struct Doubts: Sendable, Equatable {
    /// An activation after which the model server is known to have gone over to its manifest.
    package struct Settled: Sendable, Equatable {
        let variant: String
        package let from: Instant
        let at: Instant

        package init(variant: String, from: Instant, at: Instant) {
            self.variant = variant
            self.from = from
            self.at = at
        }

        package func isOf(_ name: String) -> Bool { variant.hasSameBytes(as: name) }
    }

    /// The variants whose pointer names something that is not active: their servers may have moved on already.
    package var moving: [String] = []
    /// The variants whose servers may still speak with the manifest before.
    package var settling: [String] = []
    /// How long after an activation that may be, in microseconds, where nothing else is known of it; `.max`: for as long as its manifest is
    /// active.
    package var settle: Int64
    package var settled: [Settled] = []
    /// When pointers named something that was not active, and no longer do.
    package var moved: [Moved] = []

    package struct Moved: Sendable, Equatable {
        let variant: String
        let from: Instant
        let until: Instant

        package init(variant: String, from: Instant, until: Instant) {
            self.variant = variant
            self.from = from
            self.until = until
        }
    }

    /// Until when that was so the last time.
    func movedUntil(_ variant: String?) -> Instant? {
        guard let variant else { return nil }
        return moved.lazy.filter { $0.variant.hasSameBytes(as: variant) }.map(\.until).max()
    }

    func wasMoving(_ variant: String?, at time: Instant, reach: Int64) -> Bool {
        guard let variant else { return false }
        return moved.contains { moved in
            moved.variant.hasSameBytes(as: variant) && moved.from.advanced(by: -reach) <= time
                && time <= moved.until.advanced(by: reach)
        }
    }

    package init(settle: Int64 = 0) { self.settle = settle }
}
