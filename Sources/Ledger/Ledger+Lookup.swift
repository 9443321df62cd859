import Provenance
import SQLite

extension Ledger {
    /// The records of manifests whose digests begin like `prefix`, with those digests, in their order.
    package func records(_ prefix: HexPrefix, limit: Int) throws(LedgerError) -> [(record: Int64, digest: Digest)] {
        do throws(SQLiteError) {
            let statement: Statement
            if let prepared = digestRange { statement = prepared } else { statement = try prepareDigestRange() }
            defer { statement.reset() }
            try bind(1, prefix.lowest, statement)
            try bind(2, prefix.highest, statement)
            try statement.bind(3, Int64(limit))
            var found: [(Int64, Digest)] = []
            while try statement.step() {
                guard let digest = Digest(raw: statement.raw(1)) else { continue }
                found.append((statement.integer(0), digest))
            }
            return found
        } catch {
            throw .sqlite(error, path: path)
        }
    }

    private func prepareDigestRange() throws(SQLiteError) -> Statement {
        let statement = try database.prepare(Query.manifestsByDigest.rawValue)
        digestRange = statement
        return statement
    }

    private func bind(_ index: Int32, _ digest: Digest, _ statement: Statement) throws(SQLiteError) {
        try digest.withBytes { bytes throws(SQLiteError) in try statement.bind(index, raw: bytes) }
    }

    package func records(version: String, limit: Int) throws(LedgerError) -> [Int64] {
        try ids(.recordsByVersion) { statement throws(SQLiteError) in
            try statement.bind(1, version)
            try statement.bind(2, Int64(limit))
        }
    }

    package func records(datasetVersion version: String, limit: Int) throws(LedgerError) -> [Int64] {
        try ids(.recordsByDatasetVersion) { statement throws(SQLiteError) in
            try statement.bind(1, version)
            try statement.bind(2, Int64(limit))
        }
    }

    /// The records whose commit begins with `prefix`.
    package func records(commit prefix: String, limit: Int) throws(LedgerError) -> [Int64] {
        try ids(.recordsByCommit) { statement throws(SQLiteError) in
            try statement.bind(1, prefix.lowercased())
            try statement.bind(2, Self.end(ofPrefix: prefix.lowercased()))
            try statement.bind(3, Int64(limit))
        }
    }

    /// The records whose commit is called exactly this.
    package func records(commitName name: String, limit: Int) throws(LedgerError) -> [Int64] {
        try ids(.searchCommit) { statement throws(SQLiteError) in
            try statement.bind(1, name.lowercased())
            try statement.bind(2, Int64.max)
            try statement.bind(3, Int64(limit))
        }
    }

    /// A number that changes when another process or connection has changed the ledger.
    package func revision() throws(LedgerError) -> Int64 {
        try ids(.revision) { _ in }.first ?? 0
    }

    /// The records with an artifact, or a dataset, whose hash begins like `prefix`.
    package func records(_ role: Role, _ prefix: HexPrefix, limit: Int) throws(LedgerError) -> [Int64] {
        try ids(.recordsByEntity) { statement throws(SQLiteError) in
            try statement.bind(1, blob: prefix.lowest.bytes)
            try statement.bind(2, blob: prefix.highest.bytes)
            try statement.bind(3, role.rawValue)
            try statement.bind(4, Int64(limit))
        }
    }

    /// The manifest of a record, as it was written.
    package func manifest(_ record: Int64) throws(LedgerError) -> Manifest {
        let body: [UInt8]? = try sqlite { () throws(SQLiteError) in
            let statement = try statement(.body)
            defer { statement.reset() }
            try statement.bind(1, record)
            return try statement.step() ? statement.blob(1) : nil
        }
        guard let body, let manifest = try? Manifest.parse(body, verification: .off, hashing: hashing) else {
            throw .damagedRecord(id: record, path: path)
        }
        return manifest
    }

    /// Where the manifest of a record was seen last; nil when it came from no file.
    package func file(of record: Int64) throws(LedgerError) -> String? {
        try sqlite { () throws(SQLiteError) in
            let statement = try statement(.fileOfRecord)
            defer { statement.reset() }
            try statement.bind(1, record)
            return try statement.step() ? statement.text(0) : nil
        }
    }

    /// The first text, in the order of bytes, after all that begin with `prefix`.
    static func end(ofPrefix prefix: String) -> String { prefix + "\u{10FFFF}" }

    /// The first column of a query's rows.
    func ids(
        _ query: Query, _ bind: (Statement) throws(SQLiteError) -> Void
    ) throws(LedgerError) -> [Int64] {
        try sqlite { () throws(SQLiteError) in
            let statement = try statement(query)
            defer { statement.reset() }
            try bind(statement)
            var ids: [Int64] = []
            while try statement.step() { ids.append(statement.integer(0)) }
            return ids
        }
    }
}

extension Ledger {
    /// Runs `body` in one read transaction: many look-ups see the same ledger, and each costs half as much.
    package func reading<Result>(_ body: () throws(LedgerError) -> Result) throws(LedgerError) -> Result {
        try sqlite { () throws(SQLiteError) in try database.execute("BEGIN") }
        defer { try? database.execute("COMMIT") }
        return try body()
    }
}
