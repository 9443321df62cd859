import Provenance
import SQLite

/// One manifest in a list.
package struct ManifestSummary: Sendable {
    package let record: Int64
    package let digest: Digest
    package let version: String
    package let family: String?
    package let trainedAt: Instant?
    package let indexedAt: Instant
}

/// Some of a list, and where the rest of it begins.
package struct Page<Item: Sendable>: Sendable {
    package let items: [Item]
    /// What to hand in for the next page; nil after the last.
    package let next: Int64?

    package init(items: [Item], next: Int64?) {
        self.items = items
        self.next = next
    }
}

extension Ledger {
    package func count() throws(LedgerError) -> Int64 {
        try ids(.count) { _ in }.first ?? 0
    }

    /// All manifests, the one that was indexed last first.
    package func list(after cursor: Int64?, limit: Int) throws(LedgerError) -> Page<ManifestSummary> {
        let rows: [ManifestSummary] = try sqlite { () throws(SQLiteError) in
            let statement = try statement(.list)
            defer { statement.reset() }
            try statement.bind(1, cursor ?? .max)
            try statement.bind(2, Int64(limit) + 1)
            var rows: [ManifestSummary] = []
            while try statement.step() { if let row = Self.summary(statement) { rows.append(row) } }
            return rows
        }
        let items = Array(rows.prefix(limit))
        return Page(items: items, next: rows.count > limit ? items.last?.record : nil)
    }

    /// The fewest characters of a word that is found as a part of a name.
    package static let shortestWord = 3

    /// The manifests that hold each of `words` in one of their names; for a single hexadecimal word also those with a
    /// digest, a commit, or a hash of an artifact or dataset that begins so. The one that was indexed last first.
    package func search(_ words: [String], after cursor: Int64?, limit: Int) throws(LedgerError) -> Page<
        ManifestSummary
    > {
        let before = cursor ?? .max
        var all: Set<Int64> = []
        // The language of searches ends at a NUL, and no name of a manifest has one.
        guard !words.contains(where: { $0.utf8.contains(0) }) else { return Page(items: [], next: nil) }
        if words.count == 1, words[0].unicodeScalars.count < Self.shortestWord {
            all = Set(try wholeNames(words[0], before: before, limit: limit + 1))
        } else {
            all = Set(try namesMatching(words, before: before, limit: limit + 1))
        }
        if words.count == 1, let prefix = HexPrefix(words[0]) {
            all.formUnion(try hashesMatching(prefix, before: before, limit: limit + 1))
        }
        let found = all.sorted(by: >)
        var items: [ManifestSummary] = []
        for record in found.prefix(limit) { if let summary = try summary(record) { items.append(summary) } }
        return Page(items: items, next: found.count > limit ? items.last?.record : nil)
    }

    /// The manifests whose version or data version is exactly this: what is too short to be a part of a name.
    private func wholeNames(_ name: String, before: Int64, limit: Int) throws(LedgerError) -> [Int64] {
        try ids(.searchWholeNames) { statement throws(SQLiteError) in
            try statement.bind(1, name)
            try statement.bind(2, before)
            try statement.bind(3, Int64(limit))
        }
    }

    private func namesMatching(_ words: [String], before: Int64, limit: Int) throws(LedgerError) -> [Int64] {
        // Each word is a phrase in FTS5's syntax, so that nothing in it is an operator.
        let phrases = words.map { word in
            "\"" + word.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
        }
        return try ids(.searchNames) { statement throws(SQLiteError) in
            try statement.bind(1, phrases.joined(separator: " "))
            try statement.bind(2, before)
            try statement.bind(3, Int64(limit))
        }
    }

    private func hashesMatching(_ prefix: HexPrefix, before: Int64, limit: Int) throws(LedgerError) -> [Int64] {
        var found = try ids(.searchDigests) { statement throws(SQLiteError) in
            try statement.bind(1, blob: prefix.lowest.bytes)
            try statement.bind(2, blob: prefix.highest.bytes)
            try statement.bind(3, before)
            try statement.bind(4, Int64(limit))
        }
        for commit in try commits(prefix.digits) {
            found += try ids(.searchCommit) { statement throws(SQLiteError) in
                try statement.bind(1, commit)
                try statement.bind(2, before)
                try statement.bind(3, Int64(limit))
            }
        }
        let entities = try ids(.entitiesByPrefix) { statement throws(SQLiteError) in
            try statement.bind(1, blob: prefix.lowest.bytes)
            try statement.bind(2, blob: prefix.highest.bytes)
        }
        for entity in entities {
            for role in [Role.artifact, .dataset] {
                found += try ids(.searchEntity) { statement throws(SQLiteError) in
                    try statement.bind(1, entity)
                    try statement.bind(2, role.rawValue)
                    try statement.bind(3, before)
                    try statement.bind(4, Int64(limit))
                }
            }
        }
        return found
    }

    /// The different commits that begin with `prefix`, each found by one step into the index: a commit may have made
    /// a million manifests, and they are not walked through.
    private func commits(_ prefix: String) throws(LedgerError) -> [String] {
        try sqlite { () throws(SQLiteError) in
            var commits: [String] = []
            var last = prefix
            let exact = try statement(.searchCommit)
            try exact.bind(1, prefix)
            try exact.bind(2, Int64.max)
            try exact.bind(3, 1)
            if try exact.step() { commits.append(prefix) }
            while true {
                let next = try statement(.nextCommit)
                try next.bind(1, last)
                try next.bind(2, Self.end(ofPrefix: prefix))
                guard try next.step(), let commit = next.optionalText(0) else { return commits }
                commits.append(commit)
                last = commit
            }
        }
    }

    private func summary(_ record: Int64) throws(LedgerError) -> ManifestSummary? {
        try sqlite { () throws(SQLiteError) in
            let statement = try statement(.summary)
            defer { statement.reset() }
            try statement.bind(1, record)
            return try statement.step() ? Self.summary(statement) : nil
        }
    }

    private static func summary(_ row: Statement) -> ManifestSummary? {
        guard let digest = Digest(bytes: row.blob(1)) else { return nil }
        return ManifestSummary(
            record: row.integer(0), digest: digest, version: row.text(2), family: row.optionalText(3),
            trainedAt: row.optionalInteger(4).map(Instant.init(microseconds:)),
            indexedAt: Instant(microseconds: row.integer(5)))
    }
}
