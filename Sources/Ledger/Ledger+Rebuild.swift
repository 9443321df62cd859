import Provenance
import SQLite

extension Ledger {
    /// Derives manifests, artifacts, datasets, their edges and the search index again, each from its record, and then
    /// whatever `addMore` adds, in one transaction. Records and activations are not touched.
    ///
    /// Answers how many manifests were derived.
    package func rebuild(_ addMore: () throws(LedgerError) -> Void) throws(LedgerError) -> Int {
        try write { () throws(LedgerError) in
            try sqlite { () throws(SQLiteError) in
                try database.execute(
                    """
                    DELETE FROM edges WHERE record IN (SELECT id FROM records WHERE kind = 'manifest');
                    DELETE FROM manifests;
                    DELETE FROM entities WHERE id NOT IN (SELECT entity FROM edges);
                    INSERT INTO search (search) VALUES ('delete-all');
                    """)
            }
            var derived = 0
            var last: Int64 = 0
            while let batch = try bodies(after: last), let end = batch.last?.record {
                for row in batch {
                    guard let manifest = try? Manifest.parse(row.body, verification: .off, hashing: hashing),
                        manifest.digest == row.digest
                    else { throw .damagedRecord(id: row.record, path: path) }
                    try sqlite { () throws(SQLiteError) in try derive(manifest, record: row.record) }
                }
                derived += batch.count
                last = end
            }
            try addMore()
            return derived
        }
    }

    private static let batch = 500

    /// The next manifests' records; nil after the last.
    private func bodies(
        after last: Int64
    ) throws(LedgerError) -> [(record: Int64, digest: Digest?, body: [UInt8])]? {
        try sqlite { () throws(SQLiteError) in
            let statement = try statement(.bodiesAfter)
            defer { statement.reset() }
            try statement.bind(1, last)
            try statement.bind(2, Int64(Self.batch))
            var rows: [(Int64, Digest?, [UInt8])] = []
            while try statement.step() {
                rows.append((statement.integer(0), Digest(bytes: statement.blob(1)), statement.blob(2)))
            }
            return rows.isEmpty ? nil : rows
        }
    }

    /// Every file that a manifest was read from, in order.
    package func files() throws(LedgerError) -> [String] {
        var files: [String] = []
        while true {
            let batch: [String] = try sqlite { () throws(SQLiteError) in
                let statement = try statement(.files)
                defer { statement.reset() }
                try statement.bind(1, files.last ?? "")
                try statement.bind(2, Int64(Self.batch))
                var rows: [String] = []
                while try statement.step() { rows.append(statement.text(0)) }
                return rows
            }
            if batch.isEmpty { return files }
            files += batch
        }
    }
}
