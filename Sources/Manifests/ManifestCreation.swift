import Crypto
import Provenance
import Runtime

/// Why a manifest could not be made.
package enum CreationError: Error, Sendable, CustomStringConvertible {
    case system(SystemError)
    case csv(CSVError, path: String)
    case version(String, problem: String)
    case changedMeanwhile(path: String)
    case unusable(ManifestError)
    case stamp(StampError)
    /// The version is taken by another build.
    case conflict(version: String, path: String, differences: [String])
    case damagedExisting(path: String, problem: String)

    package var description: String {
        switch self {
        case .system(let error): error.description
        case .csv(let error, let path): "\(path.onOneLine) is no CSV that can be profiled: \(error)"
        case .version(let version, let problem): "the version \"\(version.onOneLine)\" \(problem)"
        case .changedMeanwhile(let path):
            "\(path.onOneLine) changed while it was hashed: wait until its writer is done and run this again"
        case .unusable(let error): "this manifest could not be read back: \(error)"
        case .stamp(let error): error.description
        case .conflict(let version, let path, let differences):
            "version \(version.onOneLine) is taken: \(path.onOneLine) differs in "
                + differences.joined(separator: ", ") + "; choose another --model-version"
        case .damagedExisting(let path, let problem):
            "\(path.onOneLine) is in the way and is no manifest (\(problem)): move it aside"
        }
    }

    /// Whether the version was taken, rather than something being wrong.
    package var isConflict: Bool {
        switch self {
        case .conflict, .damagedExisting: true
        default: false
        }
    }
}

