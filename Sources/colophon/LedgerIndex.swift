import Ledger
import Provenance
import Trace

/// Looks manifests up in the ledger.
struct LedgerIndex: TraceIndex {
    let ledger: Ledger

    var place: String { "the ledger \(ledger.path)" }

    func revision() throws(TraceIndexError) -> Int64 {
        do { return try ledger.revision() } catch { throw TraceIndexError(error) }
    }

    func find(_ key: TraceKey, limit: Int) throws(TraceIndexError) -> [IndexedManifest] {
        do throws(LedgerError) {
            var found: [IndexedManifest] = []
            for record in try records(key, limit: limit) { found.append(try indexed(record)) }
            return found
        } catch {
            throw TraceIndexError(error)
        }
    }

    private func records(_ key: TraceKey, limit: Int) throws(LedgerError) -> [Int64] {
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

    func intervals(of manifest: IndexedManifest, limit: Int) throws(TraceIndexError) -> [LiveInterval] {
        do { return try ledger.activations(of: manifest.id, limit: limit).map(Self.interval) } catch {
            throw TraceIndexError(error)
        }
    }

    func live(variant: String, at time: Instant) throws(TraceIndexError) -> (IndexedManifest, LiveInterval)? {
        do throws(LedgerError) {
            guard let activation = try ledger.activation(of: variant, at: time) else { return nil }
            return (try indexed(activation.record), Self.interval(activation))
        } catch {
            throw TraceIndexError(error)
        }
    }

    private static func interval(_ activation: Activation) -> LiveInterval {
        LiveInterval(variant: activation.variant, from: activation.from, until: activation.until)
    }
}
