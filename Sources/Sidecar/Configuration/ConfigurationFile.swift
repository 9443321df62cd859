import Provenance
import Runtime
import YAML

/// A configuration file, read as far as it can be: what is in it, and everything that is wrong with it.
struct ConfigurationFile {
    struct Item {
        let key: SettingKey
        let value: SettingValue
        let written: SettingValue
        let line: Int
    }

    private(set) var items: [Item] = []
    private(set) var problems: [String] = []
    private(set) var warnings: [String] = []
    private let path: String
    private let directory: String
    private let environment: [(name: String, value: String)]

    private static let sizeLimit = 1 << 20

    init(_ path: String, environment: [(name: String, value: String)]) {
        self.path = path
        directory = Paths.directory(of: Paths.absolute(path))
        self.environment = environment
        do throws(SystemError) {
            guard let bytes = try Files.read(path, limit: Self.sizeLimit) else {
                problems.append(
                    "\(path.onOneLine) has more than \(Self.sizeLimit >> 20) MiB, and is no configuration of ours")
                return
            }
            read(bytes)
        } catch {
            problems.append("the configuration (--config, COLOPHON_CONFIG) cannot be read: \(error)")
        }
    }

    private mutating func read(_ bytes: [UInt8]) {
        do throws(YAMLError) {
            guard let document = try YAMLParser.parse(bytes), !document.isNothing else { return }
            guard case .mapping(let members, _) = document else {
                return complain(
                    document.place.line, "keys and values are expected here, such as `listen: 127.0.0.1:8080`")
            }
            for member in members { take(member, section: "") }
        } catch { complain(error.line, error.reason) }
    }

    private mutating func complain(_ line: Int, _ reason: String) {
        problems.append("\(path.onOneLine):\(line): \(reason.onOneLine)")
    }

    private mutating func take(_ member: YAMLNode.Member, section: String) {
        let name = section + member.key
        let isDotted = member.key.contains(".")
        if !isDotted, let key = SettingKey.named(name) { return take(key, member) }
        let isSection = !isDotted && SettingKey.all.contains { $0.name.hasPrefix(name + ".") }
        guard isSection else { return complain(member.place.line, Self.unknown(name)) }
        switch member.value {
        case .mapping(let members, _): for inner in members { take(inner, section: name + ".") }
        // A section whose keys are all commented out.
        case let value where value.isNothing: break
        default:
            var reason = "\(name) is a section: its keys stand below it, indented"
            if case .scalar(let text, true, _) = member.value, text.contains(":") {
                reason += ", each with a colon and a blank before its value"
            }
            complain(member.value.place.line, reason)
        }
    }

    private static func unknown(_ name: String) -> String {
        // What is behind the name may be a value that lacks its blank, and a secret.
        let isOfName: (Character) -> Bool = { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) }
        let shown = String(name.prefix(while: isOfName))
        guard shown.utf8.count == name.utf8.count else {
            return "there is no key \(shown)…: behind a key stand a colon and a blank"
        }
        if let section = name.split(separator: ".").first, SettingKey.named(name) != nil {
            return "\(name) is written as a section: \(section):, and its keys below it, indented"
        }
        let deeper = SettingKey.all.map(\.name).filter { $0.hasSuffix("." + name) }
        if !deeper.isEmpty {
            return
                "there is no key \(name) here; did you mean \(deeper.prefix(3).joined(separator: " or ")), indented below its section?"
        }
        let sections = Set(
            SettingKey.all.compactMap {
                $0.name.contains(".") ? $0.name.split(separator: ".").first.map(String.init) : nil
            })
        let hint =
            Spelling.nearest(to: name, among: SettingKey.all.map(\.name) + sections.sorted())
            .map { "; did you mean \($0)?" } ?? ""
        return "there is no key \(name)\(hint) (`colophon config show` prints all)"
    }

    private mutating func take(_ key: SettingKey, _ member: YAMLNode.Member) {
        let line = member.place.line
        guard !member.value.isNothing else {
            return complain(line, "\(key.name) has no value: write one, or remove the line")
        }
        guard let written = value(of: member.value, key) else { return }
        for text in written.texts where Self.lacksBraces(text) {
            warnings.append(
                "\(path.onOneLine):\(line): \(key.name) is taken as it is written; a variable is written ${NAME}")
        }
        if case .none = key.paths {
        } else if let home = written.texts.first(where: SettingKey.isAtHome) {
            return complain(line, "\(key.name) " + SettingKey.homeReason(home))
        }
        do throws(Missing) {
            let value = try written.mapTexts { text throws(Missing) in try fill(text) }
            items.append(
                Item(key: key, value: key.rebased(value, from: directory), written: written, line: line))
        } catch {
            guard let variable = error.variable else { return complain(line, "\(key.name) has a ${ that no } closes") }
            let hint = Spelling.nearest(to: variable, among: environment.map(\.name)).map { "; did you mean \($0)?" }
            complain(line, "\(key.name) needs the variable \(variable), which is not set, or empty\(hint ?? "")")
        }
    }

    private mutating func value(of node: YAMLNode, _ key: SettingKey) -> SettingValue? {
        switch (node, key.shape) {
        case (.scalar(let text, _, _), .one), (.scalar(let text, _, _), .list), (.scalar(let text, _, _), .variants):
            return .one(text)
        case (.sequence(let nodes, _), .list):
            var list: [String] = []
            for node in nodes {
                guard case .scalar(let text, _, _) = node else {
                    complain(node.place.line, "\(key.name) takes a list of single values")
                    return nil
                }
                list.append(text)
            }
            return .list(list)
        case (.mapping(let members, _), .variants), (.mapping(let members, _), .map):
            var pairs: [(name: String, value: String)] = []
            for member in members {
                guard case .scalar(let text, _, _) = member.value else {
                    complain(member.place.line, "\(key.name) takes one value for \(member.key)")
                    return nil
                }
                pairs.append((member.key, text))
            }
            return .map(pairs)
        default:
            let wanted =
                switch key.shape {
                case .one: "one value"
                case .list: "one value, or a list of them"
                case .variants: "one value, or a map from variants to values"
                case .map: "a map from names to values"
                }
            complain(node.place.line, "\(key.name) takes \(wanted)")
            return nil
        }
    }

    // MARK: - Variables

    /// Whether it looks like a variable of a shell: `$NAME`.
    private static func lacksBraces(_ text: String) -> Bool {
        guard text.utf8.first == UInt8(ascii: "$"), text.utf8.count > 1 else { return false }
        return text.utf8.dropFirst().allSatisfy { $0 >= 0x41 && $0 <= 0x5A || $0 >= 0x30 && $0 <= 0x39 || $0 == 0x5F }
    }

    private struct Missing: Error {
        /// Nil where the name has no end.
        let variable: String?
    }

    /// Puts the environment's values in for `${NAME}`; `$${` is a plain `${`.
    private func fill(_ text: String) throws(Missing) -> String {
        let bytes = Array(text.utf8)
        var filled: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index...].starts(with: "$${".utf8) {
                filled += "${".utf8
                index += 3
            } else if bytes[index...].starts(with: "${".utf8) {
                guard let end = bytes[index...].firstIndex(of: 0x7D) else { throw Missing(variable: nil) }
                let name = String(decoding: bytes[(index + 2)..<end], as: UTF8.self)
                guard let variable = environment.first(where: { $0.name.hasSameBytes(as: name) }),
                    !variable.value.isEmpty
                else { throw Missing(variable: name) }
                filled += variable.value.utf8
                index = end + 1
            } else {
                filled.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: filled, as: UTF8.self)
    }
}
