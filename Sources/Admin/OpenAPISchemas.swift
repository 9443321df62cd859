import Provenance

/// The shapes of what the admin listener takes and gives, as JSON Schema.
enum OpenAPISchemas {
    static let all = object([
        (
            "Problem",
            shape(
                ["title": text, "status": integer, "detail": text, "candidates": list(candidate)],
                ["title", "status", "detail"])
        ),
        ("Health", shape(["status": object([("const", .string("ok"))])], ["status"])),
        (
            "Readiness",
            shape(
                [
                    "ready": truth,
                    "checks": object([
                        ("type", .string("object")),
                        ("additionalProperties", shape(["ok": truth, "detail": text], ["ok", "detail"])),
                    ]),
                ], ["ready"])
        ),
        ("Status", status),
        ("Document", shape(["openapi": text, "paths": object([("type", .string("object"))])], ["openapi", "paths"])),
        ("Manifest", shape(["model_version": text], ["model_version"])),
        (
            "ManifestPage",
            shape(
                [
                    "manifests": list(
                        shape(
                            [
                                "manifest_sha256": digest, "model_version": text, "model_family": maybe("string"),
                                "trained_at": maybe("string"), "indexed_at": text,
                            ], ["manifest_sha256", "model_version", "indexed_at"])), "next": maybe("integer"),
                ], ["manifests", "next"])
        ),
        (
            "Difference",
            shape(
                [
                    "a": digest, "b": digest,
                    "differences": list(shape(["path": text, "before": anything, "after": anything], ["path"])),
                ],
                ["a", "b", "differences"])
        ),
        (
            "TraceInput",
            closed(["input": object([("type", .string("string")), ("pattern", .string("[^ ]"))])], ["input"])
        ),
        (
            "TraceAnswers",
            shape(["answers": list(answer)], ["answers"])
        ),
        ("HistoryPage", shape(["activations": list(activation), "next": maybe("integer")], ["activations", "next"])),
        (
            "ActivationOrder",
            closed(
                ["manifest": name, "variant": name, "by": name, "settled": truth], ["manifest"])
        ),
        (
            "Activation",
            shape(
                [
                    "result": object([("enum", .array([.string("activated"), .string("confirmed")]))]),
                    "settled": truth,
                    "activation": activation,
                ], ["result", "settled", "activation"])
        ),
        ("Nothing", closed([:], [])),
        (
            "Reload",
            shape(
                [
                    "changed": list(text), "need_restart": list(text),
                    "variants": list(
                        shape(
                            [
                                "variant": text, "model_version": maybe("string"), "current": truth,
                                "problem": maybe("string"),
                            ], ["variant", "model_version", "current", "problem"])),
                ], ["changed", "need_restart", "variants"])
        ),
    ])

