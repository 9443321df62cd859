import Ledger
import Manifests
import Provenance
import Runtime
import Synchronization

/// A manifest that somebody wants to be active for a variant.
struct ActivationOrder: Sendable {
    enum Outcome: Sendable {
        case activated(HistoryEntry, settled: Bool)
        /// It was active already, and is now taken to be what the model server answers with.
        case confirmed(HistoryEntry)
        case noSuchVariant(known: [String])
        case refused(reason: String, isOfLedger: Bool)
    }

    let digest: Digest
    let variant: String
    /// Who asked.
    let actor: String
    /// Whether the model server answers with it already.
    let isSettled: Bool
    let reply: @Sendable (Outcome) -> Void
}

/// Activations that the API asks for: promotion and rollback. The pointer is not followed until it names something else than it does now.
extension ActivationLoader {
    /// Has a manifest activated, and answers when that is done or refused. False when too many wait already. Any thread may ask.
    func take(_ order: ActivationOrder) -> Bool {
        let (isTaken, hasEnded) = orders.withLock { orders in
            guard !orders.hasEnded, orders.activations.count < Self.orderLimit else { return (false, orders.hasEnded) }
            orders.activations.append(order)
            return (true, false)
        }
        if isTaken { wake.signal() }
        if hasEnded { order.reply(Self.ending) }
        return isTaken || hasEnded
    }

    private static let orderLimit = 8

    /// How many wait to be carried out.
    var waitingOrders: Int { orders.withLock { $0.activations.count } }

    /// The next one that is to be carried out; it is answered once, be it that its end comes first or that of everything.
    func nextOrder() -> ActivationOrder? {
        orders.withLock { orders in
            guard !orders.activations.isEmpty else { return nil }
            let order = orders.activations.removeFirst()
            orders.current = order
            return ActivationOrder(
                digest: order.digest, variant: order.variant, actor: order.actor, isSettled: order.isSettled
            ) { [self] outcome in
                let current = self.orders.withLock { $0.current.take() }
                current?.reply(outcome)
            }
        }
    }

    /// Whoever waits for an answer when it all ends gets one. Any thread may call it.
    func refuseRest() {
        let rest = orders.withLock { orders in
            defer {
                orders = Orders()
                orders.hasEnded = true
            }
            return orders
        }
        for tell in rest.looking + rest.whenLooked { tell([]) }
        rest.current?.reply(
            .refused(
                reason: "the sidecar is ending, and has not got to the end of it: /v1/history tells what became active",
                isOfLedger: true))
        for order in rest.activations { order.reply(Self.ending) }
    }

    private static let ending = ActivationOrder.Outcome.refused(
        reason: "the sidecar is ending: nothing is activated any more", isOfLedger: true)

    func carryOut(_ order: ActivationOrder) {
        guard let index = states.firstIndex(where: { $0.variant.hasSameBytes(as: order.variant) }) else {
            return order.reply(.noSuchVariant(known: states.map(\.variant)))
        }
        // What the pointer has become meanwhile comes first: whoever asks could not know of it, and it is not to be passed over.
        if look(index) { load(index, cause: .pointer) }
        do throws(LoadFailure) {
            let state = states[index]
            let file = try known(order.digest)
            // As a pointer to it would be refused.
            if settings.verify == .strict, !file.manifest.isDigestVerified { throw Self.unverified(file.manifest) }
            if state.manifest?.digest == order.digest {
                let entry = try entry(of: state.variant, order.digest)
                _ = try recheck(index, file)
                confirm(index)
                return order.reply(.confirmed(entry))
            }
            let stamp = try makeStamp(file)
            // From here on it is known that the model server may have moved on; hashing artifacts may take its time.
            let wasCurrent = state.isCurrent
            if state.manifest != nil { change(index) { $0.isCurrent = false } }
            let recorded: Recorded
            let missing: [String]
            do throws(LoadFailure) {
                missing = try checkArtifacts(of: index, file)
                guard let written = try record(index, file, cause: .api, actor: order.actor) else {
                    throw Self.movesOn
                }
                recorded = written
            } catch {
                // The pointer may have moved on meanwhile: then it is its turn next.
                let isStill = !watches[index].hasMoved
                if wasCurrent, isStill { lookedAt[index] = Clock.now() }
                // Nothing came of it: nothing was in doubt.
                if wasCurrent, isStill {
                    shared.withLock { if !($0[index].doubt?.isBegun ?? true) { $0[index].doubt = nil } }
                }
                change(index) { $0.isCurrent = wasCurrent && isStill }
                throw error
            }
            activate(
                index, file, stamp, recorded, cause: .api,
                ordered: order.isSettled ? .after(microseconds: 0) : settings.settle)
            warn(of: file, missing: missing)
            order.reply(.activated(try entry(of: state.variant, order.digest), settled: order.isSettled))
        } catch { order.reply(.refused(reason: error.reason, isOfLedger: error.isOfLedger)) }
    }

