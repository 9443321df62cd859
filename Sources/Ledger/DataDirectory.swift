import Runtime

/// Where the ledger lives when nobody says so.
package enum DataDirectory {
    package enum Use: Sendable {
        case lookUp
        case change
    }

    /// The machine's.
    package static let system = "/var/lib/colophon"

    /// Whether the machine's is there, and whoever runs this may not look into it.
    package static var isHidden: Bool {
        (try? FileStatus.of(system)) ?? nil != nil && !Files.isDirectory(system, writable: false)
    }

    /// The directory that was named, or else the machine's, where that may be used, or else the user's.
    package static func path(named: String?, for use: Use) -> String {
        if let named { return named }
        if Files.isDirectory(system, writable: use == .change) { return system }
        let home = Environment.value("HOME") ?? "/"
        // XDG: a relative path there is invalid, and ignored.
        let data = Environment.value("XDG_DATA_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
        return Paths.join(data ?? Paths.join(home, ".local/share"), "colophon")
    }
}
