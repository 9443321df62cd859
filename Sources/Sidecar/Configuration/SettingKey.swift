import Provenance

/// A value that a key does not take.
package struct SettingError: Error, Sendable, CustomStringConvertible {
    /// The key's name, as in a configuration file.
    package let name: String
    package let reason: String

    init(_ name: String, _ reason: String) {
        self.name = name
        self.reason = reason
    }

    /// As it is said to those who give flags.
    package var description: String { text("--\(SettingKey.flag(of: name))") }

    /// The same of somebody who calls the key something else. A reason that begins with a colon is one by itself.
    func text(_ name: String) -> String { name + (reason.hasPrefix(":") ? "" : " ") + reason }
}

/// One key of the configuration: its name, what it takes, its default, and where that goes.
package struct SettingKey: Sendable {
    /// What a value is, for those who check it before it is read.
    package enum Kind: Sendable {
        case text
        case truth
        case number(ClosedRange<Int>)
        case duration
        case size
        case choice([String])
        /// One of these words, or else the other kind.
        indirect case either([String], Kind)
    }

    /// How many values it has.
    package enum Shape: Sendable {
        case one
        case list
        /// One value for all variants, or one for each.
        case variants
        /// Any names, each with a value.
        case map
    }

    /// Where in a value a path stands: in a file it is relative to that file.
    enum PathStyle: Sendable {
        case none
        case whole
        /// Only behind this word.
        case behind(String)
        /// All of it, or what stands behind one of these words.
        case wholeOrBehind([String])
        /// In those of librdkafka's properties that name a file.
        case properties
    }

    /// As in a configuration file: `limits.head_bytes`.
    package let name: String
    /// What its value looks like; nil for a switch.
    package let value: String?
    package let about: String
    package let initial: SettingValue
    package let kind: Kind
    package let shape: Shape
    /// Whether it changes while the sidecar runs, when the configuration is loaded anew.
    package let isLive: Bool
    let paths: PathStyle
    let set: @Sendable (inout SidecarSettings, SettingValue) throws(Unfit) -> Void

    /// What is wrong with a value, in words that follow the key's name.
    struct Unfit: Error {
        let reason: String

        init(_ reason: String) { self.reason = reason }
    }

    init(
        _ name: String, _ value: String?, _ about: String, initial: SettingValue, _ kind: Kind, shape: Shape = .one,
        live isLive: Bool = false, paths: PathStyle = .none,
        _ set: @escaping @Sendable (inout SidecarSettings, SettingValue) throws(Unfit) -> Void
    ) {
        self.name = name
        self.value = value
        self.about = about
        self.initial = initial
        self.kind = kind
        self.shape = shape
        self.isLive = isLive
        self.paths = paths
        self.set = set
    }

    /// Dots and underscores become dashes.
    package var flag: String { Self.flag(of: name) }

    static func flag(of name: String) -> String { name.map { $0 == "." || $0 == "_" ? "-" : String($0) }.joined() }

    /// Its variable in the environment.
    package var variable: String {
        "COLOPHON_" + name.map { $0 == "." ? "_" : String($0) }.joined().uppercased()
    }

    /// Whether its flag may be given several times.
    package var repeats: Bool { if case .one = shape { false } else { true } }

    package var isSwitch: Bool { if case .truth = kind { value == nil } else { false } }

    /// Whether its value must never be shown.
    package var isSecret: Bool { name == "admin.token" }

    /// Whether its default is what the machine allows, and no value by itself.
    var isForMachine: Bool { name == "data_dir" }

    /// What it is, with its default.
    package var help: String {
        guard !isSwitch, case .some(let first) = initial.texts.first, !first.isEmpty else { return about }
        return "\(about) (\(first))"
    }

    /// The key with this name.
    package static func named(_ name: String) -> SettingKey? { all.first { $0.name.hasSameBytes(as: name) } }

    package func apply(_ value: SettingValue, to settings: inout SidecarSettings) throws(SettingError) {
        // What is empty says nothing where that is the default, and nowhere else.
        if value.isNothing {
            if initial.isNothing { return }
            throw SettingError(name, "is empty: write a value, or leave it out")
        }
        if let empty = value.texts.first(where: { $0.isEmpty }), empty.isEmpty {
            throw SettingError(name, "has an empty value")
        }
        guard !value.texts.contains(where: { $0.hasSuffix(Self.redacted) }) else {
            throw SettingError(
                name, "has what is shown in the place of a secret: write the secret, or ${NAME} for a variable")
        }
        if case .none = paths {
        } else if let home = value.texts.first(where: Self.isAtHome) {
            throw SettingError(name, Self.homeReason(home))
        }
        do throws(Unfit) { try set(&settings, value) } catch { throw SettingError(name, error.reason.onOneLine) }
    }

    /// What is shown of a secret.
    static let redacted = "(redacted)"

    /// A path as only shells understand it.
    static func isAtHome(_ text: String) -> Bool { text == "~" || text.hasPrefix("~/") }

    static func homeReason(_ text: String) -> String {
        "takes a path that is written out: nobody puts a directory in for ~ in \(text.onOneLine)"
    }
}
