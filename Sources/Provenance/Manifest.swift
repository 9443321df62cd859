/// The immutable JSON that a training run leaves, checked, and named by its digest.
package struct Manifest: Sendable {
    /// The file as it was read; nothing of it is ever rewritten.
    package let bytes: [UInt8]
    package let document: JSONObject

    package let family: String?
    package let version: String
    package let trainedAt: Instant?
    package let pipeline: Pipeline
    package let dataset: Dataset
    package let artifacts: [Artifact]

    /// The name of this manifest.
    package let digest: Digest
    /// How the digest was found.
    package let form: DigestForm
    /// `manifest_sha256` as the file has it; nil when it has none.
    package let declaredSHA256: String?

    /// Whether the digest is the one that the manifest declares of itself, or it declares none.
    package var isDigestVerified: Bool { declaredSHA256 == nil || form != .undeclared }

    /// The code that trained.
    package struct Pipeline: Sendable {
        package var commit: String?
        package var branch: String?
        package var isDirty: Bool?

        package init(commit: String? = nil, branch: String? = nil, isDirty: Bool? = nil) {
            self.commit = commit
            self.branch = branch
            self.isDirty = isDirty
        }
    }

    /// What it trained on.
    package struct Dataset: Sendable {
        package var path: String?
        package var version: String?
        package var sha256: Digest?
        package var rowCount: Int64?
        package var uniqueUsers: Int64?
        package var uniqueMovies: Int64?
        package var sizeBytes: Int64?
    }

    /// A file that the training run left.
    package struct Artifact: Sendable {
        package let name: String
        package let path: String
        package let sha256: Digest
        package let sizeBytes: Int64?
    }

    /// The largest manifest that is read.
    package static let largestBytes = 16 << 20
}

/// How a manifest's digest was found.
package enum DigestForm: Hashable, Sendable, CustomStringConvertible {
    /// RFC 8785 over the manifest without `manifest_sha256`.
    case canonical(finalNewline: Bool)
    /// One of the layouts of Python's `json.dumps`.
    case python(PythonLayout, finalNewline: Bool)
    /// The declared digest matches no form: the digest is that of the canonical form instead.
    case undeclared

    package var description: String {
        switch self {
        case .canonical(let newline): "RFC 8785 (JCS)" + (newline ? " and a newline" : "")
        case .python(let layout, let newline): layout.description + (newline ? " and a newline" : "")
        case .undeclared: "RFC 8785 (JCS), instead of the declared digest, which matches no known form"
        }
    }
}

/// How far a declared digest is trusted that matches no form (`verify:`).
package enum Verification: String, Sendable, CaseIterable {
    case strict
    case warn
    case off
}

/// Why bytes are no manifest.
package enum ManifestError: Error, Sendable, CustomStringConvertible {
    case tooLarge(bytes: Int64)
    case json(JSONError)
    case notAnObject(found: String)
    case member(path: JSONPath, problem: String)
    case digestMatchesNothing(declared: String, canonical: Digest)

    package var description: String {
        switch self {
        case .tooLarge(let bytes):
            "\(bytes) bytes are more than a manifest may have (\(Manifest.largestBytes), 16 MiB): is this an artifact?"
        case .json(let error): "no valid JSON: \(error)"
        case .notAnObject(let found): "a manifest is a JSON object, and this is \(found)"
        case .member(let path, let problem): "\(path): \(problem)"
        case .digestMatchesNothing(let declared, let canonical):
            "manifest_sha256 is \(declared.onOneLine), which matches these contents in no known form: the manifest was "
                + "changed after it was written, or its trainer hashes in a way of its own "
                + "(without that member its digest is \(canonical); --verify warn takes it under that name)"
        }
    }
}

extension Manifest {
    /// Reads, checks and names a manifest.
    ///
    /// With `verification` strict, a declared digest that matches no form is an error; otherwise the manifest goes
    /// by its canonical digest.
    package static func parse(
        _ bytes: [UInt8], verification: Verification = .strict, hashing: Hashing
    ) throws(ManifestError) -> Manifest {
        guard bytes.count <= largestBytes else { throw .tooLarge(bytes: Int64(bytes.count)) }
        let value: JSON
        do { value = try JSONParser.parse(bytes) } catch { throw .json(error) }
        guard case .object(let document) = value else { throw .notAnObject(found: value.kind) }
        let reader = MemberReader(document)
        let version = try version(reader)
        let declared = try reader.string("manifest_sha256")
        let (digest, form) = ManifestDigest.find(document, declared: declared, hashing: hashing)
        if form == .undeclared, verification == .strict {
            throw .digestMatchesNothing(declared: declared ?? "", canonical: digest)
        }
        return Manifest(
            bytes: bytes, document: document, family: try reader.string("model_family"), version: version,
            trainedAt: try trainedAt(reader), pipeline: try pipeline(reader), dataset: try dataset(reader),
            artifacts: try artifacts(reader), digest: digest, form: form, declaredSHA256: declared)
    }

    private static func version(_ reader: MemberReader) throws(ManifestError) -> String {
        let path = JSONPath().member("model_version")
        guard let version = try reader.string("model_version") else {
            throw .member(path: path, problem: "missing; a manifest needs at least this text")
        }
        if let problem = problem(ofVersion: version) { throw .member(path: path, problem: problem) }
        return version
    }

