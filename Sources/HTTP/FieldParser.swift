/// What the fields of a head say about framing, gathered line by line.
struct FieldFacts {
    var hosts = 0
    var host = WireRange.none
    var contentLength = -1
    var codings = Codings.none
    var connection: ConnectionOptions = []
    /// How many fields `Connection` names.
    var namedFields = 0

    static let mostNamedFields = 32

    enum Codings {
        case none
        case chunked
    }
}

enum FieldParser {
    /// Reads the field lines from `start` to the empty line that ends `head`.
    @inline(__always)
    static func parse(
        _ head: RawSpan, from start: Int, names: borrowing FieldNames, into list: inout FieldList,
        _ facts: inout FieldFacts
    ) -> HeadFault? {
        list.removeAll()
        precondition(head.byteCount >= start &+ 2 && head.byte(head.byteCount &- 2) == 0x0D, "a head without its end")
        var index = start
        let end = head.byteCount &- 2
        while index < end {
            let line = index
            // RFC 9112 section 5.2: a line that begins with a space continues the one before; obsolete, and refused.
            if ByteClass.isSpace(head.byte(line)) { return .foldedField }
            // Nearly all names are short and of letters, digits and dashes: those are read at once.
            var hasUnderscore = false
            index &+= WireScan.plainName(head, from: line)
            if head.byte(index) != 0x3A {
                index = line
                while ByteClass.isToken(head.byte(index)) {
                    hasUnderscore = hasUnderscore || head.byte(index) == 0x5F
                    index &+= 1
                }
            }
            // RFC 9112 section 5.1: no whitespace between the name and the colon; the name is a token of one byte or more.
            guard head.byte(index) == 0x3A, index > line else { return .fieldName }
            guard list.countOne() else { return .tooManyFields }
            let nameLength = index &- line
            var name = names.find(head, line, nameLength)
            if hasUnderscore { name = names.findFolded(head, line, nameLength) }
            let valueStart = index &+ 1
            index = WireScan.endOfText(head, from: valueStart)
            // RFC 9110 section 5.5: CR, LF and NUL are dangerous, other controls invalid.
            guard index &+ 1 < head.byteCount, head.byte(index) == 0x0D, head.byte(index &+ 1) == 0x0A else {
                return .fieldValue
            }
            let valueEnd = index
            index &+= 2
            guard name != .other else { continue }
            let value = trimmed(head, valueStart, valueEnd)
            if let fault = note(name, value, head, &facts) { return fault }
            list.append(Field(name: name, line: WireRange(line, index), value: value))
        }
        return index == end ? nil : .fieldValue
    }

    @inline(__always)
    private static func trimmed(_ head: RawSpan, _ start: Int, _ end: Int) -> WireRange {
        var start = start
        var end = end
        while start < end, ByteClass.isSpace(head.byte(start)) { start &+= 1 }
        while end > start, ByteClass.isSpace(head.byte(end &- 1)) { end &-= 1 }
        return WireRange(start, end)
    }

    @inline(__always)
    private static func note(
        _ name: FieldName, _ value: WireRange, _ head: RawSpan, _ facts: inout FieldFacts
    ) -> HeadFault? {
        switch name {
        case .host:
            facts.hosts &+= 1
            facts.host = value
        case .contentLength:
            // RFC 9110 section 8.6: digits only; a list of them is refused, a repeated field must agree.
            guard let length = Framing.decimal(head, value) else { return .contentLength }
            if facts.contentLength >= 0, facts.contentLength != length { return .differingContentLengths }
            facts.contentLength = length
        case .transferEncoding:
            return Framing.codings(head, value, &facts)
        case .connection, .proxyConnection:
            Framing.connection(head, value, &facts, isReal: name == .connection)
            // Each costs a comparison with every field.
            if facts.namedFields > FieldFacts.mostNamedFields { return .connectionOptions }
        default: break
        }
        return nil
    }
}

enum Framing {
    /// A number of one digit to eighteen: what cannot overflow.
    @inline(__always)
    static func decimal(_ head: RawSpan, _ value: WireRange) -> Int? {
        guard value.count >= 1, value.count <= 18 else { return nil }
        var number = 0
        for index in Int(value.start)..<Int(value.end) {
            let digit = head.byte(index) &- 0x30
            guard digit <= 9 else { return nil }
            number = number &* 10 &+ Int(digit)
        }
        return number
    }

