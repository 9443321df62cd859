import Provenance
import Proxy
import Runtime

/// How values are read, for all keys.
extension SettingKey {
    /// A key that is a header's name, or none.
    static func header(
        _ name: String, _ usual: String, of what: String,
        _ path: any WritableKeyPath<StampHeaders, String?> & Sendable
    ) -> SettingKey {
        SettingKey(name, "NAME|off", "the header of \(what)", initial: .one(usual), .text) {
            settings, value throws(Unfit) in
            settings.headers[keyPath: path] = value[0] == "off" ? nil : try fieldName(value[0])
        }
    }

    static func time(
        _ name: String, _ about: String, initial: SettingValue,
        _ path: any WritableKeyPath<SidecarSettings, Int64> & Sendable
    ) -> SettingKey {
        SettingKey(name, "TIME", about, initial: initial, .duration, live: true) { settings, value throws(Unfit) in
            settings[keyPath: path] = try duration(value[0], from: 1000)
        }
    }

    static func truth(_ text: String) throws(Unfit) -> Bool {
        switch text {
        case "true", "on", "yes": true
        case "false", "off", "no": false
        default: throw Unfit("takes true or false, not \"\(text)\"")
        }
    }

    /// One value for all, or `variant=value` for each.
    static func variants(_ value: SettingValue) throws(Unfit) -> SidecarSettings.Map {
        var map: SidecarSettings.Map = []
        func add(_ variant: String, _ value: String, isNamed: Bool) throws(Unfit) {
            guard !map.contains(where: { $0.variant.hasSameBytes(as: variant) }) else {
                throw Unfit(isNamed ? "names \(variant) twice" : "is given twice: write VARIANT=VALUE for several")
            }
            map.append((variant: variant, value: value))
        }
        if case .map(let pairs) = value {
            for pair in pairs {
                guard isName(pair.name) else {
                    throw Unfit("takes names of letters, digits, dots, dashes and underscores, not \"\(pair.name)\"")
                }
                try add(pair.name, pair.value, isNamed: true)
            }
            return map
        }
        for text in value.texts { try add(SidecarSettings.onlyVariant, text, isNamed: false) }
        return map
    }

    /// `name=value` each; nil where one is something else.
    static func namedValues(_ texts: [String]) -> [(name: String, value: String)]? {
        var pairs: [(name: String, value: String)] = []
        for text in texts {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, isName(parts[0]) else { return nil }
            pairs.append((parts[0], parts[1]))
        }
        return pairs
    }

    private static func isName(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                byte >= 0x61 && byte <= 0x7A || byte >= 0x41 && byte <= 0x5A || byte >= 0x30 && byte <= 0x39
                    || byte == 0x5F || byte == 0x2D || byte == 0x2E
            }
    }

    /// Each name once.
    static func pairs(_ value: SettingValue) throws(Unfit) -> [(name: String, value: String)] {
        guard case .map(let pairs) = value else { throw Unfit("takes NAME=VALUE") }
        for (index, pair) in pairs.enumerated()
        where pairs[..<index].contains(where: { $0.name.hasSameBytes(as: pair.name) }) {
            throw Unfit("sets \(pair.name) twice")
        }
        return pairs
    }

    static func number(_ text: String, _ range: ClosedRange<Int>) throws(Unfit) -> Int {
        guard let number = Int(text), range.contains(number) else {
            throw Unfit("takes a number from \(range.lowerBound) to \(range.upperBound), not \"\(text)\"")
        }
        return number
    }

    static func duration(
        _ text: String, from least: Int64, to most: Int64 = 86_400_000_000 * 7
    ) throws(Unfit) -> Int64 {
        guard let duration = Units.microseconds(text), duration >= least, duration <= most else {
            throw Unfit(
                "takes a time from \(Units.duration(least)) to \(Units.duration(most)), such as 500ms, 5s or 10m, not \"\(text)\""
            )
        }
        return duration
    }

    static func size(_ text: String, _ range: ClosedRange<Int>) throws(Unfit) -> Int {
        guard let bytes = Units.bytes(text), range.contains(Int(clamping: bytes)) else {
            throw Unfit(
                "takes a size from \(Units.text(range.lowerBound)) to \(Units.text(range.upperBound)), in KiB, MiB or GiB, not \"\(text)\""
            )
        }
        return Int(bytes)
    }

    static func choice<Choice: RawRepresentable & CaseIterable>(
        _ text: String, also other: String? = nil
    ) throws(Unfit) -> Choice
    where Choice.RawValue == String {
        guard let choice = Choice(rawValue: text) else {
            let known = (other.map { [$0] } ?? []) + Choice.allCases.map(\.rawValue)
            let near =
                known.first { text.hasPrefix($0) || $0.hasPrefix(text) } ?? Spelling.nearest(to: text, among: known)
            let hint = text.isEmpty ? "" : near.map { "; did you mean \($0)?" } ?? ""
            throw Unfit("takes one of \(known.joined(separator: ", ")), not \"\(text)\"\(hint)")
        }
        return choice
    }

    /// A header's name that is ours to read or write: one that framing does not depend on.
    static func fieldName(_ text: String) throws(Unfit) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            byte >= 0x61 && byte <= 0x7A || byte >= 0x41 && byte <= 0x5A || byte >= 0x30 && byte <= 0x39 || byte == 0x2D
        }
        guard isPlain, !text.isEmpty, text.utf8.count <= 64 else {
            throw Unfit("takes a header's name of letters, digits and dashes, at most 64, not \"\(text)\"")
        }
        let taken = [
            "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te",
            "trailer",
            "upgrade", "expect", "via", "date", "age", "content-type", "x-request-id", "traceparent", "x-forwarded-for",
            "x-forwarded-proto", "set-cookie", "location",
        ]
        guard !taken.contains(where: { $0.hasSameBytes(as: text.lowercased()) }) else {
            throw Unfit("cannot be \(text): that header means something else")
        }
        return text
    }
}

// MARK: - Paths

extension SettingKey {
    /// The value with its paths made absolute, from `directory` on.
    func rebased(_ value: SettingValue, from directory: String) -> SettingValue {
        func path(_ text: String) -> String {
            if case .either(let words, _) = kind, words.contains(text) { return text }
            return text.isEmpty ? text : Paths.absolute(text, from: directory)
        }
        func behind(_ word: String, _ text: String) -> String {
            text.hasPrefix(word) ? word + path(String(text.dropFirst(word.count))) : text
        }
        switch paths {
        case .none: return value
        case .whole: return value.mapTexts(path)
        case .behind(let word): return value.mapTexts { behind(word, $0) }
        case .wholeOrBehind(let words):
            return value.mapTexts { text in words.first { text.hasPrefix($0) }.map { behind($0, text) } ?? path(text) }
        case .properties:
            guard case .map(let pairs) = value else { return value }
            return .map(
                pairs.map { pair in
                    let isPath = pair.name.hasSuffix(".location") || pair.name.hasSuffix(".keytab")
                    return (pair.name, isPath && pair.value != "probe" ? path(pair.value) : pair.value)
                })
        }
    }
}
