/// The head of a request, as far as a proxy reads it. Nothing is copied: ranges point into the bytes.
package struct RequestHead: Sendable {
    package enum Method: UInt8, Sendable {
        case get, head, post, put, delete, options, trace, patch, other

        /// Whether a repetition has the effect of one (RFC 9110 section 9.2.2).
        package var isIdempotent: Bool {
            switch self {
            case .get, .head, .put, .delete, .options, .trace: true
            case .post, .patch, .other: false
            }
        }
    }

    package var method = Method.other
    /// How many bytes the method has.
    package var methodCount = 0
    package var isHTTP10 = false
    package var connection: ConnectionOptions = []
    package var framing = BodyFraming.none
    /// The request line without its line end.
    package var line = WireRange.none
    package var target = WireRange.none
    /// The authority of an absolute target, which replaces Host (RFC 9112 section 3.2.2).
    package var authority = WireRange.none
    package var host = WireRange.none

    package init() {}

    /// Reads a complete head, from the request line to the empty line.
    package static func parse(
        _ head: RawSpan, names: borrowing FieldNames, into fields: inout FieldList
    ) -> Result<RequestHead, HeadFault> {
        var request = RequestHead()
        let lineEnd = WireScan.endOfText(head, from: 0)
        guard lineEnd &+ 1 < head.byteCount, head.byte(lineEnd) == 0x0D, head.byte(lineEnd &+ 1) == 0x0A else {
            return .failure(.requestLine)
        }
        request.line = WireRange(0, lineEnd)
        if let fault = request.readLine(head, lineEnd) { return .failure(fault) }
        var facts = FieldFacts()
        if let fault = FieldParser.parse(head, from: lineEnd &+ 2, names: names, into: &fields, &facts) {
            return .failure(fault)
        }
        if let fault = request.frame(head, facts) { return .failure(fault) }
        return .success(request)
    }

    /// RFC 9112 section 3: one space between the parts, no other whitespace in them.
    @inline(__always)
    private mutating func readLine(_ head: RawSpan, _ lineEnd: Int) -> HeadFault? {
        var index = 0
        while index < lineEnd, ByteClass.isToken(head.byte(index)) { index &+= 1 }
        guard index > 0 else { return .method }
        guard index < lineEnd, head.byte(index) == 0x20 else { return .requestLine }
        method = Self.method(head, index)
        methodCount = index
        if method == .other, Framing.equals(head, 0, index, "connect") { return .connectMethod }
        let targetStart = index &+ 1
        var targetEnd = targetStart
        while targetEnd < lineEnd, head.byte(targetEnd) > 0x20 { targetEnd &+= 1 }
        guard targetEnd > targetStart, targetEnd < lineEnd, head.byte(targetEnd) == 0x20 else { return .requestLine }
        guard lineEnd &- targetEnd == 9, head.word(targetEnd &+ 1) & 0x00FF_FFFF_FFFF_FFFF == 0x002E_312F_5054_5448
        else {
            return Self.isVersion(head, targetEnd &+ 1, lineEnd) ? .version : .requestLine
        }
        let minor = head.byte(lineEnd &- 1)
        guard ByteClass.isDigit(minor) else { return .version }
        // RFC 9110 section 2.5: a higher minor version is read as the highest that is known.
        isHTTP10 = minor == 0x30
        return readTarget(head, targetStart, targetEnd)
    }

    @inline(__always)
    private static func method(_ head: RawSpan, _ length: Int) -> Method {
        guard length <= 7, head.byteCount >= 8 else { return .other }
        switch head.word(0) & ((1 as UInt64) << UInt64(length &* 8) &- 1) {
        case 0x54_4547: return .get
        case 0x4441_4548: return .head
        case 0x5453_4F50: return .post
        case 0x54_5550: return .put
        case 0x4554_454C_4544: return .delete
        case 0x53_4E4F_4954_504F: return .options
        case 0x45_4341_5254: return .trace
        case 0x48_4354_4150: return .patch
        default: return .other
        }
    }

    private static func isVersion(_ head: RawSpan, _ start: Int, _ end: Int) -> Bool {
        end &- start == 8 && Framing.equals(head, start, start &+ 5, "http/") && head.byte(start) == 0x48
            && ByteClass.isDigit(head.byte(start &+ 5)) && head.byte(start &+ 6) == 0x2E
            && ByteClass.isDigit(head.byte(start &+ 7))
    }

    /// RFC 9112 section 3.2: origin form, absolute form, or the asterisk for OPTIONS.
    @inline(__always)
    private mutating func readTarget(_ head: RawSpan, _ start: Int, _ end: Int) -> HeadFault? {
        target = WireRange(start, end)
        if head.byte(start) == 0x2F {
            // RFC 9112 section 3.2.1: a fragment is for the client alone.
            for index in start..<end where head.byte(index) == 0x23 { return .target }
            return nil
        }
        if head.byte(start) == 0x2A { return end == start &+ 1 && method == .options ? nil : .target }
        return readAbsolute(head, start, end)
    }

    private mutating func readAbsolute(_ head: RawSpan, _ start: Int, _ end: Int) -> HeadFault? {
        var index = start
        if end - start > 7, Framing.equals(head, start, start + 7, "http://") {
            index = start + 7
        } else if end - start > 8, Framing.equals(head, start, start + 8, "https://") {
            index = start + 8
        } else {
            return .target
        }
        let from = index
        while index < end, ByteClass.isAuthority(head.byte(index)) { index += 1 }
        guard index > from, index == end || head.byte(index) == 0x2F || head.byte(index) == 0x3F,
            Self.isAuthority(head, from, index)
        else { return .target }
        for index in index..<end where head.byte(index) == 0x23 { return .target }
        authority = WireRange(from, index)
        target = WireRange(index, end)
        return nil
    }

    /// `uri-host [ ":" port ]` (RFC 3986 section 3.2): a colon ends the host, unless it stands in brackets, and digits follow it.
    private static func isAuthority(_ head: RawSpan, _ start: Int, _ end: Int) -> Bool {
        var index = start
        if index < end, head.byte(index) == 0x5B {
            while index < end, head.byte(index) != 0x5D { index &+= 1 }
            guard index < end else { return false }
            index &+= 1
            guard index == end || head.byte(index) == 0x3A else { return false }
        }
        while index < end, head.byte(index) != 0x3A {
            let byte = head.byte(index)
            guard ByteClass.isAuthority(byte), byte != 0x5B, byte != 0x5D else { return false }
            index &+= 1
        }
        guard index < end else { return true }
        for digit in (index &+ 1)..<end where !ByteClass.isDigit(head.byte(digit)) { return false }
        return true
    }

    /// RFC 9112 sections 3.2 and 6.3.
    @inline(__always)
    private mutating func frame(_ head: RawSpan, _ facts: FieldFacts) -> HeadFault? {
        connection = facts.connection
        host = facts.host
        if facts.hosts > 1 { return .repeatedHost }
        if facts.hosts == 0, !isHTTP10 { return .missingHost }
        if !Self.isAuthority(head, Int(host.start), Int(host.end)) { return .invalidHost }
        switch facts.codings {
        case .chunked:
            // RFC 9112 section 6.1: HTTP/1.0 has no codings; a length beside one is how requests are smuggled.
            if isHTTP10 { return .codingInHTTP10 }
            if facts.contentLength >= 0 { return .codingAndLength }
            framing = .chunked
        case .none:
            framing = facts.contentLength > 0 ? .length(facts.contentLength) : .none
        }
        return nil
    }
}