    /// What is active is what the model server answers with, whatever the pointer says: so says somebody who knows.
    private func confirm(_ index: Int) {
        endDoubt(index, ofAll: true)
        lastSerial += 1
        let serial = lastSerial
        change(index) { state in
            state.isCurrent = true
            state.problem = nil
            state.isNotRecorded = false
            state.overridden = state.manifest.map { .manifest($0.digest) } == state.pointed ? nil : state.pointed
            state.serial = serial
            state.settle(.after(microseconds: 0))
        }
        log.write(
            .info, "manifest-confirmed",
            [
                ("variant", .string(states[index].variant)),
                ("model_version", .optional(states[index].manifest?.version)),
                ("cause", .string(Cause.api.rawValue)),
            ])
    }

    static func unconfirmed(_ pointed: Manifest, _ active: Manifest?) -> String {
        "the pointer names \(pointed.version.onOneLine), and \((active?.version ?? "nothing").onOneLine) was activated over it: the model server may have "
            + "followed either since; confirm it (POST /v1/activations), or make the pointer name it"
    }

    /// A manifest that the ledger has, as if it had been read from where it was seen.
    private func known(_ digest: Digest) throws(LoadFailure) -> ManifestFile {
        do throws(LedgerError) {
            guard let record = try ledger.records(HexPrefix(whole: digest), limit: 1).first?.record else {
                throw .unknownManifest(digest, path: ledger.path)
            }
            let manifest = try ledger.manifest(record)
            return ManifestFile(path: try ledger.file(of: record) ?? "", manifest: manifest)
        } catch { throw LoadFailure(error.description, isOfLedger: true) }
    }

    /// The last activation of a manifest for a variant, whatever another sidecar has activated since.
    private func entry(of variant: String, _ digest: Digest) throws(LoadFailure) -> HistoryEntry {
        do throws(LedgerError) {
            guard let record = try ledger.records(HexPrefix(whole: digest), limit: 1).first?.record,
                let last = try ledger.activations(of: record, limit: 100)
                    .first(where: { $0.variant.hasSameBytes(as: variant) }),
                let entry = try ledger.entries([last]).first
            else { throw .missing(path: ledger.path) }
            return entry
        } catch { throw LoadFailure(error.description, isOfLedger: true) }
    }

    /// Whether the API's last word on a variant holds after a restart: the pointer names what it named then. Nobody knows whether the
    /// model server has started anew meanwhile, and followed the pointer; so that is said, and nothing is claimed until somebody confirms it.
    func keepsOverride(_ index: Int, _ file: ManifestFile) throws(LoadFailure) -> Bool {
        let state = states[index]
        guard state.manifest == nil else { return false }
        do throws(LedgerError) {
            guard let last = try ledger.activation(of: state.variant, at: Instant(microseconds: .max)),
                last.cause == Cause.api.rawValue,
                let before = try ledger.lastActivation(of: state.variant, notBy: Cause.api.rawValue),
                try ledger.manifest(before.record).digest == file.manifest.digest
            else { return false }
            let manifest = try ledger.manifest(last.record)
            guard manifest.digest != file.manifest.digest else { return false }
            let kept = ManifestFile(path: try ledger.file(of: last.record) ?? "", manifest: manifest)
            let stamp = try? makeStamp(kept)
            lastSerial += 1
            let serial = lastSerial
            beginDoubtAtStart(index, isOverridden: true)
            change(index) { state in
                state.manifest = manifest
                state.file = kept.path.isEmpty ? nil : kept.path
                state.activeSince = last.from
                state.isCurrent = false
                state.overridden = .manifest(file.manifest.digest)
                state.serial = serial
                state.stamp = stamp
                state.problem = Self.unconfirmed(file.manifest, manifest)
            }
            logUnconfirmed(index)
            return true
        } catch { throw LoadFailure(error.description, isOfLedger: true) }
    }

    func logUnconfirmed(_ index: Int) {
        log.write(
            .warn, "manifest-unconfirmed",
            [("variant", .string(states[index].variant)), ("reason", .optional(states[index].problem))])
    }
}
