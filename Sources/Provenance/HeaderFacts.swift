/// What the header block of a response says about where it came from.
package struct HeaderFacts: Sendable {
    package var provenance = ProvenanceValues<String>()
    package var attribution: String?
    package var requestID: String?
    /// Whether one of the names stands twice, so that it says nothing.
    package var isRepeated = false

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
    }

    /// Whether the name was taken already, so that another block begins with it.
    package func has(_ name: String) -> Bool {
        ProvenanceField.allCases.contains { provenance[$0] != nil && Self.isSame(name, names.name(of: $0)) }
            || (attribution != nil && Self.isSame(name, names.attribution))
            || (requestID != nil && Self.isSame(name, "X-Request-Id"))
    }

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

    /// Whether a line by itself is surely a header field, and not a log line with a colon in it.
    package static func looksLikeField(_ line: Span<UInt8>) -> Bool {
        guard line.count > 1, line[0] | 0x20 >= UInt8(ascii: "a"), line[0] | 0x20 <= UInt8(ascii: "z"),
            let colon = line.firstIndex(of: UInt8(ascii: ":"), in: 0..<min(line.count, 64)),
            colon + 1 == line.count || line[colon + 1] == 0x20 || line[colon + 1] == 0x09
        else { return false }
        var hasDash = false
        for index in 0..<colon {
            guard isTokenByte(line[index]) else { return false }
            if line[index] == UInt8(ascii: "-") { hasDash = true }
        }
        if hasDash { return true }
        let name = line.text(0..<colon).lowercased()
        return oneWordNames.contains(name)
    }

    private static let oneWordNames: Set<String> = [
        "age", "allow", "connection", "date", "etag", "expires", "host", "link", "location", "pragma", "server",
        "trailer", "upgrade", "vary", "via", "warning",
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
