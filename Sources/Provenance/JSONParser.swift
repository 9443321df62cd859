/// Builds a `JSON` value from bytes, or says where they are no JSON.
package struct JSONParser: ~Copyable {
    private var syntax = JSONSyntax()
    /// Where the value at hand stands; left as it is when something fails, so that the error can name it.
    private var path = JSONPath()

    private init() {}

    /// The one value that `bytes` hold, with nothing but white space around it.
    package static func parse(_ bytes: [UInt8]) throws(JSONError) -> JSON {
        try parse(bytes.span)
    }

    package static func parse(_ text: String) throws(JSONError) -> JSON {
        try parse(Array(text.utf8))
    }

    package static func parse(_ bytes: Span<UInt8>) throws(JSONError) -> JSON {
        var parser = JSONParser()
        do throws(JSONError) {
            return try parser.document(bytes)
        } catch {
            throw parser.placed(error)
        }
    }

    private mutating func document(_ bytes: Span<UInt8>) throws(JSONError) -> JSON {
        if bytes.hasBytes("\u{FEFF}", at: 0) {
            throw syntax.failure("a byte order mark stands before the text: save the file as plain UTF-8", bytes)
        }
        let value = try value(bytes, depth: 0)
        syntax.skipSpace(bytes)
        guard syntax.offset == bytes.count else { throw syntax.expected("nothing after the value", bytes) }
        return value
    }

    private func placed(_ error: JSONError) -> JSONError {
        guard !path.isRoot else { return error }
        return JSONError(
            offset: error.offset, line: error.line, column: error.column, path: path.description, problem: error.problem
        )
    }

    private mutating func value(_ bytes: Span<UInt8>, depth: Int) throws(JSONError) -> JSON {
        syntax.skipSpace(bytes)
        guard let byte = syntax.peek(bytes) else { throw syntax.expected("a value", bytes) }
        switch byte {
        case UInt8(ascii: "{"): return .object(try object(bytes, depth: depth))
        case UInt8(ascii: "["): return .array(try array(bytes, depth: depth))
        case UInt8(ascii: "\""): return .string(try string(bytes))
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            return .number(bytes.text(try syntax.skipNumber(bytes)))
        default:
            if syntax.takeWord("true", bytes) { return .bool(true) }
            if syntax.takeWord("false", bytes) { return .bool(false) }
            if syntax.takeWord("null", bytes) { return .null }
            throw syntax.noValue(bytes)
        }
    }

    private mutating func string(_ bytes: Span<UInt8>) throws(JSONError) -> String {
        let (content, isEscaped) = try syntax.skipString(bytes)
        return isEscaped ? JSONSyntax.decoded(bytes, content) : bytes.text(content)
    }

    private mutating func array(_ bytes: Span<UInt8>, depth: Int) throws(JSONError) -> [JSON] {
        try syntax.enter(depth, bytes)
        var items: [JSON] = []
        syntax.skipSpace(bytes)
        if syntax.take(UInt8(ascii: "]"), bytes) { return items }
        while true {
            path.enter(index: items.count)
            items.append(try value(bytes, depth: depth + 1))
            path.leave()
            syntax.skipSpace(bytes)
            if syntax.take(UInt8(ascii: "]"), bytes) { return items }
            guard syntax.take(UInt8(ascii: ","), bytes) else { throw syntax.expectedNext(isObject: false, bytes) }
        }
    }

    private mutating func object(_ bytes: Span<UInt8>, depth: Int) throws(JSONError) -> JSONObject {
        try syntax.enter(depth, bytes)
        var names = NameSet()
        var members: [JSONObject.Member] = []
        syntax.skipSpace(bytes)
        if syntax.take(UInt8(ascii: "}"), bytes) { return JSONObject() }
        while true {
            syntax.skipSpace(bytes)
            let start = syntax.offset
            let name = try string(bytes)
            guard names.insert(name, among: members) else {
                syntax.offset = start
                throw syntax.failure(
                    "the name \(JSONWriter.compact.text(.string(name))) stands twice in one object", bytes)
            }
            try syntax.skipColon(bytes)
            path.enter(name: name)
            members.append(JSONObject.Member(name, try value(bytes, depth: depth + 1)))
            path.leave()
            syntax.skipSpace(bytes)
            if syntax.take(UInt8(ascii: "}"), bytes) { return JSONObject(members) }
            guard syntax.take(UInt8(ascii: ","), bytes) else { throw syntax.expectedNext(isObject: true, bytes) }
        }
    }
}

/// The names seen in one object: compared one by one while they are few, hashed when they are many.
private struct NameSet {
    private var hashed: Set<ByteKey> = []

    /// Whether `name` is new.
    mutating func insert(_ name: String, among members: [JSONObject.Member]) -> Bool {
        if members.count < 16 { return !members.contains { $0.name.hasSameBytes(as: name) } }
        if hashed.isEmpty { hashed = Set(members.map { ByteKey($0.name) }) }
        return hashed.insert(ByteKey(name)).inserted
    }
}

extension JSONSyntax {
    /// The text of a string whose escapes were checked by `skipString`.
    package static func decoded(_ bytes: Span<UInt8>, _ content: Range<Int>) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(content.count)
        var syntax = JSONSyntax(at: content.lowerBound)
        while syntax.offset < content.upperBound {
            let byte = bytes[syntax.offset]
            syntax.offset += 1
            guard byte == UInt8(ascii: "\\") else {
                result.append(byte)
                continue
            }
            let escape = bytes[syntax.offset]
            syntax.offset += 1
            if let plain = unescaped(escape) {
                result.append(plain)
            } else if let first = try? syntax.hexUnit(bytes) {
                var value = UInt32(first)
                if first & 0xFC00 == 0xD800 {
                    syntax.offset += 2
                    let second = (try? syntax.hexUnit(bytes)) ?? 0xDC00
                    value = 0x10000 + (UInt32(first) & 0x3FF) << 10 + UInt32(second) & 0x3FF
                }
                result.append(contentsOf: String(UnicodeScalar(value) ?? "\u{FFFD}").utf8)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
