import Provenance

/// One thing that can be asked of the admin listener: how it is asked, and how it is described in `/openapi.json`.
struct AdminRoute: Sendable {
    struct Parameter: Sendable {
        enum Kind: Sendable {
            case text
            /// Text that this regular expression matches.
            case pattern(String)
            case number(ClosedRange<Int64>)
            case time
        }

        let name: String
        let kind: Kind
        let about: String
        var isRequired = false
    }

    /// What stands in the request's body.
    enum Body: Sendable {
        case none
        case lines
        /// A JSON object with these members, read by the closure.
        case object(schema: String, @Sendable (JSONObject) throws(AdminRefusal) -> AdminQuestion)
    }

    /// What comes of it.
    enum Action: Sendable {
        /// Answered at once.
        case health, status, metrics, document
        case asks(@Sendable (AdminCall) throws(AdminRefusal) -> AdminQuestion)
        /// It is the body that says what is wanted.
        case takesBody
    }

    struct Answer: Sendable {
        let status: Int
        let about: String
        /// The name of a schema; nil for text, or for no body at all.
        var schema: String?
        var contentType: String? = "application/json"
    }

    let method: String
    /// `/v1/manifests/{manifest}`
    let template: String
    let name: String
    let summary: String
    var parameters: [Parameter] = []
    var body = Body.none
    var answers: [Answer]
    /// Whether it is answered to those who bear no token.
    var isOpen = false
    /// Whether those are answered at least in brief.
    var isOpenInBrief: Bool { template == "/readyz" }
    let action: Action

    /// A path in parts. By bytes: a combining mark after a slash makes another Character of it, and no other path.
    static func parts(_ path: String) -> [Substring] {
        path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map(Substring.init)
    }

    /// What stands in the places of the template, whose parts are given; nil where the path is another one, or cannot be decoded.
    static func captures(_ path: [Substring], _ parts: [Substring]) -> [String]? {
        guard parts.count == path.count else { return nil }
        var captures: [String] = []
        for (part, given) in zip(parts, path) {
            if part.utf8.first == UInt8(ascii: "{") {
                guard !given.isEmpty, let decoded = PercentCoding.decoded(given), !decoded.isEmpty else { return nil }
                captures.append(decoded)
            } else if !part.utf8.elementsEqual(given.utf8) {
                return nil
            }
        }
        return captures
    }
}

// MARK: - The routes

extension AdminRoute {
    static let all: [AdminRoute] = operation + manifests + changes

    private static let limit = Parameter(
        name: "limit", kind: .number(1...1000), about: "Rows of a page; 50 when not given.")
    private static let after = Parameter(
        name: "after", kind: .number(1...Int64.max), about: "Go on where the page before ended: its next.")

    private static let operation: [AdminRoute] = [
        AdminRoute(
            method: "GET", template: "/healthz", name: "health", summary: "Whether the process answers.",
            answers: [Answer(status: 200, about: "It does.", schema: "Health")], isOpen: true, action: .health),
        AdminRoute(
            method: "GET", template: "/readyz", name: "readiness",
            summary: "Whether requests should be sent here, and why not; without the token only whether.",
            answers: [
                Answer(status: 200, about: "They should.", schema: "Readiness"),
                Answer(status: 503, about: "They should not, for these reasons.", schema: "Readiness"),
            ], action: .asks { _ throws(AdminRefusal) in .readiness(inBrief: false) }),
        AdminRoute(
            method: "GET", template: "/metrics", name: "metrics", summary: "Metrics in the format of OpenMetrics.",
            answers: [
                Answer(status: 200, about: "See docs/metrics.md.", contentType: "application/openmetrics-text")
            ], action: .metrics),
        AdminRoute(
            method: "GET", template: "/v1/status", name: "status",
            summary: "What is live, and every counter, in words.",
            answers: [Answer(status: 200, about: "The state of this moment.", schema: "Status")], action: .status),
        AdminRoute(
            method: "GET", template: "/openapi.json", name: "document", summary: "This document.",
            answers: [Answer(status: 200, about: "OpenAPI 3.1.", schema: "Document")], action: .document),
    ]

