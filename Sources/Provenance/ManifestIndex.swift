/// Where manifests are looked up: the ledger, or a directory of files.
package protocol ManifestIndex {
    /// Its name, for "not found" messages: "the ledger /var/lib/colophon/ledger.sqlite".
    var place: String { get }

    /// A number that changes when anything in the index does.
    func revision() throws(ManifestIndexError) -> Int64

    /// At most `limit` manifests that `key` names.
    func find(_ key: ManifestKey, limit: Int) throws(ManifestIndexError) -> [IndexedManifest]

    /// When a manifest was live, its latest time first.
    func intervals(of manifest: IndexedManifest, limit: Int) throws(ManifestIndexError) -> [LiveInterval]

    /// The variants that ever had an activation.
    func variants() throws(ManifestIndexError) -> [String]

    /// When anything was live for `variant` for the first time; nil when nothing ever was.
    func firstLive(variant: String) throws(ManifestIndexError) -> Instant?

    /// What was live for `variant` at `time`.
    func live(variant: String, at time: Instant) throws(ManifestIndexError) -> (IndexedManifest, LiveInterval)?
}

/// By what a manifest is looked up.
package enum ManifestKey: Hashable, Sendable {
    case digest(HexPrefix)
    case version(String)
    /// The beginning of a commit's hash.
    case commit(String)
    /// A commit by any other name, whole.
    case commitName(String)
    case dataVersion(String)
    case dataset(HexPrefix)
    case artifact(HexPrefix)
}

package struct IndexedManifest: Sendable {
    package let manifest: Manifest
    /// The index's own number for it.
    package let id: Int64
    /// The file that it was read from; nil where none is known.
    package let file: String?

    package init(manifest: Manifest, id: Int64, file: String?) {
        self.manifest = manifest
        self.id = id
        self.file = file
    }
}

/// A time during which a manifest was live for a variant.
package struct LiveInterval: Sendable {
    package let variant: String
    package let from: Instant
    package let until: Instant?
    /// From when on, by the clocks of those who log, one that came later may have been live already: before `until` where the clock of
    /// the sidecar was set back. Nil while nothing came later.
    package let doubtedFrom: Instant?
    /// When it was not known whether the server still spoke with it, in any order.
    package let doubts: [DoubtedTime]

    package func contains(_ time: Instant) -> Bool { from <= time && until.map { time < $0 } ?? true }

    package init(
        variant: String, from: Instant, until: Instant?, doubtedFrom: Instant? = nil, doubts: [DoubtedTime] = []
    ) {
        self.variant = variant
        self.from = from
        self.until = until
        self.doubtedFrom = doubtedFrom ?? until
        self.doubts = doubts
    }

    /// How surely what was live at `time` answered then, by clocks that differ by `reach`: after an activation the server may still have spoken
    /// with the manifest before, until `settledAt`, and after a doubt with what its pointer named meanwhile, until `settledAfter` it.
    package func sureness(
        at time: Instant, reach: Int64, settledAt: Instant, doubts: [DoubtedTime],
        settledAfter: (DoubtedTime) -> Instant
    ) -> Attribution {
        // The weaker word first: in the middle of a doubt it was neither this one nor the one before, perhaps.
        if doubts.contains(where: { $0.contains(time) }) { return .unknown }
        if time.microseconds &- from.microseconds <= reach || time <= settledAt { return .mixed }
        if let end = doubtedFrom, end.microseconds &- time.microseconds <= reach { return .mixed }
        if doubts.contains(where: { $0.contains(time, reach: reach) }) { return .unknown }
        let isSettling = doubts.contains { doubt in
            // One that an activation ended settles with that.
            doubt.from <= time && doubt.until.map { $0 > from } ?? true && time <= settledAfter(doubt)
        }
        return isSettling ? .mixed : .inferred
    }
}

/// A time in which the pointer of a variant named something that was not active: whether its server had moved on, nobody knows.
package struct DoubtedTime: Sendable, Equatable {
    package let from: Instant
    /// Nil while it lasts.
    package let until: Instant?
    package let reason: String

    package init(from: Instant, until: Instant?, reason: String) {
        self.from = from
        self.until = until
        self.reason = reason
    }

    /// Whether `time` lies within it, by clocks that differ by `reach`.
    package func contains(_ time: Instant, reach: Int64 = 0) -> Bool {
        from.advanced(by: -reach) <= time && until.map { time <= $0.advanced(by: reach) } ?? true
    }
}

/// The index could not be asked; the message says why and what to do.
package struct ManifestIndexError: Error, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ error: some Error & CustomStringConvertible) { description = error.description }
}
