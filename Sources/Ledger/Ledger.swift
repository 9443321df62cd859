import Provenance
import Runtime
import SQLite

/// The index of manifests, activations and everything derived from them, in one SQLite file.
///
/// Used by one thread; several processes may have it open at once. This file opens it; what can be asked of it stands
/// beside it, one file for each capability.
package final class Ledger {
    /// The file, for messages.
    package let path: String
    /// Whether it was opened without its side files, as a copy that nobody writes.
    package private(set) var isImmutableCopy = false
    /// Whether it knows of doubts: an older one that nobody could bring up to date does not.
    var hasDoubts = true
    let database: Database
    let hashing: Hashing
    /// The file that was opened.
    private let identity: FileStatus.Identity?
    private var statements: [Query: Statement] = [:]
    /// The statement that is run most often, at hand without a look-up.
    var digestRange: Statement?
    /// The variants whose pointers this process watches by itself: it knows more of them than notes say.
    package var watchedHere: [String] = []
    var watching: [ByteKey: Watching] = [:]
    var watchChanges: Int64 = 0

    /// How long one process waits for another that writes.
    static let busyTimeoutMilliseconds: Int32 = 15_000
    /// How long this one does.
    package private(set) var patience = busyTimeoutMilliseconds

    /// Whoever has something to do meanwhile waits this long, and tries again.
    package static let shortPatience: Int32 = 50

    package func setPatience(milliseconds: Int32 = busyTimeoutMilliseconds) throws(LedgerError) {
        patience = milliseconds
        try sqlite { () throws(SQLiteError) in try database.execute("PRAGMA busy_timeout = \(milliseconds)") }
    }

    package static let fileName = "ledger.sqlite"

    private init(_ path: String, _ database: Database, hashing: @escaping Hashing) {
        self.path = path
        self.database = database
        self.hashing = hashing
        identity = Self.identity(path)
    }

    private static func identity(_ path: String) -> FileStatus.Identity? {
        ((try? FileStatus.of(path)) ?? nil)?.identity
    }

    /// Whether the file that is open still has its name: one that was removed or replaced takes what nobody will ever read.
    package var isInPlace: Bool { identity != nil && Self.identity(path) == identity }

    /// Why nothing could be written to it now, as far as can be seen without writing; nil when nothing is in the way. Any thread may ask.
    package var obstacle: String? {
        guard isInPlace else { return "it was removed or replaced while it was open" }
        guard Files.mayWrite(path) else { return "it may not be written" }
        guard let free = Files.freeBytes(path), free < Self.leastFree else { return nil }
        return "its disk has \(free >> 10) KiB left"
    }

    /// An activation takes some pages of the write-ahead log, and a few more when that is written back.
    private static let leastFree: Int64 = 1 << 20

    /// Opens the ledger in `directory` to read it.
    package static func reading(
        _ directory: String, hashing: @escaping Hashing
    ) throws(LedgerError) -> Ledger {
        let path = Paths.join(directory, fileName)
        try checkFile(path)
        let ledger = try openReading(path, hashing: hashing)
        let version = try ledger.checkedVersion()
        if version == 0 { throw .missing(path: path) }
        // A ledger of an older release is brought up to date by whoever opens it first and may write.
        guard version < Schema.version else { return ledger }
        if !ledger.isImmutableCopy, Files.mayWrite(path), Files.isDirectory(directory, writable: true) {
            return try writing(directory, hashing: hashing)
        }
        ledger.hasDoubts = version >= Schema.doubtsVersion
        return ledger
    }

    private static func checkFile(_ path: String) throws(LedgerError) {
        let status: FileStatus?
        do { status = try FileStatus.of(path) } catch { throw .system(error) }
        guard let status else { throw .missing(path: path) }
        guard status.isRegular else { throw .notALedger(path: path) }
        guard !Files.isOnNetwork(path) else { throw .onNetwork(path: path) }
    }

    private static func openReading(_ path: String, hashing: @escaping Hashing) throws(LedgerError) -> Ledger {
        do throws(SQLiteError) {
            let database = try Database(path, mode: .readOnly, busyTimeout: busyTimeoutMilliseconds)
            // The file is first looked into here, side files and all.
            _ = try database.prepare("SELECT 1 FROM sqlite_schema").step()
            return Ledger(path, database, hashing: hashing)
        } catch {
            // A write-ahead ledger needs its side files, and may not make them in a directory that is read-only.
            guard error.kind == .cannotOpen || error.kind == .readOnly else { throw .sqlite(error, path: path) }
            // What is only in the log would be left out, and nobody would know.
            let log = (try? FileStatus.of(path + "-wal")) ?? nil
            guard log?.size ?? 0 == 0 else { throw .unreadableLog(path: path) }
            let database: Database
            do { database = try Database(path, mode: .immutable, busyTimeout: 0) } catch {
                throw .sqlite(error, path: path)
            }
            let ledger = Ledger(path, database, hashing: hashing)
            ledger.isImmutableCopy = true
            return ledger
        }
    }

    /// Opens the ledger in `directory` to change it, and makes it when there is none.
    package static func writing(_ directory: String, hashing: @escaping Hashing) throws(LedgerError) -> Ledger {
        let path = Paths.join(directory, fileName)
        do { try Files.makeDirectory(directory) } catch { throw .system(error) }
        guard !Files.isOnNetwork(directory) else { throw .onNetwork(path: path) }
        // SQLite itself does not wait when two make the same new database: so one at a time goes through here.
        let lock: FileLock
        do { lock = try FileLock.wait(forDirectory: directory) } catch { throw .system(error) }
        let database: Database
        do { database = try Database(path, mode: .create, busyTimeout: busyTimeoutMilliseconds) } catch {
            throw .sqlite(error, path: path)
        }
        let ledger = Ledger(path, database, hashing: hashing)
        try ledger.migrate()
        lock.release()
        return ledger
    }

    /// Brings the tables to this release's version, step by step, all or nothing.
    private func migrate() throws(LedgerError) {
        let found = try checkedVersion()
        try sqlite { () throws(SQLiteError) in
            try database.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON")
        }
        guard found < Schema.version else { return }
        try write { () throws(LedgerError) in
            try sqlite { () throws(SQLiteError) in
                for step in Schema.migrations[Int(found)...] { try database.execute(step) }
                try database.execute("PRAGMA application_id = \(Schema.applicationID)")
                try database.execute("PRAGMA user_version = \(Schema.version)")
            }
        }
    }

    /// The version of the tables in the file; 0 when it is new.
    func checkedVersion() throws(LedgerError) -> Int64 {
        let (application, version, tables) = try sqlite { () throws(SQLiteError) in
            (
                try integer("PRAGMA application_id"), try integer("PRAGMA user_version"),
                try integer("SELECT count(*) FROM sqlite_schema")
            )
        }
        if application == 0, version == 0, tables == 0 { return 0 }
        guard application == Schema.applicationID, version >= 1 else { throw .notALedger(path: path) }
        guard version <= Schema.version else { throw .newer(path: path, version: version) }
        return version
    }

    private func integer(_ sql: String) throws(SQLiteError) -> Int64 {
        let statement = try database.prepare(sql)
        return try statement.step() ? statement.integer(0) : 0
    }
}

// MARK: - Statements

extension Ledger {
    /// Runs `body`, naming the ledger in whatever SQLite refuses.
    func sqlite<Result>(_ body: () throws(SQLiteError) -> Result) throws(LedgerError) -> Result {
        do throws(SQLiteError) { return try body() } catch { throw .sqlite(error, path: path) }
    }

    /// The prepared statement for a query, made once and reset here.
    func statement(_ query: Query) throws(SQLiteError) -> Statement {
        if let statement = statements[query] {
            statement.reset()
            return statement
        }
        let statement = try database.prepare(query.rawValue)
        statements[query] = statement
        return statement
    }

    /// Runs `body` in one transaction.
    func write<Result>(_ body: () throws(LedgerError) -> Result) throws(LedgerError) -> Result {
        let path = path
        return try database.write(orThrow: { LedgerError.sqlite($0, path: path) }, body)
    }
}
