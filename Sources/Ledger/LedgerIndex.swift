import Provenance

/// Looks manifests up in the ledger.
package struct LedgerIndex: ManifestIndex {
    package let ledger: Ledger

    package init(_ ledger: Ledger) { self.ledger = ledger }

    package var place: String { "the ledger \(ledger.path)" }

    package func revision() throws(ManifestIndexError) -> Int64 {
        do { return try ledger.revision() &+ ledger.lookWhoWatches() << 40 } catch { throw ManifestIndexError(error) }
    }

    package func find(_ key: ManifestKey, limit: Int) throws(ManifestIndexError) -> [IndexedManifest] {
        do throws(LedgerError) {
            var found: [IndexedManifest] = []
            for record in try records(key, limit: limit) { found.append(try indexed(record)) }
            return found
        } catch {
            throw ManifestIndexError(error)
        }
    }

    private func records(_ key: ManifestKey, limit: Int) throws(LedgerError) -> [Int64] {
        switch key {
        case .digest(let prefix): try ledger.records(prefix, limit: limit).map(\.record)
        case .version(let version): try ledger.records(version: version, limit: limit)
        case .commit(let commit): try ledger.records(commit: commit, limit: limit)
        case .commitName(let commit): try ledger.records(commitName: commit, limit: limit)
        case .dataVersion(let version): try ledger.records(datasetVersion: version, limit: limit)
        case .dataset(let prefix): try ledger.records(.dataset, prefix, limit: limit)
        case .artifact(let prefix): try ledger.records(.artifact, prefix, limit: limit)
        }
    }

    private func indexed(_ record: Int64) throws(LedgerError) -> IndexedManifest {
        IndexedManifest(manifest: try ledger.manifest(record), id: record, file: try ledger.file(of: record))
    }

    package func intervals(of manifest: IndexedManifest, limit: Int) throws(ManifestIndexError) -> [LiveInterval] {
        do { return try ledger.activations(of: manifest.id, limit: limit).map(Self.interval) } catch {
            throw ManifestIndexError(error)
        }
    }

    package func firstLive(variant: String) throws(ManifestIndexError) -> Instant? {
        do { return try ledger.firstActivation(of: variant) } catch { throw ManifestIndexError(error) }
    }

    package func variants() throws(ManifestIndexError) -> [String] {
        do { return try ledger.variants() } catch { throw ManifestIndexError(error) }
    }

    package func live(variant: String, at time: Instant) throws(ManifestIndexError) -> (IndexedManifest, LiveInterval)?
    {
        do throws(LedgerError) {
            guard let activation = try ledger.activation(of: variant, at: time) else { return nil }
            let interval = LiveInterval(
                variant: activation.variant, from: activation.from, until: activation.until,
                doubtedFrom: try ledger.doubtedEnd(of: activation),
                doubts: try ledger.doubts(of: activation.variant, from: activation.from, until: activation.until))
            return (try indexed(activation.record), interval)
        } catch {
            throw ManifestIndexError(error)
        }
    }

    private static func interval(_ activation: Activation) -> LiveInterval {
        LiveInterval(variant: activation.variant, from: activation.from, until: activation.until)
    }
}
