import Provenance
import TestSupport

@testable import Proxy

/// One run of the simulation: clients, servers, activations, and what must hold of all of them.
final class Scene {
    let world: SimulatedWorld
    /// No faults but those of slowness: then every request must be answered.
    let isCalm: Bool
    private(set) var problems: [String] = []
    private var clients: [SimulatedClient] = []
    private var servers: [SimulatedServer] = []
    /// The model that the servers answer with; it follows the pointer, but takes its time.
    private(set) var model = 0
    private var nextModel = 0
    private var reloadedBy = Int64.max
    /// Which manifest became active at which step.
    private(set) var activations: [(version: String, step: Int)] = []
    private var served: [Int: (count: Int, step: Int, method: String)] = [:]
    private(set) var answered = 0
    var activate: (Scene) -> Void = { _ in }

    init(seed: UInt64) {
        world = SimulatedWorld(seed: seed)
        isCalm = world.percent(35)
        var number = 1
        for _ in 0..<(1 + world.draw(4)) {
            let plans = (0..<(1 + world.draw(5))).map { _ in
                defer { number += 1 }
                return Plan(number, world, isCalm: isCalm)
            }
            clients.append(SimulatedClient(plans, world))
        }
        world.onConnect = { [unowned self] socket, world in
            if !isCalm, world.percent(3) { return false }
            socket.isConnecting = world.percent(40)
            servers.append(SimulatedServer(socket))
            return true
        }
        world.act = { [unowned self] _ in act() }
    }

    func fail(_ problem: String) { problems.append("step \(world.step): \(problem)") }

    func noteActivation(_ version: String) { activations.append((version, world.step)) }

    /// From now on the servers may load another model; they have by `deadline`, when one is given.
    func swapPointer(to index: Int, by deadline: Int64? = nil) {
        nextModel = index
        if let deadline { reloadedBy = deadline }
    }

    /// What a server answers with at this moment.
    func answeringModel() -> Int {
        if world.clock >= reloadedBy || world.percent(20) { model = nextModel }
        return model
    }

    func noteServed(_ number: Int, method: String, step: Int) {
        let before = served[number]?.count ?? 0
        served[number] = (before + 1, step, method)
        if before > 0, method == "POST" { fail("the request \(number), a POST, was sent twice") }
    }

    func noteAnswered() { answered += 1 }

    func servedStep(_ number: Int) -> Int? { served[number]?.step }

    var isOver: Bool {
        clients.allSatisfy(\.isOver) && servers.allSatisfy { $0.socket.isClosed } && world.backlog.isEmpty
    }
    var clientsAreOver: Bool { clients.allSatisfy(\.isOver) }

    /// Lets one of all that could happen, happen.
    private func act() -> Bool {
        if world.percent(3) { activate(self) }
        if world.percent(1) { world.wall += Int64(world.draw(20_000_000_000)) - 10_000_000_000 }
        var acted = false
        for _ in 0..<(1 + world.draw(4)) {
            let choice = world.draw(clients.count + servers.count)
            if choice < clients.count {
                acted = clients[choice].act(world, self) || acted
            } else {
                acted = servers[choice - clients.count].act(world, self) || acted
            }
        }
        if acted { return true }
        for client in clients where client.act(world, self) { return true }
        for server in servers where server.act(world, self) { return true }
        return false
    }

    /// Whether `version` was active at some time from one step to another.
    func wasActive(_ version: String, from start: Int, to end: Int) -> Bool {
        for (index, activation) in activations.enumerated() where activation.version == version {
            let next = index + 1 < activations.count ? activations[index + 1].step : Int.max
            if activation.step <= end, next >= start { return true }
        }
        return false
    }

    func step(of version: String) -> Int { activations.last { $0.version == version }?.step ?? 0 }
}

