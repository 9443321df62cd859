import Enrichment
import Provenance
import Proxy
import Runtime

/// What lines must not be claimed of while responses are not: a pointer that leads elsewhere, a model server that has not gone over yet.
/// Used by the thread of the lines alone.
final class LineDoubts {
    private let loader: ActivationLoader
    private let fleet: WorkerFleet
    private let proxy: ProxySettings
    private var settled: [Doubts.Settled] = []
    /// What was seen of each variant the last time, in the order of the loader's states.
    private var seen: [Seen]

    private struct Seen {
        var serial: UInt64 = 0
        var wasSettling = false
        /// When the pointer was last seen to lead where the loader saw it lead.
        var unmovedAt: Instant?
    }

    /// Lines that come after so many activations more are judged by the setting alone.
    private static let mostSettled = 64

    init(_ loader: ActivationLoader, _ fleet: WorkerFleet, _ proxy: ProxySettings) {
        self.loader = loader
        self.fleet = fleet
        self.proxy = proxy
        seen = loader.states.map { _ in Seen() }
    }

    /// With `looking`, pointers that have changed are not waited for until somebody has read them.
    func now(looking: Bool) -> Doubts {
        var doubts = Doubts(settle: loader.settlePolicy.longest)
        for (index, state) in loader.states.enumerated() {
            if let manifest = state.manifest {
                doubts.own.append(Doubts.Own(variant: state.variant, manifest.digest))
            }
            if !state.isCurrent {
                // Before anything was looked at, nothing is sure.
                doubt(state, since: state.doubt?.since ?? Instant(microseconds: .min), state.problem ?? "", &doubts)
            } else if looking, let watch = state.watch {
                let now = Clock.now()
                if watch.hasMoved {
                    // Whoever looked last, if anybody did.
                    let since = [seen[index].unmovedAt, state.lookedAt].compactMap(\.self).max() ?? state.activeSince
                    doubt(
                        state, since: min(since ?? now, now), "the pointer has changed, and was not read yet", &doubts)
                } else {
                    seen[index].unmovedAt = now
                }
            }
            // Lines of then may come late.
            for doubt in state.unwrittenDoubts {
                doubts.moved.append(Doubts.Moved(variant: state.variant, doubt.time))
            }
            if fleet.isSettled(state, proxy) {
                note(index, state, byReconnecting: doubts.settle == .max)
            } else {
                doubts.settling.append(state.variant)
                seen[index].wasSettling = true
            }
        }
        doubts.settled = settled
        return doubts
    }

    private func doubt(_ state: ActivationLoader.State, since: Instant, _ reason: String, _ doubts: inout Doubts) {
        doubts.moved.append(
            Doubts.Moved(variant: state.variant, DoubtedTime(from: since, until: nil, reason: reason)))
    }

    /// Remembers when the server of an activation was first seen to have gone over. Where that had happened before anybody looked, the setting
    /// tells more; but nobody knows when connections were opened anew before this process was there.
    private func note(_ index: Int, _ state: ActivationLoader.State, byReconnecting: Bool) {
        guard state.serial != seen[index].serial || seen[index].wasSettling, let from = state.activeSince else {
            return
        }
        let isKnown = seen[index].wasSettling || byReconnecting
        (seen[index].serial, seen[index].wasSettling) = (state.serial, false)
        guard isKnown else { return }
        settled.removeAll { $0.from == from && $0.isOf(state.variant) }
        if settled.count >= Self.mostSettled { settled.removeFirst() }
        // Where it is a matter of time, that is known exactly, however late anybody looks.
        let isTimed = !state.settlesByReconnecting && state.settledAt > 0
        let ago = !isTimed ? 0 : max(0, Clock.monotonic() - state.settledAt)
        settled.append(Doubts.Settled(variant: state.variant, from: from, at: Clock.now().advanced(by: -ago)))
    }
}
