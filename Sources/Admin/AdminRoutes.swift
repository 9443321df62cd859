import Provenance

/// What can be asked of the admin listener, and by whom. Pure: what is known of the world comes from the closures, which any thread
/// may call.
package struct AdminRoutes: Sendable {
    /// What comes of a request whose head has been read.
    enum Outcome {
        case answer(AdminResponse)
        /// Somebody else answers.
        case question(AdminQuestion)
        /// Its body is wanted first.
        case body(AdminRoute.Body)
    }

    private static let all = AdminRoute.all.map { (route: $0, parts: AdminRoute.parts($0.template)) }

    /// What must be borne; empty for nothing. It may change.
    private let currentToken: @Sendable () -> String
    /// Whether log lines are taken.
    private let takesLines: Bool
    private let status: @Sendable () -> AdminResponse
    private let metrics: @Sendable () -> AdminResponse

    package init(
        token: @escaping @Sendable () -> String, takesLines: Bool = false,
        status: @escaping @Sendable () -> AdminResponse,
        metrics: @escaping @Sendable () -> AdminResponse
    ) {
        currentToken = token
        self.takesLines = takesLines
        self.status = status
        self.metrics = metrics
    }

    func outcome(of request: AdminRequest) -> Outcome {
        let path = AdminRoute.parts(request.path)
        var found: [(route: AdminRoute, captures: [String])] = []
        for (route, parts) in Self.all {
            if let captures = AdminRoute.captures(path, parts) { found.append((route, captures)) }
        }
        // Probes carry no token; they tell nothing that a connection attempt would not.
        let isOpen = found.contains { $0.route.isOpen }
        let isAllowed = isOpen || isAllowed(request.token)
        if !isAllowed, found.contains(where: { $0.route.isOpenInBrief }),
            request.method == "GET" || request.method == "HEAD"
        {
            return .question(.readiness(inBrief: true))
        }
        if !isAllowed {
            return .answer(
                .problem(
                    401,
                    request.token == nil
                        ? "send the header Authorization: Bearer TOKEN with the token of admin.token"
                        : "that is not the token of admin.token",
                    fields: [("WWW-Authenticate", "Bearer")]))
        }
        if !isOpen, let refusal = refusal(ofForeign: request) {
            return .answer(.problem(refusal.status, refusal.detail))
        }
        guard !found.isEmpty else {
            return .answer(.problem(404, "there is no \(request.path.onOneLine): /openapi.json lists what there is"))
        }
        let method = request.method == "HEAD" ? "GET" : request.method
        guard let (route, captures) = found.first(where: { $0.route.method == method }) else {
            let methods = found.flatMap { $0.route.method == "GET" ? ["GET", "HEAD"] : [$0.route.method] }
            let allowed = methods.joined(separator: ", ")
            return .answer(
                .problem(405, "\(request.path.onOneLine) takes \(allowed)", fields: [("Allow", allowed)]))
        }
        do throws(AdminRefusal) { return try outcome(of: request, route, captures) } catch {
            return .answer(.problem(error.status, error.detail))
        }
    }

    private func outcome(
        of request: AdminRequest, _ route: AdminRoute, _ captures: [String]
    ) throws(AdminRefusal) -> Outcome {
        switch route.action {
        case .health: return .answer(.json(200, .object(JSONObject([.init("status", .string("ok"))]))))
        case .status: return .answer(status())
        case .metrics: return .answer(metrics())
        case .document: return .answer(.json(200, OpenAPI.document))
        case .asks(let ask):
            return .question(try ask(AdminCall(captures: captures, parameters: try parameters(request, route))))
        case .takesBody:
            if case .lines = route.body, !takesLines {
                throw AdminRefusal(
                    404, "no lines are taken: nothing is done with them (--kafka-brokers), or --logs-http is off")
            }
            try refuseType(request, route)
            guard request.contentEncoding.isEmpty || request.contentEncoding == "identity" else {
                throw AdminRefusal(415, "send the body as it is, without Content-Encoding")
            }
            return .body(route.body)
        }
    }

    private func parameters(_ request: AdminRequest, _ route: AdminRoute) throws(AdminRefusal) -> [String: String] {
        var found: [String: String] = [:]
        // What a probe or a browser adds to those that take none means nothing.
        guard !route.parameters.isEmpty else { return found }
        let known = route.parameters.map(\.name)
        for pair in request.query.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = PercentCoding.decoded(parts[0], plusIsSpace: true),
                let value = PercentCoding.decoded(parts.count == 2 ? parts[1] : "", plusIsSpace: true)
            else { throw AdminRefusal(400, "the query is not encoded rightly: percent signs and UTF-8") }
            guard known.contains(where: { $0.hasSameBytes(as: name) }) else {
                let hint = Spelling.nearest(to: name, among: known).map { "; did you mean \($0)?" } ?? ""
                throw AdminRefusal(
                    400, "there is no parameter \(name.onOneLine)\(hint) (there are \(known.joined(separator: ", ")))")
            }
            guard found[name] == nil else { throw AdminRefusal(400, "\(name) is given twice") }
            found[name] = value
        }
        if let missing = route.parameters.first(where: { $0.isRequired && found[$0.name] == nil }) {
            throw AdminRefusal(400, "\(missing.name) is missing: ?\(missing.name)=…")
        }
        return found
    }

    /// Web pages can make a browser ask things here. What they cannot do: name a loopback address as Host through a name of their own, leave
    /// out Origin, or, in a body, send a type that forms do not have.
    private func refusal(ofForeign request: AdminRequest) -> AdminRefusal? {
        guard currentToken().isEmpty else { return nil }
        guard Self.isLoopback(request.host) else {
            return AdminRefusal(403, "the Host is no loopback address: set admin.token to allow others")
        }
        guard let origin = request.origin else { return nil }
        guard let authority = origin.split(separator: "/").last, Self.isLoopback(String(authority)) else {
            return AdminRefusal(403, "the Origin is foreign: set admin.token to allow others")
        }
        return nil
    }

    private func refuseType(_ request: AdminRequest, _ route: AdminRoute) throws(AdminRefusal) {
        guard currentToken().isEmpty else {
            guard !request.contentType.isEmpty else {
                throw AdminRefusal(415, "say what the body is: send the header Content-Type")
            }
            return
        }
        var (type, least) = ("application/json", ", with {} at least as the body")
        if case .lines = route.body { (type, least) = ("application/x-ndjson", "") }
        guard request.contentType == type else {
            throw AdminRefusal(415, "send the header Content-Type: \(type)\(least)")
        }
    }

    private static func isLoopback(_ host: String) -> Bool {
        let parts = host.split(separator: ":", omittingEmptySubsequences: false)
        let name = host.hasPrefix("[") ? String(host.prefix { $0 != "]" }) + "]" : String(parts.first ?? "")
        return name == "localhost" || name == "[::1]"
            || name.hasPrefix("127.") && name.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 || $0 == 0x2E }
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
