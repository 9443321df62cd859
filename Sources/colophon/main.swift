import Glibc
import Provenance
import Runtime

/// Finds the command, runs it, and turns what it throws into one line and an exit code.
func runCommandLine(_ words: [String]) -> ExitCode {
    do throws(CommandError) {
        return try dispatch(words)
    } catch {
        complain("colophon: \(error.message.onOneLine)")
        return error.code
    }
}

private func dispatch(_ words: [String]) throws(CommandError) -> ExitCode {
    guard let first = words.first else {
        complain("colophon: no command is given (see `colophon --help`)")
        return .usage
    }
    switch first {
    case "--help", "-h", "help":
        return try help(Array(words.dropFirst()))
    case "--version":
        return try dispatch(["version"])
    default: break
    }
    guard let (command, length) = Command.find(words) else {
        let group = Help.group(first)
        if !group.isEmpty, words.count > 1, words[1] == "--help" || words[1] == "-h" {
            return try show(Help.text(group: group))
        }
        throw unknownCommand(words)
    }
    let arguments = try Arguments(command, Array(words.dropFirst(length)))
    if arguments.wantsHelp { return try show(Help.text(command)) }
    return try command.run(arguments)
}

private func help(_ words: [String]) throws(CommandError) -> ExitCode {
    if words.isEmpty { return try show(Help.overview) }
    let group = Help.group(words[0])
    if words.count == 1, !group.isEmpty { return try show(Help.text(group: group)) }
    guard let (command, _) = Command.find(words) else { throw unknownCommand(words) }
    return try show(Help.text(command))
}

private func show(_ text: String) throws(CommandError) -> ExitCode {
    let output = Output()
    try CommandError.wrap { () throws(SystemError) in
        try output.write(text)
        try output.flush()
    }
    return .fine
}

private func unknownCommand(_ words: [String]) -> CommandError {
    let group = Help.group(words[0])
    if !group.isEmpty {
        let names = group.map { $0.path[1] }.joined(separator: ", ")
        let known = group.map { $0.path[1] }
        let hint =
            words.count > 1 ? Spelling.nearest(to: words[1], among: known).map { "; did you mean \($0)?" } ?? "" : ""
        return .usage("`colophon \(words[0])` needs one of \(names)\(hint) (see `colophon --help`)")
    }
    let known = Command.all.map { $0.path[0] }
    let hint = Spelling.nearest(to: words[0], among: known).map { "; did you mean \($0)?" } ?? ""
    return .usage("unknown command \"\(words[0].onOneLine)\"\(hint) (see `colophon --help`)")
}

// Where one of them is closed, the next file would take its place, and messages would be written into it.
Descriptor.holdStandard()
exit(runCommandLine(Array(CommandLine.arguments.dropFirst())).rawValue)
