import Provenance
import Telemetry

/// A request to the admin listener, as far as routes need it.
package struct AdminRequest: Sendable {
    package let method: String
    /// Without the query.
    package let path: String
    /// What stands behind `Bearer`, if anything.
    package let token: String?
    /// Without parameters, in lower case.
    package let contentType: String
    package let contentEncoding: String
    package let host: String
    package let origin: String?

    package init(
        method: String, path: String, token: String? = nil, contentType: String = "", contentEncoding: String = "",
        host: String = "", origin: String? = nil
    ) {
        self.method = method
        self.path = path
        self.token = token
        self.contentType = contentType
        self.contentEncoding = contentEncoding
        self.host = host
        self.origin = origin
    }
}

package struct AdminResponse: Sendable {
    package let status: Int
    package let contentType: String
    package let body: [UInt8]
    package let fields: [(name: String, value: String)]

    package init(status: Int, contentType: String, body: [UInt8], fields: [(name: String, value: String)] = []) {
        self.status = status
        self.contentType = contentType
        self.body = body
        self.fields = fields
    }

    package static func json(_ status: Int, _ value: JSON) -> AdminResponse {
        AdminResponse(
            status: status, contentType: "application/json", body: JSONWriter.pretty.bytes(value) + [UInt8(ascii: "\n")]
        )
    }

    /// RFC 9457.
    package static func problem(
        _ status: Int, _ title: String, _ detail: String, fields: [(name: String, value: String)] = []
    ) -> AdminResponse {
        let document = JSONObject([
            .init("title", .string(title)), .init("status", .integer(status)), .init("detail", .string(detail)),
        ])
        return AdminResponse(
            status: status, contentType: "application/problem+json",
            body: JSONWriter.compact.bytes(.object(document)) + [UInt8(ascii: "\n")], fields: fields)
    }
}

/// What can be asked of the admin listener. Pure: what is known of the world comes from the closures, which any thread may call.
package struct AdminRoutes: Sendable {
    /// Whether requests should be sent here, and why not.
    package struct Readiness: Sendable {
        package let isReady: Bool
        package let report: JSON

        package init(isReady: Bool, report: JSON) {
            self.isReady = isReady
            self.report = report
        }
    }

    /// What comes of a request.
    package enum Outcome: Sendable {
        case answer(AdminResponse)
        /// Its body is wanted: log lines.
        case takesLines
    }

    /// What requests must bear; empty for nothing. It may change.
    private let currentToken: @Sendable () -> String
    /// Whether log lines are taken.
    private let takesLines: Bool
    private let readiness: @Sendable () -> Readiness
    private let status: @Sendable () -> JSON
    /// In the format of OpenMetrics.
    private let metrics: @Sendable () -> [UInt8]

    package init(
        token: @escaping @Sendable () -> String, takesLines: Bool = false,
        readiness: @escaping @Sendable () -> Readiness,
        status: @escaping @Sendable () -> JSON, metrics: @escaping @Sendable () -> [UInt8]
    ) {
        currentToken = token
        self.takesLines = takesLines
        self.readiness = readiness
        self.status = status
        self.metrics = metrics
    }

    /// What comes of a request whose head has been read.
    package func outcome(of request: AdminRequest) -> Outcome {
        guard request.path == "/v1/logs", takesLines, request.method == "POST" else {
            return .answer(respond(to: request))
        }
        guard isAllowed(request.token) else { return .answer(Self.unauthorized) }
        if let refusal = refusal(ofForeign: request) { return .answer(refusal) }
        guard request.contentEncoding.isEmpty || request.contentEncoding == "identity" else {
            return .answer(
                .problem(415, "Unsupported Media Type", "send the lines as they are, without Content-Encoding"))
        }
        return .takesLines
    }

    /// Web pages can make a browser send things here. What they cannot do: name a loopback address as Host through a name of their
    /// own, leave out Origin, or send a type that forms do not have.
    private func refusal(ofForeign request: AdminRequest) -> AdminResponse? {
        guard currentToken().isEmpty else { return nil }
        guard Self.isLoopback(request.host) else {
            return .problem(403, "Forbidden", "the Host is no loopback address: set admin.token to allow others")
        }
        if let origin = request.origin {
            guard let authority = origin.split(separator: "/").last, Self.isLoopback(String(authority)) else {
                return .problem(403, "Forbidden", "the Origin is foreign: set admin.token to allow others")
            }
        }
        guard request.contentType == "application/x-ndjson" else {
            return .problem(
                415, "Unsupported Media Type",
                "send the lines with Content-Type: application/x-ndjson, or set admin.token")
        }
        return nil
    }

    private static func isLoopback(_ host: String) -> Bool {
        let parts = host.split(separator: ":", omittingEmptySubsequences: false)
        let name = host.hasPrefix("[") ? String(host.prefix { $0 != "]" }) + "]" : String(parts.first ?? "")
        return name == "localhost" || name == "[::1]"
            || name.hasPrefix("127.") && name.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 || $0 == 0x2E }
    }

    private static var unauthorized: AdminResponse {
        .problem(
            401, "Unauthorized", "send the header Authorization: Bearer with the token of admin.token",
            fields: [("WWW-Authenticate", "Bearer")])
    }

    func respond(to request: AdminRequest) -> AdminResponse {
        // Probes carry no token; they tell nothing that a connection attempt would not.
        if request.path == "/healthz" {
            return onlyGET(request) { .json(200, .object(JSONObject([.init("status", .string("ok"))]))) }
        }
        guard isAllowed(request.token) else {
            return Self.unauthorized
        }
        switch request.path {
        case "/readyz":
            return onlyGET(request) {
                let readiness = readiness()
                return .json(readiness.isReady ? 200 : 503, readiness.report)
            }
        case "/metrics":
            return onlyGET(request) {
                AdminResponse(status: 200, contentType: MetricsPage.contentType, body: metrics())
            }
        case "/v1/status":
            return onlyGET(request) { .json(200, status()) }
        case "/v1/logs":
            return .problem(
                takesLines ? 405 : 404, takesLines ? "Method Not Allowed" : "Not Found",
                takesLines
                    ? "/v1/logs takes POST, with lines as the body"
                    : "no lines are taken: nothing is done with them (--kafka-brokers), or --logs-http is off",
                fields: takesLines ? [("Allow", "POST")] : [])
        default:
            return .problem(
                404, "Not Found",
                "there is no \(request.path.onOneLine): try /healthz, /readyz, /metrics, /v1/status or /v1/logs"
            )
        }
    }

    private func onlyGET(_ request: AdminRequest, _ body: () -> AdminResponse) -> AdminResponse {
        guard request.method == "GET" || request.method == "HEAD" else {
            return .problem(
                405, "Method Not Allowed", "\(request.path.onOneLine) takes GET", fields: [("Allow", "GET, HEAD")])
        }
        return body()
    }

    /// Compares in a time that does not depend on where the first difference is.
    private func isAllowed(_ given: String?) -> Bool {
        let token = Array(currentToken().utf8)
        guard !token.isEmpty else { return true }
        let given = Array((given ?? "").utf8)
        var difference = given.count ^ token.count
        for index in token.indices { difference |= Int(token[index] ^ (index < given.count ? given[index] : 0)) }
        return difference == 0
    }
}
