import Provenance

/// The value of a key, as it was written.
package enum SettingValue: Sendable, ExpressibleByStringLiteral, ExpressibleByArrayLiteral,
    ExpressibleByDictionaryLiteral
{
    case one(String)
    case list([String])
    /// In the order in which they were written.
    case map([(name: String, value: String)])

    package init(stringLiteral value: String) { self = .one(value) }

    package init(arrayLiteral elements: String...) { self = .list(elements) }

    package init(dictionaryLiteral elements: (String, String)...) { self = .map(elements.map { ($0.0, $0.1) }) }

    package var texts: [String] {
        switch self {
        case .one(let text): [text]
        case .list(let list): list
        case .map(let pairs): pairs.map { "\($0.name)=\($0.value)" }
        }
    }

    subscript(index: Int) -> String { texts[index] }

    /// Whether nothing is said by it.
    var isNothing: Bool {
        switch self {
        case .one(let text): text.isEmpty
        case .list(let list): list.isEmpty
        case .map(let pairs): pairs.isEmpty
        }
    }

    func hasSameBytes(as other: SettingValue) -> Bool {
        let (left, right) = (texts, other.texts)
        return left.count == right.count && zip(left, right).allSatisfy { $0.hasSameBytes(as: $1) }
    }

    /// Each text of it, changed.
    func mapTexts<Failure: Error>(_ change: (String) throws(Failure) -> String) throws(Failure) -> SettingValue {
        switch self {
        case .one(let text): return .one(try change(text))
        case .list(let list):
            var changed: [String] = []
            for text in list { changed.append(try change(text)) }
            return .list(changed)
        case .map(let pairs):
            var changed: [(name: String, value: String)] = []
            for pair in pairs { changed.append((pair.name, try change(pair.value))) }
            return .map(changed)
        }
    }

    /// As JSON, which is how lists and maps are written in the environment.
    package var json: JSON {
        switch self {
        case .one(let text): .string(text)
        case .list(let list): .array(list.map(JSON.string))
        case .map(let pairs): .object(JSONObject(pairs.map { .init($0.name, .string($0.value)) }))
        }
    }
}
