import HTTP
import Provenance
import Runtime

/// Connections to upstreams: the pool, dispatching a request, and what is done when one fails.
extension Worker where Net: ~Copyable {
    /// A connection that was idle for longer is asked whether it is still open before it is used.
    private static var trustedIdleTime: Int64 { 1_000_000 }

    // MARK: - Dispatch

    /// Sends what was read of the client's request, on an idle connection or, when it has to be `isFresh`, on a new one.
    mutating func dispatch(_ client: End, isFresh: Bool) {
        let index = settings.variants[Int(client.pointee.variant)].upstream
        guard let upstream = (isFresh ? nil : takeIdle(index)) ?? connect(client, index) else {
            noteState(.unreachable, index)
            answer(client, .upstreamRefused)
            return
        }
        client.pointee.peer = slot(of: upstream)
        upstream.pointee.peer = slot(of: client)
        upstream.pointee.phase = .responseHead
        if upstream.pointee.flags.contains(.isConnecting) {
            setDeadline(upstream, after: timeouts.connect)
        } else {
            awaitAnswer(client, upstream)
        }
        if client.pointee.phase == .requestBody, !client.pointee.flags.contains(.awaitsContinue) {
            setDeadline(client, after: timeouts.requestBody)
        }
        // A connection that fails may take the client with it.
        let generation = client.pointee.generation
        sendUp(client, upstream, from: client.pointee.requestStart, count: client.pointee.requestCount)
        if client.pointee.generation == generation, client.pointee.sentUpAt == 0 {
            client.pointee.sentUpAt = net.monotonic()
            client.pointee.sentLastAt = client.pointee.sentUpAt
        }
    }

    /// Sends bytes of the client's buffer up. Afterwards both connections may be gone.
    @inline(__always)
    mutating func sendUp(_ client: End, _ upstream: End, from start: Int, count: Int) {
        guard count > 0, !upstream.pointee.flags.contains(.refusesBytes) else { return }
        switch send(upstream, data(client) + start, count) {
        case .all: noteTaken(upstream)
        case .some: if upstream.pointee.pendingCount < count { noteTaken(upstream) }
        case .failed: sendFailed(client, upstream)
        }
    }

    @inline(__always)
    private mutating func noteTaken(_ upstream: End) {
        upstream.pointee.flags.insert(.hasTaken)
        if upstream.pointee.flags.contains(.isConnecting) { connected(upstream) }
    }

    /// The upstream takes no more. It may have answered before it closed.
    private mutating func sendFailed(_ client: End, _ upstream: End) {
        upstream.pointee.pendingCount = 0
        guard !upstream.pointee.flags.contains(.isConnecting) else {
            connectFailed(upstream)
            return
        }
        upstream.pointee.flags.formUnion([.refusesBytes, .readable])
        client.pointee.flags.insert(.closing)
        readResponse(upstream)
    }

    // MARK: - Events

    mutating func upstreamEvent(_ upstream: End, _ event: NetworkEvent) {
        let generation = upstream.pointee.generation
        if upstream.pointee.flags.contains(.isConnecting) {
            guard event.isWritable || event.isBroken else { return }
            guard net.failure(of: upstream.pointee.descriptor) == 0 else {
                connectFailed(upstream)
                return
            }
            connected(upstream)
        }
        if event.isWritable, upstream.pointee.pendingCount > 0 {
            flush(toUpstream: upstream)
            guard upstream.pointee.generation == generation else { return }
        }
        readResponse(upstream)
    }

    /// Writes on to the upstream, and reads on from the client when all is written.
    private mutating func flush(toUpstream upstream: End) {
        guard let client = peer(of: upstream) else { return }
        let before = upstream.pointee.pendingCount
        let sent = sendPending(upstream)
        switch sent {
        case .failed:
            if client.pointee.phase == .tunnel { closeTunnel(client, upstream) } else { sendFailed(client, upstream) }
        case .some, .all:
            if sent == .all || upstream.pointee.pendingCount < before { upstream.pointee.flags.insert(.hasTaken) }
            if client.pointee.phase == .requestBody { awaitBody(client) }
            if sent == .all { advance(client) }
        }
    }

