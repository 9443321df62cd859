import CSQLite

/// What SQLite refused, copied out.
package struct SQLiteError: Error, Sendable {
    /// The extended result code.
    package let code: Int32
    /// SQLite's own words.
    package let message: String

    package var kind: Kind { Kind(code) }

    /// What went wrong, as far as somebody can do something about it.
    package enum Kind: Sendable {
        case busy
        case full
        case readOnly
        case damaged
        case cannotOpen
        case constraint
        case ioFailed
        case other

        init(_ code: Int32) {
            switch code & 0xFF {
            case SQLITE_BUSY, SQLITE_LOCKED: self = .busy
            case SQLITE_FULL: self = .full
            case SQLITE_READONLY, SQLITE_PERM: self = .readOnly
            case SQLITE_CORRUPT, SQLITE_NOTADB: self = .damaged
            case SQLITE_CANTOPEN: self = .cannotOpen
            case SQLITE_CONSTRAINT: self = .constraint
            case SQLITE_IOERR: self = .ioFailed
            default: self = .other
            }
        }
    }
}
