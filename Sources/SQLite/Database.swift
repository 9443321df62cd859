import CSQLite

/// One connection to a SQLite database, used by one thread.
package final class Database {
    let handle: OpaquePointer

    package enum Mode: Sendable {
        case readOnly
        /// Reads a file that nobody writes, without the side files of its WAL.
        case immutable
        case readWrite
        case create
    }

    /// Opens the database at `path`.
    package init(_ path: String, mode: Mode, busyTimeout milliseconds: Int32) throws(SQLiteError) {
        var flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        // Some builds of SQLite take `file:…` for a URI wherever it stands.
        var name = path.utf8.first == UInt8(ascii: "/") ? path : "./" + path
        switch mode {
        case .readOnly: flags |= SQLITE_OPEN_READONLY
        case .immutable:
            flags |= SQLITE_OPEN_READONLY | SQLITE_OPEN_URI
            name = Self.immutableURI(path)
        case .readWrite: flags |= SQLITE_OPEN_READWRITE
        case .create: flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
        }
        var handle: OpaquePointer?
        let code = sqlite3_open_v2(name, &handle, flags, nil)
        guard code == SQLITE_OK, let handle else {
            let message = handle.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            sqlite3_close_v2(handle)
            throw SQLiteError(code: code, message: message)
        }
        self.handle = handle
        sqlite3_busy_timeout(handle, milliseconds)
    }

    deinit { sqlite3_close_v2(handle) }

    /// A `file:` URI that says that nobody writes; every byte that is not plain is escaped.
    private static func immutableURI(_ path: String) -> String {
        var text = "file:"
        for byte in path.utf8 {
            let isLetter = (byte | 0x20) >= UInt8(ascii: "a") && (byte | 0x20) <= UInt8(ascii: "z")
            let isDigit = byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
            if isLetter || isDigit || byte == UInt8(ascii: "/") || byte == UInt8(ascii: "-")
                || byte == UInt8(ascii: "_")
            {
                text.unicodeScalars.append(UnicodeScalar(byte))
            } else {
                text += byte < 16 ? "%0" : "%"
                text += String(byte, radix: 16)
            }
        }
        return text + "?immutable=1"
    }

    /// Runs statements that answer nothing.
    package func execute(_ sql: String) throws(SQLiteError) {
        try check(sqlite3_exec(handle, sql, nil, nil, nil))
    }

    package func prepare(_ sql: String) throws(SQLiteError) -> Statement {
        try Statement(self, sql)
    }

    /// Runs `body` in one transaction that takes the write lock at once; undoes it when `body` fails.
    package func write<Result, Failure: Error>(
        orThrow convert: (SQLiteError) -> Failure, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        do { try execute("BEGIN IMMEDIATE") } catch { throw convert(error) }
        do throws(Failure) {
            let result = try body()
            do throws(SQLiteError) { try execute("COMMIT") } catch { throw convert(error) }
            return result
        } catch {
            // SQLite may have undone it by itself (disk full): then there is nothing left to undo.
            if sqlite3_get_autocommit(handle) == 0 { try? execute("ROLLBACK") }
            throw error
        }
    }

    /// The id of the row that was inserted last.
    package var lastInsertedRow: Int64 { sqlite3_last_insert_rowid(handle) }

    /// How many rows the last statement changed.
    package var changedRows: Int { Int(sqlite3_changes(handle)) }

    func check(_ code: Int32) throws(SQLiteError) {
        guard code == SQLITE_OK else { throw error(code) }
    }

    func error(_ code: Int32) -> SQLiteError {
        SQLiteError(code: code, message: String(cString: sqlite3_errmsg(handle)))
    }

    package static var version: String { String(cString: sqlite3_libversion()) }
}
