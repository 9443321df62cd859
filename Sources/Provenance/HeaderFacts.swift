/// What the header block of a response says about where it came from.
package struct HeaderFacts: Sendable {
    package var provenance = ProvenanceValues<String>()
    package var attribution: String?
    package var requestID: String?
    /// Whether one of the names stands twice, so that it says nothing.
    package var isRepeated = false

    /// How long the body is; nil when that is not said, or it has none.
    package var contentLength: Int?
    private var seen: Set<String> = []
    private let names: StampHeaders

    package init(names: StampHeaders = StampHeaders()) { self.names = names }

    /// Takes one field, if its name is one of ours.
    package mutating func take(name: String, value: String) {
        let bytes = Array(value.utf8)
        let text = Escaping.percentDecoded(bytes.span, 0..<bytes.count)
        for field in ProvenanceField.allCases where Self.isSame(name, names.name(of: field)) {
            if provenance[field] != nil { isRepeated = true }
            provenance[field] = text
        }
        if Self.isSame(name, names.attribution) {
            if attribution != nil { isRepeated = true }
            attribution = text
        }
        if Self.isSame(name, "X-Request-Id") {
            if requestID != nil { isRepeated = true }
            requestID = text
        }
        if Self.isSame(name, "Content-Length") { contentLength = Int(value).flatMap { $0 > 0 ? $0 : nil } }
        seen.insert(name.lowercased())
    }

    /// Whether the name was taken already, so that another block begins with it.
    package func has(_ name: String) -> Bool { seen.contains(name.lowercased()) }

    /// Field names are compared without case (RFC 9110, 5.1).
    private static func isSame(_ name: String, _ other: String?) -> Bool {
        guard let other, name.utf8.count == other.utf8.count else { return false }
        return name.lowercased().hasSameBytes(as: other.lowercased())
    }

    /// The name and value of a `Name: value` line; nil when it is none.
    package static func field(_ line: Span<UInt8>) -> (name: String, value: String)? {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":"), in: 0..<line.count), colon > 0 else { return nil }
        for index in 0..<colon where !isTokenByte(line[index]) { return nil }
        var start = colon + 1
        var end = line.count
        while start < end, line[start] == 0x20 || line[start] == 0x09 { start += 1 }
        while end > start, line[end - 1] <= 0x20 { end -= 1 }
        return (line.text(0..<colon), line.text(start..<end))
    }

    /// Whether a line is `Name: value`, and not a log line with a colon in it: a space follows, or the name begins with `X-`.
    package static func looksLikeField(_ line: Span<UInt8>) -> Bool {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":"), in: 0..<min(line.count, 64)), colon > 0,
            isLetter(line[0]),
            colon + 1 == line.count || line[colon + 1] == 0x20 || line[colon + 1] == 0x09 || isX(line)
        else { return false }
        for index in 0..<colon where !isTokenByte(line[index]) { return false }
        return true
    }

    /// Whether such a line begins a block by itself: its name is one that responses have.
    package static func opensBlock(_ line: Span<UInt8>) -> Bool {
        guard looksLikeField(line), let name = field(line)?.name.lowercased() else { return false }
        return isX(line) || responseNames.contains(name) || name.hasPrefix("content-")
            || name.hasPrefix("access-control-")
    }

    /// Whether a line is `HTTP/1.1 200 …`.
    package static func isStatusLine(_ line: Span<UInt8>) -> Bool {
        guard line.hasBytes("HTTP/", at: 0), let space = line.firstIndex(of: 0x20, in: 5..<min(line.count, 16)) else {
            return false
        }
        let digits = space + 1..<space + 4
        guard digits.upperBound <= line.count else { return false }
        for index in digits where line[index] < 0x30 || line[index] > 0x39 { return false }
        return digits.upperBound == line.count || line[digits.upperBound] <= 0x20
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "z")
    }

    /// Whether it begins with `X-`, as all names of ours do.
    private static func isX(_ line: Span<UInt8>) -> Bool {
        line.count > 2 && line[0] | 0x20 == UInt8(ascii: "x") && line[1] == UInt8(ascii: "-")
    }

    private static let responseNames: Set<String> = [
        "age", "alt-svc", "cache-control", "connection", "date", "etag", "expires", "keep-alive", "last-modified",
        "location", "retry-after", "server", "server-timing", "set-cookie", "strict-transport-security",
        "transfer-encoding", "vary", "via",
    ]

    /// RFC 9110, 5.6.2.
    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"),
            UInt8(ascii: "%"), UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
            UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"),
            UInt8(ascii: "|"), UInt8(ascii: "~"):
            true
        default: false
        }
    }
}
