/// One command of the command line: everything that its help, its parsing and its errors need.
struct Command: Sendable {
    /// `["manifest", "create"]`
    let path: [String]
    /// One line for the list of commands.
    let summary: String
    /// What stands after the name: `INPUT`, `PATH…`.
    var operands = ""
    /// How many operands it takes.
    var operandCount: ClosedRange<Int> = 0...0
    var options: [Option] = []
    /// What a user should know besides, in full sentences.
    var details = ""
    /// Command lines that work, with what they are for.
    let examples: [(line: String, purpose: String)]
    let run: @Sendable (Arguments) throws(CommandError) -> ExitCode

    var name: String { path.joined(separator: " ") }

    struct Option: Sendable {
        /// Without dashes: `model-family`.
        let name: String
        /// What its value is; nil for a switch.
        var value: String?
        let help: String
        var repeats = false
        /// Other spellings that are understood.
        var aliases: [String] = []
        /// A switch that may also be put off: `--name=false`.
        var isTruth = false
        /// Whether the help lists it.
        var isListed = true
    }
}

extension Command.Option {
    static let dataDirectory = Command.Option(
        name: "data-dir", value: "DIR", help: "where the ledger is (also COLOPHON_DATA_DIR, or data_dir in --config)")
    static let configuration = Command.Option(
        name: "config", value: "FILE", help: "read the configuration from FILE (also COLOPHON_CONFIG)")
    static let json = Command.Option(name: "json", help: "print JSON, for machines")
    static let limit = Command.Option(name: "limit", value: "N", help: "rows to print, 1 to 1000; 50 when not given")
    static let after = Command.Option(name: "after", value: "CURSOR", help: "go on where the page before ended")
    static let verify = Command.Option(
        name: "verify", value: "strict|warn|off",
        help: "refuse a manifest whose manifest_sha256 matches nothing, or take it under its own digest")
    static let artifactsRoot = Command.Option(
        name: "artifacts-root", value: "DIR", help: "look for the files of manifests here first")
    static let manifests = Command.Option(
        name: "manifests", value: "DIR", help: "look through the manifest files below DIR; no ledger is needed")
}

extension Command {
    /// All commands, in the order of the help.
    static let all: [Command] = [
        .serve, .enrich, .trace, .history, .manifestCreate, .manifestVerify, .manifestShow, .manifestDiff, .indexAdd,
        .indexList, .indexSearch, .indexRebuild, .devBroker, .configCheck, .configShow, .configSchema,
        .completions, .manual, .version,
    ]

    /// The command that `words` begin with, and how many of them are its name.
    static func find(_ words: [String]) -> (command: Command, length: Int)? {
        for command in all where words.starts(with: command.path) { return (command, command.path.count) }
        return nil
    }
}
