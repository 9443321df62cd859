import HTTP
import Provenance
import Runtime

/// Connections of clients, from their beginning to their end.
extension Worker where Net: ~Copyable {
    /// How many connections are taken before others are served again.
    private static var acceptLimit: Int { 64 }
    /// How long a connection that we close may take to say its last.
    static var lingerTime: Int64 { 2_000_000 }
    /// How long an idle connection may still send a request while the worker drains.
    static var quietTime: Int64 { 1_000_000 }

    // MARK: - Beginning

    mutating func acceptAll(_ token: UInt64) {
        let index = Int(token - Self.firstListenerToken)
        guard index < listeners.count else { return }
        for _ in 0..<(isDraining ? Int.max : Self.acceptLimit) {
            var peer = PeerName()
            let descriptor = net.accept(listeners[index].descriptor, from: &peer)
            guard descriptor >= 0 else {
                if descriptor != Int32(NetworkError.wouldBlock) { counters.add(.acceptFailures) }
                return
            }
            take(descriptor, peer)
        }
    }

    private mutating func take(_ descriptor: Int32, _ peer: PeerName) {
        guard clients < settings.limits.connections + Self.refusalLimit, let free = takeSlot() else {
            counters.add(.shed)
            net.close(descriptor)
            return
        }
        guard let client = add(descriptor, .client, to: free) else {
            counters.add(.acceptFailures)
            return
        }
        client.pointee.peerName = peer
        client.pointee.since = now
        setClients(clients &+ 1)
        counters.add(.accepted)
        guard clients <= settings.limits.connections else {
            refuseConnection(client)
            return
        }
        setDeadline(client, after: timeouts.requestHead)
    }

    private mutating func refuseConnection(_ client: End) {
        counters.add(.shed)
        counters.count(.tooManyConnections)
        let count = Fault.tooManyConnections.write(
            to: refusal, requestID: UnsafeRawBufferPointer(start: nil, count: 0), date: UnsafeRawBufferPointer(date),
            closes: true, isHEAD: false)
        // What does not fit into an empty socket is not worth waiting for.
        if let base = refusal.baseAddress { _ = net.send(client.pointee.descriptor, base, count: count) }
        linger(client)
    }

    private mutating func setClients(_ count: Int) {
        clients = count
        counters.setClients(count)
    }

    // MARK: - Events

    mutating func clientEvent(_ client: End, _ event: NetworkEvent) {
        let isPassing = client.pointee.phase == .tunnel || client.pointee.phase == .lingering
        if event.isBroken, !isPassing {
            // Both directions are gone: nobody is left to answer.
            abandon(client)
            return
        }
        if event.isWritable, client.pointee.pendingCount > 0, !flush(toClient: client) { return }
        advance(client)
    }

    /// Goes on with whatever the client's connection waits for, as far as that is possible now.
    mutating func advance(_ client: End) {
        guard !client.pointee.flags.contains(.isAdvancing) else { return }
        client.pointee.flags.insert(.isAdvancing)
        let generation = client.pointee.generation
        while client.pointee.generation == generation, step(client) {}
        if client.pointee.generation == generation { client.pointee.flags.remove(.isAdvancing) }
    }

    /// One step; false when there is nothing to do until something comes.
    private mutating func step(_ client: End) -> Bool {
        switch client.pointee.phase {
        case .requestHead:
            if client.pointee.end > client.pointee.start,
                client.pointee.scanned < client.pointee.end &- client.pointee.start
            {
                return readHead(client)
            }
            return receiveHead(client)
        case .requestBody:
            return readBody(client)
        case .tunnel:
            return pump(from: client)
        case .lingering:
            return discard(client)
        default:
            return false
        }
    }

    private mutating func receiveHead(_ client: End) -> Bool {
        guard client.pointee.flags.contains(.readable) else {
            if client.pointee.start == client.pointee.end { giveBuffer(client) }
            return false
        }
        takeBuffer(client)
        let isFirst = client.pointee.start == client.pointee.end
        if isFirst { emptyBuffer(client) }
        switch receive(client) {
        case .bytes:
            if isFirst, !client.pointee.flags.contains(.hasSkippedLine) {
                client.pointee.since = now
                setDeadline(client, after: timeouts.requestHead)
            }
            return true
        case .nothing:
            if isFirst { giveBuffer(client) }
            return false
        case .ended, .failed:
            // Whether it ends between requests or within a head: there is nobody to answer.
            closeClient(client)
            return false
        }
    }

    enum Received {
        case bytes
        case nothing
        case ended
        case failed
    }

    /// Reads behind what is already in the buffer. There must be room.
    @inline(__always)
    mutating func receive(_ end: End) -> Received {
        let room = BufferPool.dataCount &- end.pointee.end
        precondition(room > 0, "a full buffer is not read into")
        let count = net.receive(end.pointee.descriptor, into: data(end) + end.pointee.end, count: room)
        if count > 0 {
            end.pointee.end &+= count
            // A short read has emptied the socket, unless its end stands behind it.
            if count < room, !end.pointee.flags.contains(.hangup) { end.pointee.flags.remove(.readable) }
            return .bytes
        }
        end.pointee.flags.remove(.readable)
        if count == NetworkError.wouldBlock { return .nothing }
        if count == 0 {
            end.pointee.flags.insert(.ended)
            return .ended
        }
        return .failed
    }

    // MARK: - Writing

    enum Sent {
        case all
        /// The rest is pending.
        case some
        case failed
    }

