import HTTP
import Provenance
import Runtime

/// How requests go up.
extension Worker where Net: ~Copyable {
    // MARK: - The head

    /// Looks for a complete head in what was read, and begins its exchange. False when more must come.
    mutating func readHead(_ client: End) -> Bool {
        let start = client.pointee.start
        let count = client.pointee.end &- start
        let bytes = UnsafeRawBufferPointer(start: data(client) + start, count: count)
        switch HeadScanner.scan(bytes.bytes, scanned: &client.pointee.scanned) {
        case .malformed(let fault):
            refuse(client, .head(fault))
            return true
        case .incomplete:
            if count >= settings.limits.headBytes {
                refuse(client, .head(.headTooLarge))
            } else if start > 0 {
                data(client).copyMemory(from: data(client) + start, byteCount: count)
                client.pointee.start = 0
                client.pointee.end = count
            }
            return true
        case .complete(2):
            // RFC 9112 section 2.2: an empty line before the request line is ignored; one.
            guard !client.pointee.flags.contains(.hasSkippedLine) else {
                refuse(client, .head(.requestLine))
                return true
            }
            client.pointee.flags.insert(.hasSkippedLine)
            client.pointee.start &+= 2
            client.pointee.scanned = 0
            return true
        case .complete(let length):
            guard length <= settings.limits.headBytes else {
                refuse(client, .head(.headTooLarge))
                return true
            }
            let head = UnsafeRawBufferPointer(rebasing: bytes[..<length])
            switch RequestHead.parse(head.bytes, names: requestNames, into: &fields) {
            case .failure(let fault): refuse(client, .head(fault))
            case .success(let request): admit(client, request, length: length)
            }
            return true
        }
    }

    /// A request is accepted: from here on it gets a response, whatever happens.
    private mutating func admit(_ client: End, _ request: RequestHead, length: Int) {
        counters.add(.requests)
        counters.changeInFlight(by: 1)
        clearDeadline(client)
        note(client, request)
        let start = client.pointee.start
        let bodyStart = start &+ length
        client.pointee.start = bodyStart
        client.pointee.scanned = 0
        client.pointee.phase = .requestBody
        beginBody(client, request.framing)
        let head = data(client) + start
        noteLine(
            client, head, method: request.methodCount, target: Int(request.target.start), end: Int(request.target.end))
        beginNote(client, head, request)
        writeHead(client, request, head)
        guard
            let moved = writer.place(
                head, length: length, firstLine: request.line.count &+ 2, room: BufferPool.room &+ start)
        else {
            refuse(client, .noRoom)
            return
        }
        switch takeBody(client) {
        case .failure(let fault):
            refuse(client, .head(fault))
            return
        case .success: break
        }
        // Whoever sends body bytes at once, or has none, waits for nothing.
        if client.pointee.start > bodyStart || client.pointee.phase == .response {
            client.pointee.flags.remove(.awaitsContinue)
        }
        client.pointee.requestStart = start &+ moved
        client.pointee.requestCount = client.pointee.start &- start &- moved
        dispatch(client, isFresh: false)
    }

    private mutating func note(_ client: End, _ request: RequestHead) {
        var flags = client.pointee.flags
        flags.insert(.isReplayable)
        if request.method == .head { flags.insert(.isHEAD) }
        if request.method.isIdempotent { flags.insert(.isIdempotent) }
        if request.isHTTP10 {
            flags.insert(.isHTTP10)
            // HTTP/1.0 closes unless asked not to (RFC 9112 section 9.3).
            if request.connection.contains(.keepAlive), !request.connection.contains(.close) {
                flags.insert(.keepsAliveInHTTP10)
            } else {
                flags.insert(.closing)
            }
        }
        if request.connection.contains(.close) { flags.insert(.closing) }
        client.pointee.flags = flags
        client.pointee.since = now
        client.pointee.attempt = 0
        client.pointee.status = 0
        client.pointee.isInFlight = true
        client.pointee.sentUpAt = 0
        client.pointee.sentLastAt = 0
    }

