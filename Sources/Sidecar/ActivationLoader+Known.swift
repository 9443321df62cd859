import Ledger
import Provenance
import Proxy

/// What an upstream may name.
extension ActivationLoader {
    private static let knownLimit = 4096

    /// The manifests that the ledger knows, the latest ones, as stamps.
    @discardableResult
    func loadKnown() -> Bool {
        guard case .header = settings.attribution, let revision = try? ledger.revision(),
            revision != knownRevision || hasAdded
        else { return false }
        knownRevision = revision
        hasAdded = false
        let latest = (try? ledger.list(after: nil, limit: Self.knownLimit))?.items ?? []
        var found: [Int64: StampTable.Known] = [:]
        known = latest.compactMap { summary in
            guard var one = knownByRecord[summary.record] ?? makeKnown(summary.record) else { return nil }
            // A version that an older manifest has too names neither.
            one.hasOwnVersion = (try? ledger.records(version: summary.version, limit: 2).count) == 1
            found[summary.record] = one
            return one
        }
        knownByRecord = found
        return true
    }

    private func makeKnown(_ record: Int64) -> StampTable.Known? {
        guard let manifest = try? ledger.manifest(record),
            let stamp = try? Stamp(manifest, headers: settings.headers, commitLength: settings.commitLength)
        else { return nil }
        return StampTable.Known(stamp: stamp, ceiling: Self.ceiling(manifest))
    }
}
