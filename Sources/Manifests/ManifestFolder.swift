import Crypto
import Provenance
import Runtime

/// Finds the manifests below a directory.
package enum ManifestFolder {
    /// How far below the directory that was named; links to directories are not followed.
    private static let deepest = 32

    /// Whether a file of this name may be a manifest; names with a leading dot are files in the making.
    static func isCandidate(_ name: String) -> Bool { name.utf8.first != UInt8(ascii: ".") && name.hasSuffix(".json") }

    /// What a walk through a directory found, in order.
    package struct Walk: Sendable {
        package fileprivate(set) var files: [String] = []
        /// What could not be looked at, and why: each a line for a person.
        package fileprivate(set) var problems: [String] = []
    }

    /// All `*.json` files at `path`; `path` itself when it is no directory.
    package static func walk(_ path: String) throws(SystemError) -> Walk {
        guard let status = try FileStatus.of(path) else {
            throw SystemError("read", path, code: SystemError.noSuchFile)
        }
        var walk = Walk()
        guard status.isDirectory else {
            walk.files = [path]
            return walk
        }
        let names = try Files.names(in: path)
        visit(names, in: path, depth: 0, &walk)
        return walk
    }

    private static func visit(_ names: [String], in directory: String, depth: Int, _ walk: inout Walk) {
        for name in names {
            let path = Paths.join(directory, name)
            do throws(SystemError) {
                try visit(name, path, depth: depth, &walk)
            } catch {
                walk.problems.append(error.description)
            }
        }
    }

    private static func visit(_ name: String, _ path: String, depth: Int, _ walk: inout Walk) throws(SystemError) {
        guard let status = try FileStatus.of(path) else {
            // Gone meanwhile, a link to nowhere, or a name whose bytes are no UTF-8, which then names nothing.
            if isCandidate(name) {
                walk.problems.append("cannot read \(path.onOneLine): nothing has this name; is it UTF-8?")
            }
            return
        }
        let isHidden = name.utf8.first == UInt8(ascii: ".")
        if status.isRegular, isCandidate(name) {
            walk.files.append(path)
        } else if status.isDirectory, !isHidden {
            if FileStatus.isLink(path) {
                walk.problems.append(
                    "\(path.onOneLine) is a link to a directory, and not followed: name it if it is meant")
            } else if depth == deepest {
                walk.problems.append(
                    "\(path.onOneLine) is more than \(deepest) directories down: name it if it is meant")
            } else {
                visit(try Files.names(in: path), in: path, depth: depth + 1, &walk)
            }
        }
    }

    /// What a file below a directory turned out to be.
    package enum Reading: Sendable {
        case manifest(ManifestFile)
        /// Other JSON, such as an artifact's.
        case somethingElse
        case tooLarge
        case failed(ManifestFileError)
    }

    /// Reads a file that was found, not named: what is clearly no manifest is no error.
    package static func readFound(_ path: String, verification: Verification) -> Reading {
        do throws(ManifestFileError) {
            return .manifest(try ManifestFile.read(path, verification: verification))
        } catch {
            switch error {
            case .invalid(.tooLarge, _): return .tooLarge
            case .invalid(.notAnObject, _): return .somethingElse
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