    private mutating func connected(_ upstream: End) {
        upstream.pointee.flags.remove(.isConnecting)
        let index = Int(upstream.pointee.upstream)
        goodAddress[index] = Int(upstream.pointee.attempt)
        noteState(.reached, index)
        guard let client = peer(of: upstream) else { return }
        awaitAnswer(client, upstream)
    }

    /// The upstream is waited for when the request is whole, or when it has to say whether it wants the body.
    private mutating func awaitAnswer(_ client: End, _ upstream: End) {
        if client.pointee.phase == .response || client.pointee.flags.contains(.awaitsContinue) {
            setDeadline(upstream, after: timeouts.responseHead)
        } else {
            clearDeadline(upstream)
        }
    }

    /// The body may come now: the client is waited for.
    mutating func stopAwaitingContinue(_ client: End, _ upstream: End) {
        guard client.pointee.flags.contains(.awaitsContinue) else { return }
        client.pointee.flags.remove(.awaitsContinue)
        clearDeadline(upstream)
        if client.pointee.phase == .requestBody { awaitBody(client) }
    }

    /// Tries the next address of the upstream, and gives up after the last.
    mutating func connectFailed(_ upstream: End, _ fault: Fault = .upstreamRefused) {
        counters.add(.connectFailures)
        let index = Int(upstream.pointee.upstream)
        guard let client = peer(of: upstream) else {
            closeUpstream(upstream)
            return
        }
        closeUpstream(upstream)
        client.pointee.peer = Connection.nobody
        guard Int(client.pointee.attempt) < settings.upstreams[index].addresses.count else {
            noteState(.unreachable, index)
            answer(client, fault)
            return
        }
        dispatch(client, isFresh: true)
    }

    @inline(__always)
    mutating func noteState(_ state: UpstreamState, _ index: Int) {
        if control.note(state, ofUpstream: index) { tellSupervisor() }
    }

    // MARK: - The pool

    /// The connection that was used last, because it is the most likely to be open still.
    @inline(__always)
    private mutating func takeIdle(_ index: Int) -> End? {
        while idle[index] != Connection.nobody {
            let upstream = connections + Int(idle[index])
            if now &- upstream.pointee.since > Self.trustedIdleTime,
                !net.isQuietAndOpen(upstream.pointee.descriptor)
            {
                closeUpstream(upstream)
                continue
            }
            unlinkIdle(upstream)
            upstream.pointee.flags = upstream.pointee.flags.intersection([.readable]).union(.isReused)
            return upstream
        }
        return nil
    }

    /// Begins to connect to the first address that does not refuse at once.
    private mutating func connect(_ client: End, _ index: Int) -> End? {
        let addresses = settings.upstreams[index].addresses
        while Int(client.pointee.attempt) < addresses.count {
            // The one that worked last comes first; what others find out meanwhile does not change this client's turn.
            if client.pointee.attempt == 0 { client.pointee.firstAddress = UInt8(goodAddress[index]) }
            let address = (Int(client.pointee.firstAddress) + Int(client.pointee.attempt)) % addresses.count
            client.pointee.attempt += 1
            let descriptor = net.connect(to: addresses[address])
            guard descriptor >= 0 else {
                counters.add(.connectFailures)
                continue
            }
            guard let free = takeSlot() ?? evictIdle() else {
                net.close(descriptor)
                return nil
            }
            guard let upstream = add(descriptor, .upstream, to: free) else {
                counters.add(.connectFailures)
                continue
            }
            counters.add(.upstreamConnections)
            counters.changeUpstreams(by: 1)
            upstream.pointee.upstream = UInt8(index)
            upstream.pointee.attempt = UInt8(address)
            upstream.pointee.flags = [.isConnecting]
            upstream.pointee.serial = latestSerial
            noteOpened(index)
            return upstream
        }
        return nil
    }

    /// Makes room for a connection by closing an idle one.
    private mutating func evictIdle() -> End? {
        for head in idle where head != Connection.nobody {
            closeUpstream(connections + Int(head))
            return takeSlot()
        }
        return nil
    }

