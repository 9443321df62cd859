/// Why bytes are no JSON: where, and what was expected there.
package struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The offset of the byte that was not as it should be.
    package let offset: Int
    /// Counted from 1.
    package let line: Int
    /// Counted from 1, in Unicode scalars.
    package let column: Int
    /// The value in which it happened, when it is not the document itself.
    package let path: String?
    /// What was expected, and what was found.
    package let problem: String

    package var description: String {
        let place = path.map { " (in \($0.onOneLine))" } ?? ""
        return "line \(line), column \(column)\(place): \(problem)"
    }
}

/// The grammar of RFC 8259 over bytes: it moves past one token or value at a time and allocates nothing.
///
/// Both readers stand on it: `JSONParser`, which builds values, and the readers of log lines, which only look.
/// Stricter than the RFC where it leaves a choice: text must be UTF-8, and escapes must name Unicode scalars
/// (no lone surrogates: RFC 7493, 2.1).
package struct JSONSyntax: ~Copyable {
    package var offset: Int
    /// Whether NaN and infinities pass for numbers: they are none, but some write them.
    package var takesNotFinite = false

    /// How deep arrays and objects may nest.
    package static let deepest = 128

    package init(at offset: Int = 0) { self.offset = offset }

    @inline(__always)
    package static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
    }

    @inline(__always)
    package mutating func skipSpace(_ bytes: Span<UInt8>) {
        while offset < bytes.count, Self.isSpace(bytes[offset]) { offset += 1 }
    }

    /// The byte at hand; nil at the end.
    @inline(__always)
    package func peek(_ bytes: Span<UInt8>) -> UInt8? { offset < bytes.count ? bytes[offset] : nil }

    /// Moves past `byte` if it is the next one.
    @inline(__always)
    package mutating func take(_ byte: UInt8, _ bytes: Span<UInt8>) -> Bool {
        guard peek(bytes) == byte else { return false }
        offset += 1
        return true
    }

    /// Moves past a string; answers the range between its quotes, and whether it holds escapes.
    @inline(__always)
    package mutating func skipString(_ bytes: Span<UInt8>) throws(JSONError) -> (content: Range<Int>, isEscaped: Bool) {
        guard take(UInt8(ascii: "\""), bytes) else { throw expected("a string in double quotes", bytes) }
        let start = offset
        offset = bytes.withUnsafeBytes { ByteScan.firstSpecial($0, start..<bytes.count) }
        // Nearly all hold nothing but plain text.
        guard offset < bytes.count, bytes[offset] == UInt8(ascii: "\"") else { return try skipRest(of: start, bytes) }
        offset += 1
        return (start..<offset - 1, false)
    }

    /// Moves past the rest of a string whose content begins at `start`.
    @inline(never)
    private mutating func skipRest(
        of start: Int, _ bytes: Span<UInt8>
    ) throws(JSONError) -> (content: Range<Int>, isEscaped: Bool) {
        var isEscaped = false
        while offset < bytes.count {
            offset = bytes.withUnsafeBytes { ByteScan.firstSpecial($0, offset..<bytes.count) }
            guard offset < bytes.count else { break }
            let byte = bytes[offset]
            switch byte {
            case UInt8(ascii: "\""):
                offset += 1
                return (start..<offset - 1, isEscaped)
            case UInt8(ascii: "\\"):
                isEscaped = true
                try skipEscape(bytes)
            case 0..<0x20:
                throw expected("a string to go on; control characters are written as escapes such as \\n", bytes)
            case 0x80...:
                let length = Self.scalarLength(bytes, at: offset)
                guard length > 0 else { throw failure("the text is not valid UTF-8 here", bytes) }
                offset += length
            default:
                offset += 1
            }
        }
        throw expected("'\"' at the end of the string", bytes)
    }

    /// Moves past `\n`, `\u00e9`, or a pair of surrogates.
    private mutating func skipEscape(_ bytes: Span<UInt8>) throws(JSONError) {
        let start = offset
        offset += 1
        guard let byte = peek(bytes) else { throw expected("an escape after '\\'", bytes) }
        guard byte == UInt8(ascii: "u") else {
            guard Self.unescaped(byte) != nil else {
                throw expected("one of \" \\ / b f n r t u after '\\'", bytes)
            }
            offset += 1
            return
        }
        offset += 1
        let first = try hexUnit(bytes)
        guard first & 0xF800 == 0xD800 else { return }
        guard first < 0xDC00, bytes.hasBytes("\\u", at: offset) else { throw loneSurrogate(start, bytes) }
        offset += 2
        let second = try hexUnit(bytes)
        guard second & 0xFC00 == 0xDC00 else { throw loneSurrogate(start, bytes) }
    }

    private mutating func loneSurrogate(_ start: Int, _ bytes: Span<UInt8>) -> JSONError {
        offset = start
        return failure("half of a surrogate pair, which stands for no character: write both halves", bytes)
    }

    /// The four digits of a `\u` escape.
    mutating func hexUnit(_ bytes: Span<UInt8>) throws(JSONError) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = peek(bytes), let value = hexValue(byte) else {
                throw expected("four hexadecimal digits after '\\u'", bytes)
            }
            unit = unit << 4 | UInt16(value)
            offset += 1
        }
        return unit
    }

    /// What a one-letter escape stands for.
    static func unescaped(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): byte
        case UInt8(ascii: "b"): 0x08
        case UInt8(ascii: "f"): 0x0C
        case UInt8(ascii: "n"): 0x0A
        case UInt8(ascii: "r"): 0x0D
        case UInt8(ascii: "t"): 0x09
        default: nil
        }
    }

    /// Moves past a number; answers where it stood.
    package mutating func skipNumber(_ bytes: Span<UInt8>) throws(JSONError) -> Range<Int> {
        let start = offset
        _ = take(UInt8(ascii: "-"), bytes)
        if takesNotFinite, takeWord("Infinity", bytes) { return start..<offset }
        if peek(bytes) == UInt8(ascii: "I") || peek(bytes) == UInt8(ascii: "N") {
            offset = start
            throw notFinite(bytes)
        }
        if take(UInt8(ascii: "0"), bytes) {
            if let next = peek(bytes), Self.isDigit(next) {
                offset = start
                throw failure("a number does not begin with 0 unless it is 0 or 0.…", bytes)
            }
        } else {
            try skipDigits("a digit", bytes)
        }
        if take(UInt8(ascii: "."), bytes) { try skipDigits("a digit after the decimal point", bytes) }
        if take(UInt8(ascii: "e"), bytes) || take(UInt8(ascii: "E"), bytes) {
            if !take(UInt8(ascii: "+"), bytes) { _ = take(UInt8(ascii: "-"), bytes) }
            try skipDigits("a digit in the exponent", bytes)
        }
        return start..<offset
    }

    private mutating func skipDigits(_ what: String, _ bytes: Span<UInt8>) throws(JSONError) {
        guard let byte = peek(bytes), Self.isDigit(byte) else { throw expected(what, bytes) }
        while let byte = peek(bytes), Self.isDigit(byte) { offset += 1 }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

    /// Moves past `true`, `false` or `null`; answers whether it was there.
    package mutating func takeWord(_ word: StaticString, _ bytes: Span<UInt8>) -> Bool {
        guard bytes.hasBytes(word, at: offset) else { return false }
        offset += word.utf8CodeUnitCount
        return true
    }

    /// Checks that `bytes` are one value with nothing but white space around it, but for names that stand twice.
    package static func check(_ bytes: Span<UInt8>) throws(JSONError) {
        var syntax = JSONSyntax()
        try syntax.skipValue(bytes)
        syntax.skipSpace(bytes)
        guard syntax.offset == bytes.count else { throw syntax.expected("nothing after the value", bytes) }
    }

    /// Moves past one value of any kind, checking all of it but for names that stand twice.
    package mutating func skipValue(_ bytes: Span<UInt8>, depth: Int = 0) throws(JSONError) {
        skipSpace(bytes)
        guard let byte = peek(bytes) else { throw expected("a value", bytes) }
        switch byte {
        case UInt8(ascii: "\""):
            _ = try skipString(bytes)
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            try skipContainer(opened: byte, bytes, depth: depth)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            _ = try skipNumber(bytes)
        default:
            if takeWord("true", bytes) || takeWord("false", bytes) || takeWord("null", bytes) { return }
            guard takesNotFinite, takeWord("NaN", bytes) || takeWord("Infinity", bytes) else { throw noValue(bytes) }
        }
    }

    private mutating func skipContainer(opened: UInt8, _ bytes: Span<UInt8>, depth: Int) throws(JSONError) {
        let isObject = opened == UInt8(ascii: "{")
        let close = isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")
        try enter(depth, bytes)
        skipSpace(bytes)
        if take(close, bytes) { return }
        while true {
            if isObject {
                skipSpace(bytes)
                _ = try skipString(bytes)
                try skipColon(bytes)
            }
            try skipValue(bytes, depth: depth + 1)
            skipSpace(bytes)
            if take(close, bytes) { return }
            guard take(UInt8(ascii: ","), bytes) else { throw expectedNext(isObject: isObject, bytes) }
        }
    }

    /// Moves past the bracket that opens an array or object, unless it would be too deep.
    package mutating func enter(_ depth: Int, _ bytes: Span<UInt8>) throws(JSONError) {
        guard depth < Self.deepest else { throw failure("nested deeper than \(Self.deepest) levels", bytes) }
        offset += 1
    }

    /// Moves past the colon between a name and its value.
    package mutating func skipColon(_ bytes: Span<UInt8>) throws(JSONError) {
        skipSpace(bytes)
        guard take(UInt8(ascii: ":"), bytes) else { throw expected("':' after the name", bytes) }
    }

    /// The length of the UTF-8 sequence at `start`, by the table of RFC 3629, section 4; 0 when it is none.
    package static func scalarLength(_ bytes: Span<UInt8>, at start: Int) -> Int {
        func isNext(_ offset: Int, _ range: ClosedRange<UInt8> = 0x80...0xBF) -> Bool {
            start + offset < bytes.count && range.contains(bytes[start + offset])
        }
        switch bytes[start] {
        case 0..<0x80: return 1
        case 0xC2...0xDF: return isNext(1) ? 2 : 0
        case 0xE0: return isNext(1, 0xA0...0xBF) && isNext(2) ? 3 : 0
        case 0xED: return isNext(1, 0x80...0x9F) && isNext(2) ? 3 : 0
        case 0xE1...0xEF: return isNext(1) && isNext(2) ? 3 : 0
        case 0xF0: return isNext(1, 0x90...0xBF) && isNext(2) && isNext(3) ? 4 : 0
        case 0xF4: return isNext(1, 0x80...0x8F) && isNext(2) && isNext(3) ? 4 : 0
        case 0xF1...0xF3: return isNext(1) && isNext(2) && isNext(3) ? 4 : 0
        default: return 0
        }
    }
}

