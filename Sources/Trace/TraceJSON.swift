import Provenance

/// Answers for machines: one JSON object, on one line, for each input.
package enum TraceJSON {
    /// Appends the answer and a line end.
    package static func write(_ answer: TraceAnswer, line: Int, to output: inout [UInt8]) {
        switch answer.outcome {
        case .found(let traced, let foundBy, let attribution, let note):
            writeFound(answer.input, traced, foundBy, attribution, note: note, line: line, to: &output)
        case .ambiguous(let what, let candidates, let hasMore):
            writeHead(answer.input, "ambiguous", .unknown, line: line, to: &output)
            let rows = candidates.map { JSON.object(candidate($0.manifest)) }
            let members = JSONObject([
                .init("reason", .string(what)), .init("candidates", .array(rows)), .init("more", .bool(hasMore)),
            ])
            close(members, &output)
        case .unknown(let reason):
            writeHead(answer.input, "unknown", .unknown, line: line, to: &output)
            close(JSONObject([.init("reason", .string(reason))]), &output)
        }
    }

    /// Appends an answer that is known, from parts that were rendered before: this is what a million lines go through.
    static func writeFound(
        _ input: TracedInput, _ traced: TracedManifest, _ foundBy: FoundBy, _ attribution: Attribution, note: String?,
        line: Int, to output: inout [UInt8]
    ) {
        writeHead(input, "found", attribution, line: line, to: &output)
        output += "\"found_by\":\"".utf8
        output += foundBy.rawValue.utf8
        output += "\",".utf8
        if let note {
            output += "\"note\":".utf8
            JSONWriter.compact.writeString(note, to: &output)
            output.append(UInt8(ascii: ","))
        }
        output += traced.members
        output += "}\n".utf8
    }

    private static func writeHead(
        _ input: TracedInput, _ status: StaticString, _ attribution: Attribution, line: Int, to output: inout [UInt8]
    ) {
        output += "{\"line\":".utf8
        writeDecimal(line, to: &output)
        output += ",\"input\":\"".utf8
        output += input.rawValue.utf8
        output += "\",\"status\":\"".utf8
        output += UnsafeBufferPointer(start: status.utf8Start, count: status.utf8CodeUnitCount)
        output += "\",\"attribution\":\"".utf8
        output += attribution.rawValue.utf8
        output += "\",".utf8
    }

    private static func writeDecimal(_ value: Int, to output: inout [UInt8]) {
        if value >= 10 { writeDecimal(value / 10, to: &output) }
        output.append(UInt8(ascii: "0") + UInt8(value % 10))
    }

    private static func close(_ members: JSONObject, _ output: inout [UInt8]) {
        output += JSONWriter.compact.bytes(.object(members)).dropFirst()
        output.append(0x0A)
    }

    private static func candidate(_ manifest: Manifest) -> JSONObject {
        JSONObject([
            .init("manifest_sha256", .string(manifest.digest.hex)), .init("model_version", .string(manifest.version)),
            .init("model_family", .optional(manifest.family)),
            .init("trained_at", .optional(manifest.trainedAt?.description)),
        ])
    }

    /// The members of an answer that depend on the manifest alone, without braces.
    static func members(of indexed: IndexedManifest, intervals: [LiveInterval], files: [CheckedFile]?) -> [UInt8] {
        let bytes = JSONWriter.compact.bytes(.object(object(of: indexed, intervals: intervals, files: files)))
        return Array(bytes.dropFirst().dropLast())
    }

    /// The same as a document.
    package static func object(
        of indexed: IndexedManifest, intervals: [LiveInterval]?, files: [CheckedFile]?
    ) -> JSONObject {
        let manifest = indexed.manifest
        var members = JSONObject([
            .init("manifest_sha256", .string(manifest.digest.hex)),
            .init("digest_form", .string(manifest.form.description)),
        ])
        if !manifest.isDigestVerified { members.append("declared_sha256", .optional(manifest.declaredSHA256)) }
        members.append("model_family", .optional(manifest.family))
        members.append("model_version", .string(manifest.version))
        members.append("trained_at", .optional(manifest.trainedAt?.description))
        members.append("pipeline", .object(pipeline(manifest.pipeline)))
        members.append("data", .object(data(manifest, files)))
        members.append("artifacts", .array(manifest.artifacts.map { artifact($0, files) }))
        if let intervals { members.append("live", .array(intervals.map(interval))) }
        members.append("manifest_path", .optional(indexed.file))
        if let files { members.append("verified", .bool(files.allSatisfy(\.state.isOK))) }
        return members
    }

    private static func pipeline(_ pipeline: Manifest.Pipeline) -> JSONObject {
        JSONObject([
            .init("git_commit", .optional(pipeline.commit)), .init("git_branch", .optional(pipeline.branch)),
            .init("git_dirty", pipeline.isDirty.map(JSON.bool) ?? .null),
        ])
    }

    private static func data(_ manifest: Manifest, _ files: [CheckedFile]?) -> JSONObject {
        let dataset = manifest.dataset
        func count(_ value: Int64?) -> JSON { value.map { JSON.integer($0) } ?? .null }
        var members = JSONObject([
            .init("dataset_path", .optional(dataset.path)), .init("dataset_version", .optional(dataset.version)),
            .init("dataset_sha256", .optional(dataset.sha256?.hex)), .init("row_count", count(dataset.rowCount)),
            .init("unique_users", count(dataset.uniqueUsers)), .init("unique_movies", count(dataset.uniqueMovies)),
            .init("dataset_size_bytes", count(dataset.sizeBytes)),
        ])
        if let checked = files?.first(where: { $0.kind == .dataset }) { add(checked, to: &members) }
        return members
    }

    private static func artifact(_ artifact: Manifest.Artifact, _ files: [CheckedFile]?) -> JSON {
        var members = JSONObject([
            .init("name", .string(artifact.name)), .init("path", .string(artifact.path)),
            .init("sha256", .string(artifact.sha256.hex)),
            .init("size_bytes", artifact.sizeBytes.map { JSON.integer($0) } ?? .null),
        ])
        let checked = files?.first { $0.kind == .artifact && $0.name.hasSameBytes(as: artifact.name) }
        if let checked { add(checked, to: &members) }
        return .object(members)
    }

    private static func add(_ checked: CheckedFile, to members: inout JSONObject) {
        members.append("state", .string(checked.state.word))
        members.append("found_at", .optional(checked.foundAt))
        if case .changed(let found) = checked.state { members.append("found_sha256", .string(found.hex)) }
        if case .unreadable(let reason) = checked.state { members.append("reason", .string(reason)) }
    }

    private static func interval(_ interval: LiveInterval) -> JSON {
        .object(
            JSONObject([
                .init("variant", .string(interval.variant)), .init("from", .string(interval.from.description)),
                .init("until", .optional(interval.until?.description)),
            ]))
    }
}
