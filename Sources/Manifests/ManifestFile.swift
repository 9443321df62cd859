import Crypto
import Provenance
import Runtime

/// Why there is no manifest to be had from a path.
package enum ManifestFileError: Error, Sendable, CustomStringConvertible {
    case system(SystemError)
    case invalid(ManifestError, path: String)
    case noneInDirectory(path: String)

    package var description: String {
        switch self {
        case .system(let error): error.description
        case .invalid(let error, let path): "\(path.onOneLine): \(error)"
        case .noneInDirectory(let path):
            "no manifest in \(path.onOneLine): it has neither \(ManifestFile.pointerName) nor "
                + "\(ManifestFile.folderName)/*.json"
                + (Paths.name(of: path) == ManifestFile.folderName ? "; name the directory above it" : "")
        }
    }
}

/// A manifest and the file that it was read from.
package struct ManifestFile: Sendable {
    package let path: String
    package let manifest: Manifest

    package init(path: String, manifest: Manifest) {
        self.path = path
        self.manifest = manifest
    }

    package static let pointerName = "model_manifest.json"
    package static let folderName = "manifests"

    /// Reads the manifest at `path`: a file, a link to one, or the directory of a training run.
    package static func load(
        _ path: String, verification: Verification = .strict
    ) throws(ManifestFileError) -> ManifestFile {
        if path.isEmpty {
            throw .system(
                SystemError("read", "''", code: SystemError.noSuchFile, advice: "name a manifest's file or directory"))
        }
        let status: FileStatus?
        do { status = try FileStatus.of(path) } catch { throw .system(error) }
        guard status?.isDirectory == true else { return try read(path, verification: verification) }
        let pointer = Paths.join(path, pointerName)
        if (try? FileStatus.of(pointer)) != nil { return try read(pointer, verification: verification) }
        return try newest(in: path, verification: verification)
    }

    /// Reads one file.
    package static func read(_ path: String, verification: Verification) throws(ManifestFileError) -> ManifestFile {
        let bytes: [UInt8]?
        do { bytes = try Files.read(path, limit: Manifest.largestBytes) } catch { throw .system(error) }
        guard let bytes else { throw .invalid(.tooLarge(bytes: size(path)), path: path) }
        do {
            return ManifestFile(
                path: path, manifest: try Manifest.parse(bytes, verification: verification, hashing: SHA256.hash))
        } catch {
            throw .invalid(error, path: path)
        }
    }

    private static func size(_ path: String) -> Int64 { (try? FileStatus.of(path))??.size ?? 0 }

    /// The manifest in `manifests/` that was trained last; of two trained at once, the one with the later version.
    private static func newest(
        in directory: String, verification: Verification
    ) throws(ManifestFileError) -> ManifestFile {
        let folder = Paths.join(directory, folderName)
        guard (try? FileStatus.of(folder))??.isDirectory == true else { throw .noneInDirectory(path: directory) }
        let names: [String]
        do { names = try Files.names(in: folder) } catch { throw .system(error) }
        var newest: ManifestFile?
        for name in names where ManifestFolder.isCandidate(name) {
            let file = try read(Paths.join(folder, name), verification: verification)
            if newest.map({ $0.isOlder(than: file) }) ?? true { newest = file }
        }
        guard let newest else { throw .noneInDirectory(path: directory) }
        return newest
    }

    private func isOlder(than other: ManifestFile) -> Bool {
        let mine = manifest.trainedAt?.microseconds ?? .min
        let others = other.manifest.trainedAt?.microseconds ?? .min
        return mine == others ? manifest.version.precedesInBytes(other.manifest.version) : mine < others
    }
}