    private func beginBody(_ client: End, _ framing: BodyFraming) {
        switch framing {
        case .none, .untilClose: client.pointee.body = .done
        case .length(let count): client.pointee.body = .length(count)
        case .chunked:
            client.pointee.body = .chunked
            client.pointee.chunks = ChunkedBody()
        }
    }

    // MARK: - What is sent up instead

    /// Writes the new first line and the fields that are put in, and marks those that are cut.
    private mutating func writeHead(_ client: End, _ request: RequestHead, _ head: UnsafeRawPointer) {
        writer.begin()
        writeLine(request, head)
        if !request.authority.isEmpty {
            // RFC 9112 section 3.2.2: the authority of an absolute target replaces Host.
            writer.write("Host: ")
            writer.write(head, request.authority)
            writer.write("\r\n")
        }
        var forwarding = Forwarding()
        let keepsUpgrade = wantsUpgrade(request, head)
        if keepsUpgrade { client.pointee.flags.insert(.wantsUpgrade) }
        var namedCount = 0
        if request.connection.contains(.namesFields) { namedCount = findNamed(head, request.line.count &+ 2) }
        var named = 0
        for index in 0..<fields.count {
            let field = fields[index]
            while named < namedCount, self.named[named].start < field.line.start {
                writer.cut(self.named[named])
                named &+= 1
            }
            if cuts(field, request, keepsUpgrade, head, &forwarding, index) { writer.cut(field.line) }
        }
        while named < namedCount {
            writer.cut(self.named[named])
            named &+= 1
        }
        client.pointee.variant = UInt8(forwarding.variant < 0 ? settings.defaultVariant : forwarding.variant)
        if forwarding.expectsContinue { client.pointee.flags.insert(.awaitsContinue) }
        if request.isHTTP10, request.host.isEmpty, request.authority.isEmpty { writeHost(client) }
        writeIdentity(client, forwarding, head)
        writeForwarding(client, request, forwarding, head)
        if keepsUpgrade || forwarding.takesTrailers {
            if forwarding.takesTrailers { writer.write("TE: trailers\r\n") }
            writer.write(
                keepsUpgrade
                    ? (forwarding.takesTrailers ? "Connection: upgrade, TE\r\n" : "Connection: upgrade\r\n")
                    : "Connection: TE\r\n")
        }
    }

    /// What is gathered while the fields of a request are gone through.
    struct Forwarding {
        var requestID = WireRange.none
        var hasTraceparent = false
        var takesTrailers = false
        var hasLength = false
        /// Whether a list that we add to is there already.
        var hasLists = false
        var expectsContinue = false
        var variant = -1
    }

    private mutating func writeLine(_ request: RequestHead, _ head: UnsafeRawPointer) {
        if request.authority.isEmpty {
            writer.write(head, request.line)
        } else {
            // RFC 9112 section 3.2.1: an origin server gets the path and query alone.
            let scheme = head.loadUnaligned(fromByteOffset: Int(request.authority.start) - 4, as: UInt8.self)
            let schemeCount: UInt32 = scheme | 0x20 == 0x73 ? 8 : 7
            writer.write(head, WireRange(start: 0, end: request.authority.start - schemeCount))
            if request.target.isEmpty {
                writer.write(request.method == .options ? "*" : "/")
            } else {
                if head.load(fromByteOffset: Int(request.target.start), as: UInt8.self) == 0x3F { writer.write("/") }
                writer.write(head, request.target)
            }
            writer.write(" HTTP/1.1")
        }
        // RFC 9112 section 2.3: an intermediary sends its own version.
        writer.replace(at: writer.count - 1, by: 0x31)
        writer.write("\r\n")
    }

