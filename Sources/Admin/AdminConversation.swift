import HTTP
import Provenance

/// One connection to the admin listener, without its socket: bytes in, bytes out. Each connection carries one request.
struct AdminConversation {
    private enum State {
        case head
        case length(Int)
        case chunked
        /// The body is whole, and somebody else answers.
        case handedOver
        case answered
    }

    /// What is still to be written.
    private(set) var output: [UInt8] = []
    /// What was answered; nil while nothing is.
    private(set) var status: Int?
    private var state = State.head
    private var input: [UInt8] = []
    private var scanned = 0
    private var chunks = ChunkedBody()
    /// The lines that were posted, as far as they have come.
    private var body: [UInt8] = []

    var hasAnswered: Bool { if case .answered = state { true } else { false } }
    /// How much of a body is held.
    var held: Int { body.count }

    private static let headLimit = 16 << 10
    private static let fieldLimit = 100
    static let bodyLimit = 4 << 20
    /// Each line takes more room than its bytes.
    static let lineLimit = 50_000
    private static let names = FieldNames([
        ("authorization", .authorization), ("content-type", .contentType), ("content-encoding", .contentEncoding),
        ("origin", .origin), ("expect", .expect),
    ])

    /// Takes what was read; answers as soon as all of the request is there. The lines of a whole body are handed to the caller.
    mutating func read(_ bytes: [UInt8], _ routes: AdminRoutes) -> [UInt8]? {
        switch state {
        case .head:
            input += bytes
            return readHead(routes)
        case .length, .chunked: return readBody(bytes)
        case .handedOver, .answered: return nil
        }
    }

    private mutating func readHead(_ routes: AdminRoutes) -> [UInt8]? {
        var scanned = scanned
        let result = HeadScanner.scan(input.span.bytes, scanned: &scanned)
        self.scanned = scanned
        switch result {
        case .incomplete:
            if input.count > Self.headLimit {
                answer(.problem(431, "Request Header Fields Too Large", "the head is too large"))
            }
            return nil
        case .malformed(let fault):
            answer(Self.problem(fault))
            return nil
        case .complete(let length): return take(length, routes)
        }
    }

    private mutating func take(_ length: Int, _ routes: AdminRoutes) -> [UInt8]? {
        var fields = FieldList(limit: Self.fieldLimit)
        let input = input
        switch RequestHead.parse(input.span.bytes.extracting(0..<length), names: Self.names, into: &fields) {
        case .failure(let fault): answer(Self.problem(fault))
        case .success(let head):
            let (request, awaitsContinue) = request(head, fields)
            switch routes.outcome(of: request) {
            case .answer(let response): answer(response, isHEAD: head.method == .head)
            case .takesLines:
                guard begin(head.framing) else { break }
                if awaitsContinue, input.count == length { output = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8) }
                return readBody(Array(input[length...]))
            }
        }
        return nil
    }

    private func request(_ head: RequestHead, _ fields: borrowing FieldList) -> (AdminRequest, awaitsContinue: Bool) {
        let method = text(WireRange(start: 0, end: head.target.start)).split(separator: " ").first ?? ""
        let path = text(head.target).split(separator: "?", omittingEmptySubsequences: false).first ?? ""
        var token: String?
        var origin: String?
        var (type, encoding) = ("", "")
        var awaitsContinue = false
        for index in 0..<fields.count {
            let value = text(fields[index].value)
            switch fields[index].name {
            case .authorization: if value.lowercased().hasPrefix("bearer ") { token = String(value.dropFirst(7)) }
            case .contentType:
                let word = value.split(separator: ";", omittingEmptySubsequences: false).first ?? ""
                type = word.lowercased().filter { $0 != " " }
            case .contentEncoding: encoding = value.lowercased()
            case .origin: origin = value
            case .expect: awaitsContinue = value.lowercased() == "100-continue"
            default: break
            }
        }
        let request = AdminRequest(
            method: String(method), path: String(path), token: token, contentType: type, contentEncoding: encoding,
            host: text(head.host), origin: origin)
        return (request, awaitsContinue)
    }

    // MARK: - The body

    private mutating func begin(_ framing: BodyFraming) -> Bool {
        switch framing {
        case .length(let count):
            guard count <= Self.bodyLimit else {
                tooLarge()
                return false
            }
            state = .length(count)
        case .chunked: state = .chunked
        default: state = .length(0)
        }
        return true
    }

    private mutating func tooLarge() {
        answer(
            .problem(
                413, "Content Too Large",
                "a body has at most \(Self.bodyLimit) bytes and \(Self.lineLimit) lines: send several, one after the other"
            ))
    }

    private mutating func readBody(_ bytes: [UInt8]) -> [UInt8]? {
        switch state {
        case .length(let wanted):
            body += bytes.prefix(wanted - body.count)
            return body.count == wanted ? whole() : nil
        case .chunked:
            var cursor = 0
            while true {
                switch chunks.nextPayload(bytes.span.bytes, from: cursor) {
                case .failure(let fault):
                    answer(Self.problem(fault))
                    return nil
                case .success(let payload):
                    guard !payload.isEmpty else { return chunks.isAtTrailers ? whole() : nil }
                    body += bytes[payload]
                    cursor = payload.upperBound
                    guard body.count <= Self.bodyLimit else {
                        tooLarge()
                        return nil
                    }
                }
            }
        default: return nil
        }
    }

    private mutating func whole() -> [UInt8]? {
        let lines = body.reduce(0) { $0 + ($1 == 0x0A ? 1 : 0) }
        guard lines <= Self.lineLimit else {
            tooLarge()
            return nil
        }
        state = .handedOver
        defer { body = [] }
        return body
    }

    private func text(_ range: WireRange) -> String {
        String(decoding: input[Int(range.start)..<Int(range.end)], as: UTF8.self)
    }

    private static func problem(_ fault: HeadFault) -> AdminResponse {
        .problem(fault.status, "Bad Request", "\(fault.reason)")
    }

    mutating func answer(_ response: AdminResponse, isHEAD: Bool = false) {
        state = .answered
        status = response.status
        body = []
        var head = "HTTP/1.1 \(response.status) \(Self.reason(response.status))\r\n"
        if response.status != 204 {
            head += "Content-Type: \(response.contentType)\r\nContent-Length: \(response.body.count)\r\n"
        }
        head += "Cache-Control: no-store\r\nConnection: close\r\n"
        for field in response.fields { head += "\(field.name): \(field.value)\r\n" }
        output += Array((head + "\r\n").utf8) + (isHEAD ? [] : response.body)
    }

    private static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 204: "No Content"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 413: "Content Too Large"
        case 415: "Unsupported Media Type"
        case 431: "Request Header Fields Too Large"
        case 503: "Service Unavailable"
        case 501: "Not Implemented"
        case 505: "HTTP Version Not Supported"
        default: "Error"
        }
    }

    /// So many bytes of `output` were written.
    mutating func wrote(_ count: Int) { output.removeFirst(count) }
}
