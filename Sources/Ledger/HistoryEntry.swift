import Provenance
import SQLite

/// An activation with what it is about, as it is told to people and machines.
package struct HistoryEntry: Sendable {
    package let activation: Activation
    package let manifest: Manifest
    package let previous: Manifest?
    /// Whether its manifest had been live for the variant before.
    package let isRollback: Bool
    /// When, in its time, nobody knew whether the server still spoke with it, or had gone over already.
    package let doubts: [DoubtedTime]

    package var json: JSON {
        .object(
            JSONObject([
                .init("variant", .string(activation.variant)), .init("from", .string(activation.from.description)),
                .init("until", .optional(activation.until?.description)),
                .init("wall_time", .string(activation.wallTime.description)),
                .init("manifest_sha256", .string(manifest.digest.hex)),
                .init("model_version", .string(manifest.version)),
                .init("previous_manifest_sha256", .optional(previous?.digest.hex)),
                .init("rollback", .bool(isRollback)), .init("doubts", .array(doubts.map(Self.json))),
                .init("cause", .string(activation.cause)),
                .init("actor", .optional(activation.actor)), .init("instance", .string(activation.instance)),
            ]))
    }

    private static func json(_ doubt: DoubtedTime) -> JSON {
        .object(
            JSONObject([
                .init("from", .string(doubt.from.description)), .init("until", .optional(doubt.until?.description)),
                .init("reason", .string(doubt.reason)),
            ]))
    }
}

extension Ledger {
    /// What was live at `time` (for one variant, or for all), or all activations, the last one first; each with what was doubted then.
    package func history(
        of variant: String?, at time: Instant?, after cursor: Int64?, limit: Int
    ) throws(LedgerError) -> Page<HistoryEntry> {
        guard let time else {
            let page = try history(of: variant, after: cursor, limit: limit)
            return Page(items: try entries(page.items), next: page.next)
        }
        var live: [Activation] = []
        let names: [String]
        if let variant { names = [variant] } else { names = try variants() }
        for name in names { if let activation = try activation(of: name, at: time) { live.append(activation) } }
        let first = min(live.count, Int(clamping: max(0, cursor ?? 0)))
        let page = live[first...].prefix(limit)
        return Page(
            items: try entries(Array(page), at: time), next: page.endIndex < live.count ? Int64(page.endIndex) : nil)
    }

    package func entries(_ activations: [Activation], at time: Instant? = nil) throws(LedgerError) -> [HistoryEntry] {
        var manifests: [Int64: Manifest] = [:]
        func manifest(_ record: Int64) throws(LedgerError) -> Manifest {
            if let known = manifests[record] { return known }
            let manifest = try self.manifest(record)
            manifests[record] = manifest
            return manifest
        }
        var entries: [HistoryEntry] = []
        for activation in activations {
            var previous: Manifest?
            if let record = activation.previous { previous = try manifest(record) }
            entries.append(
                HistoryEntry(
                    activation: activation, manifest: try manifest(activation.record), previous: previous,
                    isRollback: try wasLive(activation.record, for: activation.variant, before: activation.from),
                    doubts: try doubts(of: activation.variant, from: activation.from, until: activation.until)
                        .filter { doubt in time.map { doubt.contains($0) } ?? (doubt.until != activation.from) }))
        }
        return entries
    }

    /// Whether a manifest was live for a variant at some time before.
    package func wasLive(
        _ record: Int64, for variant: String, before time: Instant
    ) throws(LedgerError) -> Bool {
        try sqlite { () throws(SQLiteError) in
            let statement = try statement(.earlierActivation)
            defer { statement.reset() }
            try statement.bind(1, record)
            try statement.bind(2, variant)
            try statement.bind(3, time.microseconds)
            return try statement.step()
        }
    }

    /// The last activation of a variant that was not asked for by `cause`.
    package func lastActivation(of variant: String, notBy cause: String) throws(LedgerError) -> Activation? {
        var cursor: Int64?
        while true {
            let page = try history(of: variant, after: cursor, limit: 100)
            if let found = page.items.first(where: { !$0.cause.utf8.elementsEqual(cause.utf8) }) { return found }
            guard let next = page.next else { return nil }
            cursor = next
        }
    }
}

extension ManifestSummary {
    package var json: JSON {
        .object(
            JSONObject([
                .init("manifest_sha256", .string(digest.hex)), .init("model_version", .string(version)),
                .init("model_family", .optional(family)), .init("trained_at", .optional(trainedAt?.description)),
                .init("indexed_at", .string(indexedAt.description)),
            ]))
    }
}