    /// What keeps `version` from being one; nil when nothing does. It names a file, so it must not lead elsewhere.
    package static func problem(ofVersion version: String) -> String? {
        if version.isEmpty { return "is empty; a model needs a version" }
        if version.utf8.contains(UInt8(ascii: "/")) || version.contains("..") {
            return
                "\"\(version.onOneLine)\" holds / or .., and a version names a file: use letters, digits, '.', '_', '-'"
        }
        return nil
    }

    private static func trainedAt(_ reader: MemberReader) throws(ManifestError) -> Instant? {
        guard let text = try reader.string("trained_at") else { return nil }
        guard let instant = Instant(text) else {
            throw .member(
                path: JSONPath().member("trained_at"),
                problem:
                    "\"\(text.onOneLine)\" is no RFC 3339 time with a zone: write it like 2025-03-04T18:12:55.123456Z")
        }
        return instant
    }

    private static func pipeline(_ reader: MemberReader) throws(ManifestError) -> Pipeline {
        guard let pipeline = try reader.object("pipeline") else { return Pipeline() }
        return Pipeline(
            commit: try pipeline.string("git_commit"), branch: try pipeline.string("git_branch"),
            isDirty: try pipeline.flag("git_dirty"))
    }

    private static func dataset(_ reader: MemberReader) throws(ManifestError) -> Dataset {
        guard let data = try reader.object("data") else { return Dataset() }
        return Dataset(
            path: try data.string("dataset_path"), version: try data.string("dataset_version"),
            sha256: try data.digest("dataset_sha256"), rowCount: try data.count("row_count"),
            uniqueUsers: try data.count("unique_users"), uniqueMovies: try data.count("unique_movies"),
            sizeBytes: try data.count("dataset_size_bytes"))
    }

    private static func artifacts(_ reader: MemberReader) throws(ManifestError) -> [Artifact] {
        guard let artifacts = try reader.object("artifacts") else { return [] }
        var result: [Artifact] = []
        for (name, value) in artifacts.members {
            guard let artifact = try artifacts.object(name, value) else { continue }
            result.append(
                Artifact(
                    name: name, path: try artifact.required("path", artifact.string),
                    sha256: try artifact.required("sha256", artifact.digest),
                    sizeBytes: try artifact.count("size_bytes")))
        }
        return result
    }
}

/// Reads the members of one object of a manifest; null counts as absent, and another type than expected is an error.
private struct MemberReader {
    private let object: JSONObject
    private let path: JSONPath

    init(_ object: JSONObject, at path: JSONPath = JSONPath()) {
        self.object = object
        self.path = path
    }

    var members: [(name: String, value: JSON)] { object.members.map { ($0.name, $0.value) } }

    func required<Value>(
        _ name: String, _ read: (String) throws(ManifestError) -> Value?
    ) throws(ManifestError) -> Value {
        guard let value = try read(name) else { throw .member(path: path.member(name), problem: "missing") }
        return value
    }

    func string(_ name: String) throws(ManifestError) -> String? {
        try read(name, expected: "a string") { $0.string }
    }

    func object(_ name: String) throws(ManifestError) -> MemberReader? {
        try read(name, expected: "an object") { $0.object.map { MemberReader($0, at: path.member(name)) } }
    }

    /// The object that a member is, which is at hand already.
    func object(_ name: String, _ value: JSON) throws(ManifestError) -> MemberReader? {
        try convert(name, value, expected: "an object") { $0.object.map { MemberReader($0, at: path.member(name)) } }
    }

    func digest(_ name: String) throws(ManifestError) -> Digest? {
        try read(name, expected: "64 hexadecimal digits") { $0.string.flatMap(Digest.init(hex:)) }
    }

    /// A whole number from 0 on.
    func count(_ name: String) throws(ManifestError) -> Int64? {
        try read(name, expected: "a whole number from 0 on") { value in
            guard case .number(let spelling) = value, let count = Int64(spelling), count >= 0 else { return nil }
            return count
        }
    }

    /// Trainers write a flag as `"0"`, `"1"`, `0`, `1`, `true` or `false`.
    func flag(_ name: String) throws(ManifestError) -> Bool? {
        try read(name, expected: "\"0\", \"1\", 0, 1, true, false or null") { value in
            switch value {
            case .bool(let flag): flag
            case .string("1"), .number("1"): true
            case .string("0"), .number("0"): false
            default: nil
            }
        }
    }

    private func read<Value>(
        _ name: String, expected: String, _ convert: (JSON) -> Value?
    ) throws(ManifestError) -> Value? {
        guard let value = object[name] else { return nil }
        return try self.convert(name, value, expected: expected, convert)
    }

    private func convert<Value>(
        _ name: String, _ value: JSON, expected: String, _ convert: (JSON) -> Value?
    ) throws(ManifestError) -> Value? {
        if value.isNull { return nil }
        guard let converted = convert(value) else {
            throw .member(path: path.member(name), problem: "expected \(expected), found \(found(value))")
        }
        return converted
    }

    private func found(_ value: JSON) -> String {
        guard case .string(let text) = value else { return value.kind.onOneLine }
        let shown = text.unicodeScalars.count > 80 ? String(text.unicodeScalars.prefix(80)) + "…" : text
        return "\"\(shown.onOneLine)\""
    }
}
