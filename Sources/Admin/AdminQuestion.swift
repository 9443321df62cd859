import Provenance

/// What is asked of the ledger, or of those who change things: it takes a while, so that the listener's thread hands it on.
package enum AdminQuestion: Sendable {
    /// In brief, without reasons.
    case readiness(inBrief: Bool)
    case manifests(words: [String], after: Int64?, limit: Int)
    case manifest(String)
    case difference(String, String)
    case trace(String)
    case history(variant: String?, at: Instant?, after: Int64?, limit: Int)
    /// A manifest, by digest, the first digits of one, or version.
    case activate(manifest: String, variant: String?, by: String?, isSettled: Bool)
    case reload
}

/// What is wrong with a request: a status, and words for whoever sent it.
struct AdminRefusal: Error {
    let status: Int
    let detail: String

    init(_ status: Int, _ detail: String) {
        self.status = status
        self.detail = detail
    }
}

/// A request that has found its route.
struct AdminCall {
    /// What stands in the places that the template names, decoded.
    let captures: [String]
    let parameters: [String: String]

    subscript(name: String) -> String? { parameters[name] }

    func limit() throws(AdminRefusal) -> Int {
        guard let text = self["limit"] else { return 50 }
        guard let limit = Int(text), (1...1000).contains(limit) else {
            throw AdminRefusal(400, "limit takes a number from 1 to 1000, not \"\(text.onOneLine)\"")
        }
        return limit
    }

    func cursor() throws(AdminRefusal) -> Int64? {
        guard let text = self["after"] else { return nil }
        guard let cursor = Int64(text), cursor > 0 else {
            throw AdminRefusal(400, "after takes what the page before has as next, not \"\(text.onOneLine)\"")
        }
        return cursor
    }

    func time() throws(AdminRefusal) -> Instant? {
        guard let text = self["at"] else { return nil }
        guard let time = Instant(text) else {
            throw AdminRefusal(
                400, "at takes a time with its zone, such as 2025-03-04T18:21Z, not \"\(text.onOneLine)\"")
        }
        return time
    }
}

/// Bytes that stand for others in a target (RFC 3986 section 2.1).
enum PercentCoding {
    /// Nil where a percent sign has no two digits behind it, or where what comes out is no text.
    static func decoded(_ text: some StringProtocol, plusIsSpace: Bool = false) -> String? {
        var bytes: [UInt8] = []
        var source = Array(text.utf8)[...]
        while let byte = source.popFirst() {
            switch byte {
            case UInt8(ascii: "%"):
                guard source.count >= 2, let high = digit(source.removeFirst()), let low = digit(source.removeFirst())
                else { return nil }
                bytes.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace: bytes.append(0x20)
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }
}
