import Kafka
import Ledger
import Provenance
import Runtime

/// The effective configuration, as it is shown: secrets never are.
extension Configuration {
    /// As a YAML file, with where each value comes from; or with what each key is for.
    package func yaml(isDocumented: Bool = false) -> String {
        var rows: [(text: String, from: String)] = isDocumented ? Self.preface.map { ($0, "") } : []
        var section: [String] = []
        for entry in inSections {
            let parts = entry.key.name.split(separator: ".").map(String.init)
            let path = Array(parts.dropLast())
            let common = zip(section, path).prefix { $0 == $1 }.count
            if isDocumented, path.isEmpty || common == 0 { rows.append(("", "")) }
            for depth in common..<path.count { rows.append((indent(depth) + path[depth] + ":", "")) }
            section = path
            if isDocumented { rows += Self.comment(entry.key).map { (indent(path.count) + $0, "") } }
            var from = Self.words(entry.origin)
            var name = indent(path.count) + (parts.last ?? "")
            if isDocumented, case .usual = entry.origin {
                from = ""
                // What the machine decides where nobody does is not decided by whoever begins with this file.
                if entry.key.isForMachine { name = "# " + name }
            }
            // What is relative is so to where it was said, and that is not where this may be read.
            let shown = isDocumented ? entry.shown : entry.effective
            rows += self.rows(of: shown, under: name, from: from)
        }
        let width = min(56, rows.filter { !$0.from.isEmpty }.map(\.text.count).max() ?? 0)
        return rows.map { row in
            guard !row.from.isEmpty else { return row.text + "\n" }
            return row.text + String(repeating: " ", count: max(0, width - row.text.count)) + "  # \(row.from)\n"
        }.joined()
    }

    private func rows(of value: SettingValue, under name: String, from: String) -> [(text: String, from: String)] {
        let inner = String(name.prefix { $0 == " " }) + "  "
        switch value {
        case .one(let text): return [("\(name): \(Self.scalar(text))", from)]
        case .list(let list) where list.isEmpty: return [(name + ": []", from)]
        case .list(let list): return [(name + ":", from)] + list.map { (inner + "- " + Self.scalar($0), "") }
        case .map(let pairs) where pairs.isEmpty: return [(name + ": {}", from)]
        case .map(let pairs):
            return [(name + ":", from)]
                + pairs.map { (inner + Self.scalar($0.name) + ": " + Self.scalar($0.value), "") }
        }
    }

    private static let preface = [
        "# The configuration of Colophon: every key, with its default. Remove what you do not change.",
        "#",
        "# Each key is also an option of `colophon serve` and a variable (kafka.brokers: --kafka-brokers, COLOPHON_KAFKA_BROKERS);",
        "# an option wins over the variable, and that over this file. Paths are relative to this file. ${NAME} stands for a variable",
        "# of the environment, for secrets. Times have units (500ms, 5s, 10m, 24h), sizes too (64KiB, 1MiB, 1GiB).",
        "# What says \"Changes on reload\" changes on SIGHUP or POST /v1/reload; the others with the next start.",
        "# `colophon config check FILE` tells everything that is wrong with a file.",
    ]

    private static let commentWidth = 110

    private static func comment(_ key: SettingKey) -> [String] {
        var about = key.about.prefix(1).uppercased() + key.about.dropFirst() + "."
        if let value = key.value, value.contains("|") { about += " \(value)." }
        if key.isLive { about += " Changes on reload." }
        var lines = ["#"]
        for word in about.split(separator: " ") {
            if lines[lines.count - 1].count + word.count >= commentWidth { lines.append("#") }
            lines[lines.count - 1] += " " + word
        }
        return lines
    }

    /// `{key: {value, from}}`
    package var json: JSON {
        .object(
            JSONObject(
                entries.map { entry in
                    .init(
                        entry.key.name,
                        .object(
                            JSONObject([
                                .init("value", entry.effective.json),
                                .init("from", .string(Self.words(entry.origin))),
                            ])))
                }))
    }

    /// Keys of one section together, in the order in which sections first come.
    private var inSections: [Entry] {
        func section(_ entry: Entry) -> String { String(entry.key.name.prefix { $0 != "." }) }
        var order: [String] = []
        for entry in entries where !order.contains(section(entry)) { order.append(section(entry)) }
        return order.flatMap { name in entries.filter { section($0) == name } }
    }

