import Provenance

/// Answers for people.
package enum TraceText {
    /// Appends the answer. With a line number when there may be several.
    package static func write(_ answer: TraceAnswer, line: Int?, to output: inout [UInt8]) {
        let prefix = line.map { "line \($0): " } ?? ""
        switch answer.outcome {
        case .found(let traced, let foundBy, let attribution, let note):
            output += "\(prefix)\(sentence(answer.input, foundBy, attribution, note))\n".utf8
            output += traced.report
        case .ambiguous(let what, let candidates, let hasMore):
            output += "\(prefix)ambiguous: \(what.onOneLine)\n".utf8
            var rows = candidates.map { ("candidate", candidate($0.manifest)) }
            if hasMore { rows.append(("", "and more")) }
            write(rows, to: &output)
        case .unknown(let reason):
            output += "\(prefix)unknown: \(reason.onOneLine)\n".utf8
        }
    }

    private static func sentence(
        _ input: TracedInput, _ foundBy: FoundBy, _ attribution: Attribution, _ note: String?
    ) -> String {
        let how =
            input == .name ? "found by \(foundBy.rawValue)" : "found by \(foundBy.rawValue) in the \(input.rawValue)"
        return "\(attribution.rawValue): \(how)" + (note.map { "; \($0.onOneLine)" } ?? "")
    }

    private static func candidate(_ manifest: Manifest) -> String {
        let trained = manifest.trainedAt.map { ", trained \($0)" } ?? ""
        return "\(manifest.digest)  \(manifest.version.onOneLine)\(trained)"
    }

    /// What there is to tell of a manifest, as labelled rows.
    package static func report(
        of indexed: IndexedManifest, intervals: [LiveInterval]?, files: [CheckedFile]?
    ) -> [(label: String, text: String)] {
        let manifest = indexed.manifest
        var rows: [(String, String)] = [("manifest", manifest.digest.hex)]
        rows.append(("digest", manifest.form.description))
        if !manifest.isDigestVerified { rows.append(("declared", manifest.declaredSHA256 ?? "")) }
        if let file = indexed.file { rows.append(("file", file)) }
        rows.append(("model", model(manifest)))
        rows.append(("pipeline", pipeline(manifest.pipeline)))
        rows += data(manifest.dataset, files?.first { $0.kind == .dataset })
        for artifact in manifest.artifacts {
            let checked = files?.first { $0.kind == .artifact && $0.name.hasSameBytes(as: artifact.name) }
            rows.append(("artifact", text(artifact, checked)))
            if let detail = checked?.detail { rows.append(("", detail)) }
            rows.append(("", "sha256 \(artifact.sha256)"))
        }
        if let intervals { rows += live(intervals) }
        return rows.map { ($0.0, $0.1.onOneLine) }
    }

    /// Appends rows, their labels in a column.
    package static func write(_ rows: [(label: String, text: String)], to output: inout [UInt8]) {
        for row in rows {
            output += "  ".utf8
            output += row.label.utf8
            output += repeatElement(0x20, count: max(1, 11 - row.label.utf8.count))
            output += row.text.utf8
            output.append(0x0A)
        }
    }

    private static func model(_ manifest: Manifest) -> String {
        let family = manifest.family.map { "\($0) " } ?? ""
        let trained = manifest.trainedAt.map { "trained \($0)" } ?? "training time not recorded"
        return "\(family)\(manifest.version), \(trained)"
    }

    private static func pipeline(_ pipeline: Manifest.Pipeline) -> String {
        let commit = pipeline.commit.map { "commit \($0)" } ?? "commit not recorded"
        let branch = pipeline.branch.map { " on \($0)" } ?? ""
        let state = pipeline.isDirty.map { $0 ? ", with uncommitted changes" : ", clean" } ?? ""
        return commit + branch + state
    }

    private static func data(_ dataset: Manifest.Dataset, _ checked: CheckedFile?) -> [(String, String)] {
        var rows: [(String, String)] = []
        let names = [dataset.version.map { "version \($0)" }, dataset.path].compactMap { $0 }
        if names.isEmpty, dataset.sha256 == nil { return [("data", "not recorded")] }
        rows.append(("data", ([checked?.state.word].compactMap { $0 } + names).joined(separator: "  ")))
        if let detail = checked?.detail { rows.append(("", detail)) }
        if let sha256 = dataset.sha256 { rows.append(("", "sha256 \(sha256)")) }
        let counts = [
            dataset.rowCount.map { "\(Figures.grouped($0)) rows" },
            dataset.uniqueUsers.map { "\(Figures.grouped($0)) users" },
            dataset.uniqueMovies.map { "\(Figures.grouped($0)) movies" }, dataset.sizeBytes.map(Figures.bytes),
        ].compactMap { $0 }
        if !counts.isEmpty { rows.append(("", counts.joined(separator: ", "))) }
        return rows
    }

    private static func text(_ artifact: Manifest.Artifact, _ checked: CheckedFile?) -> String {
        var parts = [artifact.name]
        if let checked { parts.append(checked.state.word) }
        parts.append(artifact.path)
        if let size = artifact.sizeBytes { parts.append(Figures.bytes(size)) }
        return parts.joined(separator: "  ")
    }

    private static func live(_ intervals: [LiveInterval]) -> [(String, String)] {
        if intervals.isEmpty { return [("live", "no activation of it is recorded")] }
        return intervals.map { interval in
            let end = interval.until.map { "until \($0)" } ?? "and still is"
            return ("live", "\(interval.variant) from \(interval.from) \(end)")
        }
    }
}