// MARK: - Errors

extension JSONSyntax {
    /// An error at the byte at hand that says what should have stood there.
    package func expected(_ what: String, _ bytes: Span<UInt8>) -> JSONError {
        failure("expected \(what), found \(found(bytes))", bytes)
    }

    package func expectedNext(isObject: Bool, _ bytes: Span<UInt8>) -> JSONError {
        expected(isObject ? "',' or '}' after a member" : "',' or ']' after an item", bytes)
    }

    /// An error at the byte at hand.
    package func failure(_ problem: String, _ bytes: Span<UInt8>) -> JSONError {
        var line = 1
        var column = 1
        for index in 0..<min(offset, bytes.count) {
            if bytes[index] == 0x0A {
                line += 1
                column = 1
            } else if bytes[index] & 0xC0 != 0x80 {
                column += 1
            }
        }
        return JSONError(offset: offset, line: line, column: column, path: nil, problem: problem)
    }

    /// The error for something that begins no value; Python's extra numbers get advice of their own.
    package func noValue(_ bytes: Span<UInt8>) -> JSONError {
        if bytes.hasBytes("NaN", at: offset) || bytes.hasBytes("Infinity", at: offset) { return notFinite(bytes) }
        return expected("a value", bytes)
    }

    private func notFinite(_ bytes: Span<UInt8>) -> JSONError {
        let word: String =
            if bytes.hasBytes("-Infinity", at: offset) {
                "-Infinity"
            } else {
                bytes.hasBytes("NaN", at: offset) ? "NaN" : bytes.hasBytes("Infinity", at: offset) ? "Infinity" : ""
            }
        guard !word.isEmpty else { return expected("a digit after '-'", bytes) }
        return failure("\(word) is no JSON number: write null, or the string \"\(word)\"", bytes)
    }

    private func found(_ bytes: Span<UInt8>) -> String {
        guard let byte = peek(bytes) else { return "the end of the text" }
        if byte >= 0x20, byte < 0x7F { return "'\(Character(UnicodeScalar(byte)))'" }
        if byte >= 0x80 {
            let length = Self.scalarLength(bytes, at: offset)
            if length > 0 { return "'\(bytes.text(offset..<offset + length).onOneLine)'" }
        }
        switch byte {
        case 0x0A, 0x0D: return "the end of the line"
        case 0x09: return "a tab"
        default: return "the byte 0x\(String(byte, radix: 16))"
        }
    }
}
