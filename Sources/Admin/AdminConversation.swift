import HTTP
import Provenance

/// One request to the admin listener and its answer, without a socket: bytes in, bytes out. The next one on the same connection begins with
/// what came after it.
struct AdminConversation {
    private enum State {
        case head
        case length(Int)
        case chunked
        /// The body is whole, and somebody else answers.
        case handedOver
        case answered
    }

    /// What somebody else is to answer.
    enum Handed {
        case lines([UInt8])
        case question(AdminQuestion)
    }

    /// What is still to be written.
    private(set) var output: [UInt8] = []
    /// What was answered; nil while nothing is.
    private(set) var status: Int?
    private var state = State.head
    private var input: [UInt8] = []
    private var scanned = 0
    private var hasPassedLineEnd = false
    private var chunks = ChunkedBody()
    /// The body, as far as it has come, and what it is to be.
    private var body: [UInt8] = []
    private var purpose = AdminRoute.Body.none
    private var isHEAD = false
    /// What the client has already.
    private var known: String?
    /// Whether another request may follow: this one was understood, all of it was read, and whoever sent it wants that.
    private(set) var isFollowed = false
    /// What came after this request.
    private var rest: [UInt8] = []

    init() {}

    /// What comes after `before` on its connection.
    init(after before: consuming AdminConversation) { input = before.rest }

    /// Whether something came that was not looked at yet.
    var hasInput: Bool { if case .head = state { !input.isEmpty && scanned == 0 } else { false } }

    /// Whether nothing has come yet.
    var isUntouched: Bool { if case .head = state { input.isEmpty } else { false } }
    var hasAnswered: Bool { if case .answered = state { true } else { false } }
    /// How much of a body is held.
    var held: Int { body.count }

    private static let headLimit = 16 << 10
    private static let fieldLimit = 100
    static let bodyLimit = 4 << 20
    /// Of a body that is no lines.
    static let objectLimit = 1 << 20
    /// Each line takes more room than its bytes.
    static let lineLimit = 50_000
    private static let names = FieldNames([
        ("authorization", .authorization), ("content-type", .contentType), ("content-encoding", .contentEncoding),
        ("origin", .origin), ("expect", .expect), ("if-none-match", .ifNoneMatch),
    ])

    /// Takes what was read; answers as soon as all of the request is there, or hands it to the caller, who does.
    mutating func read(_ bytes: [UInt8], _ routes: AdminRoutes) -> Handed? {
        switch state {
        case .head:
            input += bytes
            // RFC 9112 section 2.2: some end a body with a line end that belongs to nothing. One of them.
            if !hasPassedLineEnd, input.starts(with: [0x0D, 0x0A]) {
                hasPassedLineEnd = true
                input.removeFirst(2)
                scanned = 0
            }
            return readHead(routes)
        case .length, .chunked: return readBody(bytes)
        case .handedOver, .answered:
            keep(bytes)
            return nil
        }
    }

    /// What comes after the request belongs to the next one, if there is to be one.
    private mutating func keep(_ bytes: some Collection<UInt8>) { if isFollowed { rest += bytes } }

    /// Whether so much has come after the request that no more is to be read before it is answered.
    var isFull: Bool { rest.count > Self.headLimit }

    private mutating func readHead(_ routes: AdminRoutes) -> Handed? {
        var scanned = scanned
        let result = HeadScanner.scan(input.span.bytes, scanned: &scanned)
        self.scanned = scanned
        switch result {
        case .incomplete:
            if input.count > Self.headLimit { answer(Self.headTooLarge) }
            return nil
        case .malformed(let fault):
            answer(Self.problem(fault))
            return nil
        case .complete(let length):
            guard length <= Self.headLimit else {
                answer(Self.headTooLarge)
                return nil
            }
            return take(length, routes)
        }
    }

    private static var headTooLarge: AdminResponse {
        .problem(431, "the head has more than \(headLimit >> 10) KiB")
    }

