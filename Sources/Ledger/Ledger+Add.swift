import Provenance
import Runtime
import SQLite

extension Ledger {
    package enum Added: Sendable {
        case new
        case known
    }

    /// Adds many manifests in one transaction: all of them or, when it fails, none.
    package func addAll<Item>(
        _ items: [Item], _ add: (Item) throws(LedgerError) -> Void
    ) throws(LedgerError) {
        try write { () throws(LedgerError) in
            for item in items { try add(item) }
        }
    }

    /// Adds a manifest that was read from `file`, inside a transaction. Adding it again changes nothing.
    package func add(_ manifest: Manifest, file: String?, at now: Instant) throws(LedgerError) -> Added {
        let found = try record(of: manifest)
        let record: Int64
        if let found { record = found } else { record = try insert(manifest, at: now) }
        if let file {
            try sqlite { () throws(SQLiteError) in
                let statement = try statement(.insertFile)
                try statement.bind(1, file)
                try statement.bind(2, record)
                try statement.run()
            }
        }
        return found == nil ? .new : .known
    }

    /// The record of exactly this manifest, if there is one.
    private func record(of manifest: Manifest) throws(LedgerError) -> Int64? {
        let found: (id: Int64, isSame: Bool)? = try sqlite { () throws(SQLiteError) in
            let statement = try statement(.recordByDigest)
            defer { statement.reset() }
            try statement.bind(1, blob: manifest.digest.bytes)
            guard try statement.step() else { return nil }
            return (statement.integer(0), statement.blob(1) == manifest.bytes)
        }
        guard let found else { return nil }
        guard found.isSame else { throw .conflict(manifest.digest, path: path) }
        return found.id
    }

    private func insert(_ manifest: Manifest, at now: Instant) throws(LedgerError) -> Int64 {
        try sqlite { () throws(SQLiteError) in
            let statement = try statement(.insertRecord)
            try statement.bind(1, blob: manifest.digest.bytes)
            try statement.bind(2, now.microseconds)
            try statement.bind(3, blob: manifest.bytes)
            try statement.run()
            let record = database.lastInsertedRow
            try derive(manifest, record: record)
            return record
        }
    }

    /// Writes what a manifest's record is looked up by.
    func derive(_ manifest: Manifest, record: Int64) throws(SQLiteError) {
        let row = try statement(.insertManifest)
        try row.bind(1, record)
        try row.bind(2, manifest.version)
        try row.bind(3, manifest.family)
        try row.bind(4, manifest.trainedAt?.microseconds)
        try row.bind(5, manifest.pipeline.commit?.lowercased())
        try row.bind(6, manifest.dataset.version)
        try row.bind(7, manifest.form.description)
        try row.bind(8, manifest.declaredSHA256)
        try row.run()

        for artifact in manifest.artifacts {
            try insertEdge(
                record, .artifact, name: artifact.name, entity: artifact.sha256, label: nil, path: artifact.path,
                sizeBytes: artifact.sizeBytes)
        }
        if let sha256 = manifest.dataset.sha256 {
            try insertEdge(
                record, .dataset, name: "", entity: sha256, label: manifest.dataset.version,
                path: manifest.dataset.path,
                sizeBytes: manifest.dataset.sizeBytes)
        }

        let names = try statement(.insertNames)
        try names.bind(1, record)
        try names.bind(2, Self.names(of: manifest))
        try names.run()
    }

    private func insertEdge(
        _ record: Int64, _ role: Role, name: String, entity: Digest, label: String?, path: String?, sizeBytes: Int64?
    ) throws(SQLiteError) {
        let edge = try statement(.insertEdge)
        try edge.bind(1, record)
        try edge.bind(2, role.rawValue)
        try edge.bind(3, name)
        try edge.bind(4, role == .dataset ? "input" : "output")
        try edge.bind(5, try entityID(entity))
        try edge.bind(6, label)
        try edge.bind(7, path)
        try edge.bind(8, sizeBytes)
        try edge.run()
    }

    private func entityID(_ sha256: Digest) throws(SQLiteError) -> Int64 {
        let known = try statement(.entity)
        defer { known.reset() }
        try known.bind(1, blob: sha256.bytes)
        if try known.step() { return known.integer(0) }
        let new = try statement(.insertEntity)
        try new.bind(1, blob: sha256.bytes)
        try new.run()
        return database.lastInsertedRow
    }

    /// The texts of a manifest that a person may remember a part of.
    private static func names(of manifest: Manifest) -> String {
        let texts = [
            manifest.version, manifest.family, manifest.pipeline.branch, manifest.dataset.version,
            manifest.dataset.path,
        ]
        return (texts.compactMap { $0 } + manifest.artifacts.map(\.name)).joined(separator: "\n")
    }
}

/// What an entity was to a record.
package enum Role: String, Sendable {
    case artifact
    case dataset
}
