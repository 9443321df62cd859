import HTTP
import Runtime

/// The connections of the admin listener, on its one thread. Each gets its turn: whoever sends without end keeps nobody waiting.
struct AdminConnections: ~Copyable {
    typealias Hand = (AdminConversation.Handed, UInt64) -> Void

    private var network: EpollNetwork
    private let listener: Int32
    private let routes: AdminRoutes
    private let counters: AdminCounters
    private var clients: [Int32: Client] = [:]
    /// Those who had their turn and may have more to say. Nobody tells of what has come already.
    private var unfinished: [Client] = []
    private var lastNumber: UInt64 = 0

    private static let connectionLimit = 64
    /// How many of them may wait for somebody else's answer at once: there is always room for others to ask.
    private static let waitingLimit = 48
    private static let mostAtOnce = 64 << 10
    /// How often a connection is read, or answered, in a turn.
    private static let turnLimit = 16
    /// How much is read and thrown away of somebody who goes on talking after the last answer: closing before would take it from them.
    private static let mostIgnored = 64 << 20
    /// How much of all bodies is held at once.
    private static let heldLimit = 16 << 20
    /// For a request from its first byte to the end of its answer, and for the first byte, in microseconds.
    private static let patience: Int64 = 20_000_000
    /// How long somebody who was too slow has to read that.
    private static let farewell: Int64 = 1_000_000
    /// The same where somebody else answers, who may have gigabytes to hash.
    private static let patienceWithOthers: Int64 = 600_000_000

    /// Nil where the kernel refuses.
    init?(_ listener: Int32, _ wake: Int32, _ routes: AdminRoutes, _ counters: AdminCounters) {
        guard var network = try? EpollNetwork(),
            (try? network.watchListener(listener, token: 0, isShared: false)) != nil,
            (try? network.watchListener(wake, token: 1, isShared: false)) != nil
        else { return nil }
        self.network = network
        self.listener = listener
        self.routes = routes
        self.counters = counters
    }

    private final class Client {
        let descriptor: Int32
        /// That of the request at hand; never used twice, unlike descriptors.
        var number: UInt64
        var deadline: Int64
        var conversation = AdminConversation()
        /// It has its last answer, and is left to read it.
        var isEnding = false
        var isClosed = false
        /// Nothing more will come from it.
        var hasEnded = false
        /// Its request is with somebody else, who will tell what came of it.
        var isWaiting = false
        /// How much came after the last request.
        var ignored = 0
        /// Whether it has had an answer before.
        var isKnown = false
        var isIdle: Bool { isKnown && conversation.isUntouched }
        var isUnfinished = false

        init(descriptor: Int32, number: UInt64, deadline: Int64) {
            self.descriptor = descriptor
            self.number = number
            self.deadline = deadline
        }
    }

    // MARK: - Turns

    mutating func turn(_ hand: Hand, finished: () -> [(number: UInt64, response: AdminResponse)]) {
        let count = network.wait(milliseconds: !unfinished.isEmpty ? 0 : clients.isEmpty ? -1 : 1000)
        let before = unfinished
        unfinished = []
        var hasNews = false
        var hasArrivals = false
        for client in before {
            client.isUnfinished = false
            serve(client, hand)
        }
        for index in 0..<count {
            switch network.event(index).token {
            case 0: hasArrivals = true
            case 1: hasNews = true
            case let token:
                if let client = clients[Int32(truncatingIfNeeded: token &- 2)] { serve(client, hand) }
            }
        }
        if hasNews { write(finished()) }
        // Last: what those who are here have sent is known by then.
        if hasArrivals { accept() }
        lookAtDeadlines()
    }

    private mutating func lookAtDeadlines() {
        let now = network.monotonic()
        for client in Array(clients.values) where client.deadline <= now {
            guard !client.isEnding, !client.conversation.hasAnswered, !client.conversation.isUntouched else {
                if !client.conversation.hasAnswered, !client.isIdle { counters.countTimeout() }
                close(client)
                continue
            }
            client.deadline = now + Self.farewell
            client.conversation.answer(
                client.isWaiting
                    ? .problem(
                        503,
                        "the answer did not come in time; what was asked for may still happen: /v1/status tells what is active, /v1/history what was"
                    ) : .problem(408, "the request did not come in time"), isLast: true)
            write(client)
        }
    }

    mutating func end(_ finished: [(number: UInt64, response: AdminResponse)]) {
        write(finished)
        for client in Array(clients.values) { close(client) }
    }

    // MARK: - Arrivals

    private mutating func accept() {
        while true {
            var peer = PeerName()
            let descriptor = network.accept(listener, from: &peer)
            guard descriptor >= 0 else { return }
            guard clients.count < Self.connectionLimit || makeRoom() else {
                counters.countCrowdedOut()
                network.close(descriptor)
                continue
            }
            guard network.watch(descriptor, token: UInt64(descriptor) + 2) else {
                network.close(descriptor)
                continue
            }
            clients[descriptor] = Client(
                descriptor: descriptor, number: newNumber(), deadline: network.monotonic() + Self.patience)
        }
    }