    private mutating func take(_ length: Int, _ routes: AdminRoutes) -> Handed? {
        var fields = FieldList(limit: Self.fieldLimit)
        let input = input
        switch RequestHead.parse(input.span.bytes.extracting(0..<length), names: Self.names, into: &fields) {
        case .failure(let fault): answer(Self.problem(fault))
        case .success(let head):
            let (request, awaitsContinue) = request(head, fields)
            isHEAD = head.method == .head
            let mayFollow = !head.isHTTP10 && !head.connection.contains(.close)
            let hasBody = if case .none = head.framing { false } else { true }
            switch routes.outcome(of: request) {
            case .answer(let response):
                follow(mayFollow && !hasBody, Array(input[length...]))
                answer(response)
            case .question(let question):
                follow(mayFollow && !hasBody, Array(input[length...]))
                state = .handedOver
                return .question(question)
            case .body(let purpose):
                self.purpose = purpose
                guard begin(head.framing) else { break }
                isFollowed = mayFollow
                if awaitsContinue, !head.isHTTP10, input.count == length {
                    output = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)
                }
                return readBody(Array(input[length...]))
            }
        }
        return nil
    }

    private mutating func follow(_ isFollowed: Bool, _ bytes: [UInt8]) {
        self.isFollowed = isFollowed
        keep(bytes)
    }

    private mutating func request(_ head: RequestHead, _ fields: borrowing FieldList) -> (
        AdminRequest, awaitsContinue: Bool
    ) {
        let method = text(WireRange(0, head.methodCount))
        let target = text(head.target).utf8.split(
            separator: UInt8(ascii: "?"), maxSplits: 1, omittingEmptySubsequences: false
        ).map { String(Substring($0)) }
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
            case .ifNoneMatch: known = value
            case .expect: awaitsContinue = value.lowercased() == "100-continue"
            default: break
            }
        }
        let request = AdminRequest(
            method: method, path: target.first ?? "", query: target.count == 2 ? target[1] : "", token: token,
            contentType: type,
            contentEncoding: encoding,
            host: text(head.authority == .none ? head.host : head.authority), origin: origin)
        return (request, awaitsContinue)
    }

    // MARK: - The body

    private mutating func begin(_ framing: BodyFraming) -> Bool {
        switch framing {
        case .length(let count):
            guard count <= limit else {
                tooLarge()
                return false
            }
            state = .length(count)
        case .chunked: state = .chunked
        default: state = .length(0)
        }
        return true
    }

    private var limit: Int { if case .lines = purpose { Self.bodyLimit } else { Self.objectLimit } }

    private mutating func tooLarge() {
        isFollowed = false
        if case .lines = purpose {
            answer(
                .problem(
                    413,
                    "a body has at most \(Self.bodyLimit) bytes and \(Self.lineLimit) lines: send several, one after the other"
                ))
        } else {
            answer(.problem(413, "a body has at most \(Self.objectLimit >> 20) MiB"))
        }
    }

    private mutating func readBody(_ bytes: [UInt8]) -> Handed? {
        switch state {
        case .length(let wanted):
            let own = bytes.prefix(wanted - body.count)
            body += own
            guard body.count == wanted else { return nil }
            keep(bytes.dropFirst(own.count))
            return whole()
        case .chunked:
            // Where its trailers end is not looked for.
            isFollowed = false
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
                    guard body.count <= limit else {
                        tooLarge()
                        return nil
                    }
                }
            }
        default: return nil
        }
    }

    private mutating func whole() -> Handed? {
        defer { body = [] }
        switch purpose {
        case .none: return nil
        case .lines:
            let lines = body.reduce(0) { $0 + ($1 == 0x0A ? 1 : 0) }
            guard lines <= Self.lineLimit else {
                tooLarge()
                return nil
            }
            state = .handedOver
            return .lines(body)
        case .object(_, let read):
            do throws(AdminRefusal) {
                let question = try read(try object())
                state = .handedOver
                return .question(question)
            } catch { answer(.problem(error.status, error.detail)) }
            return nil
        }
    }

    private func object() throws(AdminRefusal) -> JSONObject {
        guard !body.isEmpty else { throw AdminRefusal(400, "the body is empty: send a JSON object, {} at least") }
        let document: JSON
        do { document = try JSONParser.parse(body) } catch { throw AdminRefusal(400, "the body is no JSON: \(error)") }
        guard case .object(let object) = document else { throw AdminRefusal(422, "the body is a JSON object") }
        return object
    }

    private func text(_ range: WireRange) -> String {
        String(decoding: input[Int(range.start)..<Int(range.end)], as: UTF8.self)
    }

    private static func problem(_ fault: HeadFault) -> AdminResponse { .problem(fault.status, "\(fault.reason)") }

    /// Answers; `isLast` where whoever asked took too long, and nothing is to follow.
    mutating func answer(_ full: AdminResponse, isLast: Bool = false) {
        if isLast { isFollowed = false }
        // What is answered before all of it has come leaves a rest that nobody can tell from another request.
        switch state {
        case .length(let wanted): isFollowed = isFollowed && body.count == wanted
        case .chunked: isFollowed = false
        case .head, .handedOver, .answered: break
        }
        state = .answered
        body = []
        var response = full
        let tag = full.fields.first { $0.name == "ETag" }?.value
        if full.status == 200, let tag, let known, Self.has(known, tag) {
            response = AdminResponse(status: 304, contentType: "", body: [], fields: full.fields)
        }
        status = response.status
        var head = "HTTP/1.1 \(response.status) \(AdminResponse.title(response.status))\r\n"
        if !response.contentType.isEmpty {
            head += "Content-Type: \(response.contentType)\r\nContent-Length: \(response.body.count)\r\n"
        }
        // What has a tag may be kept, and is asked for again; it is for whoever asked alone.
        head += "Cache-Control: \(tag == nil ? "no-store" : "private, no-cache")\r\n"
        if !isFollowed { head += "Connection: close\r\n" }
        for field in response.fields { head += "\(field.name): \(field.value)\r\n" }
        output += Array((head + "\r\n").utf8) + (isHEAD ? [] : response.body)
    }

    /// Whether a list of tags has this one (RFC 9110 section 13.1.2): weak ones count.
    private static func has(_ list: String, _ tag: String) -> Bool {
        list.split(separator: ",").contains { entry in
            let entry = entry.drop { $0 == " " || $0 == "\t" }.prefix { $0 != " " && $0 != "\t" }
            return entry == "*" || entry == tag || entry == "W/" + tag
        }
    }

    /// So many bytes of `output` were written.
    mutating func wrote(_ count: Int) { output.removeFirst(count) }
}
