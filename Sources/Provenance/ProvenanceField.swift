/// The facts that a stamp carries, in the order in which a line carries them.
package enum ProvenanceField: Int, Sendable, CaseIterable {
    case modelVersion
    case pipelineCommit
    case pipelineBranch
    case dataVersion
    case manifestSHA256

    /// The name in a line, a JSON member, a logfmt pair and a record header.
    package var name: StaticString {
        switch self {
        case .modelVersion: "model_version"
        case .pipelineCommit: "pipeline_commit"
        case .pipelineBranch: "pipeline_branch"
        case .dataVersion: "data_version"
        case .manifestSHA256: "manifest_sha256"
        }
    }
}

/// One value for each provenance field.
package struct ProvenanceValues<Value> {
    package var modelVersion: Value?
    package var pipelineCommit: Value?
    package var pipelineBranch: Value?
    package var dataVersion: Value?
    package var manifestSHA256: Value?

    package init() {}

    package subscript(field: ProvenanceField) -> Value? {
        get {
            switch field {
            case .modelVersion: modelVersion
            case .pipelineCommit: pipelineCommit
            case .pipelineBranch: pipelineBranch
            case .dataVersion: dataVersion
            case .manifestSHA256: manifestSHA256
            }
        }
        set {
            switch field {
            case .modelVersion: modelVersion = newValue
            case .pipelineCommit: pipelineCommit = newValue
            case .pipelineBranch: pipelineBranch = newValue
            case .dataVersion: dataVersion = newValue
            case .manifestSHA256: manifestSHA256 = newValue
            }
        }
    }

    package var isEmpty: Bool { ProvenanceField.allCases.allSatisfy { self[$0] == nil } }
}

extension ProvenanceValues: Sendable where Value: Sendable {}
