import Enrichment
import Ledger
import Provenance
import Runtime

/// Why the sidecar does not start.
package enum SidecarError: Error, Sendable, CustomStringConvertible {
    case setting(SettingError)
    case system(SystemError)
    case ledger(LedgerError)
    case noManifest(variant: String, path: String, reason: String)
    /// There is a manifest, and its activation could not be written down.
    case notRecorded(reason: String)
    case address(key: String, SocketAddress.Invalid)
    case listen(key: String, SystemError)
    case kafka(KafkaSettingsError)
    case instance(InstanceError)
    case spool(path: String, SpoolError)
    /// What waits in the spool is for somewhere else.
    case spoolElsewhere(record: String, lines: Int64, was: String, now: String)
    /// The topic cannot be written to.
    case topic(String)
    /// What is written to is gone, or full.
    case output(String)

    package var description: String {
        switch self {
        case .setting(let error): error.description
        case .system(let error): error.description
        case .ledger(let error):
            "the ledger cannot be opened, and without one nothing is activated: \(error) (--data-dir, or COLOPHON_DATA_DIR, says where it is)"
        case .noManifest(let variant, let path, let reason): Self.noManifest(variant, path, reason).description
        case .notRecorded(let reason): "the activation cannot be recorded: \(reason)"
        case .address(let key, let error): SettingError(key, "\(error)").description
        case .listen(let key, let error): SettingError(key, ": \(error)").description
        case .kafka(let error): error.description
        case .instance(.system(let error)):
            "the data directory cannot be used, and without one nothing is activated: \(error) (--data-dir, or COLOPHON_DATA_DIR, says where it is)"
        case .instance(let error): error.description
        case .spool(let path, let error): "the spool \(path.onOneLine) cannot be used: \(error)"
        case .spoolElsewhere(let record, let lines, let was, let now):
            "\(lines) \(lines == 1 ? "line waits" : "lines wait") in the spool for \(was.onOneLine), and this start is for \(now.onOneLine): deliver that first, or give this one a name of its own (--instance), or remove \(record.onOneLine) to have it go here"
        case .topic(let reason), .output(let reason): reason.onOneLine
        }
    }

    private static let properties = "kafka.properties"

    private static func noManifest(_ variant: String, _ path: String, _ reason: String) -> SettingError {
        let whose = variant == SidecarSettings.onlyVariant ? "" : " for the variant \(variant.onOneLine)"
        return SettingError(
            "manifest",
            "\(path.isEmpty ? "names" : "leads to") no manifest to serve with\(whose): \(reason); or start without one by --manifest-optional"
        )
    }

    /// The same, by the name and the place at which the value was given.
    package func text(_ configuration: Configuration) -> String {
        switch self {
        case .setting(let error): configuration.text(error)
        case .address(let key, let error): configuration.text(SettingError(key, "\(error)"))
        case .listen(let key, let error): configuration.text(SettingError(key, ": \(error)"))
        case .noManifest(let variant, let path, let reason): configuration.text(Self.noManifest(variant, path, reason))
        case .kafka(let error) where error.description.hasPrefix(Self.properties):
            configuration.text(
                SettingError(Self.properties, String(error.description.dropFirst(Self.properties.count))))
        case .instance(.system(let error)) where configuration.settings.dataDirectory != nil:
            configuration.text(
                SettingError("data_dir", "cannot be used, and without one nothing is activated: \(error)"))
        default: description
        }
    }

    /// Whether it was called wrongly, rather than that something failed.
    package var isUsage: Bool {
        switch self {
        case .setting, .kafka: true
        case .instance(.name): true
        case .address(_, let error): error.isMalformed
        default: false
        }
    }

    /// Whether somebody else has what is needed.
    package var isConflict: Bool {
        switch self {
        case .instance(let error): error.isConflict
        case .spoolElsewhere: true
        default: false
        }
    }
}
