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

    /// The variants whose servers may still speak with the manifest before.
    package var settling: [String] = []
    /// How long after an activation that may be, in microseconds, where nothing else is known of it; `.max`: for as long as its manifest is
    /// active.
    package var settle: Int64
    package var settled: [Settled] = []
    /// When pointers named something that was not active, as far as the ledger does not know of it.
    package var moved: [Moved] = []

    package struct Moved: Sendable, Equatable {
        let variant: String
        let time: DoubtedTime

        package init(variant: String, _ time: DoubtedTime) {
            self.variant = variant
            self.time = time
        }
    }

    /// What this sidecar itself has active, by variant: another one on the same ledger may have activated something else for the same name.
    package var own: [Own] = []

    package struct Own: Sendable, Equatable {
        let variant: String
        let digest: Digest

        package init(variant: String, _ digest: Digest) {
            self.variant = variant
            self.digest = digest
        }
    }

    /// Whether what is live of `variant` by the ledger is somebody else's.
    func isOfAnother(_ variant: String, _ digest: Digest) -> Bool {
        own.contains { $0.variant.hasSameBytes(as: variant) && $0.digest != digest }
    }

    func times(of variant: String) -> some Sequence<DoubtedTime> {
        moved.lazy.filter { $0.variant.hasSameBytes(as: variant) }.map(\.time)
    }

    package init(settle: Int64 = 0) { self.settle = settle }
}
