import HTTP
import Runtime

/// Bodies as they pass, and those of requests on their way up.
extension Worker where Net: ~Copyable {
    /// Takes as much of the body as was read: moves `start` behind it. Changes the phase when the request is complete.
    mutating func takeBody(_ end: End) -> Result<Void, HeadFault> {
        let available = end.pointee.end &- end.pointee.start
        switch end.pointee.body {
        case .done: break
        case .length(let remaining):
            let count = min(remaining, available)
            end.pointee.start &+= count
            end.pointee.body = count == remaining ? .done : .length(remaining &- count)
        case .chunked:
            let bytes = UnsafeRawBufferPointer(start: data(end) + end.pointee.start, count: available)
            switch end.pointee.chunks.read(bytes.bytes) {
            case .failure(let fault): return .failure(fault)
            case .success(let count):
                end.pointee.start &+= count
                if end.pointee.chunks.isAtTrailers {
                    end.pointee.body = .trailers
                    end.pointee.scanned = 0
                    takeEmptyTrailers(end)
                }
            }
        case .trailers: break
        case .untilClose: end.pointee.start = end.pointee.end
        }
        if case .done = end.pointee.body, end.pointee.phase == .requestBody { end.pointee.phase = .response }
        return .success(())
    }

    /// Nearly all bodies have no trailers: then the empty line goes with the last chunk.
    @inline(__always)
    private func takeEmptyTrailers(_ end: End) {
        let start = end.pointee.start
        guard end.pointee.end &- start >= 2,
            data(end).loadUnaligned(fromByteOffset: start, as: UInt16.self) == 0x0A0D
        else { return }
        end.pointee.start &+= 2
        end.pointee.body = .done
    }

    /// Reads more of a request's body, and passes it on.
    mutating func readBody(_ client: End) -> Bool {
        guard let upstream = peer(of: client), upstream.pointee.pendingCount == 0 else { return false }
        if hasUnreadTrailers(client) { return readTrailers(client, upstream) }
        guard client.pointee.flags.contains(.readable) else { return false }
        takeBuffer(client)
        guard makeRoom(client) else {
            failRequest(client, .trailer)
            return false
        }
        client.pointee.flags.remove(.isReplayable)
        switch receive(client) {
        case .bytes: break
        case .nothing: return false
        case .ended, .failed:
            abandon(client)
            return false
        }
        stopAwaitingContinue(client, upstream)
        awaitBody(client)
        let from = client.pointee.start
        if case .trailers = client.pointee.body { return readTrailers(client, upstream) }
        if case .failure(let fault) = takeBody(client) {
            failRequest(client, fault)
            return false
        }
        if client.pointee.phase == .response { completeRequest(client, upstream) }
        client.pointee.sentLastAt = now
        sendUp(client, upstream, from: from, count: client.pointee.start &- from)
        return true
    }

    /// Waits for more of the body; but for a client that is slow to take something, for that.
    @inline(__always)
    mutating func awaitBody(_ client: End) {
        if client.pointee.pendingCount == 0 { setDeadline(client, after: timeouts.requestBody) }
    }

    /// Empties the buffer of what was passed on. False when a trailer section fills it.
    @inline(__always)
    mutating func makeRoom(_ end: End) -> Bool {
        guard case .trailers = end.pointee.body else {
            end.pointee.start = 0
            end.pointee.end = 0
            return true
        }
        let count = end.pointee.end &- end.pointee.start
        if end.pointee.start > 0 {
            data(end).copyMemory(from: data(end) + end.pointee.start, byteCount: count)
            end.pointee.start = 0
            end.pointee.end = count
        }
        return count < settings.limits.headBytes
    }

    /// Whether a trailer section begins in what was already read.
    @inline(__always)
    func hasUnreadTrailers(_ end: End) -> Bool {
        guard case .trailers = end.pointee.body else { return false }
        return end.pointee.scanned < end.pointee.end &- end.pointee.start
    }

    /// Looks for the end of the trailer section; takes out what nobody may say there.
    private mutating func readTrailers(_ client: End, _ upstream: End) -> Bool {
        switch takeTrailers(client) {
        case .failure(let fault):
            failRequest(client, fault)
            return false
        case .success(nil): return true
        case .success(let section?):
            // What is sent now does not stand right behind the rest.
            client.pointee.flags.remove(.isReplayable)
            client.pointee.phase = .response
            completeRequest(client, upstream)
            client.pointee.sentLastAt = now
            sendUp(client, upstream, from: section.lowerBound, count: section.count)
            return true
        }
    }

    /// The trailer section of what is being read, without what must not stand in one; nil until all of it is there.
    mutating func takeTrailers(_ end: End) -> Result<Range<Int>?, HeadFault> {
        let start = end.pointee.start
        let bytes = UnsafeRawBufferPointer(start: data(end) + start, count: end.pointee.end &- start)
        switch HeadScanner.scan(bytes.bytes, scanned: &end.pointee.scanned) {
        case .malformed: return .failure(.trailer)
        case .incomplete: return .success(nil)
        case .complete(let length):
            guard length <= settings.limits.headBytes else { return .failure(.trailer) }
            let section = UnsafeRawBufferPointer(rebasing: bytes[..<length])
            let names = end.pointee.role == .client ? requestNames : responseNames
            if let fault = TrailerSection.parse(section.bytes, names: names, into: &fields) { return .failure(fault) }
            writer.begin()
            // RFC 9110 section 6.5.1: nothing about framing, routing or the message itself belongs into trailers.
            for index in 0..<fields.count { writer.cut(fields[index].line) }
            guard let moved = writer.place(data(end) + start, length: length, firstLine: 0, room: 0) else {
                return .failure(.trailer)
            }
            end.pointee.start = start &+ length
            end.pointee.scanned = 0
            end.pointee.body = .done
            return .success((start &+ moved)..<(start &+ length))
        }
    }

    /// The last byte of the request was read: now the upstream is waited for.
    mutating func completeRequest(_ client: End, _ upstream: End) {
        // While the client is slow to take something, that is what it is waited for.
        guard client.pointee.pendingCount == 0 else { return }
        clearDeadline(client)
        if upstream.pointee.phase == .responseHead, !upstream.pointee.flags.contains(.isConnecting) {
            setDeadline(upstream, after: timeouts.responseHead)
        }
    }

    /// The body of a request turned out to be malformed when its head was already sent up.
    private mutating func failRequest(_ client: End, _ fault: HeadFault) {
        guard !client.pointee.flags.contains(.hasResponse), client.pointee.pendingCount == 0 else {
            abandon(client)
            return
        }
        if let upstream = peer(of: client) { closeUpstream(upstream) }
        client.pointee.peer = Connection.nobody
        refuse(client, .head(fault))
    }
}
