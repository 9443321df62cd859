import HTTP
import Runtime
import Synchronization

/// Serves the admin listener on a thread of its own: few connections, short ones, and none of them in the way of the data plane.
package final class AdminServer: Sendable {
    private let routes: AdminRoutes
    private let wake: Wake
    private let isStopping = Atomic<Bool>(false)

    private static let connectionLimit = 64
    private static let longestInput = 1 << 20
    /// For a connection from its beginning to its end, in microseconds.
    private static let patience: Int64 = 10_000_000

    package init(_ routes: AdminRoutes) throws(SystemError) {
        self.routes = routes
        wake = try Wake()
    }

    package func stop() {
        isStopping.store(true, ordering: .releasing)
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
                } else if let client = clients[Int32(truncatingIfNeeded: event.token &- 2)] {
                    serve(client, &network, &clients)
                }
            }
            let now = network.monotonic()
            for client in clients.values where client.deadline <= now { close(client, &network, &clients) }
        }
        for client in clients.values { close(client, &network, &clients) }
    }

    private final class Client {
        let descriptor: Int32
        let deadline: Int64
        var conversation = AdminConversation()
        var isEnding = false
        var read = 0

        init(descriptor: Int32, deadline: Int64) {
            self.descriptor = descriptor
            self.deadline = deadline
        }
    }

    private func accept(_ network: inout EpollNetwork, _ listener: Int32, _ clients: inout [Int32: Client]) {
        while true {
            var peer = PeerName()
            let descriptor = network.accept(listener, from: &peer)
            guard descriptor >= 0 else { return }
            // Those who came and said nothing must not keep others out.
            if clients.count >= Self.connectionLimit, let oldest = clients.values.min(by: { $0.deadline < $1.deadline })
            {
                close(oldest, &network, &clients)
            }
            guard network.watch(descriptor, token: UInt64(descriptor) + 2) else {
                network.close(descriptor)
                continue
            }
            clients[descriptor] = Client(descriptor: descriptor, deadline: network.monotonic() + Self.patience)
        }
    }

    private func serve(_ client: Client, _ network: inout EpollNetwork, _ clients: inout [Int32: Client]) {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = buffer.withUnsafeMutableBytes { bytes in
                bytes.baseAddress.map { network.receive(client.descriptor, into: $0, count: bytes.count) } ?? 0
            }
            if count == NetworkError.wouldBlock { break }
            guard count > 0 else {
                if count < 0 || client.conversation.output.isEmpty { close(client, &network, &clients) }
                break
            }
            client.conversation.read(Array(buffer[..<count]), routes)
            client.read += count
            // Who goes on talking after the answer is not listened to for ever.
            guard client.read <= Self.longestInput else {
                close(client, &network, &clients)
                return
            }
        }
        guard clients[client.descriptor] != nil else { return }
        write(client, &network, &clients)
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
        // The client closes when it has read everything; until then its connection is left alone.
        client.isEnding = true
        network.finishSending(client.descriptor)
    }

    private func close(_ client: Client, _ network: inout EpollNetwork, _ clients: inout [Int32: Client]) {
        network.close(client.descriptor)
        clients[client.descriptor] = nil
    }
}
