import HTTP
import Runtime
import Synchronization

/// Serves the admin listener on a thread of its own: few connections, and none of them in the way of the data plane.
package final class AdminServer: Sendable {
    private let routes: AdminRoutes
    private let counters: AdminCounters
    /// Takes the lines of a body, or a question; what came of it is told to `finish`, from any thread, by the number that goes with it.
    private let takeLines: @Sendable ([UInt8], UInt64) -> Void
    private let ask: @Sendable (AdminQuestion, UInt64) -> Void
    private let finished = Mutex<[(number: UInt64, response: AdminResponse)]>([])
    private let wake: Wake
    private let isStopping = Atomic<Bool>(false)
    private let lastNumber = Atomic<UInt64>(0)

    private static let connectionLimit = 64
    private static let mostAtOnce = 64 << 10
    /// How much is read and thrown away of somebody who goes on talking after the answer: closing before would take it from them.
    private static let mostIgnored = 64 << 20
    /// How much of all bodies is held at once.
    private static let heldLimit = 16 << 20
    /// For a request from the end of the one before to the end of its answer, in microseconds.
    private static let patience: Int64 = 20_000_000
    /// How long somebody who was too slow has to read that.
    private static let farewell: Int64 = 1_000_000
    /// The same where somebody else answers.
    private static let patienceWithOthers: Int64 = 600_000_000

    package init(
        _ routes: AdminRoutes, _ counters: AdminCounters,
        takeLines: @escaping @Sendable ([UInt8], UInt64) -> Void,
        ask: @escaping @Sendable (AdminQuestion, UInt64) -> Void
    ) throws(SystemError) {
        self.routes = routes
        self.counters = counters
        self.takeLines = takeLines
        self.ask = ask
        wake = try Wake()
    }

    package func stop() {
        isStopping.store(true, ordering: .releasing)
        wake.signal()
    }

    /// Answers the request whose lines went with `number`. Any thread may call it.
    package func finish(_ number: UInt64, _ response: AdminResponse) {
        finished.withLock { $0.append((number, response)) }
        wake.signal()
    }

    /// Serves until `stop`.
    package func run(on listener: borrowing Listener) {
        guard var network = try? EpollNetwork() else { return }
        guard (try? network.watchListener(listener.number, token: 0, isShared: false)) != nil,
            (try? network.watchListener(wake.number, token: 1, isShared: false)) != nil
        else { return }
        var clients: [Int32: Client] = [:]
        while !isStopping.load(ordering: .acquiring) {
            let count = network.wait(milliseconds: clients.isEmpty ? -1 : 1000)
            for index in 0..<count {
                let event = network.event(index)
                if event.token == 0 {
                    accept(&network, listener.number, &clients)
                } else if event.token == 1 {
                    wake.clear()
                    writeFinished(&network, &clients)
                } else if let client = clients[Int32(truncatingIfNeeded: event.token &- 2)] {
                    serve(client, &network, &clients)
                }
            }
            let now = network.monotonic()
            for client in clients.values where client.deadline <= now {
                guard !client.isEnding, !client.conversation.hasAnswered, !client.conversation.isUntouched else {
                    if !client.isEnding, !client.isIdle { counters.countTimeout() }
                    close(client, &network, &clients)
                    continue
                }
                client.deadline = now + Self.farewell
                client.conversation.answer(
                    .problem(408, "the request did not come in time, or its answer"), isLast: true)
                write(client, &network, &clients)
            }
        }
        // What is on the disk already is said to be.
        writeFinished(&network, &clients)
        for client in clients.values { close(client, &network, &clients) }
    }

    private final class Client {
        let descriptor: Int32
        /// That of the request at hand; never used twice, unlike descriptors.
        var number: UInt64
        var deadline: Int64
        var conversation = AdminConversation()
        var isEnding = false
        /// Its lines are with somebody else, who will tell what came of them.
        var isWaiting = false
        /// How much came after the whole request, or after the answer.
        var ignored = 0
        /// Whether it has had an answer before.
        var isKnown = false
        var isIdle: Bool { isKnown && conversation.isUntouched }

        init(descriptor: Int32, number: UInt64, deadline: Int64) {
            self.descriptor = descriptor
            self.number = number
            self.deadline = deadline
        }
    }

    private func accept(_ network: inout EpollNetwork, _ listener: Int32, _ clients: inout [Int32: Client]) {
        while true {
            var peer = PeerName()
            let descriptor = network.accept(listener, from: &peer)
            guard descriptor >= 0 else { return }
            guard clients.count < Self.connectionLimit || makeRoom(&network, &clients) else {
                counters.countCrowdedOut()
                network.close(descriptor)
                continue
            }
            guard network.watch(descriptor, token: UInt64(descriptor) + 2) else {
                network.close(descriptor)
                continue
            }
            let number = lastNumber.add(1, ordering: .relaxed).newValue
            clients[descriptor] = Client(
                descriptor: descriptor, number: number, deadline: network.monotonic() + Self.patience)
        }
    }

    /// Those who came and say nothing must not keep others out, and least of all those who have their answer already.
    private func makeRoom(_ network: inout EpollNetwork, _ clients: inout [Int32: Client]) -> Bool {
        let idle = clients.values.filter(\.isIdle)
        let others = idle.isEmpty ? clients.values.filter { !$0.isWaiting } : idle
        guard let oldest = others.min(by: { $0.deadline < $1.deadline }) else { return false }
        if !oldest.isEnding, !oldest.isIdle { counters.countCrowdedOut() }
        close(oldest, &network, &clients)
        return true
    }

    private func serve(_ client: Client, _ network: inout EpollNetwork, _ clients: inout [Int32: Client]) {
        while true {
            if isFull(clients, besides: client) {
                client.conversation.answer(
                    .problem(
                        503, "too many bodies at once", fields: [("Retry-After", "1")]))
                break
            }
            var count = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: Self.mostAtOnce) { buffer, filled in
                guard let base = buffer.baseAddress else { return }
                count = network.receive(client.descriptor, into: base, count: Self.mostAtOnce)
                filled = max(0, count)
            }
            if count == NetworkError.wouldBlock { break }
            guard count > 0 else {
                client.conversation.ended()
                if count < 0 || client.conversation.output.isEmpty && !client.isWaiting {
                    close(client, &network, &clients)
                }
                break
            }
            read(bytes, client, &network, &clients)
            guard clients[client.descriptor] != nil else { return }
            guard client.conversation.hasAnswered || client.isWaiting else { continue }
            client.ignored += count
            guard client.ignored <= Self.mostIgnored else {
                close(client, &network, &clients)
                return
            }
        }
        guard clients[client.descriptor] != nil else { return }
        write(client, &network, &clients)
        lookFurther(client, &network, &clients)
    }

    /// What came behind a request that has its answer now.
    private func lookFurther(
        _ client: Client, _ network: inout EpollNetwork, _ clients: inout [Int32: Client]
    ) {
        guard clients[client.descriptor] === client, client.conversation.hasInput else { return }
        read([], client, &network, &clients)
    }

    /// Takes what came, and what came before it and was not looked at; an answer is on its way before the rest is read.
    private func read(
        _ bytes: [UInt8], _ client: Client, _ network: inout EpollNetwork, _ clients: inout [Int32: Client]
    ) {
        var bytes = bytes
        repeat {
            if let handed = client.conversation.read(bytes, routes) {
                client.isWaiting = true
                // Whoever answers may have gigabytes to hash.
                client.deadline = network.monotonic() + Self.patienceWithOthers
                switch handed {
                case .lines(let lines): takeLines(lines, client.number)
                case .question(let question): ask(question, client.number)
                }
            }
            bytes = []
            if client.conversation.hasAnswered { write(client, &network, &clients) }
        } while clients[client.descriptor] != nil && client.conversation.hasInput
    }

    private func isFull(_ clients: [Int32: Client], besides client: Client) -> Bool {
        guard !client.conversation.hasAnswered, !client.isWaiting else { return false }
        return clients.values.reduce(0) { $0 + $1.conversation.held } > Self.heldLimit
    }

    private func writeFinished(_ network: inout EpollNetwork, _ clients: inout [Int32: Client]) {
        let done = finished.withLock { list in
            defer { list.removeAll() }
            return list
        }
        for (number, response) in done {
            guard let client = clients.values.first(where: { $0.number == number }), !client.conversation.hasAnswered
            else { continue }
            client.isWaiting = false
            client.deadline = network.monotonic() + Self.patience
            client.conversation.answer(response)
            write(client, &network, &clients)
            lookFurther(client, &network, &clients)
        }
    }

    private func write(_ client: Client, _ network: inout EpollNetwork, _ clients: inout [Int32: Client]) {
        while !client.conversation.output.isEmpty {
            let sent = client.conversation.output.withUnsafeBytes { bytes in
                bytes.baseAddress.map { network.send(client.descriptor, $0, count: bytes.count) } ?? 0
            }
            if sent == NetworkError.wouldBlock { return }
            guard sent > 0 else {
                close(client, &network, &clients)
                return
            }
            client.conversation.wrote(sent)
        }
        guard client.conversation.hasAnswered, !client.isEnding else { return }
        if let status = client.conversation.status { counters.count(status: status) }
        guard !client.conversation.isFollowed else { return goOn(client, network.monotonic()) }
        // The client closes when it has read everything; until then its connection is left alone.
        client.isEnding = true
        network.finishSending(client.descriptor)
    }

    /// Another request may follow on the same connection.
    private func goOn(_ client: Client, _ now: Int64) {
        client.conversation = AdminConversation(after: client.conversation)
        client.number = lastNumber.add(1, ordering: .relaxed).newValue
        client.deadline = now + Self.patience
        client.ignored = 0
        client.isKnown = true
    }

    private func close(_ client: Client, _ network: inout EpollNetwork, _ clients: inout [Int32: Client]) {
        network.close(client.descriptor)
        clients[client.descriptor] = nil
    }
}
