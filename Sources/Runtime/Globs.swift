import CSystem
import Glibc

/// Names with `*`, `?` and `[…]`.
package enum Globs {
    /// The paths that `pattern` matches, in order; none when it matches nothing or a directory cannot be read.
    package static func paths(_ pattern: String) -> [String] {
        var found = glob_t()
        defer { globfree(&found) }
        guard glob(pattern, GLOB_BRACE, nil, &found) == 0, let list = found.gl_pathv else { return [] }
        return (0..<Int(found.gl_pathc)).compactMap { list[$0].map { String(cString: $0) } }
    }

    /// The directory in which the first wildcard stands: what appears there may match.
    package static func directory(of pattern: String) -> String {
        let wild = pattern.utf8.firstIndex { "*?[{".utf8.contains($0) } ?? pattern.utf8.endIndex
        let fixed = String(decoding: pattern.utf8[..<wild], as: UTF8.self)
        return fixed.utf8.last == UInt8(ascii: "/") ? fixed : Paths.directory(of: fixed.isEmpty ? "." : fixed)
    }
}
