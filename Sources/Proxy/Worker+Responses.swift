import HTTP
import Provenance
import Runtime

/// How responses come down.
extension Worker where Net: ~Copyable {
    /// Reads what the upstream says for as long as there is something and the client takes it.
    mutating func readResponse(_ upstream: End) {
        let generation = upstream.pointee.generation
        while upstream.pointee.generation == generation, readStep(upstream) {}
    }

    private mutating func readStep(_ upstream: End) -> Bool {
        if upstream.pointee.phase == .tunnel { return pump(from: upstream) }
        if upstream.pointee.phase == .idle {
            // Between exchanges an upstream has nothing to say: it closes, or it sent more than it declared.
            if upstream.pointee.flags.contains(.readable) { closeUpstream(upstream) }
            return false
        }
        guard upstream.pointee.phase != .responseWritten, let client = peer(of: upstream),
            client.pointee.pendingCount == 0
        else { return false }
        if upstream.pointee.phase == .responseHead,
            upstream.pointee.scanned < upstream.pointee.end &- upstream.pointee.start
        {
            return readHead(of: upstream, for: client)
        }
        if hasUnreadTrailers(upstream) { return passBody(client, upstream) }
        guard upstream.pointee.flags.contains(.readable) else { return false }
        takeBuffer(upstream)
        let isBody = upstream.pointee.phase == .responseBody
        if !isBody, upstream.pointee.start == upstream.pointee.end { emptyBuffer(upstream) }
        if isBody, !makeRoom(upstream) {
            abort(client, upstream)
            return false
        }
        switch receive(upstream) {
        case .bytes:
            upstream.pointee.flags.insert(.hasAnswered)
            guard isBody else { return true }
            setDeadline(upstream, after: timeouts.streamIdle)
            return passBody(client, upstream)
        case .nothing:
            return false
        case .ended:
            if isBody, case .untilClose = upstream.pointee.body {
                finish(client, upstream)
            } else {
                upstreamFailed(upstream)
            }
            return false
        case .failed:
            upstreamFailed(upstream)
            return false
        }
    }

    // MARK: - The head

    private mutating func readHead(of upstream: End, for client: End) -> Bool {
        let start = upstream.pointee.start
        let count = upstream.pointee.end &- start
        let bytes = UnsafeRawBufferPointer(start: data(upstream) + start, count: count)
        switch HeadScanner.scan(bytes.bytes, scanned: &upstream.pointee.scanned) {
        case .malformed(let fault):
            fail(client, upstream, .upstreamMalformed(fault))
            return false
        case .incomplete:
            if count >= settings.limits.headBytes {
                fail(client, upstream, .upstreamMalformed(.headTooLarge))
                return false
            }
            if start > 0 {
                data(upstream).copyMemory(from: data(upstream) + start, byteCount: count)
                upstream.pointee.start = 0
                upstream.pointee.end = count
            }
            net.acknowledge(upstream.pointee.descriptor)
            return true
        case .complete(let length):
            guard length <= settings.limits.headBytes else {
                fail(client, upstream, .upstreamMalformed(.headTooLarge))
                return false
            }
            let head = UnsafeRawBufferPointer(rebasing: bytes[..<length])
            let answersHEAD = client.pointee.flags.contains(.isHEAD)
            switch ResponseHead.parse(head.bytes, answersHEAD: answersHEAD, names: responseNames, into: &fields) {
            case .failure(let fault):
                fail(client, upstream, .upstreamMalformed(fault))
                return false
            case .success(let response):
                return pass(response, length: length, from: upstream, to: client)
            }
        }
    }