    /// Writes to `end`; what does not fit waits, and must stay where it is until it is gone.
    @inline(__always)
    mutating func send(_ end: End, _ bytes: UnsafeRawPointer, _ count: Int) -> Sent {
        let sent = net.send(end.pointee.descriptor, bytes, count: count)
        if sent == count { return .all }
        guard sent >= 0 || sent == NetworkError.wouldBlock else { return .failed }
        let taken = max(0, sent)
        end.pointee.pending = bytes + taken
        end.pointee.pendingCount = count &- taken
        return .some
    }

    /// Writes on what waits.
    @inline(__always)
    mutating func sendPending(_ end: End) -> Sent {
        guard let pending = end.pointee.pending else { return .all }
        let count = end.pointee.pendingCount
        end.pointee.pendingCount = 0
        return send(end, pending, count)
    }

    /// Writes on to the client. False when the connection is gone.
    private mutating func flush(toClient client: End) -> Bool {
        switch sendPending(client) {
        case .failed:
            abandon(client)
            return false
        case .some:
            setDeadline(client, after: timeouts.streamIdle)
            return true
        case .all: break
        }
        if client.pointee.phase != .tunnel { clearDeadline(client) }
        if client.pointee.phase == .ownResponse { return endOwnResponse(client) }
        guard let upstream = peer(of: client) else { return true }
        let generation = client.pointee.generation
        if upstream.pointee.phase == .responseWritten {
            finish(client, upstream)
        } else {
            rearm(client, upstream)
            readResponse(upstream)
        }
        return client.pointee.generation == generation
    }

    /// The client has taken everything: now others are waited for again.
    private mutating func rearm(_ client: End, _ upstream: End) {
        if client.pointee.phase == .requestBody { setDeadline(client, after: timeouts.requestBody) }
        if upstream.pointee.phase == .responseBody {
            setDeadline(upstream, after: timeouts.streamIdle)
        } else if upstream.pointee.phase == .responseHead, client.pointee.phase == .response {
            setDeadline(upstream, after: timeouts.responseHead)
        }
    }

    // MARK: - End

    /// An exchange is over and the connection is kept: for what was sent ahead, or the next request.
    mutating func awaitRequest(_ client: End) {
        client.pointee.phase = .requestHead
        client.pointee.peer = Connection.nobody
        client.pointee.flags.formIntersection([.readable, .hangup, .ended, .isAdvancing])
        client.pointee.scanned = 0
        client.pointee.idCount = 0
        client.pointee.lineCount = 0
        client.pointee.claim = nil
        client.pointee.sent = 0
        client.pointee.since = now
        if client.pointee.start == client.pointee.end {
            giveBuffer(client)
            setDeadline(client, after: isDraining ? Self.quietTime : timeouts.idle)
        } else {
            setDeadline(client, after: timeouts.requestHead)
        }
    }

    /// Ends a connection whose last response is written. What the client still sends is read and thrown away for a while: closing
    /// with unread bytes would reset the connection, and could take the response with it (RFC 9112 section 9.6).
    mutating func linger(_ client: End) {
        guard !client.pointee.flags.contains(.ended), !client.pointee.flags.contains(.hangup) else {
            closeClient(client)
            return
        }
        net.finishSending(client.pointee.descriptor)
        giveBuffer(client)
        client.pointee.phase = .lingering
        client.pointee.peer = Connection.nobody
        setDeadline(client, after: Self.lingerTime)
        advance(client)
    }

    private mutating func discard(_ client: End) -> Bool {
        guard client.pointee.flags.contains(.readable), let base = discarded.baseAddress else { return false }
        let count = net.receive(client.pointee.descriptor, into: base, count: discarded.count)
        if count > 0 { return true }
        client.pointee.flags.remove(.readable)
        if count != NetworkError.wouldBlock { closeClient(client) }
        return false
    }

    mutating func closeClient(_ client: End, isReset: Bool = false) {
        dropNote(client)
        leave(client)
        setClients(clients &- 1)
        release(client, isReset: isReset)
    }

    /// Its exchange, if it has one, is over.
    @inline(__always)
    func leave(_ client: End) {
        guard client.pointee.isInFlight else { return }
        client.pointee.isInFlight = false
        counters.changeInFlight(by: -1)
    }

    /// The client is gone: so is its exchange.
    mutating func abandon(_ client: End) {
        if let upstream = peer(of: client) {
            counters.add(.abortedByClient)
            endExchange(client)
            log(client, status: client.pointee.status, .cutByClient)
            closeUpstream(upstream)
        }
        closeClient(client)
    }

    // MARK: - Draining

    /// Takes the connections that already wait, then listens no more; who is idle may say something for a second.
    mutating func drain() {
        isDraining = true
        for index in listeners.indices { acceptAll(Self.firstListenerToken + UInt64(index)) }
        for listener in listeners { net.closeListener(listener.descriptor) }
        listeners = []
        for index in 0..<slotsMade {
            let end = connections + index
            guard end.pointee.role == .client, end.pointee.phase == .requestHead, end.pointee.buffer == nil else {
                continue
            }
            setDeadline(end, after: Self.quietTime)
        }
    }

    /// Time is up, or all is done. What is cut now is on record too.
    mutating func closeAll() {
        for index in 0..<slotsMade {
            let end = connections + index
            switch end.pointee.role {
            case .client:
                if peer(of: end) != nil {
                    endExchange(end)
                    log(end, status: end.pointee.status, .fault(.sidecar))
                }
                closeClient(end)
            case .upstream: closeUpstream(end)
            case .free: break
            }
        }
        flushLog()
    }
}