    /// RFC 9112 section 6.1: `chunked` once, and last. RFC 9112 section 6.1 again: what is not understood is 501.
    static func codings(_ head: RawSpan, _ value: WireRange, _ facts: inout FieldFacts) -> HeadFault? {
        var fault: HeadFault?
        var isEmpty = true
        forEachElement(head, value) { start, end in
            guard fault == nil else { return }
            isEmpty = false
            if case .chunked = facts.codings {
                fault = .chunkedNotLast
            } else if equals(head, start, end, "chunked") {
                facts.codings = .chunked
            } else {
                fault = coding(head, start, end)
            }
        }
        return fault ?? (isEmpty ? .transferEncoding : nil)
    }

    private static func coding(_ head: RawSpan, _ start: Int, _ end: Int) -> HeadFault {
        for index in start..<end where !ByteClass.isToken(head.byte(index)) { return .transferEncoding }
        return .unknownCoding
    }

    /// RFC 9110 section 7.6.1.
    static func connection(_ head: RawSpan, _ value: WireRange, _ facts: inout FieldFacts, isReal: Bool) {
        var found = facts.connection
        var named = 0
        forEachElement(head, value) { start, end in
            if equals(head, start, end, "close") {
                found.insert(.close)
            } else if equals(head, start, end, "keep-alive") {
                found.insert(.keepAlive)
            } else if equals(head, start, end, "upgrade") {
                if isReal { found.insert(.upgrade) }
            } else if !equals(head, start, end, "te") {
                if isReal {
                    found.insert(.namesFields)
                    named += 1
                }
            }
        }
        facts.connection = found
        facts.namedFields += named
    }

    /// Calls `body` with each element of a comma-separated list, spaces and empty elements left out
    /// (RFC 9110 section 5.6.1).
    @inline(__always)
    static func forEachElement(_ head: RawSpan, _ value: WireRange, _ body: (Int, Int) -> Void) {
        var index = Int(value.start)
        let limit = Int(value.end)
        while index < limit {
            var end = index
            while end < limit, head.byte(end) != 0x2C { end &+= 1 }
            var first = index
            var last = end
            while first < last, ByteClass.isSpace(head.byte(first)) { first &+= 1 }
            while last > first, ByteClass.isSpace(head.byte(last &- 1)) { last &-= 1 }
            if first < last { body(first, last) }
            index = end &+ 1
        }
    }

    /// Whether the bytes are `literal`, which is in lower case, in any case.
    @inline(__always)
    static func equals(_ head: RawSpan, _ start: Int, _ end: Int, _ literal: StaticString) -> Bool {
        guard end &- start == literal.utf8CodeUnitCount else { return false }
        for index in 0..<literal.utf8CodeUnitCount {
            let byte = head.byte(start &+ index)
            let lower = byte &- 0x41 <= 25 ? byte | 0x20 : byte
            if lower != literal.utf8Start[index] { return false }
        }
        return true
    }
}

extension RawSpan {
    /// Whether an element of the comma-separated list in `range` is `literal`, which is in lower case.
    package func hasElement(_ literal: StaticString, in range: WireRange) -> Bool {
        var isFound = false
        Framing.forEachElement(self, range) { start, end in
            isFound = isFound || Framing.equals(self, start, end, literal)
        }
        return isFound
    }

    /// Whether an element of the list in `range` begins with `literal`, which is in lower case.
    package func hasElement(beginningWith literal: StaticString, in range: WireRange) -> Bool {
        var isFound = false
        Framing.forEachElement(self, range) { start, end in
            let length = literal.utf8CodeUnitCount
            isFound = isFound || end - start >= length && Framing.equals(self, start, start + length, literal)
        }
        return isFound
    }

    /// Whether the bytes of `range` are `literal`, which is in lower case, in any case.
    package func equals(_ literal: StaticString, in range: WireRange) -> Bool {
        Framing.equals(self, Int(range.start), Int(range.end), literal)
    }

    /// Whether an element of the list in `range` is the name that stands at `name`, in any case.
    package func hasElement(sameAs name: WireRange, in range: WireRange) -> Bool {
        var isFound = false
        Framing.forEachElement(self, range) { start, end in
            guard !isFound, end - start == name.count else { return }
            for offset in 0..<name.count
            where byte(start + offset) | 0x20 != byte(Int(name.start) + offset) | 0x20 { return }
            isFound = true
        }
        return isFound
    }
}
