import Glibc

/// What the process was started with.
package enum Environment {
    /// A variable; empty counts as absent.
    package static func value(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }
}
