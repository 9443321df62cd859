import Provenance
import Runtime
import SQLite

/// Why the ledger could not do what it was asked.
package enum LedgerError: Error, Sendable, CustomStringConvertible {
    case missing(path: String)
    case notALedger(path: String)
    case newer(path: String, version: Int64)
    case onNetwork(path: String)
    /// There are changes in the write-ahead log, and it cannot be read where it is.
    case unreadableLog(path: String)
    /// Two manifests with one digest and other bytes.
    case conflict(Digest, path: String)
    case unknownManifest(Digest, path: String)
    case sqlite(SQLiteError, path: String)
    case system(SystemError)
    case damagedRecord(id: Int64, path: String)

    /// Whether another process is writing, so that it may work in a moment.
    package var isBusy: Bool {
        if case .sqlite(let error, _) = self { error.kind == .busy } else { false }
    }

    package var description: String {
        switch self {
        case .missing(let path):
            "there is no ledger at \(path.onOneLine): make one with `colophon index add DIRECTORY`, "
                + "or name its directory with --data-dir"
        case .notALedger(let path):
            "\(path.onOneLine) is no ledger of Colophon: name another directory with --data-dir"
        case .newer(let path, let version):
            "the ledger \(path.onOneLine) was written by a newer Colophon (schema \(version), this one knows "
                + "\(Schema.version)): use that one"
        case .onNetwork(let path):
            "\(path.onOneLine) is on a network file system, where a ledger cannot be kept safely: "
                + "name a local directory with --data-dir"
        case .unreadableLog(let path):
            "the ledger \(path.onOneLine) has changes in its -wal file, which cannot be read in a directory that cannot be "
                + "written: copy ledger.sqlite and ledger.sqlite-wal to one that can, and name that with --data-dir"
        case .conflict(let digest, let path):
            "another manifest with the digest \(digest) is in the ledger \(path.onOneLine), and its bytes differ (the "
                + "layout or the spelling of a number): keep the one that the training run wrote"
        case .unknownManifest(let digest, let path):
            "the manifest \(digest) is not in the ledger \(path.onOneLine): add it with `colophon index add FILE`"
        case .damagedRecord(let id, let path):
            "record \(id) of the ledger \(path.onOneLine) holds no valid manifest: "
                + "move the ledger aside and run `colophon index rebuild DIRECTORY`"
        case .sqlite(let error, let path): Self.text(error, path.onOneLine)
        case .system(let error): error.description
        }
    }

    private static func text(_ error: SQLiteError, _ path: String) -> String {
        switch error.kind {
        case .busy:
            "the ledger \(path) is being written by another process, and was for all the time that we waited: run it again"
        case .full:
            "no space is left for the ledger \(path): free some and run it again; what was not finished was undone"
        case .readOnly:
            "the ledger \(path) cannot be written: run as a user who may, or name another directory with --data-dir"
        case .damaged:
            "the ledger \(path) is damaged (\(error.message)): move it aside with its -wal and -shm files, and run "
                + "`colophon index rebuild DIRECTORY`; `sqlite3 LEDGER .recover` may save its history"
        case .cannotOpen:
            "the ledger \(path) cannot be opened (\(error.message)): check the permissions of it and of its directory"
        case .ioFailed:
            "the ledger \(path) could not be read or written (\(error.message)): check the disk and its free space; "
                + "what was not finished was undone"
        case .constraint, .other:
            "the ledger \(path) refused (\(error.message), SQLite code \(error.code))"
        }
    }
}
