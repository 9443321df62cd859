/// A JSON value that keeps what a digest depends on: the order of members and the spelling of numbers.
package enum JSON: Sendable {
    case null
    case bool(Bool)
    /// A number as it was written: `0.01`, `1e-05`, `18446744073709551615`.
    case number(String)
    case string(String)
    case array([JSON])
    case object(JSONObject)

    /// A whole number.
    package static func integer(_ value: some BinaryInteger) -> JSON { .number(String(value)) }

    /// A text, or null where there is none.
    package static func optional(_ text: String?) -> JSON { text.map(JSON.string) ?? .null }

    package var object: JSONObject? { if case .object(let object) = self { object } else { nil } }

    package var string: String? { if case .string(let text) = self { text } else { nil } }

    package var array: [JSON]? { if case .array(let items) = self { items } else { nil } }

    package var isNull: Bool { if case .null = self { true } else { false } }

    /// What it is, for a message: "a number", "an array".
    package var kind: String {
        switch self {
        case .null: "null"
        case .bool(let value): value ? "true" : "false"
        case .number(let spelling): "the number \(spelling)"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

/// The members of a JSON object, in the order in which they were written. No name stands twice.
package struct JSONObject: Sendable {
    package struct Member: Sendable {
        package let name: String
        package var value: JSON

        package init(_ name: String, _ value: JSON) {
            self.name = name
            self.value = value
        }
    }

    package private(set) var members: [Member]

    /// Takes members whose names differ in their bytes.
    package init(_ members: [Member] = []) { self.members = members }

    package subscript(name: String) -> JSON? {
        members.first { $0.name.hasSameBytes(as: name) }?.value
    }

    /// Adds a member at the end; the name must be new.
    package mutating func append(_ name: String, _ value: JSON) {
        members.append(Member(name, value))
    }

    /// The object without one of its members.
    package func without(_ name: String) -> JSONObject {
        JSONObject(members.filter { !$0.name.hasSameBytes(as: name) })
    }
}

/// The way from the root of a document to one of its values, for people: `artifacts.als_model.path`, `layers[3]`.
package struct JSONPath: Sendable, CustomStringConvertible {
    private enum Step: Sendable {
        case name(String)
        case index(Int)
    }

    private var steps: [Step] = []

    package init() {}

    package var isRoot: Bool { steps.isEmpty }

    package mutating func enter(name: String) { steps.append(.name(name)) }

    package mutating func enter(index: Int) { steps.append(.index(index)) }

    package mutating func leave() { steps.removeLast() }

    package func member(_ name: String) -> JSONPath {
        var path = self
        path.enter(name: name)
        return path
    }

    package func item(_ index: Int) -> JSONPath {
        var path = self
        path.enter(index: index)
        return path
    }

    package var description: String {
        guard !isRoot else { return "the document" }
        var text = ""
        for step in steps {
            switch step {
            case .index(let index): text += "[\(index)]"
            case .name(let name) where !name.isEmpty && name.utf8.allSatisfy(Self.isPlain):
                text += (text.isEmpty ? "" : ".") + name
            case .name(let name): text += "[" + JSONWriter.compact.text(.string(name)) + "]"
            }
        }
        return text.onOneLine
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}
