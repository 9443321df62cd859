import Crypto
import Glibc
import Provenance
import Runtime
import TestSupport
import Testing

@testable import Proxy

/// The real worker, pool and timers over a network that fails by lot. A failure names its seed: `COLOPHON_SEED=… make test` runs
/// that one alone.
@Suite("Simulation of the proxy")
struct SimulationTests {
    static let stepLimit = 60_000

    static let manifests: [Stamp] = (0..<40).compactMap { number in
        let text = "{\"model_version\":\"m\(number)\"}"
        guard let manifest = try? Manifest.parse(Array(text.utf8), verification: .strict, hashing: SHA256.hash) else {
            return nil
        }
        return try? Stamp(manifest)
    }

    static let settings: ProxySettings = {
        let addresses = (try? SocketAddress.resolve("127.0.0.1:1")) ?? []
        var settings = ProxySettings(
            upstreams: [.init(name: "default", addresses: addresses)], variants: [.init(name: "default", upstream: 0)])
        settings.limits.connections = 16
        return settings
    }()

    /// What a run has to say.
    struct Outcome {
        var problems: [String]
        var answered: Int
    }

    static func run(seed: UInt64) -> Outcome {
        let scene = Scene(seed: seed)
        // What the loader does: first the pointer is known to have moved, then the new manifest is active, and settles.
        func table(_ index: Int, serial: UInt64, isCurrent: Bool = true, settledAt: Int64 = .min) -> StampTable {
            let source = StampTable.Source(
                stamp: manifests[index], serial: serial, isCurrent: isCurrent, ceiling: .exact, settledAt: settledAt)
            return StampTable(variants: [source], known: [], headers: StampHeaders())
        }
        let board = StampBoard(table(0, serial: 1), workers: 1)
        scene.noteActivation("m0")
        var serial: UInt64 = 1
        var active = 0
        var pointed = 0
        scene.activate = { scene in
            serial += 1
            if pointed == active, pointed + 1 < manifests.count {
                pointed += 1
                board.publish(table(active, serial: serial - 1, isCurrent: false))
                scene.swapPointer(to: pointed)
            } else if pointed != active, scene.world.percent(80) {
                active = pointed
                let settledAt = scene.world.clock + Int64(scene.world.draw(3)) * 2_000
                board.publish(table(active, serial: serial, settledAt: settledAt))
                scene.swapPointer(to: active, by: settledAt)
                scene.noteActivation("m\(active)")
            } else if pointed != active {
                // It was a mistake, and the pointer is put back: the servers may have followed it meanwhile.
                pointed = active
                let settledAt = scene.world.clock + 40_000
                board.publish(table(active, serial: serial, settledAt: settledAt))
                scene.swapPointer(to: active, by: settledAt)
            }
        }
        let counters = WorkerCounters()
        let control = WorkerControl(upstreams: 1, workers: 1)
        var worker = Worker<SimulatedNetwork>(
            net: SimulatedNetwork(world: scene.world), settings: settings, number: 0, board: board, counters: counters,
            control: control, listeners: [.init(descriptor: 1)], wakeDescriptor: 2, seed: (seed, 1, 2, 3),
            tellSupervisor: {})
        var steps = 0
        var mostBuffers = 0
        // Some are told to drain in the middle of everything.
        let drainAt = scene.world.percent(10) && !scene.isCalm ? scene.world.draw(300) : Int.max
        while steps < stepLimit, !scene.clientsAreOver || worker.clients > 0 {
            if steps == drainAt { control.give(.drain) }
            guard worker.turn() else { break }
            mostBuffers = max(mostBuffers, worker.buffers.inUse)
            steps += 1
        }
        var problems = scene.problems + scene.world.problems
        if steps == stepLimit { problems.append("after \(steps) steps not every exchange has ended") }
        if mostBuffers > 2 * 16 { problems.append("\(mostBuffers) buffers were in use") }
        control.give(.drain)
        while steps < stepLimit, worker.turn() { steps += 1 }
        if worker.clients != 0 || counters.clients != 0 { problems.append("\(worker.clients) clients are left") }
        if counters.upstreams != 0 { problems.append("\(counters.upstreams) upstream connections are left") }
        if worker.buffers.inUse != 0 { problems.append("\(worker.buffers.inUse) buffers are left") }
        problems += Self.contradictions(counters)
        if board.reclaim() != 0 { problems.append("old stamps are not freed") }
        return Outcome(problems: problems, answered: scene.answered)
    }

    /// Counters that cannot all be true.
    private static func contradictions(_ counters: WorkerCounters) -> [String] {
        typealias Counter = WorkerCounters.Counter
        func sum(_ list: [Counter]) -> UInt64 { list.reduce(0) { $0 + counters[$1] } }
        let variant = counters.ofVariant(0)
        let answers = variant.statuses.reduce(0, +)
        let faults = Fault.Kind.allCases.reduce(0) { $0 + counters.count(of: $1) }
        let sums: [(String, UInt64, UInt64)] = [
            ("exchanges in flight", UInt64(counters.inFlight), 0),
            ("answers by claim", variant.claims.reduce(0, +), answers),
            ("claims of all", sum([.unknown, .mixed, .inferred, .exact]), answers),
            ("times of the upstream", variant.upstream.count, answers),
            ("times of our own", counters.overhead.count, answers),
            ("faults by side", sum([.clientFaults, .upstreamFaults, .ownFaults]), faults),
            (
                "final responses", sum([.responses2xx, .responses3xx, .responses4xx, .responses5xx]),
                variant.statuses.dropFirst().reduce(0, +) + faults
            ),
        ]
        return sums.filter { $0.1 != $0.2 }.map { "\($0.0): \($0.1) and not \($0.2)" }
    }

    @Test("a time goes into the first bucket whose end it does not pass")
    func sortsDurations() {
        for (index, bound) in Durations.bounds.enumerated() {
            #expect(Durations.bucket(bound) == index && Durations.bucket(bound + 1) == index + 1)
        }
    }

    /// The seed of this commit, so that every commit looks where none has looked before.
    static let baseSeed: UInt64 = {
        let commit = Program.run(["git", "rev-parse", "HEAD"], in: Program.root).output.prefix(15)
        return UInt64(commit, radix: 16) ?? 1
    }()

    static let seedsPerShard = 750

    @Test("every response is one manifest's, every exchange ends, nothing is left behind", arguments: 0..<4)
    func holdsUnderFaults(shard: Int) {
        if let given = getenv("COLOPHON_SEED"), let seed = UInt64(String(cString: given)) {
            let outcome = Self.run(seed: seed)
            #expect(outcome.problems.isEmpty, "seed \(seed): \(outcome.problems)")
            return
        }
        var answered = 0
        for index in 0..<Self.seedsPerShard {
            let seed = Self.baseSeed &+ UInt64(shard * Self.seedsPerShard + index)
            let outcome = Self.run(seed: seed)
            answered += outcome.answered
            guard outcome.problems.isEmpty else {
                Issue.record("COLOPHON_SEED=\(seed): \(outcome.problems.prefix(5))")
                return
            }
        }
        // The simulation must not be one in which nothing happens.
        #expect(answered > Self.seedsPerShard)
    }
}