    private mutating func pass(_ response: ResponseHead, length: Int, from upstream: End, to client: End) -> Bool {
        if response.status == 101 {
            guard client.pointee.flags.contains(.wantsUpgrade), client.pointee.phase == .response else {
                fail(client, upstream, .upstreamSwitched)
                return false
            }
        }
        let start = upstream.pointee.start
        let head = data(upstream) + start
        upstream.pointee.start = start &+ length
        upstream.pointee.scanned = 0
        if response.isInterim, response.status != 101, client.pointee.flags.contains(.isHTTP10) {
            // RFC 9110 section 15.2: HTTP/1.0 knows no interim responses.
            return true
        }
        if !response.isInterim || response.status == 101 { begin(response, client, upstream) }
        writeHead(response, client, upstream, head)
        let room = BufferPool.room &+ start
        guard let moved = writer.place(head, length: length, firstLine: response.line.count &+ 2, room: room) else {
            fail(client, upstream, .noRoom)
            return false
        }
        let from = start &+ moved
        if response.isInterim, response.status != 101 {
            counters.countResponse(response.status)
            if response.status == 100 { stopAwaitingContinue(client, upstream) }
            return send(client, upstream, from: from, count: upstream.pointee.start &- from)
        }
        // What is counted is the body.
        client.pointee.sent = from &- upstream.pointee.start
        let isAlone = upstream.pointee.start == upstream.pointee.end
        if response.status != 101, case .failure = takeResponseBody(upstream, for: client) {
            fail(client, upstream, .upstreamMalformed(.chunkSize))
            return false
        }
        client.pointee.flags.insert(.hasResponse)
        // A head that came alone: its body may wait for this.
        if isAlone, !upstream.pointee.body.isDone { net.acknowledge(upstream.pointee.descriptor) }
        // It may answer while the request is still being sent.
        let sentUpAt = client.pointee.sentUpAt == 0 ? now : client.pointee.sentUpAt
        let before = sentUpAt &- client.pointee.since
        counters.countAnswer(
            variant: Int(client.pointee.answered), status: response.status, client.pointee.claim ?? .unknown,
            microseconds: now &- max(sentUpAt, client.pointee.sentLastAt))
        defer { counters.countOverhead(microseconds: before &+ net.monotonic() &- now) }
        return response.status == 101
            ? beginTunnel(client, upstream, from: from) : sendBody(client, upstream, from: from)
    }

    /// While draining, the response to the last request that was read says that it is the last.
    func isLast(_ client: End) -> Bool { isDraining && client.pointee.start == client.pointee.end }

    /// Settles how the body ends, and what becomes of both connections after it.
    private mutating func begin(_ response: ResponseHead, _ client: End, _ upstream: End) {
        upstream.pointee.phase = .responseBody
        client.pointee.status = response.status
        clearDeadline(upstream)
        switch response.framing {
        case .none: upstream.pointee.body = .done
        case .length(let count): upstream.pointee.body = .length(count)
        case .chunked:
            upstream.pointee.body = .chunked
            upstream.pointee.chunks = ChunkedBody()
            if client.pointee.flags.contains(.isHTTP10) {
                // RFC 9112 section 7.1: chunks are for HTTP/1.1; the end is then the end of the connection.
                upstream.pointee.flags.formUnion([.unwrapsChunks, .closing])
                client.pointee.flags.formUnion([.closing, .endsByClosing])
            }
        case .untilClose:
            upstream.pointee.body = .untilClose
            upstream.pointee.flags.insert(.closing)
            client.pointee.flags.formUnion([.closing, .endsByClosing])
        }
        let keepsHTTP10 = response.isHTTP10 && response.connection.contains(.keepAlive)
        if response.connection.contains(.close) || response.isHTTP10 && !keepsHTTP10 {
            upstream.pointee.flags.insert(.closing)
        }
        // Nobody can know whether the rest of the request will still be taken.
        if client.pointee.phase == .requestBody || isLast(client) { client.pointee.flags.insert(.closing) }
    }

    // MARK: - What is sent down instead

    /// What is gathered while the fields of a response are gone through.
    struct Answered {
        var by = WireRange.none
        var hasBy = false
        var hasDate = false
        var isAged = false
        var hasLength = false
        var hasVia = false
    }

