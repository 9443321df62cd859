import Ledger
import Provenance
import Runtime

/// The words after a command's name, sorted into options and operands.
struct Arguments: Sendable {
    let command: Command
    private(set) var operands: [String] = []
    private var values: [String: [String]] = [:]
    private(set) var wantsHelp = false
    /// The option that was read last, and how many operands stood before it.
    private var lastOption: (word: String, operandsBefore: Int)?

    init(_ command: Command, _ words: [String]) throws(CommandError) {
        self.command = command
        var words = words[...]
        while let word = words.popFirst() {
            if word == "--" {
                operands += words
                break
            }
            if word == "--help" || word == "-h" {
                wantsHelp = true
                return
            }
            guard word.utf8.first == UInt8(ascii: "-"), word != "-" else {
                operands.append(word)
                continue
            }
            try takeOption(word, &words)
            lastOption = (word, operands.count)
        }
        try checkOperands()
    }

    private mutating func takeOption(_ word: String, _ rest: inout ArraySlice<String>) throws(CommandError) {
        let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard let option = find(parts[0]) else {
            let known = command.options.map { "--" + $0.name } + ["--help"]
            let hint = Spelling.nearest(to: parts[0], among: known).map { "; did you mean \($0)?" } ?? ""
            throw usage("unknown option \(parts[0].onOneLine)\(hint)")
        }
        guard option.repeats || values[option.name] == nil else { throw usage("--\(option.name) is given twice") }
        guard let kind = option.value else {
            guard parts.count == 1 || option.isTruth else { throw usage("--\(option.name) takes no value") }
            values[option.name] = [parts.count == 1 ? "true" : parts[1]]
            return
        }
        if parts.count == 2 {
            values[option.name, default: []].append(parts[1])
        } else if let value = rest.first, !value.hasPrefix("--") {
            rest.removeFirst()
            values[option.name, default: []].append(value)
        } else {
            throw usage("--\(option.name) needs a value: --\(option.name) \(kind)")
        }
    }

    /// Underscores are understood for dashes: `--model_version`.
    private func find(_ word: String) -> Command.Option? {
        guard word.hasPrefix("--") else { return nil }
        let name = String(word.dropFirst(2)).split(separator: "_", omittingEmptySubsequences: false).joined(
            separator: "-")
        return command.options.first { $0.name == name || $0.aliases.contains(name) }
    }

    private func checkOperands() throws(CommandError) {
        guard !wantsHelp else { return }
        if operands.count < command.operandCount.lowerBound {
            let given = operands.isEmpty ? "missing" : "needed, and only \"\(operands[0].onOneLine)\" is given"
            throw usage("\(command.operands) is \(given)")
        }
        if operands.count > command.operandCount.upperBound {
            let index = command.operandCount.upperBound
            let extra = operands[index].onOneLine
            if let option = lastOption, option.operandsBefore == index, !option.word.contains("=") {
                throw usage("unexpected \"\(extra)\" after \(option.word.onOneLine)")
            }
            if command.options.contains(where: { $0.name == "config" }),
                extra.hasSuffix(".yaml") || extra.hasSuffix(".yml")
            {
                throw usage("unexpected \"\(extra)\": a configuration is named by --config \(extra)")
            }
            if command.options.contains(where: { $0.name == "files" }) {
                throw usage(
                    "unexpected \"\(extra)\": a file is named by --files \(extra), or comes as standard input (< \(extra))"
                )
            }
            throw usage("unexpected \"\(extra)\"; if it belongs to the value before it, put quotes around both")
        }
    }

    /// An error in how the command was called, with where to read on.
    func usage(_ message: String) -> CommandError {
        .usage("\(message) (see `colophon \(command.name) --help`)")
    }
}

// MARK: - Reading options

extension Arguments {
    func has(_ option: String) -> Bool { values[option] != nil }

    func value(_ option: String) -> String? { values[option]?.last }

    func all(_ option: String) -> [String] { values[option] ?? [] }

    func required(_ option: String) throws(CommandError) -> String {
        guard let value = value(option) else { throw usage("--\(option) is missing") }
        return value
    }

    var wantsJSON: Bool { has("json") }

    /// `name=value`
    func pairs(_ option: String, allowsEmpty: Bool = false) throws(CommandError) -> [(name: String, value: String)] {
        var pairs: [(String, String)] = []
        for text in all(option) {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, !parts[0].isEmpty, allowsEmpty || !parts[1].isEmpty else {
                throw usage("--\(option) takes name=value, and \"\(text.onOneLine)\" is none")
            }
            guard !pairs.contains(where: { $0.0.hasSameBytes(as: parts[0]) }) else {
                throw usage("--\(option) names \(parts[0].onOneLine) twice")
            }
            pairs.append((parts[0], parts[1]))
        }
        return pairs
    }

    /// Where the files of manifests are looked for first.
    func artifactsRoot() throws(CommandError) -> String? {
        guard let root = value("artifacts-root") else { return nil }
        let status = try CommandError.wrap { () throws(SystemError) in try FileStatus.of(root) }
        guard status?.isDirectory == true else {
            throw CommandError(.failed, "--artifacts-root \(root) is no directory: check the path")
        }
        return root
    }

    func limit() throws(CommandError) -> Int {
        guard let text = value("limit") else { return 50 }
        guard let limit = Int(text), (1...1000).contains(limit) else {
            throw usage("--limit takes a number from 1 to 1000, not \"\(text.onOneLine)\"")
        }
        return limit
    }

    func cursor() throws(CommandError) -> Int64? {
        guard let text = value("after") else { return nil }
        guard let cursor = Int64(text), cursor > 0 else {
            throw usage("--after takes the number that the page before ended with, not \"\(text.onOneLine)\"")
        }
        return cursor
    }

    func verification() throws(CommandError) -> Verification {
        guard let text = value("verify") else { return .strict }
        guard let mode = Verification(rawValue: text) else {
            throw usage("--verify takes strict, warn or off, not \"\(text.onOneLine)\"")
        }
        return mode
    }

    /// `configured` is what a configuration says of it.
    func dataDirectory(for use: DataDirectory.Use, configured: String? = nil) throws(CommandError) -> String {
        var named = value("data-dir") ?? configured ?? Environment.value("COLOPHON_DATA_DIR")
        if named == nil, !command.options.contains(where: { $0.name == "listen" }) {
            named = try configuredDataDirectory()
        }
        guard named?.isEmpty != true else { throw usage("--data-dir is empty") }
        return DataDirectory.path(named: named, for: use)
    }
}
