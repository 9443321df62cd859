/// What shells complete, made from the table of commands.
enum Completions {
    /// What can follow an option, where that is one of a few words.
    static func choices(_ option: Command.Option) -> [String] {
        guard let value = option.value else { return [] }
        let parts = value.split(separator: "|").map(String.init)
        let isWord = parts.allSatisfy { part in
            part.utf8.allSatisfy { $0 >= 0x61 && $0 <= 0x7A || $0 >= 0x30 && $0 <= 0x39 || $0 == 0x2D }
        }
        return parts.count > 1 && isWord ? parts : []
    }

    private static var firstWords: [String] {
        Command.all.map { $0.path[0] }.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    private static var groups: [(name: String, commands: [Command])] {
        firstWords.map { ($0, Help.group($0)) }.filter { !$0.1.isEmpty }
    }

    private static func flags(_ command: Command) -> [String] {
        command.options.filter(\.isListed).map { "--" + $0.name } + ["--help"]
    }

    // MARK: - bash

    static var bash: String {
        var text = """
            # Completion of colophon for bash: source it, or put it into /usr/share/bash-completion/completions/.
            _colophon() {
                local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]:-}
                COMPREPLY=()
                if [ "$COMP_CWORD" -eq 1 ]; then
                    COMPREPLY=($(compgen -W "\((firstWords + ["--help", "--version"]).joined(separator: " "))" -- "$current"))
                    return
                fi

            """
        for group in groups {
            let words = group.commands.map { $0.path[1] }.joined(separator: " ")
            text += """
                    if [ "$command" = \(group.name) ]; then
                        if [ "$COMP_CWORD" -eq 2 ]; then
                            COMPREPLY=($(compgen -W "\(words)" -- "$current"))
                            return
                        fi
                        command="\(group.name) ${COMP_WORDS[2]}"
                    fi

                """
        }
        text += "    case \"$command $before\" in\n"
        for command in Command.all {
            for option in command.options where !choices(option).isEmpty {
                text += "    \"\(command.name) --\(option.name)\")\n"
                text +=
                    "        COMPREPLY=($(compgen -W \"\(choices(option).joined(separator: " "))\" -- \"$current\"))\n        return ;;\n"
            }
        }
        text += "    esac\n    [[ $current == -* ]] || return\n    case \"$command\" in\n"
        for command in Command.all {
            text +=
                "    \"\(command.name)\") COMPREPLY=($(compgen -W \"\(flags(command).joined(separator: " "))\" -- \"$current\")) ;;\n"
        }
        return text + "    esac\n}\ncomplete -o default -o bashdefault -F _colophon colophon\n"
    }

    // MARK: - zsh

    private static func quoted(_ text: String) -> String {
        "'" + text.map { $0 == "'" ? "'\\''" : String($0) }.joined() + "'"
    }

    /// As `_describe` takes it: a colon separates a word from what is said of it.
    private static func described(_ word: String, _ about: String) -> String {
        quoted(word + ":" + about)
    }

    static var zsh: String {
        var text = """
            #compdef colophon
            # Completion of colophon for zsh: put it into a directory of $fpath, as _colophon.
            _colophon() {
                local -a found
                local command=${words[2]-}
                if (( CURRENT == 2 )); then
                    found=(\(summaries(Command.all.filter { $0.path.count == 1 }, part: 0) + groups.map { described($0.name, $0.commands.map { $0.path[1] }.joined(separator: ", ")) }.joined(separator: " ")))
                    _describe command found
                    return
                fi

            """
        for group in groups {
            text += """
                    if [[ $command == \(group.name) ]]; then
                        if (( CURRENT == 3 )); then
                            found=(\(summaries(group.commands, part: 1)))
                            _describe command found
                            return
                        fi
                        command="\(group.name) ${words[3]-}"
                    fi

                """
        }
        text += "    case \"$command ${words[CURRENT-1]}\" in\n"
        for command in Command.all {
            for option in command.options where !choices(option).isEmpty {
                text +=
                    "    (\(quoted("\(command.name) --\(option.name)"))) compadd -- \(choices(option).joined(separator: " ")); return ;;\n"
            }
        }
        text += "    esac\n    if [[ ${words[CURRENT]} != -* ]]; then _files; return; fi\n    case \"$command\" in\n"
        for command in Command.all {
            let options = command.options.filter(\.isListed).map { described("--" + $0.name, $0.help) }
            text +=
                "    (\(quoted(command.name))) found=(\((options + [described("--help", "print what it does")]).joined(separator: " "))) ;;\n"
        }
        return text
            + "    esac\n    _describe option found\n}\nif [ \"$funcstack[1]\" = _colophon ]; then _colophon \"$@\"; else compdef _colophon colophon; fi\n"
    }

    private static func summaries(_ commands: [Command], part: Int) -> String {
        commands.map { described($0.path[part], $0.summary) }.joined(separator: " ") + " "
    }

    // MARK: - fish

    static var fish: String {
        var text = "# Completion of colophon for fish: put it into ~/.config/fish/completions/.\n"
        let all = firstWords.joined(separator: " ")
        for command in Command.all where command.path.count == 1 {
            text +=
                "complete -c colophon -n 'not __fish_seen_subcommand_from \(all)' -f -a \(command.path[0]) -d \(fishQuoted(command.summary))\n"
        }
        for group in groups {
            text += "complete -c colophon -n 'not __fish_seen_subcommand_from \(all)' -f -a \(group.name)\n"
            let names = group.commands.map { $0.path[1] }.joined(separator: " ")
            for command in group.commands {
                text +=
                    "complete -c colophon -n '__fish_seen_subcommand_from \(group.name); and not __fish_seen_subcommand_from \(names)' -f -a \(command.path[1]) -d \(fishQuoted(command.summary))\n"
            }
        }
        for command in Command.all {
            let condition = command.path.map { "__fish_seen_subcommand_from \($0)" }.joined(separator: "; and ")
            for option in command.options where option.isListed {
                var line = "complete -c colophon -n '\(condition)' -l \(option.name) -d \(fishQuoted(option.help))"
                if option.value != nil {
                    line += choices(option).isEmpty ? " -r" : " -x -a '\(choices(option).joined(separator: " "))'"
                }
                text += line + "\n"
            }
        }
        return text
    }

    private static func fishQuoted(_ text: String) -> String {
        "'" + text.map { $0 == "'" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "'"
    }
}