    private mutating func writeHead(
        _ response: ResponseHead, _ client: End, _ upstream: End, _ head: UnsafeRawPointer
    ) {
        writer.begin()
        writer.write(head, response.line)
        writer.replace(at: 7, by: 0x31)
        writer.write("\r\n")
        var answered = Answered()
        var namedCount = 0
        if response.connection.contains(.namesFields) { namedCount = findNamed(head, response.line.count &+ 2) }
        var next = 0
        let isForHTTP10 = client.pointee.flags.contains(.isHTTP10)
        for index in 0..<fields.count {
            let field = fields[index]
            while next < namedCount, named[next].start < field.line.start {
                writer.cut(named[next])
                next &+= 1
            }
            if cuts(field, response, isForHTTP10: isForHTTP10, head, &answered) { writer.cut(field.line) }
        }
        while next < namedCount {
            writer.cut(named[next])
            next &+= 1
        }
        guard !response.isInterim || response.status == 101 else { return }
        writeStamp(response, client, answered, head)
        noteResponse(response, client, head)
        if let id = client.pointee.buffer {
            writer.write("X-Request-Id: ")
            writer.write(id, count: Int(client.pointee.idCount))
            writer.write("\r\n")
        }
        if !answered.hasDate, let base = date.baseAddress {
            // RFC 9110 section 6.6.1: who forwards a response without a date adds one.
            writer.write("Date: ")
            writer.write(base, count: HTTPDate.length)
            writer.write("\r\n")
        }
        writer.write("Via: ")
        if answered.hasVia { writeList(.via, head) }
        writer.write(response.isHTTP10 ? "1.0 colophon\r\n" : "1.1 colophon\r\n")
        writeConnection(response, client)
    }

    @inline(__always)
    private mutating func cuts(
        _ field: Field, _ response: ResponseHead, isForHTTP10: Bool, _ head: UnsafeRawPointer,
        _ answered: inout Answered
    ) -> Bool {
        switch field.name {
        case .connection, .keepAlive, .proxyConnection, .te, .stamp, .requestID: return true
        case .via:
            answered.hasVia = true
            return !response.isInterim || response.status == 101
        // RFC 9110 section 15.5.22: 426 says in Upgrade what it would take.
        case .upgrade: return response.status != 101 && response.status != 426
        case .transferEncoding: return isForHTTP10 || response.isInterim || response.status == 204
        case .contentLength:
            // RFC 9110 section 8.6: not in 1xx and 204; one of several that agree is enough.
            defer { answered.hasLength = true }
            return answered.hasLength || response.isInterim || response.status == 204
        case .date:
            answered.hasDate = true
            return false
        case .age:
            let isZero =
                field.value.count == 1 && head.load(fromByteOffset: Int(field.value.start), as: UInt8.self) == 0x30
            if !isZero { answered.isAged = true }
            return false
        case .answeredBy:
            // Said twice, it says nothing.
            answered.by = answered.hasBy ? .none : field.value
            answered.hasBy = true
            return answeredByIsOurs
        default: return false
        }
    }

    private mutating func writeConnection(_ response: ResponseHead, _ client: End) {
        if response.status == 101 {
            writer.write("Connection: upgrade\r\n")
        } else if client.pointee.flags.contains(.closing) {
            writer.write("Connection: close\r\n")
        } else if client.pointee.flags.contains(.keepsAliveInHTTP10) {
            writer.write("Connection: keep-alive\r\n")
        }
    }

    // MARK: - The body

    /// Whoever sends so little at once may hold the next piece back until it is known that this one has come.
    private static var smallPiece: Int { 1400 }

    /// Takes what was read of the body: moves `start` behind it.
    private mutating func takeResponseBody(_ upstream: End, for client: End) -> Result<Void, HeadFault> {
        let from = upstream.pointee.start
        let result = moveResponseBody(upstream)
        if client.pointee.note != nil, case .success = result { noteBody(client, upstream, from: from) }
        return result
    }

