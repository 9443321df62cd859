import HTTP
import Provenance

/// One connection to the admin listener, without its socket: bytes in, bytes out. Each connection carries one request.
struct AdminConversation {
    /// What is still to be written.
    private(set) var output: [UInt8] = []
    private(set) var hasAnswered = false
    private var input: [UInt8] = []
    private var scanned = 0

    private static let headLimit = 16 << 10
    private static let fieldLimit = 100
    private static let names = FieldNames([("authorization", .authorization)])

    /// Takes what was read; answers as soon as the head is whole.
    mutating func read(_ bytes: [UInt8], _ routes: AdminRoutes) {
        guard !hasAnswered else { return }
        input += bytes
        var scanned = scanned
        let result = HeadScanner.scan(input.span.bytes, scanned: &scanned)
        self.scanned = scanned
        switch result {
        case .incomplete:
            if input.count > Self.headLimit {
                answer(.problem(431, "Request Header Fields Too Large", "the head is too large"))
            }
        case .malformed(let fault): answer(Self.problem(fault))
        case .complete(let length): answer(length, routes)
        }
    }

    private mutating func answer(_ length: Int, _ routes: AdminRoutes) {
        var fields = FieldList(limit: Self.fieldLimit)
        let input = input
        switch RequestHead.parse(input.span.bytes.extracting(0..<length), names: Self.names, into: &fields) {
        case .failure(let fault): answer(Self.problem(fault))
        case .success(let request):
            let method = text(WireRange(start: 0, end: request.target.start)).split(separator: " ").first ?? ""
            let path = text(request.target).split(separator: "?", omittingEmptySubsequences: false).first ?? ""
            var token: String?
            for index in 0..<fields.count where fields[index].name == .authorization {
                let value = text(fields[index].value)
                if value.lowercased().hasPrefix("bearer ") { token = String(value.dropFirst(7)) }
            }
            let response = routes.respond(to: AdminRequest(method: String(method), path: String(path), token: token))
            answer(response, isHEAD: request.method == .head)
        }
    }

    private func text(_ range: WireRange) -> String {
        String(decoding: input[Int(range.start)..<Int(range.end)], as: UTF8.self)
    }

    private static func problem(_ fault: HeadFault) -> AdminResponse {
        .problem(fault.status, "Bad Request", "\(fault.reason)")
    }

    private mutating func answer(_ response: AdminResponse, isHEAD: Bool = false) {
        hasAnswered = true
        var head =
            "HTTP/1.1 \(response.status) \(Self.reason(response.status))\r\nContent-Type: \(response.contentType)\r\n"
        head += "Content-Length: \(response.body.count)\r\nCache-Control: no-store\r\nConnection: close\r\n"
        for field in response.fields { head += "\(field.name): \(field.value)\r\n" }
        output = Array((head + "\r\n").utf8) + (isHEAD ? [] : response.body)
    }

    private static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
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
