/// What changed between two builds, value by value.
package struct ManifestDifference: Sendable {
    package let path: JSONPath
    /// Nil where the value was added.
    package let before: JSON?
    /// Nil where the value was removed.
    package let after: JSON?

    package var json: JSON {
        var members = JSONObject([.init("path", .string(path.description))])
        if let before { members.append("before", before) }
        if let after { members.append("after", after) }
        return .object(members)
    }

    /// All differences of two documents, in the order in which the paths stand in the first, then those only in the second.
    package static func between(_ before: JSONObject, _ after: JSONObject) -> [ManifestDifference] {
        var differences: [ManifestDifference] = []
        compare(.object(before), .object(after), at: JSONPath(), into: &differences)
        return differences
    }

    private static func compare(_ before: JSON, _ after: JSON, at path: JSONPath, into result: inout [Self]) {
        switch (before, after) {
        case (.object(let old), .object(let new)):
            let newValues = byName(new)
            let oldValues = byName(old)
            for member in old.members {
                compare(member.value, newValues[ByteKey(member.name)], at: path.member(member.name), into: &result)
            }
            for member in new.members where oldValues[ByteKey(member.name)] == nil {
                result.append(Self(path: path.member(member.name), before: nil, after: member.value))
            }
        case (.array(let old), .array(let new)):
            for (index, item) in old.enumerated() {
                compare(item, index < new.count ? new[index] : nil, at: path.item(index), into: &result)
            }
            for index in old.count..<max(old.count, new.count) {
                result.append(Self(path: path.item(index), before: nil, after: new[index]))
            }
        default:
            // Spelling counts: 0.10 instead of 0.1 is a difference, as it is to the Python forms of the digest.
            if JSONWriter.compact.bytes(before) != JSONWriter.compact.bytes(after) {
                result.append(Self(path: path, before: before, after: after))
            }
        }
    }

    private static func compare(_ before: JSON, _ after: JSON?, at path: JSONPath, into result: inout [Self]) {
        if let after {
            compare(before, after, at: path, into: &result)
        } else {
            result.append(Self(path: path, before: before, after: nil))
        }
    }

    private static func byName(_ object: JSONObject) -> [ByteKey: JSON] {
        Dictionary(object.members.map { (ByteKey($0.name), $0.value) }) { first, _ in first }
    }
}
