import Crypto
import Ledger
import Manifests
import Provenance
import Runtime

extension Command {
    static let indexRebuild = Command(
        path: ["index", "rebuild"], summary: "Derive the ledger's look-up tables again",
        operands: "[PATH…]", operandCount: 0...Int.max,
        options: [.verify, .json, .dataDirectory, .configuration],
        details: """
            Derives manifests, artifacts, datasets and the search index again, from the manifests as they were recorded, from the
            files that they were read from, and from PATH…, in one transaction. Records and activations are never changed or
            deleted.
            """,
        examples: [
            ("colophon index rebuild", "after a release that says so"),
            ("colophon index rebuild /srv/models", "after a damaged ledger was moved aside"),
        ],
        run: rebuildIndex)

    private static func rebuildIndex(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let manifests = ManifestImport(verification: try arguments.verification())
        for path in arguments.operands { try manifests.collect(path) }
        let directory = try arguments.dataDirectory(for: .change)
        // Without files to begin with, there must be something to rebuild.
        if arguments.operands.isEmpty { _ = try Lookup.ledger(arguments) }
        let ledger = try CommandError.wrap { () throws(LedgerError) in
            try Ledger.writing(directory, hashing: SHA256.hash)
        }
        var gone = 0
        for path in try CommandError.wrap({ () throws(LedgerError) in try ledger.files() }) {
            if ((try? FileStatus.of(path)) ?? nil) == nil { gone += 1 } else { manifests.collectAgain(path) }
        }
        let derived = try CommandError.wrap { () throws(LedgerError) in
            try ledger.rebuild { () throws(LedgerError) in
                try manifests.run { batch throws(LedgerError) in
                    for file in batch { try manifests.add(file, to: ledger) }
                }
            }
        }
        if !arguments.wantsJSON {
            let note = gone == 0 ? "" : "; \(Figures.count(gone, "file is", "files are")) gone, what they held is kept"
            _ = try Printer.print("derived \(Figures.count(derived, "manifest", "manifests")) again\(note)")
        }
        return try manifests.report(ledger.path, arguments)
    }
}
