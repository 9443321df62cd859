/// The formats in which a line can carry provenance.
package enum LineFormat: String, Sendable, CaseIterable {
    /// `<time>,<user>,recommendation request …, <n> ms`
    case recommendation
    case json
    case logfmt
    /// Anything else; provenance is a suffix.
    case text
}

/// Where a value stands in a line, and how it is spelled there.
package struct FieldSpan: Sendable {
    package enum Spelling: Sendable {
        case plain
        case percent
        /// A JSON string with escapes, without its quotes; logfmt's quoted values are the same.
        case escaped
    }

    package let range: Range<Int>
    package let spelling: Spelling

    package init(_ range: Range<Int>, _ spelling: Spelling) {
        self.range = range
        self.spelling = spelling
    }

    package func text(_ bytes: Span<UInt8>) -> String {
        switch spelling {
        case .plain: bytes.text(range)
        case .percent: Escaping.percentDecoded(bytes, range)
        case .escaped: JSONSyntax.decoded(bytes, range)
        }
    }
}

/// What a line says about where it came from: only where things stand, nothing copied.
package struct LineFacts: Sendable {
    package let format: LineFormat
    package var provenance = ProvenanceValues<FieldSpan>()
    package var attribution: FieldSpan?
    package var requestID: FieldSpan?
    package var variant: FieldSpan?
    package var time: Instant?
    /// How long the request took, in microseconds.
    package var duration: Int64 = 0
    /// Whether a provenance field stands twice, so that it says nothing.
    package var isRepeated = false

    package init(_ format: LineFormat) { self.format = format }

    /// Where the digest of a manifest stands, if one is named.
    package var namedDigest: Range<Int>? { provenance.manifestSHA256?.range }

    /// Takes a provenance field, its attribution or the request id, if `name` is one of their names.
    mutating func take(_ name: Range<Int>, _ value: FieldSpan, _ bytes: Span<UInt8>) -> KnownField? {
        guard let field = KnownField(bytes, name) else { return nil }
        switch field {
        case .provenance(let field):
            if provenance[field] != nil { isRepeated = true }
            provenance[field] = value
        case .attribution:
            if attribution != nil { isRepeated = true }
            attribution = value
        case .requestID:
            if requestID != nil { isRepeated = true }
            requestID = value
        }
        return field
    }
}

extension LineFacts {
    /// Whether every provenance field that the line has is spelled exactly like this. False also where it may only look
    /// different, because it is spelled in another way.
    package func agrees(with stamp: Stamp.Spelled, _ line: Span<UInt8>) -> Bool {
        for field in ProvenanceField.allCases {
            guard let span = provenance[field] else { continue }
            guard stamp.isPlain || span.spelling == .percent, let bytes = stamp.bytes[field.rawValue],
                line.hasBytes(bytes, in: span.range)
            else { return false }
        }
        return true
    }
}

/// The names under which a line carries what Colophon added to it.
enum KnownField: Equatable {
    case provenance(ProvenanceField)
    case attribution
    case requestID

    /// Where it stands in the order of a suffix; nil where it may stand anywhere.
    var rank: Int? {
        switch self {
        case .provenance(let field): field.rawValue
        case .attribution: ProvenanceField.allCases.count
        case .requestID: nil
        }
    }

    init?(_ bytes: Span<UInt8>, _ name: Range<Int>) {
        // The length, and then one letter, tell all names apart: a line of other fields costs next to nothing.
        let found: (name: StaticString, field: KnownField)
        switch name.count {
        case 13: found = ("model_version", .provenance(.modelVersion))
        case 15:
            switch bytes[name.lowerBound + 9] {
            case UInt8(ascii: "c"): found = ("pipeline_commit", .provenance(.pipelineCommit))
            case UInt8(ascii: "b"): found = ("pipeline_branch", .provenance(.pipelineBranch))
            default: found = ("manifest_sha256", .provenance(.manifestSHA256))
            }
        case 12: found = ("data_version", .provenance(.dataVersion))
        case 11: found = ("attribution", .attribution)
        case 10: found = ("request_id", .requestID)
        default: return nil
        }
        guard bytes.hasBytes(found.name, at: name.lowerBound) else { return nil }
        self = found.field
    }
}
