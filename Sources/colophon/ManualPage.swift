import Provenance
import Sidecar

/// The manual page, made from the table of commands.
enum ManualPage {
    static var text: String {
        var page = """
            .\\" Made by `colophon man`.
            .TH COLOPHON 1 "" "Colophon \(Version.current)" "User Commands"
            .SH NAME
            colophon \\- which model answered, and from what it was made
            .SH SYNOPSIS
            .B colophon
            .I COMMAND
            .RI [ OPTION ...]
            .SH DESCRIPTION

            """
        page += paragraphs(
            Help.about.split(separator: "\n", omittingEmptySubsequences: false).dropFirst(2).joined(separator: "\n"))
        page += ".SH COMMANDS\n"
        for command in Command.all { page += section(command) }
        page += """
            .SH EXIT STATUS
            0 fine, 1 failed, 2 wrong usage, 3 conflict, 4 not found or ambiguous.
            .SH ENVIRONMENT
            Each key of the configuration is a variable: COLOPHON_ and the key's name in capitals, dots as underscores.
            .TP
            .B COLOPHON_CONFIG
            The configuration file, where \\-\\-config names none.
            .TP
            .B COLOPHON_DATA_DIR
            Where the ledger is, for all commands.
            .SH SIGNALS
            .TP
            .B SIGTERM
            ends
            .BR serve " and " enrich
            when what was begun has ended; a second one ends them at once.
            .TP
            .B SIGHUP
            loads the configuration of
            .B serve
            anew, looks at its manifests, and reopens its access log.
            .SH FILES
            .TP
            .I /etc/colophon/colophon.yaml
            The configuration that the systemd unit uses.
            .TP
            .I /var/lib/colophon
            The ledger, and what belongs to each instance: spool, checkpoints, dead letters.

            """
        return page
    }

    private static func section(_ command: Command) -> String {
        var text =
            ".SS \"colophon \(escaped(command.name))\(command.operands.isEmpty ? "" : " " + escaped(command.operands))\"\n"
        text += line(command.summary + ".")
        if !command.details.isEmpty { text += ".PP\n" + paragraphs(command.details) }
        for option in command.options where option.isListed {
            let value = option.value.map { " \\fI\(escaped($0))\\fR" } ?? ""
            text += ".TP\n\\fB\\-\\-\(escaped(option.name))\\fR\(value)\n"
            text += line(option.help + (option.repeats ? "; may be repeated" : "") + ".")
        }
        for example in command.examples {
            text += ".PP\n" + line(example.purpose + ":") + ".PP\n.RS\n.nf\n" + line(example.line) + ".fi\n.RE\n"
        }
        return text
    }

    private static func paragraphs(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false)
            .map { $0.isEmpty ? ".PP\n" : line(String($0)) }.joined()
    }

    /// One line of text: what roff would take for a request, or for an escape, is neither.
    private static func line(_ text: String) -> String {
        let escaped = escaped(text)
        return (escaped.hasPrefix(".") || escaped.hasPrefix("'") ? "\\&" : "") + escaped + "\n"
    }

    private static func escaped(_ text: String) -> String {
        text.map { character in
            switch character {
            case "\\": "\\e"
            case "-": "\\-"
            case "'": "\\(aq"
            case "`": "\\(ga"
            case "\"": "\\(dq"
            case "…": "..."
            case "→": "\\(->"
            default: String(character)
            }
        }.joined()
    }
}
