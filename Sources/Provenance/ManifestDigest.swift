/// A layout in which Python's `json.dumps` writes.
package struct PythonLayout: Hashable, Sendable, CustomStringConvertible {
    package var sortsKeys: Bool
    package var indent: Int?
    package var isCompact: Bool
    package var escapesNonASCII: Bool

    /// The writer that lays a document out like this.
    package var writer: JSONWriter {
        JSONWriter(
            itemSeparator: isCompact || indent != nil ? "," : ", ", nameSeparator: isCompact ? ":" : ": ",
            indent: indent,
            order: sortsKeys ? .scalars : .asWritten, escapesNonASCII: escapesNonASCII)
    }

    /// The call that writes like this.
    package var description: String {
        var arguments: [String] = []
        if sortsKeys { arguments.append("sort_keys=True") }
        if let indent { arguments.append("indent=\(indent)") }
        if isCompact { arguments.append("separators=(\",\", \":\")") }
        if !escapesNonASCII { arguments.append("ensure_ascii=False") }
        return "json.dumps(\((["…"] + arguments).joined(separator: ", ")))"
    }

    /// All of them, the likelier ones first.
    package static let all: [PythonLayout] = {
        var layouts: [PythonLayout] = []
        for sortsKeys in [true, false] {
            for (indent, isCompact) in [(nil, false), (nil, true), (2, false), (4, false), (2, true), (4, true)] {
                for escapesNonASCII in [true, false] {
                    layouts.append(
                        PythonLayout(
                            sortsKeys: sortsKeys, indent: indent, isCompact: isCompact, escapesNonASCII: escapesNonASCII
                        ))
                }
            }
        }
        return layouts
    }()
}

/// Finds the digest of a manifest: the SHA-256 of its document without `manifest_sha256`.
package enum ManifestDigest {
    /// The member that holds the digest, and is not part of what it covers.
    package static let member = "manifest_sha256"

    /// The digest in the form that Colophon itself writes.
    package static func canonical(_ document: JSONObject, hashing: Hashing) -> Digest {
        hashing(JSONWriter.canonical.bytes(.object(document.without(member))))
    }

    /// The digest of `document`, and the form in which it is the declared one.
    static func find(
        _ document: JSONObject, declared: String?, hashing: Hashing
    ) -> (digest: Digest, form: DigestForm) {
        let contents = JSON.object(document.without(member))
        let canonical = JSONWriter.canonical.bytes(contents)
        let digest = hashing(canonical)
        guard let declared else { return (digest, .canonical(finalNewline: false)) }
        guard let wanted = Digest(hex: declared) else { return (digest, .undeclared) }
        if wanted == digest { return (digest, .canonical(finalNewline: false)) }
        if hashing(canonical + [0x0A]) == wanted { return (wanted, .canonical(finalNewline: true)) }
        for layout in PythonLayout.all {
            var bytes = layout.writer.bytes(contents)
            if hashing(bytes) == wanted { return (wanted, .python(layout, finalNewline: false)) }
            bytes.append(0x0A)
            if hashing(bytes) == wanted { return (wanted, .python(layout, finalNewline: true)) }
        }
        return (digest, .undeclared)
    }
}
