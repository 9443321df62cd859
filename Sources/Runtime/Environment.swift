import Glibc

/// What the process was started with.
package enum Environment {
    /// A variable; empty counts as absent.
    package static func value(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }

    /// All variables; what is empty counts as absent.
    package static var all: [(name: String, value: String)] {
        var found: [(name: String, value: String)] = []
        var next = environ
        while let entry = next.pointee {
            let parts = String(cString: entry).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2, !parts[1].isEmpty { found.append((String(parts[0]), String(parts[1]))) }
            next += 1
        }
        return found
    }
}
