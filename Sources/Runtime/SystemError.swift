import Glibc
import Provenance

/// A call to the system that failed: what was tried, on what, and why.
package struct SystemError: Error, Sendable, CustomStringConvertible {
    package let code: Int32
    /// What was tried: "read", "create".
    package let action: String
    package let path: String
    /// What to do about it, where the code alone does not say.
    package let advice: String?

    /// The failure that `errno` tells of.
    package init(_ action: String, _ path: String, code: Int32 = errno, advice: String? = nil) {
        self.code = code
        self.action = action
        self.path = path
        self.advice = advice ?? Self.advice(code)
    }

    package var description: String {
        "cannot \(action) \(path.onOneLine): \(Self.reason(code))" + (advice.map { ": " + $0 } ?? "")
    }

    // For those who find such a thing out without a call that fails.
    package static let noSuchFile = ENOENT
    package static let isADirectory = EISDIR

    package var isMissing: Bool { code == ENOENT || code == ENOTDIR }

    private static func reason(_ code: Int32) -> String {
        switch code {
        case ENOENT: return "no such file or directory"
        case EACCES: return "permission denied"
        case EISDIR: return "it is a directory"
        case EINVAL: return "not a regular file"
        default:
            var buffer = [CChar](repeating: 0, count: 256)
            guard strerror_r(code, &buffer, buffer.count) == 0 else { return "error \(code)" }
            return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self).lowercased()
        }
    }

    private static func advice(_ code: Int32) -> String? {
        switch code {
        case ENOENT, ENOTDIR: "check the path"
        case EACCES, EPERM: "run as a user who may, or change its permissions"
        case EROFS: "name a place that can be written"
        case ENOSPC, EDQUOT: "free some space and run it again"
        case EISDIR: "name a file"
        case EMFILE, ENFILE: "raise the limit of open files (ulimit -n)"
        case ELOOP: "its symbolic links lead in a circle"
        case ENAMETOOLONG: "choose a shorter name"
        default: nil
        }
    }
}
