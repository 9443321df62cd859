import Provenance

/// Which lines are meant (`logs.match`).
package enum LineMatch: Sendable, Equatable {
    case recommendation
    case all
    /// A field has exactly this value.
    case field(name: String, value: String)

    /// Reads `recommendation`, `all` or `field=value`; nil for anything else.
    package init?(_ text: String) {
        switch text {
        case "recommendation": self = .recommendation
        case "all": self = .all
        default:
            guard let equals = text.utf8.firstIndex(of: UInt8(ascii: "=")), equals > text.utf8.startIndex else {
                return nil
            }
            self = .field(
                name: String(decoding: text.utf8[..<equals], as: UTF8.self),
                value: String(decoding: text.utf8[text.utf8.index(after: equals)...], as: UTF8.self))
        }
    }

    /// The name of the field that is tested; empty when none is.
    package var field: String {
        if case .field(let name, _) = self { name } else { "" }
    }
}

/// What becomes of lines that are not meant.
package enum Unmatched: String, Sendable, CaseIterable {
    case forward
    case drop
}
