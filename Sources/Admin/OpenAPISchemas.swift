import Provenance

/// The shapes of what the admin listener takes and gives, as JSON Schema.
enum OpenAPISchemas {
    static let all = object([
        ("Problem", shape(["title": text, "status": integer, "detail": text], ["title", "status", "detail"])),
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
        (
            "Status",
            shape(
                [
                    "version": text, "started_at": text, "instance": text, "draining": truth,
                    "variants": list(object([("type", .string("object"))])),
                    "totals": object([("type", .string("object"))]),
                ], ["version", "started_at", "instance", "draining", "variants", "totals"])
        ),
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
                ["a": digest, "b": digest, "differences": list(shape(["path": text], ["path"]))],
                ["a", "b", "differences"])
        ),
        (
            "TraceInput",
            closed(["input": object([("type", .string("string")), ("pattern", .string("[^ ]"))])], ["input"])
        ),
        (
            "TraceAnswers",
            shape(["answers": list(shape(["attribution": attribution], ["attribution"]))], ["answers"])
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
            "variant": text, "from": text, "until": maybe("string"), "manifest_sha256": digest, "model_version": text,
            "previous_manifest_sha256": maybe("string"), "rollback": truth, "doubts": list(doubt), "cause": text,
            "actor": maybe("string"),
            "instance": text,
        ], ["variant", "from", "manifest_sha256", "model_version", "rollback", "doubts", "cause", "instance"])
    private static let doubt = shape(["from": text, "until": maybe("string"), "reason": text], ["from", "reason"])

    private static func object(_ members: [(String, JSON)]) -> JSON {
        .object(JSONObject(members.map { .init($0.0, $0.1) }))
    }

    private static func maybe(_ type: String) -> JSON { object([("type", .array([.string(type), .string("null")]))]) }

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
