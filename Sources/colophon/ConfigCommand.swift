import Provenance
import Runtime
import Sidecar

extension Command {
    static let configCheck = Command(
        path: ["config", "check"], summary: "Tell everything that is wrong with a configuration",
        operands: "[FILE]", operandCount: 0...1, options: [.configuration, .json] + keys,
        details: """
            Reads the file, the environment and the options as `serve` would, and tells what it would refuse; nothing is opened or
            started. All options of `serve` are taken. Exit code 2 when anything is wrong.
            """,
        examples: [("colophon config check colophon.yaml", "before a restart, or in a pipeline")],
        run: checkConfiguration)

    static let configShow = Command(
        path: ["config", "show"], summary: "Print the effective configuration, and where each value comes from",
        operands: "[FILE]", operandCount: 0...1,
        options: [
            .configuration, .json,
            Option(name: "documented", help: "with what each key is for, rather than where its value comes from"),
        ] + keys,
        details: """
            What it prints is a configuration file again. Secrets are left out; what stands for a variable is shown as it is written.
            All options of `serve` are taken.
            """,
        examples: [
            ("colophon config show --documented > colophon.yaml", "a file to begin with: every key, with its default"),
            ("colophon config show colophon.yaml --workers 2", "what that file and this option amount to"),
        ],
        run: showConfiguration)

    static let configSchema = Command(
        path: ["config", "schema"], summary: "Print the JSON Schema of configuration files",
        examples: [("colophon config schema > colophon.schema.json", "for an editor that completes and checks")],
        run: { _ throws(CommandError) in
            let output = Output()
            try CommandError.wrap { () throws(SystemError) in
                try output.write(JSONWriter.pretty.text(ConfigurationSchema.json) + "\n")
                try output.flush()
            }
            return .fine
        })

    private static let keys = SettingKey.all.map { Option($0, isListed: false) }

    private static func sources(_ arguments: Arguments) throws(CommandError) -> Configuration.Sources {
        guard arguments.operands.isEmpty || !arguments.has("config") else {
            throw arguments.usage("the file is named twice: by --config, and as \(arguments.operands[0].onOneLine)")
        }
        var flags: [Configuration.Flag] = []
        for key in SettingKey.all { if let flag = try arguments.flag(key) { flags.append(flag) } }
        return try arguments.sources(flags, file: arguments.operands.first)
    }

    /// A file to begin with has the defaults, whatever this shell has set.
    private static func shownSources(_ arguments: Arguments) throws(CommandError) -> Configuration.Sources {
        var sources = try sources(arguments)
        if arguments.has("documented") { sources.environment = [] }
        return sources
    }

    private static func checkConfiguration(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let sources = try sources(arguments)
        var problems: [String] = []
        var warnings: [String] = []
        var given = 0
        do throws(ConfigurationError) {
            let configuration = try Configuration(sources)
            warnings = configuration.warnings
            given = configuration.given
            problems = configuration.settings.contradictions.map { $0.text(configuration) }
            if problems.isEmpty { warnings += configuration.settings.unresolved }
            warnings += configuration.settings.cautions
        } catch {
            problems = error.problems + ["what keys say of one another is looked at when each of them can be read"]
        }
        if arguments.wantsJSON {
            let answer = JSONObject([
                .init("ok", .bool(problems.isEmpty)), .init("problems", .array(problems.map(JSON.string))),
                .init("warnings", .array(warnings.map(JSON.string))),
            ])
            _ = try Printer.print(.object(answer))
        } else {
            for text in warnings + problems { complain("colophon: \(text.onOneLine)") }
            let what = sources.file.map { $0.onOneLine } ?? "no file is named (--config, COLOPHON_CONFIG); the rest"
            if problems.isEmpty {
                _ = try Printer.print("\(what) is fine: \(given) \(given == 1 ? "key is" : "keys are") set")
            }
        }
        return problems.isEmpty ? .fine : .usage
    }

    private static func showConfiguration(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let configuration = try arguments.configuration(try shownSources(arguments))
        if arguments.wantsJSON { return try Printer.print(configuration.json) }
        let output = Output()
        try CommandError.wrap { () throws(SystemError) in
            try output.write(configuration.yaml(isDocumented: arguments.has("documented")))
            try output.flush()
        }
        return .fine
    }
}
