import HTTP
import Runtime

/// What the sidecar says by itself, and when time is up.
extension Worker where Net: ~Copyable {
    /// Answers a request that cannot be understood, or came too slowly; nothing that follows on the connection can be trusted.
    mutating func refuse(_ client: End, _ fault: Fault) {
        client.pointee.flags.insert(.closing)
        answer(client, fault)
    }

    /// Answers in the place of a model. There must be no upstream any more.
    mutating func answer(_ client: End, _ fault: Fault) {
        counters.count(fault)
        clearDeadline(client)
        takeBuffer(client)
        // The rest of a request that nobody will read is in the way of the next.
        let isCut = client.pointee.phase == .requestBody
        if isCut || client.pointee.flags.contains(.isHTTP10) || isLast(client) { client.pointee.flags.insert(.closing) }
        client.pointee.phase = .ownResponse
        client.pointee.peer = Connection.nobody
        guard let buffer = client.pointee.buffer else { return }
        let room = UnsafeMutableRawBufferPointer(start: buffer + BufferPool.notesCount, count: BufferPool.room)
        let count = fault.write(
            to: room, requestID: UnsafeRawBufferPointer(start: buffer, count: Int(client.pointee.idCount)),
            date: UnsafeRawBufferPointer(date), closes: client.pointee.flags.contains(.closing),
            isHEAD: client.pointee.flags.contains(.isHEAD))
        // No model spoke, so there is nothing to say of one.
        dropNote(client)
        log(client, status: fault.status, .fault(fault.side))
        switch send(client, buffer + BufferPool.notesCount, count) {
        case .all: _ = endOwnResponse(client)
        case .some: setDeadline(client, after: timeouts.streamIdle)
        case .failed: closeClient(client)
        }
    }

    /// False when the connection is gone.
    mutating func endOwnResponse(_ client: End) -> Bool {
        let generation = client.pointee.generation
        if client.pointee.flags.contains(.closing) {
            linger(client)
        } else {
            awaitRequest(client)
            advance(client)
        }
        return client.pointee.generation == generation
    }

    // MARK: - Time

    /// A deadline has passed.
    mutating func expire(_ end: End) {
        switch end.pointee.role {
        case .client: expireClient(end)
        case .upstream: expireUpstream(end)
        case .free: break
        }
    }

    private mutating func expireClient(_ client: End) {
        switch client.pointee.phase {
        case .requestHead:
            guard client.pointee.end > client.pointee.start else {
                closeClient(client)
                return
            }
            counters.add(.timeouts)
            refuse(client, .requestTimeout)
        case .requestBody:
            counters.add(.timeouts)
            guard let upstream = peer(of: client), !client.pointee.flags.contains(.hasResponse) else {
                abandon(client)
                return
            }
            let isUpload = upstream.pointee.pendingCount > 0
            fail(client, upstream, isUpload ? .uploadTimeout : .bodyTimeout)
        case .lingering:
            closeClient(client)
        default:
            counters.add(.timeouts)
            abandon(client)
        }
    }

    private mutating func expireUpstream(_ upstream: End) {
        guard upstream.pointee.phase != .idle, let client = peer(of: upstream) else {
            closeUpstream(upstream)
            return
        }
        counters.add(.timeouts)
        if upstream.pointee.flags.contains(.isConnecting) {
            connectFailed(upstream, .connectTimeout)
        } else if upstream.pointee.phase == .responseHead {
            fail(client, upstream, .responseTimeout)
        } else {
            abort(client, upstream)
        }
    }
}
