/// What leads from the values that a line or a header block names to the manifest that it means.
extension ProvenanceValues where Value == String {
    /// By what the manifest is looked up; nil when the strongest of these values is nothing that it could be.
    package var manifestKey: (key: ManifestKey?, names: String, isOwnName: Bool) {
        if let digest = manifestSHA256 {
            guard let prefix = HexPrefix(digest) else { return (nil, "the manifest \"\(digest)\"", true) }
            return (.digest(prefix), "the manifest \(digest)", true)
        }
        if let version = modelVersion { return (.version(version), "the version \(version)", true) }
        if let commit = pipelineCommit {
            let key = HexPrefix(commit).map { ManifestKey.commit($0.digits) } ?? .commitName(commit)
            return (key, "the commit \(commit)", false)
        }
        guard let data = dataVersion else { return (nil, "a branch alone", false) }
        return (.dataVersion(data), "the data version \(data)", false)
    }

    /// In which of these values, read from somewhere, `manifest` has another one; nil when it agrees with all.
    package func disagreement(with manifest: Manifest, stamped values: ProvenanceValues<String>) -> String? {
        for field in ProvenanceField.allCases {
            guard let value = self[field], !Self.agrees(field, value, manifest, values) else { continue }
            let own = values[field].map { "\"\($0)\"" } ?? "absent"
            return "its \(field.name) is \(own), not \"\(value)\""
        }
        return nil
    }

    private static func agrees(
        _ field: ProvenanceField, _ value: String, _ manifest: Manifest, _ values: ProvenanceValues<String>
    ) -> Bool {
        switch field {
        case .manifestSHA256: HexPrefix(value)?.matches(manifest.digest) ?? false
        // However many digits are written (`stamp.commit_length`), they are those of the commit.
        case .pipelineCommit:
            values[field]?.hasSameBytes(as: value) ?? false
                || value.utf8.count >= 4 && manifest.pipeline.commit.map { $0.utf8.starts(with: value.utf8) } ?? false
        default: values[field]?.hasSameBytes(as: value) ?? false
        }
    }
}

extension ManifestIndex {
    /// The variant whose activations tell of a line that names `named`, or none. Where only one variant serves, and nobody gave
    /// it a name, it is behind every arm that a model server may know of. Nil when it cannot be told.
    package func servingVariant(for named: String?) throws(ManifestIndexError) -> String? {
        let known = try variants()
        if let named, known.contains(where: { $0.hasSameBytes(as: named) }) { return named }
        guard known.count == 1, let only = known.first else {
            return named == nil && known.contains(Self.unnamedVariant) ? Self.unnamedVariant : nil
        }
        return named == nil || only.hasSameBytes(as: Self.unnamedVariant) ? only : nil
    }

    private static var unnamedVariant: String { "default" }
}
