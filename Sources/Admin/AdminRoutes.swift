import Provenance

/// A request to the admin listener, as far as routes need it.
package struct AdminRequest: Sendable {
    package let method: String
    /// Without the query.
    package let path: String
    /// What stands behind `Bearer`, if anything.
    package let token: String?

    package init(method: String, path: String, token: String?) {
        self.method = method
        self.path = path
        self.token = token
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

    private let token: [UInt8]
    private let readiness: @Sendable () -> Readiness
    private let status: @Sendable () -> JSON

    package init(
        token: String, readiness: @escaping @Sendable () -> Readiness, status: @escaping @Sendable () -> JSON
    ) {
        self.token = Array(token.utf8)
        self.readiness = readiness
        self.status = status
    }

    package func respond(to request: AdminRequest) -> AdminResponse {
        // Probes carry no token; they tell nothing that a connection attempt would not.
        if request.path == "/healthz" {
            return onlyGET(request) { .json(200, .object(JSONObject([.init("status", .string("ok"))]))) }
        }
        guard isAllowed(request.token) else {
            return .problem(
                401, "Unauthorized", "send the header Authorization: Bearer with the token of admin.token",
                fields: [("WWW-Authenticate", "Bearer")])
        }
        switch request.path {
        case "/readyz":
            return onlyGET(request) {
                let readiness = readiness()
                return .json(readiness.isReady ? 200 : 503, readiness.report)
            }
        case "/v1/status":
            return onlyGET(request) { .json(200, status()) }
        default:
            return .problem(
                404, "Not Found", "there is no \(request.path.onOneLine): try /healthz, /readyz or /v1/status")
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
        guard !token.isEmpty else { return true }
        let given = Array((given ?? "").utf8)
        var difference = given.count ^ token.count
        for index in token.indices { difference |= Int(token[index] ^ (index < given.count ? given[index] : 0)) }
        return difference == 0
    }
}
