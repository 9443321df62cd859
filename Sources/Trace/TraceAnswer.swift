import Provenance

/// What kind of thing was traced.
package enum TracedInput: String, Sendable {
    case recommendation = "recommendation line"
    case json = "JSON line"
    case logfmt = "logfmt line"
    case text = "text line"
    case headers = "response headers"
    case name = "name"

    init(_ format: LineFormat) {
        switch format {
        case .recommendation: self = .recommendation
        case .json: self = .json
        case .logfmt: self = .logfmt
        case .text: self = .text
        }
    }
}

/// By what a manifest was found.
package enum FoundBy: String, Sendable {
    case manifestField = "manifest_sha256"
    case versionField = "model_version"
    case otherFields = "pipeline_commit, data_version"
    case requestID = "request id"
    case exchange = "record of the exchange"
    case variantAndTime = "variant and time"
    case digest = "digest"
    case digestPrefix = "digest prefix"
    case version = "version"
    case commit = "commit"
    case dataVersion = "data version"
    case dataset = "dataset hash"
    case artifact = "artifact hash"
}

/// The answer to one traced line, header block or name.
package struct TraceAnswer: Sendable {
    package let input: TracedInput
    package let outcome: Outcome

    package enum Outcome: Sendable {
        /// `note` says what keeps the attribution from being stronger.
        case found(TracedManifest, FoundBy, Attribution, note: String?)
        case ambiguous(what: String, candidates: [TracedManifest], hasMore: Bool)
        case unknown(reason: String)
    }

    /// Whether it is known which manifest it was.
    package var isKnown: Bool {
        if case .found(_, _, let attribution, _) = outcome { attribution != .unknown } else { false }
    }
}

/// A manifest with everything that is told of it; made once, however many lines lead to it.
package final class TracedManifest: Sendable {
    package let indexed: IndexedManifest
    package let intervals: [LiveInterval]
    /// The state of its files; nil when nobody asked.
    package let files: [CheckedFile]?
    /// What its stamp says.
    let values: ProvenanceValues<String>
    /// The same, as the bytes that a line holds.
    let spelled: Stamp.Spelled
    /// The members of its JSON answer, rendered.
    let members: [UInt8]
    /// Its answer for people, rendered.
    let report: [UInt8]

    package var manifest: Manifest { indexed.manifest }

    init(_ indexed: IndexedManifest, intervals: [LiveInterval], files: [CheckedFile]?) {
        self.indexed = indexed
        self.intervals = intervals
        self.files = files
        values = Stamp.values(of: indexed.manifest)
        spelled = Stamp.Spelled(values)
        var report: [UInt8] = []
        TraceText.write(TraceText.report(of: indexed, intervals: intervals, files: files), to: &report)
        self.report = report
        members = TraceJSON.members(of: indexed, intervals: intervals, files: files)
    }
}

extension TracedManifest {
    /// In which of the named values the manifest has another one; nil when it agrees with all.
    func disagreement(with named: ProvenanceValues<String>) -> String? {
        named.disagreement(with: manifest, stamped: values)
    }
}

extension TraceAnswer {
    /// The same answer, but no surer than what was said when it was written.
    func atMost(_ stated: Attribution?) -> TraceAnswer {
        guard let stated, case .found(let traced, let by, let sure, _) = outcome, stated < sure else { return self }
        return TraceAnswer(
            input: input,
            outcome: .found(traced, by, stated, note: "the sidecar itself said no more than \(stated.rawValue)"))
    }
}