    private func indent(_ depth: Int) -> String { String(repeating: "  ", count: depth) }

    private static func words(_ origin: Origin) -> String {
        switch origin {
        case .usual: "default"
        case .file(let path, let line): "\(path.onOneLine):\(line)"
        case .environment(let name): name
        case .flag(let spelling): spelling
        }
    }

    /// YAML refuses what cannot be printed, even in quotes, unless it is written by its number.
    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22, 0x5C: quoted += "\\" + String(scalar)
            case 0x20...0x7E, 0xA1...0x2027, 0x202A...0xD7FF,
                0xE000...0xFEFE, 0xFF00...0xFFFD, 0x10000...0x10FFFD:
                quoted.unicodeScalars.append(scalar)
            default:
                let digits = String(scalar.value, radix: 16, uppercase: true)
                quoted += "\\U" + String(repeating: "0", count: 8 - digits.utf8.count) + digits
            }
        }
        return quoted + "\""
    }

    /// Plain where YAML reads it as it is, and else in quotes.
    private static func scalar(_ text: String) -> String {
        let isPlain =
            !text.isEmpty
            && text.utf8.enumerated().allSatisfy { index, byte in
                byte >= 0x61 && byte <= 0x7A || byte >= 0x41 && byte <= 0x5A || byte >= 0x30 && byte <= 0x39
                    || byte == 0x2F || byte == 0x5F || byte == 0x2E && index > 0
                    || (byte == 0x2D || byte == 0x3A || byte == 0x2B) && index > 0
            } && text.utf8.last != 0x3A
        // Numbers to the base of sixty, to some readers.
        let isSexagesimal = text.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x3A } && text.utf8.contains(0x3A)
        return isPlain && !isSexagesimal && text != "null" ? text : quoted(text)
    }
}

extension Configuration.Entry {
    /// The value, without what is secret. What stands for a variable is shown as it is written.
    var shown: SettingValue {
        var isOfFile = false
        if case .file = origin { isOfFile = true }
        /// What is all a variable says nothing of what is in it. Only in files are they put in.
        func hidden(_ text: String) -> String {
            let name = text.utf8.dropFirst(2).dropLast()
            let isVariable =
                isOfFile && text.hasPrefix("${") && text.hasSuffix("}") && !name.isEmpty
                && name.allSatisfy {
                    $0 >= 0x41 && $0 <= 0x5A || $0 >= 0x61 && $0 <= 0x7A || $0 >= 0x30 && $0 <= 0x39 || $0 == 0x5F
                }
            return text.isEmpty || isVariable ? text : SettingKey.redacted
        }
        if key.isSecret { return written.mapTexts(hidden) }
        /// Paths are shown as they were found: from elsewhere, what is written would lead to another place.
        func plain(_ value: String, _ written: String) -> String {
            let isPath =
                switch key.paths {
                case .none: false
                case .behind(let word): written.hasPrefix(word)
                default: true
                }
            return !isPath && isOfFile && written.contains("${") ? written : Self.unfilled(value)
        }
        guard key.shape.isMap, case .map(let pairs) = value, case .map(let written) = written else {
            var texts =
                switch written {
                case .map(let pairs): pairs.map(\.value)[...]
                default: written.texts[...]
                }
            guard texts.count == value.texts.count else { return value.mapTexts(Self.unfilled) }
            return value.mapTexts { plain($0, texts.removeFirst()) }
        }
        return .map(
            zip(pairs, written).map { pair, written in
                // What came from a variable may be secret, whatever it is called.
                let isSecret = KafkaProperties.isSecret(pair.name) || isOfFile && written.value.contains("${")
                return (pair.name, isSecret ? hidden(written.value) : Self.unfilled(pair.value))
            })
    }

    /// What is in use: where nobody says where the ledger is, the machine decides.
    var effective: SettingValue {
        if case .usual = origin, key.isForMachine { return .one(DataDirectory.path(named: nil, for: .change)) }
        return key.rebased(shown, from: Paths.absolute("."))
    }

    /// As a file has to have it, where a variable would be put in.
    private static func unfilled(_ text: String) -> String {
        text.split(separator: "${", omittingEmptySubsequences: false).joined(separator: "$${")
    }
}