    /// Keeps a connection for the next request.
    @inline(__always)
    mutating func park(_ upstream: End) {
        let index = Int(upstream.pointee.upstream)
        giveBuffer(upstream)
        upstream.pointee.phase = .idle
        upstream.pointee.peer = Connection.nobody
        upstream.pointee.since = now
        upstream.pointee.previous = Connection.nobody
        upstream.pointee.next = idle[index]
        if idle[index] != Connection.nobody { connections[Int(idle[index])].previous = slot(of: upstream) }
        idle[index] = slot(of: upstream)
        setDeadline(upstream, after: timeouts.idle)
    }

    @inline(__always)
    private mutating func unlinkIdle(_ upstream: End) {
        let next = upstream.pointee.next
        let previous = upstream.pointee.previous
        if previous == Connection.nobody {
            idle[Int(upstream.pointee.upstream)] = next
        } else {
            connections[Int(previous)].next = next
        }
        if next != Connection.nobody { connections[Int(next)].previous = previous }
    }

    mutating func closeUpstream(_ upstream: End) {
        if upstream.pointee.phase == .idle { unlinkIdle(upstream) }
        counters.changeUpstreams(by: -1)
        // What waits for the client stands in the buffer that is given back now.
        if let client = peer(of: upstream) { client.pointee.pendingCount = 0 }
        let index = Int(upstream.pointee.upstream)
        let serial = upstream.pointee.serial
        release(upstream)
        noteClosed(serial, index)
    }

    private mutating func noteOpened(_ index: Int) {
        if oldest[index].count == 0 {
            oldest[index] = (latestSerial, 1)
            control.setOldest(latestSerial, ofUpstream: index, worker: number)
        } else if oldest[index].serial == latestSerial {
            oldest[index].count += 1
        }
    }

    /// When the last of the oldest connections is closed, others are the oldest.
    private mutating func noteClosed(_ serial: UInt64, _ index: Int) {
        guard serial == oldest[index].serial else { return }
        oldest[index].count -= 1
        guard oldest[index].count == 0 else { return }
        oldest[index].serial = .max
        if counters.upstreams > 0 {
            for slot in 0..<slotsMade {
                let end = connections + slot
                guard end.pointee.role == .upstream, Int(end.pointee.upstream) == index else { continue }
                if end.pointee.serial < oldest[index].serial { oldest[index] = (end.pointee.serial, 0) }
                if end.pointee.serial == oldest[index].serial { oldest[index].count += 1 }
            }
        }
        control.setOldest(oldest[index].serial, ofUpstream: index, worker: number)
    }

    // MARK: - Failure

    /// The connection broke before the response was complete. A request is sent a second time only when the first one cannot have
    /// had an effect, or a second cannot have another (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
    mutating func upstreamFailed(_ upstream: End) {
        guard let client = peer(of: upstream) else {
            closeUpstream(upstream)
            return
        }
        guard !client.pointee.flags.contains(.hasResponse) else {
            abort(client, upstream)
            return
        }
        let flags = upstream.pointee.flags
        let mayRepeat = client.pointee.flags.contains(.isIdempotent) || !flags.contains(.hasTaken)
        let isRepeated =
            flags.contains(.isReused) && !flags.contains(.hasAnswered) && client.pointee.flags.contains(.isReplayable)
            && mayRepeat
        closeUpstream(upstream)
        client.pointee.peer = Connection.nobody
        if isRepeated {
            counters.add(.retries)
            client.pointee.attempt = 0
            dispatch(client, isFresh: true)
        } else {
            answer(client, .upstreamClosed)
        }
    }

    /// The response ends here, and it is not whole: the client must see that. An end that says so is never invented.
    mutating func abort(_ client: End, _ upstream: End) {
        counters.add(.abortedByUpstream)
        endExchange(client)
        log(client, status: client.pointee.status, .cutByUpstream)
        closeUpstream(upstream)
        closeClient(client, isReset: client.pointee.flags.contains(.endsByClosing))
    }

    /// Answers in the place of an upstream that failed.
    mutating func fail(_ client: End, _ upstream: End, _ fault: Fault) {
        // In the middle of something, an interim response perhaps, nothing else can be said.
        guard !client.pointee.flags.contains(.hasResponse), client.pointee.pendingCount == 0 else {
            abort(client, upstream)
            return
        }
        closeUpstream(upstream)
        client.pointee.peer = Connection.nobody
        answer(client, fault)
    }
}