    private static let status = shape(
        [
            "version": text, "started_at": text, "instance": text, "draining": truth, "listen": list(text),
            "variants": list(
                shape(
                    [
                        "variant": text, "pointer": text, "model_version": maybe("string"),
                        "manifest_sha256": maybe("string"), "file": maybe("string"), "active_since": maybe("string"),
                        "current": truth, "problem": maybe("string"), "settled": truth, "overridden": truth,
                        "left_out": list(text),
                    ], ["variant", "pointer", "model_version", "current", "problem", "settled", "overridden"])),
            "upstreams": list(
                shape(
                    ["upstream": text, "address": text, "state": words("untried", "reached", "unreachable")],
                    ["upstream", "address", "state"])),
            "activations": integer, "failed_reloads": integer,
            "configuration": shape(
                ["failed_reloads": integer, "problem": maybe("string"), "need_restart": list(text)],
                ["failed_reloads", "problem", "need_restart"]),
            "connections": integer, "upstream_connections": integer, "totals": map(of: integer),
            "exchanges": maybe(
                shape(
                    [
                        "seen": integer, "kept": integer, "dropped": integer, "failed": integer,
                        "problem": maybe("string"),
                    ],
                    ["seen", "kept", "dropped", "failed", "problem"])),
            "lines": maybe(lines),
            "workers": list(shape(["connections": integer, "requests": integer], ["connections", "requests"])),
        ],
        [
            "version", "started_at", "instance", "draining", "variants", "upstreams", "configuration", "totals",
            "lines", "workers",
        ])
    /// Counters by their names, and what is wrong.
    private static let lines = object([
        ("type", .string("object")),
        (
            "properties",
            object([
                ("lines", integer), ("delivered", integer), ("dead", integer), ("waiting", integer),
                ("client", maybe(map(of: integer))), ("problem", maybe("string")), ("spool_problem", maybe("string")),
                ("dead_letter_problem", maybe("string")), ("unknown_by", map(of: integer)),
                (
                    "sources",
                    list(
                        object([
                            ("type", .string("object")), ("properties", object([("source", text)])),
                            ("required", .array([.string("source")])), ("additionalProperties", integer),
                        ]))
                ),
                ("files", list(shape(["file": text, "position": integer], ["file", "position"]))),
            ])
        ),
        ("required", .array(["lines", "delivered", "waiting", "problem", "sources", "files"].map(JSON.string))),
        ("additionalProperties", integer),
    ])
    private static let candidate = shape(
        [
            "manifest_sha256": digest, "model_version": text, "model_family": maybe("string"),
            "trained_at": maybe("string"), "manifest_path": maybe("string"),
        ],
        ["manifest_sha256", "model_version"])
    /// What was found is told with the members of its manifest.
    private static let answer = shape(
        [
            "line": integer, "input": text, "status": words("found", "ambiguous", "unknown"),
            "attribution": attribution,
            "found_by": text, "note": text, "reason": text, "candidates": list(candidate), "more": truth,
            "manifest_sha256": digest, "digest_form": text, "declared_sha256": maybe("string"),
            "model_family": maybe("string"), "model_version": text, "trained_at": maybe("string"),
            "pipeline": map(of: anything), "data": map(of: anything), "artifacts": list(map(of: anything)),
            "live": list(map(of: anything)), "manifest_path": maybe("string"),
        ], ["line", "input", "status", "attribution"])

    private static let anything = object([])
    private static let text = object([("type", .string("string"))])
    private static let name = object([
        ("type", .string("string")), ("minLength", .integer(1)), ("maxLength", .integer(512)),
    ])
    private static let integer = object([("type", .string("integer"))])
    private static let truth = object([("type", .string("boolean"))])
    private static let digest = object([("type", .string("string")), ("pattern", .string("^[0-9a-f]{64}$"))])
    private static let attribution = object([
        ("enum", .array(Attribution.allCases.map { .string($0.rawValue) }))
    ])
    private static let activation = shape(
        [
            "variant": text, "from": text, "until": maybe("string"), "wall_time": text, "manifest_sha256": digest,
            "model_version": text,
            "previous_manifest_sha256": maybe("string"), "rollback": truth, "doubts": list(doubt), "cause": text,
            "actor": maybe("string"),
            "instance": text,
        ], ["variant", "from", "manifest_sha256", "model_version", "rollback", "doubts", "cause", "instance"])
    private static let doubt = shape(["from": text, "until": maybe("string"), "reason": text], ["from", "reason"])

    private static func object(_ members: [(String, JSON)]) -> JSON {
        .object(JSONObject(members.map { .init($0.0, $0.1) }))
    }

    private static func maybe(_ type: String) -> JSON { object([("type", .array([.string(type), .string("null")]))]) }

    private static func maybe(_ schema: JSON) -> JSON {
        object([("anyOf", .array([schema, object([("type", .string("null"))])]))])
    }

    private static func words(_ words: String...) -> JSON { object([("enum", .array(words.map(JSON.string)))]) }

    /// An object whose members' names say by themselves what they are.
    private static func map(of members: JSON) -> JSON {
        object([("type", .string("object")), ("additionalProperties", members)])
    }

    private static func list(_ items: JSON) -> JSON { object([("type", .string("array")), ("items", items)]) }

    private static func shape(_ properties: KeyValuePairs<String, JSON>, _ required: [String]) -> JSON {
        object([
            ("type", .string("object")), ("properties", object(properties.map { ($0.key, $0.value) })),
            ("required", .array(required.map(JSON.string))),
        ])
    }

    /// One that has no other members.
    private static func closed(_ properties: KeyValuePairs<String, JSON>, _ required: [String]) -> JSON {
        object([
            ("type", .string("object")), ("properties", object(properties.map { ($0.key, $0.value) })),
            ("required", .array(required.map(JSON.string))), ("additionalProperties", .bool(false)),
        ])
    }
}
