import Provenance

/// The JSON Schema of a configuration file, made from the table of keys.
package enum ConfigurationSchema {
    package static var json: JSON {
        let head: [JSONObject.Member] = [
            .init("$schema", .string("https://json-schema.org/draft/2020-12/schema")),
            .init("title", .string("colophon.yaml")), .init("type", .string("object")),
        ]
        return .object(JSONObject(head + members(of: SettingKey.all.map { ($0, $0.name.split(separator: ".")[...]) })))
    }

    /// What is said of an object that has these keys.
    private static func members(
        of keys: [(key: SettingKey, path: ArraySlice<Substring>)]
    ) -> [JSONObject.Member] {
        var names: [Substring] = []
        for entry in keys { if let name = entry.path.first, !names.contains(name) { names.append(name) } }
        let properties = names.map { name in
            let inside = keys.filter { $0.path.first == name }
            if let leaf = inside.first(where: { $0.path.count == 1 })?.key {
                return JSONObject.Member(String(name), leafSchema(leaf))
            }
            // A section may be empty.
            let section = [JSONObject.Member("type", types(["object", "null"]))]
            let members = members(of: inside.map { ($0.key, $0.path.dropFirst()) })
            return JSONObject.Member(String(name), .object(JSONObject(section + members)))
        }
        return [.init("additionalProperties", .bool(false)), .init("properties", .object(JSONObject(properties)))]
    }

    private static func leafSchema(_ key: SettingKey) -> JSON {
        let value = value(key.kind)
        var members: [JSONObject.Member] = [.init("description", .string(key.about))]
        func anyOf(_ other: [JSONObject.Member]) -> [JSONObject.Member] {
            [.init("anyOf", .array([.object(JSONObject(value)), .object(JSONObject(other))]))]
        }
        switch key.shape {
        case .one: members += value
        case .list:
            members += anyOf([.init("type", .string("array")), .init("items", .object(JSONObject(value)))])
        case .variants:
            members += anyOf([
                .init("type", .string("object")), .init("additionalProperties", .object(JSONObject(value))),
            ])
        case .map:
            members += [
                .init("type", .string("object")),
                .init(
                    "additionalProperties",
                    .object(JSONObject([.init("type", types(["string", "number", "boolean"]))]))
                ),
            ]
        }
        members.append(.init("default", initial(key)))
        return .object(JSONObject(members))
    }

    private static func types(_ names: [String]) -> JSON { .array(names.map(JSON.string)) }

    private static func initial(_ key: SettingKey) -> JSON {
        switch (key.kind, key.initial) {
        case (.truth, .one(let text)): .bool(text == "true")
        case (.number, .one(let text)), (.size, .one(let text)):
            Int(text).map { .integer($0) } ?? .string(text)
        default: key.initial.json
        }
    }

    /// A variable may stand for anything.
    private static func value(_ kind: SettingKey.Kind) -> [JSONObject.Member] {
        if case .text = kind { return plainValue(kind) }
        let variable = JSON.object(
            JSONObject([.init("type", .string("string")), .init("pattern", .string("\\$\\{"))]))
        return [.init("anyOf", .array([.object(JSONObject(plainValue(kind))), variable]))]
    }

    private static func plainValue(_ kind: SettingKey.Kind) -> [JSONObject.Member] {
        switch kind {
        // Whatever a plain word looks like to YAML, it is taken as it is written.
        case .text: [.init("type", types(["string", "number", "boolean"]))]
        case .truth:
            [
                .init(
                    "enum",
                    .array([.bool(true), .bool(false)] + ["true", "false", "on", "off", "yes", "no"].map(JSON.string)))
            ]
        case .number(let range):
            [
                .init("type", .string("integer")), .init("minimum", .integer(range.lowerBound)),
                .init("maximum", .integer(range.upperBound)),
            ]
        case .duration: pattern("^[0-9]+(ms|s|m|h)?$")
        case .size: pattern("^[0-9]+(B|KiB|MiB|GiB)?$")
        case .choice(let words):
            // A plain `off` or `true` is a truth to many readers of YAML.
            [.init("enum", .array(words.map(JSON.string) + truths(among: words)))]
        case .either(let words, let other):
            [
                .init(
                    "anyOf",
                    .array([
                        .object(JSONObject([.init("enum", .array(words.map(JSON.string) + truths(among: words)))])),
                        .object(JSONObject(plainValue(other))),
                    ]))
            ]
        }
    }

    private static func truths(among words: [String]) -> [JSON] {
        (words.contains { $0 == "off" || $0 == "false" } ? [.bool(false)] : [])
            + (words.contains { $0 == "on" || $0 == "true" } ? [.bool(true)] : [])
    }

    private static func pattern(_ text: String) -> [JSONObject.Member] {
        [
            .init("type", types(["string", "integer"])), .init("pattern", .string(text)), .init("minimum", .integer(0)),
        ]
    }
}
