import Crypto
import Provenance
import Runtime

/// Finds the manifests below a directory.
package enum ManifestFolder {
    /// How far below the directory that was named; links to directories are not followed.
    private static let deepest = 32

    /// Whether a file of this name may be a manifest; names with a leading dot are files in the making.
    static func isCandidate(_ name: String) -> Bool { name.utf8.first != UInt8(ascii: ".") && name.hasSuffix(".json") }

    /// All `*.json` files at `path`, in order; `path` itself when it is no directory.
    package static func candidates(_ path: String) throws(SystemError) -> [String] {
        guard let status = try FileStatus.of(path) else { throw SystemError("read", path, code: 2) }
        guard status.isDirectory else { return [path] }
        var found: [String] = []
        try collect(path, depth: 0, into: &found)
        return found
    }

    private static func collect(_ directory: String, depth: Int, into found: inout [String]) throws(SystemError) {
        guard depth < deepest else { return }
        for name in try Files.names(in: directory) {
            let path = Paths.join(directory, name)
            guard let status = try FileStatus.of(path) else { continue }
            if status.isRegular, isCandidate(name) {
                found.append(path)
            } else if status.isDirectory, name.utf8.first != UInt8(ascii: "."), !FileStatus.isLink(path) {
                try collect(path, depth: depth + 1, into: &found)
            }
        }
    }

    /// What a file below a directory turned out to be.
    package enum Reading: Sendable {
        case manifest(ManifestFile)
        /// Other JSON, such as an artifact's.
        case somethingElse
        case failed(ManifestFileError)
    }

    /// Reads a file that was found, not named: what is clearly no manifest is no error.
    package static func readFound(_ path: String, verification: Verification) -> Reading {
        do throws(ManifestFileError) {
            return .manifest(try ManifestFile.read(path, verification: verification))
        } catch {
            switch error {
            case .invalid(.tooLarge, _), .invalid(.notAnObject, _): return .somethingElse
            case .invalid(.member, let path):
                // An object without a version is somebody else's.
                return namesVersion(path) ? .failed(error) : .somethingElse
            default: return .failed(error)
            }
        }
    }

    private static func namesVersion(_ path: String) -> Bool {
        guard let bytes = (try? Files.read(path, limit: Manifest.largestBytes)) ?? nil else { return false }
        return (try? JSONParser.parse(bytes))?.object?["model_version"] != nil
    }
}
