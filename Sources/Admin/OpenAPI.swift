import Provenance

/// The description of the admin listener that it serves itself, made from the table of its routes.
enum OpenAPI {
    static let document: JSON = object([
        ("openapi", .string("3.1.0")),
        (
            "info",
            object([
                ("title", .string("Colophon")), ("version", .string(Version.current)),
                (
                    "description",
                    .string("What the sidecar knows, and what it can be told. Errors are RFC 9457 problem documents.")
                ),
                ("license", object([("name", .string("Apache-2.0")), ("identifier", .string("Apache-2.0"))])),
            ])
        ),
        ("servers", .array([object([("url", .string("/"))])])),
        ("security", .array([object([("token", .array([]))]), object([])])), ("paths", paths),
        (
            "components",
            object([
                ("schemas", OpenAPISchemas.all),
                (
                    "securitySchemes",
                    object([("token", object([("type", .string("http")), ("scheme", .string("bearer"))]))])
                ),
            ])
        ),
    ])

    private static func object(_ members: [(String, JSON)]) -> JSON {
        .object(JSONObject(members.map { .init($0.0, $0.1) }))
    }

    private static var paths: JSON {
        var templates: [String] = []
        for route in AdminRoute.all where !templates.contains(route.template) { templates.append(route.template) }
        return object(
            templates.map { template in
                let routes = AdminRoute.all.filter { $0.template == template }
                return (template, object(routes.map { ($0.method.lowercased(), operation($0)) }))
            })
    }

    private static func operation(_ route: AdminRoute) -> JSON {
        var members: [(String, JSON)] = [
            ("operationId", .string(route.name)), ("summary", .string(route.summary)),
        ]
        if route.isOpen { members.append(("security", .array([]))) }
        let inPath = route.template.split(separator: "/").filter { $0.hasPrefix("{") }.map { part in
            object([
                ("name", .string(String(part.dropFirst().dropLast()))), ("in", .string("path")),
                ("required", .bool(true)),
                ("description", .string("A digest, the first digits of one (6 or more), or a version.")),
                ("schema", object([("type", .string("string")), ("minLength", .integer(1))])),
            ])
        }
        let parameters = inPath + route.parameters.map(parameter)
        if !parameters.isEmpty { members.append(("parameters", .array(parameters))) }
        switch route.body {
        case .none: break
        case .lines:
            let any = object([("description", .string("Lines, of any kind."))])
            members.append(("requestBody", body("application/x-ndjson", any)))
        case .object(let schema, _):
            members.append(("requestBody", body("application/json", reference(schema))))
        }
        members.append(("responses", responses(route)))
        return object(members)
    }

    private static func parameter(_ parameter: AdminRoute.Parameter) -> JSON {
        let schema: JSON =
            switch parameter.kind {
            case .text: object([("type", .string("string"))])
            case .pattern(let pattern): object([("type", .string("string")), ("pattern", .string(pattern))])
            case .number(let range):
                object([
                    ("type", .string("integer")), ("minimum", .integer(range.lowerBound)),
                    ("maximum", .integer(range.upperBound)),
                ])
            case .time: object([("type", .string("string")), ("format", .string("date-time"))])
            }
        return object([
            ("name", .string(parameter.name)), ("in", .string("query")), ("required", .bool(parameter.isRequired)),
            ("description", .string(parameter.about)), ("schema", schema),
        ])
    }

    private static func body(_ type: String, _ schema: JSON) -> JSON {
        object([
            ("required", .bool(true)), ("content", object([(type, object([("schema", schema)]))])),
        ])
    }

    private static func reference(_ schema: String) -> JSON {
        object([("$ref", .string("#/components/schemas/" + schema))])
    }

    private static func responses(_ route: AdminRoute) -> JSON {
        var answers = route.answers
        func add(_ status: Int, _ about: String) {
            guard !answers.contains(where: { $0.status == status }) else { return }
            answers.append(
                .init(status: status, about: about, schema: "Problem", contentType: "application/problem+json"))
        }
        if !route.isOpen {
            add(401, "The token of admin.token is missing, or another one.")
            add(403, "A web page may have sent it.")
        }
        add(408, "The request did not come in time.")
        add(431, "Its head is too large.")
        if !route.parameters.isEmpty { add(400, "A parameter is unknown, missing or wrong; detail says which.") }
        switch route.action {
        case .asks: add(503, "Too many others wait, or the ledger cannot be read: try again.")
        case .takesBody:
            for (status, about) in [
                (400, "The body is not what it says."), (403, "A web page may have sent it."),
                (413, "It is too large."),
                (415, "It is of another type, or encoded."), (503, "Too many others wait: try again."),
            ] { add(status, about) }
            if case .object = route.body { add(422, "It is JSON, and not what is wanted; detail says what is.") }
        default: break
        }
        add(400, "It is no request as HTTP has them.")
        return object(
            answers.sorted { $0.status < $1.status }.map { answer in
                var members: [(String, JSON)] = [("description", .string(answer.about))]
                if let type = answer.contentType {
                    let schema = answer.schema.map(reference) ?? object([("type", .string("string"))])
                    members.append(("content", object([(type, object([("schema", schema)]))])))
                }
                return (String(answer.status), object(members))
            })
    }
}
