import Ledger
import Manifests
import Provenance
import Runtime
import Synchronization

/// Writing activations to the ledger: nothing is stamped with a manifest before it is on record.
extension ActivationLoader {
    /// What an activation is to the ledger.
    struct Recorded {
        let since: Instant
        /// Nothing was active for the variant before.
        let isFirst: Bool
        /// It was the active one already, when the sidecar started.
        let isKnown: Bool
        /// Until now the server may have spoken with something else.
        var wasDoubted = false
        /// It had been live before.
        var isRollback = false
    }

    /// Writes the activation to the ledger, unless it is already the active one there. While another process writes, pointers of others are
    /// looked at as always; nil where this one has moved on meanwhile.
    func record(_ index: Int, _ file: ManifestFile, cause: Cause, actor: String?) throws(LoadFailure) -> Recorded? {
        // At the start nothing is served yet, and nothing else is to be done.
        guard cause != .start else { return try recordOnce(index, file, cause: cause, actor: actor) }
        let deadline = ledgerDeadline ?? Clock.monotonic() + Self.longestWait
        ledgerDeadline = deadline
        let ledger = ledger
        try? ledger.setPatience(milliseconds: Ledger.shortPatience)
        defer { try? ledger.setPatience() }
        while true {
            do throws(LoadFailure) { return try recordOnce(index, file, cause: cause, actor: actor) } catch {
                guard error.isOfBusyLedger, Clock.monotonic() < deadline, !isStopping.load(ordering: .acquiring) else {
                    throw error
                }
            }
            lookAtOthers(than: index)
            if watches[index].hasMoved { return nil }
        }
    }

    /// Who waits for the answer to an order is told to ask again; a pointer is looked at again by itself.
    private static let longestWait: Int64 = 5_000_000

    private func recordOnce(
        _ index: Int, _ file: ManifestFile, cause: Cause, actor: String?
    ) throws(LoadFailure) -> Recorded {
        let now = Clock.now()
        let state = states[index]
        guard ledger.isInPlace else {
            throw LoadFailure(
                "the ledger \(ledger.path.onOneLine) was removed or replaced while it was open: put it back, or start again",
                isOfLedger: true)
        }
        do throws(LedgerError) {
            // Where nobody knows its file, the ledger alone has it.
            let path = file.path.isEmpty ? nil : Paths.absolute(file.path)
            try ledger.addAll([file.manifest]) { manifest throws(LedgerError) in
                _ = try ledger.add(manifest, file: path, at: now)
            }
            hasAdded = true
            // The last activation, whatever the clock says now.
            let last = try ledger.activation(of: state.variant, at: Instant(microseconds: .max))
            if cause == .start, let last, try ledger.manifest(last.record).digest == file.manifest.digest {
                let wasDoubted = try endEarlierDoubt(index, since: last, at: now)
                return Recorded(
                    since: last.from, isFirst: last.previous == nil, isKnown: true, wasDoubted: wasDoubted)
            }
            let doubt = unwrittenDoubt(index, last, cause: cause)
            let since = try ledger.activate(
                file.manifest.digest, variant: state.variant, at: Clock.now(), cause: cause.rawValue, actor: actor,
                instance: settings.instance, doubt: doubt)
            shared.withLock { $0[index].doubt?.isEndWritten = true }
            var recorded = Recorded(since: since, isFirst: last == nil, isKnown: false)
            if let now = try ledger.activation(of: state.variant, at: since) {
                recorded.isRollback = try ledger.wasLive(now.record, for: state.variant, before: since)
            }
            return recorded
        } catch {
            throw LoadFailure(error.description, isOfLedger: true, isOfBusyLedger: error.isBusy)
        }
    }
}