/// What a training run tells about itself.
package struct ManifestCreation: Sendable {
    package var family: String
    package var version: String?
    package var dataPath: String
    package var dataVersion: String?
    /// Names and paths, in order.
    package var artifacts: [(name: String, path: String)] = []
    package var hyperparameters = JSONObject()
    /// What is counted (`user`) in which column (`user_id`).
    package var profile: [(name: String, column: String)] = []
    /// Where `manifests/` and the pointer are.
    package var directory: String

    package init(family: String, dataPath: String, directory: String) {
        self.family = family
        self.dataPath = dataPath
        self.directory = directory
    }

    /// What was made.
    package struct Result: Sendable {
        package let file: ManifestFile
        package let pointerPath: String
        /// False when the same build had its manifest already.
        package let isNew: Bool
    }

    /// Hashes everything, then writes the manifest and swaps the pointer. Nothing is written until all is known.
    package func run(
        pipeline: Manifest.Pipeline, at now: Instant, showsProgress: Bool
    ) throws(CreationError) -> Result {
        let version = try chosenVersion(at: now)
        let bar = showsProgress ? ProgressBar("hashing", total: totalSize, unit: .bytes) : nil
        defer { bar?.finish() }
        let data = try dataset(bar)
        let files = try hashedArtifacts(bar)
        var document = JSONObject()
        document.append("model_family", .string(family))
        document.append("model_version", .string(version))
        document.append("trained_at", .string(now.description))
        document.append("pipeline", .object(Self.members(of: pipeline)))
        document.append("data", .object(data))
        document.append("hyperparameters", .object(hyperparameters))
        document.append("artifacts", .object(files))
        let digest = ManifestDigest.canonical(document, hashing: SHA256.hash)
        document.append(ManifestDigest.member, .string(digest.hex))
        return try write(document, version: version)
    }

    private func chosenVersion(at now: Instant) throws(CreationError) -> String {
        let version = version ?? "\(family)-\(now.compactDigits)"
        if let problem = Manifest.problem(ofVersion: version) { throw .version(version, problem: problem) }
        let isFileName = version.utf8.count <= 200 && version.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
        guard isFileName, version.utf8.first != UInt8(ascii: ".") else {
            throw .version(
                version,
                problem: "cannot name a file: use at most 200 letters, digits, '.', '_', '-', not beginning with '.'")
        }
        return version
    }

    private var totalSize: Int64 {
        (artifacts.map(\.path) + [dataPath]).reduce(0) { $0 + ((try? FileStatus.of($1))??.size ?? 0) }
    }

    // MARK: - What is in it

    private static func members(of pipeline: Manifest.Pipeline) -> JSONObject {
        JSONObject([
            .init("git_commit", .optional(pipeline.commit)),
            .init("git_branch", .optional(pipeline.branch)),
            .init("git_dirty", .optional(pipeline.isDirty.map { $0 ? "1" : "0" })),
        ])
    }

    private func dataset(_ bar: ProgressBar?) throws(CreationError) -> JSONObject {
        var profile = profile.isEmpty ? nil : CSVProfile(columns: profile.map(\.column))
        let path = dataPath
        let (digest, size) = try Self.hash(path) { piece throws(CreationError) in
            bar?.advance(by: Int64(piece.count))
            do throws(CSVError) { try profile?.feed(piece) } catch { throw .csv(error, path: path) }
        }
        do throws(CSVError) { try profile?.finish() } catch { throw .csv(error, path: path) }
        var members = JSONObject([
            .init("dataset_path", .string(path)),
            .init("dataset_version", .string(dataVersion ?? digest.hex)),
            .init("dataset_sha256", .string(digest.hex)),
        ])
        if let profile {
            members.append("row_count", .integer(profile.rows))
            for (counted, count) in zip(self.profile, profile.distinct) {
                members.append("unique_\(counted.name)s", .integer(count))
            }
        }
        members.append("dataset_size_bytes", .integer(size))
        return members
    }

    private func hashedArtifacts(_ bar: ProgressBar?) throws(CreationError) -> JSONObject {
        var members = JSONObject()
        for artifact in artifacts {
            let (digest, size) = try Self.hash(artifact.path) { piece throws(CreationError) in
                bar?.advance(by: Int64(piece.count))
            }
            members.append(
                artifact.name,
                .object(
                    JSONObject([
                        .init("path", .string(artifact.path)), .init("sha256", .string(digest.hex)),
                        .init("size_bytes", .integer(size)),
                    ])))
        }
        return members
    }

    /// Hashes a file that must stand still meanwhile: else the hash would be of contents that never were.
    private static func hash(
        _ path: String, _ onPiece: (UnsafeRawBufferPointer) throws(CreationError) -> Void
    ) throws(CreationError) -> (digest: Digest, size: Int64) {
        let before = try modification(path)
        let hashed = try FileHash.of(path, orThrow: { CreationError.system($0) }, onPiece: onPiece)
        guard try modification(path) == before else { throw .changedMeanwhile(path: path) }
        return hashed
    }

    private static func modification(_ path: String) throws(CreationError) -> FileStatus.Modification? {
        do { return try FileStatus.of(path)?.modification } catch { throw .system(error) }
    }

    // MARK: - Where it goes

    private func write(_ document: JSONObject, version: String) throws(CreationError) -> Result {
        let bytes = JSONWriter.pretty.bytes(.object(document)) + [0x0A]
        let manifest: Manifest
        do { manifest = try Manifest.parse(bytes, hashing: SHA256.hash) } catch { throw .unusable(error) }
        do { _ = try Stamp(manifest) } catch { throw .stamp(error) }
        let folder = Paths.join(directory, ManifestFile.folderName)
        let path = Paths.join(folder, version + ".json")
        let pointer = Paths.join(directory, ManifestFile.pointerName)
        do throws(SystemError) {
            if try FileStatus.of(pointer)?.isDirectory == true {
                throw SystemError(
                    "write", pointer, code: SystemError.isADirectory, advice: "it is a directory: move it aside")
            }
            try Files.makeDirectory(folder)
            if try Files.place(bytes, at: path, .asNew) {
                _ = try Files.place(bytes, at: pointer, .replacing)
                return Result(file: ManifestFile(path: path, manifest: manifest), pointerPath: pointer, isNew: true)
            }
        } catch {
            throw .system(error)
        }
        let existing = try existing(path, like: document)
        do { _ = try Files.place(existing.manifest.bytes, at: pointer, .replacing) } catch { throw .system(error) }
        return Result(file: existing, pointerPath: pointer, isNew: false)
    }

    /// The manifest that has the version already, if it tells of the same build.
    private func existing(_ path: String, like document: JSONObject) throws(CreationError) -> ManifestFile {
        let file: ManifestFile
        do { file = try ManifestFile.read(path, verification: .strict) } catch {
            throw .damagedExisting(path: path, problem: error.description)
        }
        func comparable(_ object: JSONObject) -> JSONObject {
            object.without("trained_at").without(ManifestDigest.member)
        }
        let differences = ManifestDifference.between(comparable(file.manifest.document), comparable(document))
        guard differences.isEmpty else {
            throw .conflict(
                version: file.manifest.version, path: path, differences: differences.prefix(3).map(\.path.description))
        }
        return file
    }
}
