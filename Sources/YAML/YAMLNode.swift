/// A place in a document, both numbers from one.
package struct YAMLPlace: Sendable, Equatable {
    package let line: Int
    package let column: Int
}

/// What a YAML document says, with where it says so.
package indirect enum YAMLNode: Sendable {
    /// What a scalar is written as. A plain one may be a number or nothing at all; a quoted one is always text.
    case scalar(String, isPlain: Bool, YAMLPlace)
    case sequence([YAMLNode], YAMLPlace)
    /// In the order of the document; no two keys are the same.
    case mapping([Member], YAMLPlace)

    package struct Member: Sendable {
        package let key: String
        package let place: YAMLPlace
        package let value: YAMLNode
    }

    package var place: YAMLPlace {
        switch self {
        case .scalar(_, _, let place), .sequence(_, let place), .mapping(_, let place): place
        }
    }

    /// Whether nothing is written there.
    package var isNothing: Bool {
        if case .scalar(let text, true, _) = self { return text.isEmpty || text == "~" || text == "null" }
        return false
    }
}

/// Why a document cannot be read.
package struct YAMLError: Error, Sendable, CustomStringConvertible {
    package let line: Int
    package let column: Int
    package let reason: String

    init(_ place: YAMLPlace, _ reason: String) {
        line = place.line
        column = place.column
        self.reason = reason
    }

    package var description: String { "line \(line), column \(column): \(reason)" }
}
