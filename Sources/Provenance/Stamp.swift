/// The names under which a stamp is written into HTTP responses; nil where a header is switched off.
package struct StampHeaders: Sendable {
    package var version: String? = "X-Model-Version"
    package var commit: String? = "X-Pipeline-Commit"
    package var data: String? = "X-Data-Version"
    package var manifest: String? = "X-Model-Manifest"
    package var attribution: String? = "X-Model-Attribution"

    package init() {}

    /// The header that carries `field`; the branch has none.
    package func name(of field: ProvenanceField) -> String? {
        switch field {
        case .modelVersion: version
        case .pipelineCommit: commit
        case .pipelineBranch: nil
        case .dataVersion: data
        case .manifestSHA256: manifest
        }
    }
}

/// What is derived from one manifest, rendered once for each place where it is written.
package struct Stamp: Sendable {
    package let digest: Digest
    /// The values, commit shortened, not escaped.
    package let values: ProvenanceValues<String>
    /// Fields that the manifest has and the stamp has not, because they are too long.
    package let leftOut: [ProvenanceField]

    /// `X-Model-Version: …\r\n` and so on, by how surely the response is this manifest's.
    private let headerBlocks: [Attribution: [UInt8]]
    /// `, model_version=…, …, manifest_sha256=…`: what a recommendation or text line gets at its end.
    package let logSuffix: [UInt8]
    /// `"model_version":"…",…`: what a JSON line gets before its closing brace.
    package let jsonMembers: [UInt8]
    /// `model_version=… …`: what a logfmt line gets.
    package let logfmtPairs: [UInt8]
    /// What a Kafka record gets as headers: the values in the same spelling as in a line.
    package let recordHeaders: [(name: StaticString, value: [UInt8])]

    /// The longest value, in the bytes of its percent encoding.
    package static let longestValue = 256

    /// Renders the stamp of `manifest`.
    package init(
        _ manifest: Manifest, headers: StampHeaders = StampHeaders(), commitLength: Int = Self.commitLength
    ) throws(StampError) {
        let found = Self.values(of: manifest, commitLength: commitLength)
        var values = ProvenanceValues<String>()
        var encoded: [(field: ProvenanceField, bytes: [UInt8])] = []
        var leftOut: [ProvenanceField] = []
        for field in ProvenanceField.allCases {
            guard let value = found[field] else { continue }
            let bytes = Escaping.percentEncoded(value)
            guard bytes.count <= Self.longestValue else {
                guard field != .modelVersion else { throw .versionTooLong(encodedBytes: bytes.count) }
                leftOut.append(field)
                continue
            }
            values[field] = value
            encoded.append((field, bytes))
        }
        self.digest = manifest.digest
        self.values = values
        self.leftOut = leftOut
        logSuffix = encoded.flatMap { ", ".utf8 + $0.field.name.bytes + "=".utf8 + $0.bytes }
        jsonMembers = Self.joined(values, by: ",") { field, value in
            JSONWriter.compact.bytes(.string("\(field.name)")) + ":".utf8 + JSONWriter.ascii.bytes(.string(value))
        }
        logfmtPairs = Self.joined(values, by: " ") { $0.name.bytes + "=".utf8 + Escaping.logfmt($1) }
        recordHeaders = encoded.map { ($0.field.name, $0.bytes) }
        var headerBlocks: [Attribution: [UInt8]] = [:]
        for attribution in Attribution.allCases {
            var block = encoded.flatMap { Self.headerLine(headers.name(of: $0.field), $0.bytes) }
            block += Self.headerLine(headers.attribution, Array(attribution.rawValue.utf8))
            headerBlocks[attribution] = block
        }
        self.headerBlocks = headerBlocks
    }

    /// The header lines of a response whose attribution is this sure, each with its line end.
    package func headerBlock(_ attribution: Attribution) -> [UInt8] { headerBlocks[attribution] ?? [] }

    /// The digits of a commit that are written (`stamp.commit_length`).
    package static let commitLength = 7

    /// A commit as it is written everywhere: only what is surely a git hash is shortened.
    package static func shortCommit(_ commit: String, length: Int = Self.commitLength) -> String {
        let isHash =
            (commit.utf8.count == 40 || commit.utf8.count == 64) && commit.utf8.allSatisfy { hexValue($0) != nil }
        return isHash ? String(commit.prefix(length)) : commit
    }

    /// The facts of `manifest`, not escaped; empty texts count as absent.
    package static func values(
        of manifest: Manifest, commitLength: Int = Self.commitLength
    ) -> ProvenanceValues<String> {
        func present(_ text: String?) -> String? { text?.isEmpty == true ? nil : text }
        var values = ProvenanceValues<String>()
        values.modelVersion = manifest.version
        values.pipelineCommit = present(manifest.pipeline.commit).map { shortCommit($0, length: commitLength) }
        values.pipelineBranch = present(manifest.pipeline.branch)
        values.dataVersion = present(manifest.dataset.version)
        values.manifestSHA256 = manifest.digest.hex
        return values
    }

    private static func headerLine(_ name: String?, _ value: [UInt8]) -> [UInt8] {
        guard let name else { return [] }
        return Array(name.utf8) + ": ".utf8 + value + "\r\n".utf8
    }

    private static func joined(
        _ values: ProvenanceValues<String>, by separator: StaticString, _ render: (ProvenanceField, String) -> [UInt8]
    ) -> [UInt8] {
        let parts = ProvenanceField.allCases.compactMap { field in values[field].map { render(field, $0) } }
        return Array(parts.joined(separator: separator.bytes))
    }
}

extension Stamp {
    /// The values of a manifest as a line spells them, for comparing.
    package struct Spelled: Sendable {
        /// By the number of the field; nil where the manifest has no value.
        let bytes: [[UInt8]?]
        /// Whether no value needs escaping, so that it has the same bytes in every format.
        let isPlain: Bool

        package init(_ values: ProvenanceValues<String>) {
            let encoded = ProvenanceField.allCases.map { values[$0].map(Escaping.percentEncoded) }
            bytes = encoded
            isPlain = ProvenanceField.allCases.allSatisfy { values[$0].map { Array($0.utf8) } == encoded[$0.rawValue] }
        }
    }
}

/// Why a manifest can be no stamp.
package enum StampError: Error, Sendable, CustomStringConvertible {
    case versionTooLong(encodedBytes: Int)

    package var description: String {
        switch self {
        case .versionTooLong(let bytes):
            "model_version takes \(bytes) bytes in a header, more than \(Stamp.longestValue): give the model a shorter version"
        }
    }
}

extension StaticString {
    package var bytes: [UInt8] { withUTF8Buffer { Array($0) } }
}
