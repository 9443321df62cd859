import Provenance
import Runtime

extension Command {
    static let completions = Command(
        path: ["completions"], summary: "Print what a shell needs to complete commands and options",
        operands: "bash|zsh|fish", operandCount: 1...1,
        examples: [
            ("source <(colophon completions bash)", "in this shell"),
            ("colophon completions zsh > \"${fpath[1]}/_colophon\"", "for good"),
        ],
        run: { arguments throws(CommandError) in
            switch arguments.operands[0] {
            case "bash": return try print(Completions.bash)
            case "zsh": return try print(Completions.zsh)
            case "fish": return try print(Completions.fish)
            default:
                throw arguments.usage("completions takes bash, zsh or fish, not \"\(arguments.operands[0].onOneLine)\"")
            }
        })

    static let manual = Command(
        path: ["man"], summary: "Print the manual page", examples: [("colophon man | man -l -", "read it here")],
        run: { _ throws(CommandError) in try print(ManualPage.text) })

    private static func print(_ text: String) throws(CommandError) -> ExitCode {
        let output = Output()
        try CommandError.wrap { () throws(SystemError) in
            try output.write(text)
            try output.flush()
        }
        return .fine
    }
}