    /// HTTP/1.0 needs no Host; what is sent up is HTTP/1.1, which does.
    private mutating func writeHost(_ client: End) {
        let upstream = settings.upstreams[settings.variants[Int(client.pointee.variant)].upstream]
        writer.write("Host: ")
        upstream.host.withUnsafeBytes { bytes in
            if let base = bytes.baseAddress { writer.write(base, count: bytes.count) }
        }
        writer.write("\r\n")
    }

    /// Whether the request may switch protocols. Not to HTTP/2: behind that, responses would pass unstamped.
    private func wantsUpgrade(_ request: RequestHead, _ head: UnsafeRawPointer) -> Bool {
        guard request.connection.contains(.upgrade), request.framing == .none, !request.isHTTP10 else { return false }
        var isWanted = false
        for index in 0..<fields.count where fields[index].name == .upgrade {
            let value = fields[index].value
            let bytes = UnsafeRawBufferPointer(start: head, count: Int(value.end)).bytes
            if bytes.hasElement(beginningWith: "h2", in: value) || bytes.hasElement(beginningWith: "http", in: value) {
                return false
            }
            isWanted = !value.isEmpty
        }
        return isWanted
    }

    /// Whether a field is left out, or written anew by us.
    @inline(__always)
    private mutating func cuts(
        _ field: Field, _ request: RequestHead, _ keepsUpgrade: Bool, _ head: UnsafeRawPointer,
        _ forwarding: inout Forwarding, _ index: Int
    ) -> Bool {
        switch field.name {
        case .connection, .keepAlive, .proxyConnection, .http2Settings, .stamp, .lookalike: return true
        case .via, .forwardedFor, .forwardedProto:
            forwarding.hasLists = true
            return true
        case .te:
            let bytes = UnsafeRawBufferPointer(start: head, count: Int(field.value.end))
            if bytes.bytes.hasElement("trailers", in: field.value) { forwarding.takesTrailers = true }
            return true
        case .upgrade: return !keepsUpgrade
        case .host: return !request.authority.isEmpty || request.isHTTP10 && request.host.isEmpty
        case .contentLength:
            // One of several that agree is enough.
            defer { forwarding.hasLength = true }
            return forwarding.hasLength
        case .expect:
            // RFC 9110 section 10.1.1: the client may hold the body back until it is asked for.
            if !request.isHTTP10 { forwarding.expectsContinue = true }
            return request.isHTTP10
        case .requestID:
            guard forwarding.requestID.isEmpty, keepsID(field.value, head) else { return true }
            forwarding.requestID = field.value
            return false
        case .traceparent:
            defer { forwarding.hasTraceparent = true }
            return forwarding.hasTraceparent
        case .route:
            if forwarding.variant < 0 { forwarding.variant = variant(named: field.value, head) }
            return false
        default: return false
        }
    }

    private func keepsID(_ value: WireRange, _ head: UnsafeRawPointer) -> Bool {
        let id = UnsafeRawBufferPointer(start: head + Int(value.start), count: value.count)
        return RequestIdentity.isValid(id) && (settings.trustsMintedIDs || !RequestIdentity.looksMinted(id))
    }

    private func variant(named value: WireRange, _ head: UnsafeRawPointer) -> Int {
        let name = UnsafeRawBufferPointer(start: head + Int(value.start), count: value.count)
        for index in settings.variants.indices {
            let isSame = settings.variants[index].name.utf8.withContiguousStorageIfAvailable { known in
                known.count == name.count && known.elementsEqual(name)
            }
            if isSame == true { return index }
        }
        return settings.defaultVariant
    }

