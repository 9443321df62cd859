/// The machine.
package enum Host {
    /// What tells this machine from others; empty where it has nothing of that kind.
    package static var identity: String {
        guard let bytes = try? Files.read("/etc/machine-id", limit: 256) else { return "" }
        return String(decoding: bytes.prefix { $0 > 0x20 }, as: UTF8.self)
    }
}