    private mutating func newNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }

    /// Those who came and say nothing must not keep others out: first go those who have all they asked for, then those who have asked nothing
    /// yet, and last those in the middle of it.
    private mutating func makeRoom() -> Bool {
        func oldest(_ isMeant: (Client) -> Bool) -> Client? {
            clients.values.filter(isMeant).min { $0.deadline < $1.deadline }
        }
        let client =
            oldest { $0.isEnding } ?? oldest { $0.isIdle && network.isQuietAndOpen($0.descriptor) }
            ?? oldest { $0.conversation.isUntouched && !$0.isIdle } ?? oldest { !$0.isWaiting && !$0.isIdle }
        guard let client else { return false }
        if !client.isEnding, !client.isIdle { counters.countCrowdedOut() }
        close(client)
        return true
    }

    // MARK: - Requests

    private mutating func serve(_ client: Client, _ hand: Hand) {
        for _ in 0..<Self.turnLimit {
            guard !client.isClosed else { return }
            // Whoever sends faster than it is answered waits, and so does what it sends.
            if client.conversation.hasAnswered || client.isWaiting {
                write(client)
                if client.isClosed || client.conversation.isFull { return }
                if client.conversation.hasInput { continue }
            } else if client.conversation.hasInput {
                read([], client, hand)
                continue
            }
            guard receive(client, hand) else { return }
        }
        comeBack(client)
    }

    /// There may be more to read that nobody will tell of.
    private mutating func comeBack(_ client: Client) {
        guard !client.isClosed, !client.isUnfinished else { return }
        client.isUnfinished = true
        unfinished.append(client)
    }

    /// Takes what there is to read; false when that is nothing now.
    private mutating func receive(_ client: Client, _ hand: Hand) -> Bool {
        if isFull(besides: client) {
            client.conversation.answer(
                .problem(503, "too many bodies at once", fields: [("Retry-After", "1")]), isLast: true)
            write(client)
            return true
        }
        var count = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: Self.mostAtOnce) { buffer, filled in
            guard let base = buffer.baseAddress else { return }
            count = network.receive(client.descriptor, into: base, count: Self.mostAtOnce)
            filled = max(0, count)
        }
        if count == NetworkError.wouldBlock { return false }
        guard count > 0 else {
            client.hasEnded = true
            let isOwed = client.isWaiting || !client.conversation.output.isEmpty || client.conversation.hasInput
            if count < 0 || !isOwed { close(client) }
            return false
        }
        if client.conversation.hasAnswered, !client.conversation.isFollowed {
            client.ignored += count
            if client.ignored > Self.mostIgnored { close(client) }
            return true
        }
        let (wasIdle, number) = (client.isIdle, client.number)
        read(bytes, client, hand)
        // A request begins, and is not answered yet: its time begins too.
        if wasIdle, client.number == number, !client.isIdle, !client.isWaiting {
            client.deadline = network.monotonic() + Self.patience
        }
        return true
    }

    /// Takes a piece of a request; its answer is on its way before the next one is looked at.
    private mutating func read(_ bytes: [UInt8], _ client: Client, _ hand: Hand) {
        if let handed = client.conversation.read(bytes, routes) {
            if handed.mayTakeLong, clients.values.count(where: \.isWaiting) >= Self.waitingLimit {
                client.conversation.answer(
                    .problem(503, "too many requests wait for their answers", fields: [("Retry-After", "1")]))
            } else {
                client.isWaiting = true
                client.deadline = network.monotonic() + Self.patienceWithOthers
                hand(handed, client.number)
            }
        }
        if client.conversation.hasAnswered { write(client) }
    }

    private func isFull(besides client: Client) -> Bool {
        guard !client.conversation.hasAnswered, !client.isWaiting else { return false }
        return clients.values.reduce(0) { $0 + $1.conversation.held } > Self.heldLimit
    }

    // MARK: - Answers

    private mutating func write(_ finished: [(number: UInt64, response: AdminResponse)]) {
        for (number, response) in finished {
            guard let client = clients.values.first(where: { $0.number == number }), !client.conversation.hasAnswered
            else { continue }
            client.isWaiting = false
            client.deadline = network.monotonic() + Self.patience
            client.conversation.answer(response)
            write(client)
            comeBack(client)
        }
    }

    private mutating func write(_ client: Client) {
        while !client.conversation.output.isEmpty {
            let sent = client.conversation.output.withUnsafeBytes { bytes in
                bytes.baseAddress.map { network.send(client.descriptor, $0, count: bytes.count) } ?? 0
            }
            if sent == NetworkError.wouldBlock { return }
            guard sent > 0 else { return close(client) }
            client.conversation.wrote(sent)
        }
        guard client.conversation.hasAnswered, !client.isEnding else { return }
        if let status = client.conversation.status { counters.count(status: status) }
        if client.conversation.isFollowed { return goOn(client) }
        // The client closes when it has read everything; until then its connection is left alone.
        client.isEnding = true
        network.finishSending(client.descriptor)
    }

    /// Another request may follow on the same connection, and may be there already.
    private mutating func goOn(_ client: Client) {
        client.conversation = AdminConversation(after: client.conversation)
        client.number = newNumber()
        client.deadline = network.monotonic() + Self.patience
        client.isKnown = true
        if client.hasEnded, !client.conversation.hasInput { close(client) }
    }

    private mutating func close(_ client: Client) {
        guard !client.isClosed else { return }
        client.isClosed = true
        network.close(client.descriptor)
        clients[client.descriptor] = nil
    }
}

extension AdminConversation.Handed {
    /// Probes are answered at once, however many others wait.
    fileprivate var mayTakeLong: Bool { if case .question(.readiness) = self { false } else { true } }
}