    /// Finds the lines that `Connection` names (RFC 9110 section 7.6.1) and that no rule of ours is about: a client must not be
    /// able to take away what framing depends on.
    mutating func findNamed(_ head: UnsafeRawPointer, _ start: Int) -> Int {
        var count = 0
        var line = start
        var notable = 0
        while true {
            let first = head.load(fromByteOffset: line, as: UInt8.self)
            if first == 0x0D { return count }
            var colon = line
            while head.load(fromByteOffset: colon, as: UInt8.self) != 0x3A { colon &+= 1 }
            var end = colon
            while head.load(fromByteOffset: end, as: UInt8.self) != 0x0A { end &+= 1 }
            end &+= 1
            if notable < fields.count, Int(fields[notable].line.start) == line {
                notable &+= 1
            } else if isNamed(WireRange(line, colon), head) {
                named[count] = WireRange(line, end)
                count &+= 1
            }
            line = end
        }
    }

    private func isNamed(_ name: WireRange, _ head: UnsafeRawPointer) -> Bool {
        for index in 0..<fields.count where fields[index].name == .connection {
            let bytes = UnsafeRawBufferPointer(start: head, count: max(Int(fields[index].value.end), Int(name.end)))
            if bytes.bytes.hasElement(sameAs: name, in: fields[index].value) { return true }
        }
        return false
    }

    // MARK: - Identity and forwarding

    private mutating func writeIdentity(_ client: End, _ forwarding: Forwarding, _ head: UnsafeRawPointer) {
        let row = admittedRow(client)
        client.pointee.serial = latestSerial
        guard let id = client.pointee.buffer else { return }
        if forwarding.requestID.isEmpty {
            // Where the response itself will say what answered, the id must not say something else.
            let suffix = namesManifestInID ? row.flatMap { $0.pointee.hasManifest ? $0 : nil } : nil
            let count = RequestIdentity.mint(milliseconds: wall / 1000, random: &random, suffix: suffix, to: id)
            client.pointee.idCount = UInt8(count)
            writer.write("X-Request-Id: ")
            writer.write(id, count: count)
            writer.write("\r\n")
        } else {
            id.copyMemory(from: head + Int(forwarding.requestID.start), byteCount: forwarding.requestID.count)
            client.pointee.idCount = UInt8(forwarding.requestID.count)
        }
        if !forwarding.hasTraceparent {
            withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { scratch in
                guard let base = scratch.baseAddress else { return }
                RequestIdentity.startTrace(&random, to: base)
                writer.write("traceparent: ")
                writer.write(base, count: RequestIdentity.traceparentCount)
                writer.write("\r\n")
            }
        }
    }

    /// The stamps of the variant, where that is known before the upstream has spoken.
    func admittedRow(_ client: End) -> UnsafePointer<StampRow>? {
        guard settings.variantIsKnown, let base = variants.baseAddress else { return nil }
        return base + Int(client.pointee.variant)
    }

    private mutating func writeForwarding(
        _ client: End, _ request: RequestHead, _ forwarding: Forwarding, _ head: UnsafeRawPointer
    ) {
        writer.write("X-Forwarded-For: ")
        if forwarding.hasLists { writeList(.forwardedFor, head) }
        let count = Int(client.pointee.peerName.count)
        withUnsafeBytes(of: &client.pointee.peerName.bytes) { bytes in
            if let base = bytes.baseAddress { writer.write(base, count: count) }
        }
        guard forwarding.hasLists else {
            writer.write(
                request.isHTTP10
                    ? "\r\nX-Forwarded-Proto: http\r\nVia: 1.0 colophon\r\n"
                    : "\r\nX-Forwarded-Proto: http\r\nVia: 1.1 colophon\r\n")
            return
        }
        writer.write("\r\nX-Forwarded-Proto: ")
        writeList(.forwardedProto, head)
        writer.write("http\r\nVia: ")
        writeList(.via, head)
        writer.write(request.isHTTP10 ? "1.0 colophon\r\n" : "1.1 colophon\r\n")
    }

    /// Writes what the fields of a name hold, each followed by a comma.
    mutating func writeList(_ name: FieldName, _ head: UnsafeRawPointer) {
        for index in 0..<fields.count where fields[index].name == name && !fields[index].value.isEmpty {
            writer.write(head, fields[index].value)
            writer.write(", ")
        }
    }
}
