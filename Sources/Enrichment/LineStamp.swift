import Provenance

/// What one manifest adds to lines and to records, rendered once for each format and each attribution.
package final class LineStamp: Sendable {
    /// Nil for the one that stands for no manifest.
    package let manifest: Manifest?
    /// What a line holds that names this manifest.
    let values: ProvenanceValues<String>
    let spelled: Stamp.Spelled
    /// What goes into record headers, by the field's number; nil where there is nothing.
    package let recordValues: [[UInt8]?]
    /// By format and attribution.
    private let additions: [[UInt8]]

    package init(_ manifest: Manifest, _ stamp: Stamp) {
        self.manifest = manifest
        values = stamp.values
        spelled = Stamp.Spelled(stamp.values)
        recordValues = ProvenanceField.allCases.map { field in stamp.values[field].map(Escaping.percentEncoded) }
        additions = Self.render(
            suffix: stamp.logSuffix, members: [UInt8(ascii: ",")] + stamp.jsonMembers,
            pairs: [0x20] + stamp.logfmtPairs)
    }

    private init() {
        manifest = nil
        values = ProvenanceValues()
        spelled = Stamp.Spelled(ProvenanceValues())
        recordValues = ProvenanceField.allCases.map { _ in nil }
        additions = Self.render(suffix: [], members: [], pairs: [])
    }

    /// For lines of which nothing is known: they say so.
    package static let none = LineStamp()

    private static func render(suffix: [UInt8], members: [UInt8], pairs: [UInt8]) -> [[UInt8]] {
        LineFormat.allCases.flatMap { format in
            Attribution.allCases.map { attribution in
                // Only what makes it weaker than usual is written into the text; the record header has the word always.
                let word = attribution < .inferred ? Array(attribution.rawValue.utf8) : nil
                return switch format {
                case .recommendation, .text: suffix + (word.map { ", attribution=".utf8 + $0 } ?? [])
                case .json: members + (word.map { ",\"attribution\":\"".utf8 + $0 + "\"".utf8 } ?? [])
                case .logfmt: pairs + (word.map { " attribution=".utf8 + $0 } ?? [])
                }
            }
        }
    }

    /// What a line of `format` gets. A JSON object's begins with a comma.
    package func addition(_ format: LineFormat, _ attribution: Attribution) -> [UInt8] {
        additions[format.number * Attribution.allCases.count + attribution.strength]
    }
}

extension LineFormat {
    /// Its place among all formats.
    fileprivate var number: Int {
        switch self {
        case .recommendation: 0
        case .json: 1
        case .logfmt: 2
        case .text: 3
        }
    }
}