    @inline(__always)
    private mutating func moveResponseBody(_ upstream: End) -> Result<Void, HeadFault> {
        guard upstream.pointee.flags.contains(.unwrapsChunks), case .chunked = upstream.pointee.body else {
            return takeBody(upstream)
        }
        let base = data(upstream) + upstream.pointee.start
        let bytes = UnsafeRawBufferPointer(start: base, count: upstream.pointee.end &- upstream.pointee.start)
        var cursor = 0
        var count = 0
        while true {
            switch upstream.pointee.chunks.nextPayload(bytes.bytes, from: cursor) {
            case .failure(let fault): return .failure(fault)
            case .success(let payload):
                guard !payload.isEmpty else {
                    // An HTTP/1.0 client gets no trailers.
                    if upstream.pointee.chunks.isAtTrailers { upstream.pointee.body = .done }
                    upstream.pointee.start &+= count
                    return .success(())
                }
                (base + count).copyMemory(from: base + payload.lowerBound, byteCount: payload.count)
                count &+= payload.count
                cursor = payload.upperBound
            }
        }
    }

    /// Passes on what was just read of the body.
    private mutating func passBody(_ client: End, _ upstream: End) -> Bool {
        let from = upstream.pointee.start
        if case .trailers = upstream.pointee.body {
            switch takeTrailers(upstream) {
            case .failure:
                abort(client, upstream)
                return false
            case .success(nil): return true
            case .success(let section?): return sendBody(client, upstream, from: section.lowerBound)
            }
        }
        if case .failure = takeResponseBody(upstream, for: client) {
            abort(client, upstream)
            return false
        }
        if upstream.pointee.end &- from < Self.smallPiece, !upstream.pointee.body.isDone {
            net.acknowledge(upstream.pointee.descriptor)
        }
        return sendBody(client, upstream, from: from)
    }

    /// Sends what stands from `from` to `start`, and ends the exchange with its last byte.
    @inline(__always)
    private mutating func sendBody(_ client: End, _ upstream: End, from: Int) -> Bool {
        guard case .done = upstream.pointee.body else {
            return send(client, upstream, from: from, count: upstream.pointee.start &- from)
        }
        if upstream.pointee.start < upstream.pointee.end, !upstream.pointee.flags.contains(.unwrapsChunks) {
            // More than was declared: whatever that is, it belongs to no request of ours.
            counters.add(.surplus)
            upstream.pointee.flags.insert(.closing)
        }
        upstream.pointee.phase = .responseWritten
        // Before the client has its last byte: whoever has the answer can rely on its line.
        endExchange(client)
        guard send(client, upstream, from: from, count: upstream.pointee.start &- from) else { return false }
        finish(client, upstream)
        return false
    }

    /// Sends bytes of the upstream's buffer down. False when the client cannot take all of them now, or is gone.
    @inline(__always)
    private mutating func send(_ client: End, _ upstream: End, from: Int, count: Int) -> Bool {
        guard count > 0 else { return true }
        client.pointee.sent &+= count
        switch send(client, data(upstream) + from, count) {
        case .all: return true
        case .some:
            clearDeadline(upstream)
            setDeadline(client, after: timeouts.streamIdle)
            return false
        case .failed:
            abandon(client)
            return false
        }
    }

    // MARK: - End

    /// Whether nothing stands in the way of another exchange on the connection.
    @inline(__always)
    private mutating func isReusable(_ upstream: End) -> Bool {
        let unfit: Connection.Flags = [.closing, .hangup, .ended, .refusesBytes]
        guard upstream.pointee.flags.isDisjoint(with: unfit) else { return false }
        guard upstream.pointee.flags.contains(.readable) else { return true }
        // The last read filled the buffer: what stands behind it would be taken for the next response.
        guard net.isQuietAndOpen(upstream.pointee.descriptor) else { return false }
        upstream.pointee.flags.remove(.readable)
        return true
    }

    /// The last byte of the response is written.
    mutating func finish(_ client: End, _ upstream: End) {
        let isWhole = client.pointee.phase == .response && upstream.pointee.pendingCount == 0
        endExchange(client)
        log(client, status: client.pointee.status, .whole)
        if isWhole, isReusable(upstream) { park(upstream) } else { closeUpstream(upstream) }
        client.pointee.peer = Connection.nobody
        guard isWhole, !client.pointee.flags.contains(.closing) else {
            linger(client)
            return
        }
        awaitRequest(client)
        advance(client)
    }
}