/// A client: sends its requests in pieces, reads slowly, checks every response.
final class SimulatedClient {
    private let plans: [Plan]
    private var socket: SimulatedWorld.Socket?
    private var toSend: [UInt8] = []
    private var sentPlans = 0
    private var begunAt: [Int] = []
    private var readUpTo = 0
    private var checked = 0
    private let pipelines: Bool
    private var isGone = false
    private(set) var isOver = false

    init(_ plans: [Plan], _ world: SimulatedWorld) {
        // What follows a request that closes would never be answered.
        let last = plans.firstIndex(where: \.closes).map { $0 + 1 } ?? plans.count
        self.plans = Array(plans.prefix(last))
        pipelines = world.percent(40)
    }

    func act(_ world: SimulatedWorld, _ scene: Scene) -> Bool {
        guard !isOver else { return false }
        guard let socket else {
            let socket = world.makeSocket(room: 1 + world.draw(3000))
            self.socket = socket
            world.backlog.append(socket)
            return true
        }
        let before = checked
        check(socket, scene)
        if socket.isClosed || isGone {
            leave(socket, scene)
            return false
        }
        if !scene.isCalm, world.draw(600) == 0 {
            isGone = true
            if world.percent(50) { world.breakDown(socket) } else { world.end(socket) }
            return true
        }
        if socket.room == 0 {
            world.open(1 + world.draw(world.percent(20) ? 10 : 20_000), of: socket)
            return true
        }
        if !toSend.isEmpty {
            let count = min(toSend.count, 1 + world.draw(world.percent(30) ? 3 : 5000))
            world.deliver(Array(toSend.prefix(count)), to: socket)
            toSend.removeFirst(count)
            return true
        }
        if sentPlans < plans.count, pipelines || checked == sentPlans, !socket.isFinished {
            toSend = plans[sentPlans].bytes
            begunAt.append(world.step)
            sentPlans += 1
            return true
        }
        if socket.isFinished || checked == plans.count, !socket.hasEnded {
            world.end(socket)
            return true
        }
        return checked > before
    }

    private func leave(_ socket: SimulatedWorld.Socket, _ scene: Scene) {
        isOver = true
        guard !isGone, checked < sentPlans, scene.isCalm else { return }
        // After an early response the connection is closed, with what was sent ahead.
        if plans[..<max(1, checked)].contains(where: {
            $0.behaviour == .early || $0.behaviour == .close || $0.behaviour == .chunked
        }) {
            return
        }
        scene.fail("request \(plans[checked].number) (\(plans[checked].behaviour)) was never answered")
    }

    /// Reads the responses that have come.
    private func check(_ socket: SimulatedWorld.Socket, _ scene: Scene) {
        let bytes = socket.outgoing
        while checked < sentPlans {
            guard let message = SimpleMessage(bytes, from: readUpTo) else { break }
            let plan = plans[checked]
            let status = Int(message.firstLine.split(separator: " ").dropFirst().first ?? "") ?? 0
            if status < 200 {
                if plan.isHTTP10 { scene.fail("an HTTP/1.0 client gets \(status)") }
                if !message.all("x-model-version").isEmpty { scene.fail("\(status) is stamped") }
                readUpTo = message.bodyStart
                continue
            }
            let isBodiless = plan.method == "HEAD" || status == 204 || status == 304
            let body: SimpleMessage.Body =
                isBodiless
                ? .whole([], end: message.bodyStart)
                : message.body(bytes, isClosed: socket.isClosed || socket.isFinished)
            switch body {
            case .malformed:
                scene.fail("the response to \(plan.number) is malformed")
                checked += 1
            case .partial(let part):
                checkPartial(part, plan, status, scene)
                return
            case .whole(let whole, let end):
                let start = readUpTo
                readUpTo = end
                checked += 1
                scene.noteAnswered()
                checkWhole(whole, message, plan, status, isBodiless, socket, start, scene)
            }
        }
        if checked == sentPlans, readUpTo < bytes.count, socket.isClosed, !isGone, sentPlans == plans.count {
            scene.fail("\(bytes.count - readUpTo) bytes come that nobody asked for")
        }
    }