    private static let manifests: [AdminRoute] = [
        AdminRoute(
            method: "GET", template: "/v1/manifests", name: "manifests",
            summary: "The manifests that the ledger knows, the last added first, or those that hold every word of q.",
            parameters: [
                Parameter(
                    name: "q", kind: .pattern("^ *([^ ]+|[^ ]{3,}( +[^ ]{3,})*) *$"),
                    about:
                        "Words of at least three characters, in names and versions; six digits or more, also of digests and commits."
                ),
                limit, after,
            ], answers: [Answer(status: 200, about: "A page of them.", schema: "ManifestPage")],
            action: .asks { call throws(AdminRefusal) in
                let words = (call["q"] ?? "").split(separator: " ").map(String.init)
                if call["q"] != nil, words.isEmpty {
                    throw AdminRefusal(400, "q has no word: leave it out to list all")
                }
                if words.count > 1, let short = words.first(where: { $0.unicodeScalars.count < 3 }) {
                    throw AdminRefusal(400, "\"\(short.onOneLine)\" is too short: a word has at least 3 characters")
                }
                return .manifests(words: words, after: try call.cursor(), limit: try call.limit())
            }),
        AdminRoute(
            method: "GET", template: "/v1/manifests/{manifest}", name: "manifest",
            summary: "A manifest as it was recorded, by digest, the first digits of one (6 or more), or version.",
            parameters: [],
            answers: [Answer(status: 200, about: "It never changes: its ETag is its digest.", schema: "Manifest")]
                + named, action: .asks { call throws(AdminRefusal) in .manifest(call.captures[0]) }),
        AdminRoute(
            method: "GET", template: "/v1/manifests/{manifest}/diff/{other}", name: "difference",
            summary: "What changed from one manifest to another, value by value.", parameters: [],
            answers: [Answer(status: 200, about: "All differences.", schema: "Difference")] + named,
            action: .asks { call throws(AdminRefusal) in .difference(call.captures[0], call.captures[1]) }),
        AdminRoute(
            method: "GET", template: "/v1/trace", name: "trace",
            summary: "Leads a log line, a request id, a digest, a version, a commit or a hash back to its manifest.",
            parameters: [
                Parameter(name: "input", kind: .pattern("[^ ]"), about: "What is to be traced.", isRequired: true)
            ],
            answers: [
                Answer(status: 200, about: "An answer for each input, `unknown` among them.", schema: "TraceAnswers")
            ],
            action: .asks { call throws(AdminRefusal) in
                guard let input = call["input"], !input.allSatisfy({ $0 == " " }) else {
                    throw AdminRefusal(400, "input is empty: give a line, an id, a digest or a version")
                }
                return .trace(input)
            }),
        AdminRoute(
            method: "GET", template: "/v1/history", name: "history",
            summary: "What was live, for which variant and when; the last activation first.",
            parameters: [
                Parameter(name: "variant", kind: .text, about: "Only this variant."),
                Parameter(name: "at", kind: .time, about: "What was live then."), limit, after,
            ], answers: [Answer(status: 200, about: "A page of activations.", schema: "HistoryPage")],
            action: .asks { call throws(AdminRefusal) in
                .history(
                    variant: call["variant"], at: try call.time(), after: try call.cursor(), limit: try call.limit())
            }),
    ]

    /// What may be said of a manifest's name.
    private static let named = [
        Answer(
            status: 404, about: "No manifest of the ledger is called so.", schema: "Problem",
            contentType: "application/problem+json"),
        Answer(
            status: 409, about: "Several are: candidates has them.", schema: "Problem",
            contentType: "application/problem+json"),
    ]

    private static let changes: [AdminRoute] = [
        AdminRoute(
            method: "POST", template: "/v1/trace", name: "traceMany",
            summary: "The same for several lines and header blocks, as `colophon trace -` takes them.",
            body: .object(schema: "TraceInput") { object throws(AdminRefusal) in
                try refuseOthers(object, ["input"])
                guard case .string(let text)? = object["input"], !text.allSatisfy({ $0 == " " }) else {
                    throw AdminRefusal(422, "input is text: lines, header blocks, or a name")
                }
                return .trace(text)
            },
            answers: [Answer(status: 200, about: "An answer for each input.", schema: "TraceAnswers")],
            action: .takesBody),
        AdminRoute(
            method: "POST", template: "/v1/activations", name: "activate",
            summary:
                "Makes a manifest that the ledger knows the live one: promotion, rollback, or the confirmation that the server has followed.",
            body: .object(schema: "ActivationOrder") { object throws(AdminRefusal) in try activation(object) },
            answers: [Answer(status: 200, about: "It is live, and on record.", schema: "Activation")] + named + [
                Answer(
                    status: 503, about: "Others wait already: try again.", schema: "Problem",
                    contentType: "application/problem+json")
            ], action: .takesBody),
        AdminRoute(
            method: "POST", template: "/v1/reload", name: "reload",
            summary:
                "Loads the configuration anew, looks at every pointer and reopens the access log, as SIGHUP does; answers when the pointers have been followed.",
            body: .object(schema: "Nothing") { object throws(AdminRefusal) in
                try refuseOthers(object, [])
                return .reload
            },
            answers: [
                Answer(
                    status: 200, about: "What has changed, what needs a restart, and what is live now.",
                    schema: "Reload")
            ],
            action: .takesBody),
        AdminRoute(
            method: "POST", template: "/v1/logs", name: "logs",
            summary: "Takes log lines, to be enriched and published.", body: .lines,
            answers: [
                Answer(status: 204, about: "The disk has them.", contentType: nil),
                Answer(
                    status: 404, about: "No lines are taken here.", schema: "Problem",
                    contentType: "application/problem+json"),
                Answer(
                    status: 503, about: "There is no room; none was taken.", schema: "Problem",
                    contentType: "application/problem+json"),
            ], action: .takesBody),
    ]

    private static func refuseOthers(_ object: JSONObject, _ known: [String]) throws(AdminRefusal) {
        guard
            let other = object.members.first(where: { member in !known.contains { $0.hasSameBytes(as: member.name) } })
        else { return }
        let hint = Spelling.nearest(to: other.name, among: known).map { "; did you mean \($0)?" } ?? ""
        throw AdminRefusal(422, "there is no member \(other.name.onOneLine)\(hint)")
    }

    private static func activation(_ object: JSONObject) throws(AdminRefusal) -> AdminQuestion {
        try refuseOthers(object, ["manifest", "variant", "by", "settled"])
        func text(_ name: String) throws(AdminRefusal) -> String? {
            guard let value = object[name] else { return nil }
            guard case .string(let text) = value, !text.isEmpty, text.utf8.count <= 512 else {
                throw AdminRefusal(422, "\(name) is text of 1 to 512 bytes")
            }
            return text
        }
        guard let manifest = try text("manifest") else {
            throw AdminRefusal(422, "manifest is missing: a digest, the first digits of one, or a version")
        }
        var isSettled = false
        switch object["settled"] {
        case nil: break
        case .bool(let value)?: isSettled = value
        default: throw AdminRefusal(422, "settled is true or false")
        }
        return .activate(manifest: manifest, variant: try text("variant"), by: try text("by"), isSettled: isSettled)
    }
}
