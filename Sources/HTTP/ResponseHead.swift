/// The head of a response, as far as a proxy reads it.
package struct ResponseHead: Sendable {
    package var status = 0
    package var isHTTP10 = false
    package var connection: ConnectionOptions = []
    package var framing = BodyFraming.none
    /// The status line without its line end.
    package var line = WireRange.none

    package init() {}

    package var isInterim: Bool { status < 200 }

    /// Reads a complete head. `answersHEAD` because such a response has no body, whatever its fields say.
    package static func parse(
        _ head: RawSpan, answersHEAD: Bool, names: borrowing FieldNames, into fields: inout FieldList
    ) -> Result<ResponseHead, HeadFault> {
        var response = ResponseHead()
        let lineEnd = WireScan.endOfText(head, from: 0)
        guard lineEnd &+ 1 < head.byteCount, head.byte(lineEnd) == 0x0D, head.byte(lineEnd &+ 1) == 0x0A else {
            return .failure(.statusLine)
        }
        response.line = WireRange(0, lineEnd)
        guard response.readLine(head, lineEnd) else { return .failure(.statusLine) }
        var facts = FieldFacts()
        if let fault = FieldParser.parse(head, from: lineEnd &+ 2, names: names, into: &fields, &facts) {
            return .failure(fault)
        }
        if let fault = response.frame(facts, answersHEAD: answersHEAD) { return .failure(fault) }
        return .success(response)
    }

    /// RFC 9112 section 4; the reason may be missing, and so may the space before it.
    @inline(__always)
    private mutating func readLine(_ head: RawSpan, _ lineEnd: Int) -> Bool {
        guard lineEnd >= 12, head.word(0) & 0x00FF_FFFF_FFFF_FFFF == 0x002E_312F_5054_5448 else { return false }
        let minor = head.byte(7)
        guard ByteClass.isDigit(minor), head.byte(8) == 0x20, lineEnd == 12 || head.byte(12) == 0x20 else {
            return false
        }
        isHTTP10 = minor == 0x30
        guard let number = Framing.decimal(head, WireRange(9, 12)), number >= 100 else { return false }
        status = number
        return true
    }

    /// RFC 9112 section 6.3.
    @inline(__always)
    private mutating func frame(_ facts: FieldFacts, answersHEAD: Bool) -> HeadFault? {
        connection = facts.connection
        if case .chunked = facts.codings {
            if isHTTP10 { return .codingInHTTP10 }
            if facts.contentLength >= 0 { return .codingAndLength }
        }
        // RFC 9112 section 6.3, first rule: these have no body, whatever their fields say.
        if answersHEAD || isInterim || status == 204 || status == 304 {
            framing = .none
        } else if case .chunked = facts.codings {
            framing = .chunked
        } else if facts.contentLength >= 0 {
            framing = facts.contentLength == 0 ? .none : .length(facts.contentLength)
        } else {
            framing = .untilClose
        }
        return nil
    }
}