    private func checkPartial(_ part: [UInt8], _ plan: Plan, _ status: Int, _ scene: Scene) {
        guard status == 200, !Plan.body(plan.number, plan.size).starts(with: part) else { return }
        scene.fail("the response to \(plan.number) has bytes that are not its own")
    }

    private func checkWhole(
        _ body: [UInt8], _ message: SimpleMessage, _ plan: Plan, _ status: Int, _ isBodiless: Bool,
        _ socket: SimulatedWorld.Socket, _ start: Int, _ scene: Scene
    ) {
        let isOurs = message.all("x-number").isEmpty
        if isOurs {
            for name in ["x-model-version", "x-model-manifest", "x-model-attribution"] where !message.all(name).isEmpty
            {
                scene.fail("a response of the sidecar's own has \(name)")
            }
            if status < 400 { scene.fail("a response of the sidecar's own says \(status)") }
            if scene.isCalm {
                scene.fail(
                    "request \(plan.number) (\(plan.behaviour)) got \(status): \(String(decoding: body, as: UTF8.self))"
                )
            }
            return
        }
        if message.all("x-number") != ["\(plan.number)"] {
            scene.fail(
                "\(plan.number) (\(plan.behaviour), \(plan.method)) gets the answer of \(message.all("x-number"))")
        }
        if !isBodiless, body != Plan.body(plan.number, plan.size) {
            // A response that ends with the connection is cut by a reset, which the client can see.
            // Where the server itself ends so, early, nobody can; and a client that broke off has no right to more.
            let canSee = socket.isReset || socket.isBroken || plan.behaviour == .close && !scene.isCalm
            let isCut = canSee && Plan.body(plan.number, plan.size).starts(with: body)
            if !isCut {
                scene.fail(
                    "the body of \(plan.number) (\(plan.behaviour), HTTP/1.\(plan.isHTTP10 ? 0 : 1), \(plan.method)) is \(body.count) of \(plan.size) bytes, closed \(socket.isClosed), reset \(socket.isReset), gone \(isGone), finished \(socket.isFinished)"
                )
            }
        }
        if plan.behaviour == .short, !isBodiless { scene.fail("a short response to \(plan.number) looks whole") }
        if plan.behaviour != .early, message.all("x-sum") != [Plan.sum(plan.upload)] {
            scene.fail("the upload of \(plan.number) arrived changed")
        }
        if !message.all("x-secret").isEmpty { scene.fail("a hop-by-hop field comes through") }
        checkStamp(message, plan, status, socket, start, scene)
    }

    private func checkStamp(
        _ message: SimpleMessage, _ plan: Plan, _ status: Int, _ socket: SimulatedWorld.Socket, _ start: Int,
        _ scene: Scene
    ) {
        let versions = message.all("x-model-version")
        let written = socket.writes.last { $0.offset <= start }?.step ?? scene.world.step
        guard versions.count == 1, message.all("x-model-manifest").count == 1,
            message.all("x-model-attribution").count == 1
        else {
            scene.fail("\(plan.number) is stamped \(versions.count) times")
            return
        }
        if !scene.wasActive(versions[0], from: begunAt[checked - 1], to: written) {
            scene.fail("\(plan.number) is stamped \(versions[0]), which was not live")
        }
        let claim = message.all("x-model-attribution")[0]
        if status == 304, claim == "inferred" || claim == "exact" { scene.fail("304 is \(claim)") }
        if claim == "exact" { scene.fail("nothing is exact here") }
        if claim == "inferred", message.all("x-answered-by") != versions {
            scene.fail("\(plan.number) is inferred \(versions[0]), and \(message.all("x-answered-by")) answered")
        }
        if claim == "inferred", let served = scene.servedStep(plan.number), scene.step(of: versions[0]) > served {
            scene.fail("\(plan.number) is inferred, though \(versions[0]) came after it")
        }
    }
}
