import Provenance
import Runtime

/// What the sidecar is told, key by key, with where each value comes from: a flag, the environment, a file, or nowhere.
package struct Configuration: Sendable {
    package enum Origin: Sendable {
        case usual
        case file(String, line: Int)
        case environment(String)
        /// As it was spelled.
        case flag(String)
    }

    package struct Entry: Sendable {
        package let key: SettingKey
        package let value: SettingValue
        /// As it stands in the file, before variables were put in.
        let written: SettingValue
        package let origin: Origin
    }

    /// What was given on the command line for one key.
    package struct Flag: Sendable {
        let key: SettingKey
        let value: SettingValue
        let spelling: String

        /// `name=value` where the key takes such.
        package init(_ key: SettingKey, _ texts: [String], spelling: String) {
            self.key = key
            self.spelling = spelling
            switch key.shape {
            case .one: value = .one(texts.last ?? "")
            case .list: value = .list(texts)
            case .variants, .map:
                value =
                    SettingKey.namedValues(texts).map { .map($0) } ?? (texts.count == 1 ? .one(texts[0]) : .list(texts))
            }
        }
    }

    /// Everything that the values are read from; read again when the configuration is loaded anew.
    package struct Sources: Sendable {
        package var file: String?
        package var environment: [(name: String, value: String)]
        package var flags: [Flag]

        package init(file: String?, environment: [(name: String, value: String)], flags: [Flag]) {
            self.file = file
            self.environment = environment
            self.flags = flags
        }
    }

    /// Every key, in the order of the table.
    package let entries: [Entry]
    package let settings: SidecarSettings
    /// What is there and means nothing.
    package let warnings: [String]

    /// A flag wins over the environment, that over the file, and that over the default. Throws everything that is wrong at once.
    package init(_ sources: Sources) throws(ConfigurationError) {
        var problems: [String] = []
        var warnings: [String] = []
        var found: [String: Entry] = [:]
        func set(_ key: SettingKey, _ value: SettingValue, written: SettingValue? = nil, _ origin: Origin) {
            found[key.name] = Entry(key: key, value: value, written: written ?? value, origin: origin)
        }
        if let path = sources.file {
            let file = ConfigurationFile(path, environment: sources.environment)
            for item in file.items { set(item.key, item.value, written: item.written, .file(path, line: item.line)) }
            problems += file.problems
            warnings += file.warnings
        }
        for variable in sources.environment where variable.name.hasPrefix("COLOPHON_") {
            guard let key = SettingKey.all.first(where: { $0.variable.hasSameBytes(as: variable.name) }) else {
                Self.warn(of: variable.name, &warnings)
                continue
            }
            do throws(ConfigurationError) {
                set(key, try Self.read(variable.value, key), .environment(variable.name))
            } catch { problems += error.problems }
        }
        for flag in sources.flags { set(flag.key, flag.value, .flag(flag.spelling)) }
        let entries = SettingKey.all.map { key in
            found[key.name] ?? Entry(key: key, value: key.initial, written: key.initial, origin: .usual)
        }
        try self.init(entries, problems: problems, warnings: warnings)
    }

    private init(_ entries: [Entry], problems: [String] = [], warnings: [String] = []) throws(ConfigurationError) {
        var settings = SidecarSettings()
        var problems = problems
        for entry in entries {
            if case .usual = entry.origin { continue }
            do throws(SettingError) { try entry.key.apply(entry.value, to: &settings) } catch {
                problems.append(Self.text(error, entry.origin))
            }
        }
        guard problems.isEmpty else { throw ConfigurationError(Self.inOrder(problems)) }
        self.entries = entries
        self.settings = settings
        self.warnings = warnings
    }

    /// The same, but with the values that `keys` have in `other`.
    func adopting(_ keys: [SettingKey], from other: Configuration) throws(ConfigurationError) -> Configuration {
        let merged = zip(entries, other.entries).map { mine, others in
            keys.contains { $0.name == mine.key.name } ? others : mine
        }
        return try Configuration(merged)
    }

    /// What is wrong with a value, by the name and the place at which it was given.
    package func text(_ error: SettingError) -> String {
        let origin = entries.first { $0.key.name.hasSameBytes(as: error.name) }?.origin ?? .usual
        // Whoever writes a file looks for the key, and not for the option.
        if case .usual = origin, hasFile { return error.text("\(error.name) (--\(SettingKey.flag(of: error.name)))") }
        return Self.text(error, origin)
    }

    private static func text(_ error: SettingError, _ origin: Origin) -> String {
        switch origin {
        case .usual: error.description
        case .flag(let spelling): error.text(spelling)
        case .environment(let name): error.text(name)
        case .file(let path, let line): "\(path.onOneLine):\(line): " + error.text(error.name)
        }
    }

    /// Those of a file by their lines, and then the others.
    private static func inOrder(_ problems: [String]) -> [String] {
        func line(_ problem: String) -> Int {
            let parts = problem.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            return parts.count == 3 ? Int(parts[1]) ?? .max : .max
        }
        return problems.enumerated().sorted { (line($0.element), $0.offset) < (line($1.element), $1.offset) }
            .map(\.element)
    }

    private var hasFile: Bool {
        entries.contains { entry in
            if case .file = entry.origin { return true }
            return false
        }
    }

    /// How many keys are given.
    package var given: Int {
        entries.filter { entry in
            if case .usual = entry.origin { return false }
            return true
        }.count
    }

    // MARK: - The environment

    /// Variables of ours that are no keys.
    private static let otherVariables = ["COLOPHON_CONFIG", "COLOPHON_SEED", "COLOPHON_TEST_KAFKA", "COLOPHON_CI"]

    /// A variable that was meant for us and means nothing is told of; what Kubernetes sets for a service of this name is not.
    private static func warn(of name: String, _ warnings: inout [String]) {
        let rest = name.dropFirst("COLOPHON_".count)
        let isOfService =
            rest.hasPrefix("SERVICE_") || rest == "PORT" || rest.hasPrefix("PORT_") || rest.contains("_SERVICE_")
            || rest.contains("_PORT_") || rest.hasSuffix("_PORT")
        guard !otherVariables.contains(name), !isOfService else { return }
        let hint = Spelling.nearest(to: name, among: SettingKey.all.map(\.variable)).map { "; did you mean \($0)?" }
        warnings.append("the variable \(name.onOneLine) is no key of the configuration\(hint ?? "")")
    }

    /// Lists and maps are JSON there; a list of one may be given as it is.
    private static func read(_ text: String, _ key: SettingKey) throws(ConfigurationError) -> SettingValue {
        let isJSON = text.hasPrefix("[") || text.hasPrefix("{")
        guard key.repeats, isJSON, !text.hasPrefix("[::") else {
            if case .map = key.shape {
                throw ConfigurationError(["\(key.variable) takes JSON: {\"name\":\"value\"}"])
            }
            return .one(text)
        }
        let shown = key.shape.isMap ? "{\"name\":\"value\"}" : "[\"value\"]"
        let unfit = ConfigurationError(["\(key.variable) takes JSON, such as \(shown), with text for each value"])
        guard let document = try? JSONParser.parse(Array(text.utf8)) else { throw unfit }
        switch (document, key.shape) {
        case (.array(let items), .list):
            var list: [String] = []
            for item in items {
                guard case .string(let text) = item else { throw unfit }
                list.append(text)
            }
            return .list(list)
        case (.object(let object), .variants), (.object(let object), .map):
            var pairs: [(name: String, value: String)] = []
            for member in object.members {
                guard case .string(let text) = member.value else { throw unfit }
                pairs.append((member.name, text))
            }
            return .map(pairs)
        default: throw unfit
        }
    }

    // MARK: - What has changed

    /// The keys whose values are others than in `before`.
    package func changes(since before: Configuration) -> [SettingKey] {
        zip(entries, before.entries).filter { !$0.value.hasSameBytes(as: $1.value) }.map(\.0.key)
    }
}

extension SettingKey.Shape {
    /// Whether it is a map and nothing else.
    var isMap: Bool { if case .map = self { true } else { false } }
}

/// Everything that is wrong with a configuration.
package struct ConfigurationError: Error, Sendable, CustomStringConvertible {
    package let problems: [String]

    init(_ problems: [String]) { self.problems = problems }

    /// The first problem, and how to see the others.
    package var description: String {
        let more = problems.count - 1
        let rest = more == 0 ? "" : " (and \(more) more: `colophon config check FILE` lists all)"
        return (problems.first ?? "") + rest
    }
}
