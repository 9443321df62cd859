import Crypto
import Exchanges
import Ledger
import Manifests
import Provenance
import Runtime
import Trace

/// Opens what commands look manifests up in.
enum Lookup {
    /// The ledger, opened to read.
    static func ledger(_ arguments: Arguments, configured: String? = nil) throws(CommandError) -> Ledger {
        let directory = try arguments.dataDirectory(for: .lookUp, configured: configured)
        let ledger: Ledger
        do throws(LedgerError) { ledger = try Ledger.reading(directory, hashing: SHA256.hash) } catch {
            guard case .missing(let path) = error else { throw CommandError(error) }
            throw missing(path, arguments)
        }
        if ledger.isImmutableCopy {
            complain(
                "colophon: \(ledger.path.onOneLine) is read as a copy that nobody writes, because its directory cannot "
                    + "be written and its side files are missing")
        }
        return ledger
    }

    /// Where a ledger may be that was not looked into, and what does without one.
    private static func missing(_ path: String, _ arguments: Arguments) -> CommandError {
        var ways: [String] = []
        if DataDirectory.isHidden {
            ways.append("\(DataDirectory.system) is there, and you may not look into it: join the group that owns it")
        }
        let has = { (name: String) in arguments.command.options.contains { $0.name == name } }
        if has("manifest") { ways.append("--manifest FILE takes one manifest for the active one, without any ledger") }
        ways.append("--data-dir names its directory" + (has("config") ? ", --config the configuration that does" : ""))
        ways.append("`colophon index add DIRECTORY` makes one, of manifests without activations")
        return CommandError(.notFound, "there is no ledger at \(path.onOneLine): " + ways.joined(separator: "; "))
    }

    /// The index that the options name: files, or else the ledger.
    static func index(_ arguments: Arguments, configured: String? = nil) throws(CommandError) -> any ManifestIndex {
        switch (arguments.value("manifests"), arguments.value("manifest")) {
        case (.some, .some): throw arguments.usage("--manifests and --manifest exclude each other")
        case (let directory?, nil): return try FolderIndex(directory, complain: complain)
        case (nil, let file?): return try FolderIndex(activeFile: file)
        case (nil, nil): break
        }
        return LedgerIndex(try ledger(arguments, configured: configured))
    }

    /// Records of exchanges, which lie beside the ledger; nil where another index is asked.
    static func exchanges(_ arguments: Arguments) throws(CommandError) -> ExchangeFiles? {
        guard arguments.value("manifests") == nil, arguments.value("manifest") == nil else { return nil }
        return ExchangeFiles(dataDirectory: try arguments.dataDirectory(for: .lookUp))
    }

    /// The manifest that an operand names: a file, the directory of a training run, or something that the ledger knows.
    static func manifest(
        _ name: String, _ arguments: Arguments, verification: Verification
    ) throws(CommandError) -> IndexedManifest {
        let status = try CommandError.wrap { () throws(SystemError) in try FileStatus.of(name) }
        if status != nil || name.isEmpty {
            let file = try CommandError.wrap { () throws(ManifestFileError) in
                try ManifestFile.load(name, verification: verification)
            }
            return IndexedManifest(manifest: file.manifest, id: 0, file: file.path)
        }
        let ledger: Ledger
        do { ledger = try self.ledger(arguments) } catch {
            throw CommandError(.notFound, "there is no file \(name), and \(error.message)")
        }
        let tracer = Tracer(LedgerIndex(ledger), verify: nil)
        let answer = try CommandError.wrap { () throws(ManifestIndexError) in try tracer.answer(Array(name.utf8).span) }
        switch answer.outcome {
        case .found(let traced, _, _, _): return traced.indexed
        case .ambiguous(let what, let candidates, _):
            let names = candidates.prefix(5).map { "\($0.manifest.digest.short) (\($0.manifest.version))" }
            throw CommandError(.notFound, "\(what): \(names.joined(separator: ", ")); name one of them")
        case .unknown(let reason): throw CommandError(.notFound, "there is no file \(name), and \(reason)")
        }
    }
}
