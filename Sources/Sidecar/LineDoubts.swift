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
        /// Since when its pointer has led elsewhere; nil while it does not.
        var movingSince: Instant?
    }

    /// When pointers led elsewhere: lines of then may come late.
    private var moved: [Doubts.Moved] = []

    /// Lines that come after so many activations more are judged by the setting alone.
    private static let mostSettled = 64

    init(_ loader: ActivationLoader, _ fleet: WorkerFleet, _ proxy: ProxySettings) {
        self.loader = loader
        self.fleet = fleet
        self.proxy = proxy
        seen = loader.states.map { _ in Seen() }
    }

    func now() -> Doubts {
        var doubts = Doubts(settle: loader.settlePolicy.longest)
        for (index, state) in loader.states.enumerated() {
            // A state without any manifest has nothing that could be claimed.
            noteMove(index, state)
            if !state.isCurrent { doubts.moving.append(state.variant) }
            if fleet.isSettled(state, proxy) {
                note(index, state, byReconnecting: doubts.settle == .max)
            } else {
                doubts.settling.append(state.variant)
                seen[index].wasSettling = true
            }
        }
        doubts.settled = settled
        doubts.moved = moved
        return doubts
    }

    private func noteMove(_ index: Int, _ state: ActivationLoader.State) {
        switch (state.isCurrent, seen[index].movingSince) {
        // Nobody knows for how long before it was noticed: at most for as long as a look at the pointers takes to come round.
        case (false, nil): seen[index].movingSince = Clock.now().advanced(by: -loader.pollInterval)
        case (true, let since?):
            seen[index].movingSince = nil
            if moved.count >= Self.mostSettled { moved.removeFirst() }
            moved.append(Doubts.Moved(variant: state.variant, from: since, until: Clock.now()))
        default: break
        }
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
        settled.append(Doubts.Settled(variant: state.variant, from: from, at: Clock.now()))
    }
}
