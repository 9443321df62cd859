import Provenance
import Runtime
import Sidecar

/// Keys of the configuration as options of commands, and back.
extension Command.Option {
    init(_ key: SettingKey, isListed: Bool = true) {
        self.init(name: key.flag, value: key.value, help: key.help, repeats: key.repeats)
        isTruth = key.isSwitch
        self.isListed = isListed
    }
}

extension Arguments {
    /// What the command line says of a key; nil when it says nothing.
    func flag(_ key: SettingKey, as option: String? = nil) throws(CommandError) -> Configuration.Flag? {
        let name = option ?? key.flag
        guard has(name) else { return nil }
        let values = all(name)
        guard values.allSatisfy({ !$0.isEmpty }) else { throw usage("--\(name) is empty") }
        return Configuration.Flag(key, values, spelling: "--" + name)
    }

    /// Everything that the configuration is made of: a file where one is named, the environment, and these flags.
    func sources(_ flags: [Configuration.Flag], file: String? = nil) throws(CommandError) -> Configuration.Sources {
        let file = file ?? value("config") ?? Environment.value("COLOPHON_CONFIG")
        guard file?.isEmpty != true else { throw usage("--config is empty") }
        return Configuration.Sources(
            file: file, environment: Environment.all, flags: flags)
    }

    /// Where the configuration that is named has the ledger; nil where none is named, or it says nothing of that.
    func configuredDataDirectory() throws(CommandError) -> String? {
        try namedConfiguration()?.settings.dataDirectory
    }

    /// The configuration, where one is named.
    func namedConfiguration() throws(CommandError) -> Configuration? {
        guard has("config") || Environment.value("COLOPHON_CONFIG") != nil else { return nil }
        return try configuration(try sources([]))
    }

    /// With its warnings told. Where lines go to Kafka, and `otherwise` says where they go if nothing is said of that, the program begins anew.
    func configuration(
        _ sources: Configuration.Sources, linesGo otherwise: LineSettings.Destination? = nil
    ) throws(CommandError) -> Configuration {
        let configuration: Configuration
        do { configuration = try Configuration(sources) } catch {
            // What a flag has wrong, its help can mend.
            let isOfFlag = error.problems.first?.hasPrefix("--") ?? false
            throw isOfFlag ? usage(error.description) : .usage(error.description)
        }
        if let otherwise, configuration.settings.lines.destination(otherwise: otherwise) == .kafka {
            Allocator.keepSmallBlocks()
        }
        for warning in configuration.warnings { complain("colophon: \(warning)") }
        return configuration
    }
}
