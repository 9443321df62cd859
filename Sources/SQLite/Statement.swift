import CSQLite

/// One prepared statement. Bind, step through the rows, and reset; it finalizes itself.
package final class Statement {
    private let database: Database
    private let handle: OpaquePointer

    init(_ database: Database, _ sql: String) throws(SQLiteError) {
        var handle: OpaquePointer?
        let code = sqlite3_prepare_v3(database.handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &handle, nil)
        guard code == SQLITE_OK, let handle else { throw database.error(code) }
        self.database = database
        self.handle = handle
    }

    deinit { sqlite3_finalize(handle) }

    /// Makes ready for new values; what was bound is forgotten.
    package func reset() {
        sqlite3_reset(handle)
        sqlite3_clear_bindings(handle)
    }

    // Parameters are numbered from 1, columns from 0, as in SQLite.

    package func bind(_ index: Int32, _ value: Int64?) throws(SQLiteError) {
        guard let value else { return try bindNull(index) }
        try database.check(sqlite3_bind_int64(handle, index, value))
    }

    package func bind(_ index: Int32, _ value: String?) throws(SQLiteError) {
        guard var value else { return try bindNull(index) }
        let code = value.withUTF8 { text in
            text.withMemoryRebound(to: CChar.self) {
                sqlite3_bind_text64(
                    handle, index, $0.baseAddress, UInt64($0.count), colophon_sqlite_transient(), UInt8(SQLITE_UTF8))
            }
        }
        try database.check(code)
    }

    package func bind(_ index: Int32, blob: [UInt8]) throws(SQLiteError) {
        try database.check(blob.withUnsafeBytes { bindBytes(index, $0) })
    }

    /// Binds bytes that are lent; SQLite copies them.
    package func bind(_ index: Int32, raw bytes: UnsafeRawBufferPointer) throws(SQLiteError) {
        try database.check(bindBytes(index, bytes))
    }

    private func bindBytes(_ index: Int32, _ bytes: UnsafeRawBufferPointer) -> Int32 {
        sqlite3_bind_blob64(handle, index, bytes.baseAddress, UInt64(bytes.count), colophon_sqlite_transient())
    }

    private func bindNull(_ index: Int32) throws(SQLiteError) {
        try database.check(sqlite3_bind_null(handle, index))
    }

    /// Moves to the next row; false when there is none.
    package func step() throws(SQLiteError) -> Bool {
        switch sqlite3_step(handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        case let code: throw database.error(code)
        }
    }

    /// Runs a statement that answers no rows, and makes it ready again.
    package func run() throws(SQLiteError) {
        defer { reset() }
        _ = try step()
    }

    package func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }

    package func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

    package func optionalInteger(_ column: Int32) -> Int64? { isNull(column) ? nil : integer(column) }

    package func text(_ column: Int32) -> String {
        guard let start = sqlite3_column_text(handle, column) else { return "" }
        return String(decoding: UnsafeBufferPointer(start: start, count: size(column)), as: UTF8.self)
    }

    package func optionalText(_ column: Int32) -> String? { isNull(column) ? nil : text(column) }

    package func blob(_ column: Int32) -> [UInt8] { Array(raw(column)) }

    /// The bytes of a column where SQLite has them: good until the next step.
    package func raw(_ column: Int32) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: sqlite3_column_blob(handle, column), count: size(column))
    }

    private func size(_ column: Int32) -> Int { Int(sqlite3_column_bytes(handle, column)) }
}
