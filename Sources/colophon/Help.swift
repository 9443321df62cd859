/// The help texts, made from the table of commands.
enum Help {
    static let about = """
        colophon: which model answered, and from what it was made.

        It knows the manifest that each training run left, and leads any response, header or log line back to it: to the
        model, its files, the commit and the data.
        """

    /// What `colophon --help` prints.
    static var overview: String {
        var text = about + "\n\nUsage: colophon COMMAND [OPTION…]\n\nCommands:\n"
        let width = Command.all.map(\.name.count).max() ?? 0
        for command in Command.all { text += row(command.name, command.summary, width: width) }
        text += "\n`colophon COMMAND --help` tells of each, with examples.\n"
        text += "\nExit codes: 0 fine, 1 failed, 2 wrong usage, 3 conflict, 4 not found or ambiguous.\n"
        return text
    }

    /// What `colophon COMMAND --help` prints.
    static func text(_ command: Command) -> String {
        let operands = command.operands.isEmpty ? "" : " " + command.operands
        var text = "\(command.summary)\n\nUsage: colophon \(command.name)\(operands) [OPTION…]\n"
        if !command.details.isEmpty { text += "\n\(command.details)\n" }
        let options = command.options.filter(\.isListed) + [Command.Option(name: "help", help: "print this")]
        let names = options.map { "--\($0.name)" + ($0.value.map { " \($0)" } ?? "") }
        let width = names.map(\.count).max() ?? 0
        text += "\nOptions:\n"
        for (name, option) in zip(names, options) {
            let help = option.help + (option.repeats ? "; may be repeated" : "")
            // Beside the longest names of some commands no line would be wide enough.
            text +=
                width <= 40
                ? row(name, help, width: width) : "  \(name)\n      \(help)\n"
        }
        text += "\nExamples:\n"
        for example in command.examples { text += "  # \(example.purpose)\n  \(example.line)\n" }
        return text
    }

    /// What `colophon manifest --help` prints.
    static func text(group: [Command]) -> String {
        let width = group.map(\.name.count).max() ?? 0
        return "Commands:\n" + group.map { row($0.name, $0.summary, width: width) }.joined()
    }

    /// The commands of a group, for `colophon manifest` alone.
    static func group(_ name: String) -> [Command] { Command.all.filter { $0.path.count > 1 && $0.path[0] == name } }

    private static func row(_ name: String, _ text: String, width: Int) -> String {
        "  " + name + String(repeating: " ", count: width - name.count + 2) + text + "\n"
    }
}
