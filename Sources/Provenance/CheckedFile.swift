/// What became of a file that a manifest names.
package enum FileState: Sendable {
    /// It has the hash that the manifest gives.
    case ok
    /// It has another one.
    case changed(found: Digest)
    case missing
    case unreadable(reason: String)

    /// The word for it, in answers.
    package var word: String {
        switch self {
        case .ok: "ok"
        case .changed: "changed"
        case .missing: "missing"
        case .unreadable: "unreadable"
        }
    }

    package var isOK: Bool { if case .ok = self { true } else { false } }
}

/// An artifact or the dataset of a manifest, compared with what is on the disk.
package struct CheckedFile: Sendable {
    package enum Kind: String, Sendable {
        case artifact
        case dataset
    }

    package let kind: Kind
    /// The artifact's name; empty for the dataset.
    package let name: String
    /// The path as the manifest has it.
    package let path: String
    /// Where it was found; nil when it was not.
    package let foundAt: String?
    package let expected: Digest
    package let state: FileState
    /// The directories in which it was looked for.
    package let searched: [String]

    package init(
        kind: Kind, name: String, path: String, foundAt: String?, expected: Digest, state: FileState, searched: [String]
    ) {
        self.kind = kind
        self.name = name
        self.path = path
        self.foundAt = foundAt
        self.expected = expected
        self.state = state
        self.searched = searched
    }

    /// What to say besides the state: where it was found, or what is wrong.
    package var detail: String? {
        switch state {
        case .ok: foundAt == path ? nil : foundAt.map { "at \($0)" }
        case .changed(let found): "sha256 is \(found)" + (foundAt == path ? "" : foundAt.map { ", at \($0)" } ?? "")
        case .missing: path.isEmpty ? "the manifest names no path" : "not in \(searched.joined(separator: ", "))"
        case .unreadable(let reason): reason
        }
    }
}
