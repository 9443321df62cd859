import Crypto
import Ledger
import Manifests
import Provenance
import Runtime

extension Command {
    static let indexAdd = Command(
        path: ["index", "add"], summary: "Add manifests to the ledger",
        operands: "PATH…", operandCount: 1...Int.max,
        options: [.verify, .json, .dataDirectory, .configuration],
        details: """
            PATH is a manifest, or a directory: then every *.json file below it is read, and those that are no manifests are
            passed over. Adding a manifest again changes nothing. Files that cannot be read are named, and the others added.
            """,
        examples: [("colophon index add artifacts", "all manifests of a training directory")],
        run: addToIndex)

    private static func addToIndex(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let manifests = ManifestImport(verification: try arguments.verification())
        for path in arguments.operands { try manifests.collect(path) }
        let directory = try arguments.dataDirectory(for: .change)
        try CommandError.wrap { () throws(LedgerError) in
            // The ledger is made when there is something to put into it, and not before.
            var opened: Ledger?
            try manifests.run { batch throws(LedgerError) in
                if opened == nil { opened = try Ledger.writing(directory, hashing: SHA256.hash) }
                guard let ledger = opened else { return }
                try ledger.addAll(batch) { file throws(LedgerError) in try manifests.add(file, to: ledger) }
            }
        }
        if manifests.hasNothing {
            let places = arguments.operands.map(\.onOneLine).joined(separator: ", ")
            throw CommandError(.notFound, "no manifest is at or below \(places)")
        }
        return try manifests.report(Paths.join(directory, Ledger.fileName), arguments)
    }
}

/// Reads manifests from files, a batch at a time, adds them to the ledger, and counts what became of each.
final class ManifestImport {
    private let verification: Verification
    private var files: [(path: String, isNamed: Bool, verification: Verification)] = []
    private(set) var added = 0
    private(set) var known = 0
    private(set) var pointers = 0
    private(set) var passedOver = 0
    private(set) var refused = 0
    private(set) var conflicts = 0

    /// Enough that the ledger is synced rarely, few enough to hold in memory.
    private static let batch = 256

    init(verification: Verification) { self.verification = verification }

    /// Finds the files at an operand.
    func collect(_ path: String) throws(CommandError) {
        let walk = try CommandError.wrap { () throws(SystemError) in try ManifestFolder.walk(path) }
        for problem in walk.problems { refuse(problem) }
        let isNamed = walk.files == [path]
        files += walk.files.map { ($0, isNamed, verification) }
    }

    /// Whether nothing was found that is a manifest or might have been one.
    var hasNothing: Bool { added + known + pointers + refused + conflicts == 0 }

    /// Adds a file that the ledger has read before, and so took under whatever digest it has.
    func collectAgain(_ path: String) { files.append((path, false, .warn)) }

    private func refuse(_ problem: String) {
        refused += 1
        complain("colophon: \(problem.onOneLine)")
    }

    /// Reads everything that was collected, and hands it on in batches.
    func run(_ addBatch: ([ManifestFile]) throws(LedgerError) -> Void) throws(LedgerError) {
        let bar = ProgressBar("indexing", total: Int64(files.count), unit: .files)
        defer { bar.finish() }
        var start = 0
        while start < files.count {
            let end = min(start + Self.batch, files.count)
            let manifests = files[start..<end].compactMap { read($0.path, isNamed: $0.isNamed, $0.verification) }
            if !manifests.isEmpty { try addBatch(manifests) }
            bar.advance(by: Int64(end - start))
            start = end
        }
    }

    private func read(_ path: String, isNamed: Bool, _ verification: Verification) -> ManifestFile? {
        let reading: ManifestFolder.Reading
        if isNamed {
            do throws(ManifestFileError) {
                reading = .manifest(try ManifestFile.read(path, verification: verification))
            } catch {
                reading = .failed(error)
            }
        } else {
            reading = ManifestFolder.readFound(path, verification: verification)
        }
        switch reading {
        case .manifest(let file): return file
        case .somethingElse: passedOver += 1
        case .tooLarge:
            passedOver += 1
            complain("colophon: \(path.onOneLine) is larger than a manifest may be (16 MiB), and passed over")
        case .failed(let error): refuse(error.description)
        }
        return nil
    }

    /// Adds one manifest, in the caller's transaction.
    func add(_ file: ManifestFile, to ledger: Ledger) throws(LedgerError) {
        do throws(LedgerError) {
            switch try ledger.add(file.manifest, file: Paths.absolute(file.path), at: Clock.now()) {
            case .new: added += 1
            // A pointer mirrors a manifest that has a file of its own.
            case .known where Paths.name(of: file.path) == ManifestFile.pointerName: pointers += 1
            case .known: known += 1
            }
        } catch {
            // One manifest that is in conflict does not keep the others out.
            guard case .conflict = error else { throw error }
            conflicts += 1
            complain("colophon: \(file.path.onOneLine): \(error.description.onOneLine)")
        }
    }

    /// Prints what was done; the exit code says whether all of it went well.
    func report(_ ledger: String, _ arguments: Arguments) throws(CommandError) -> ExitCode {
        if arguments.wantsJSON {
            let counts = [
                ("added", added), ("known", known), ("pointers", pointers), ("passed_over", passedOver),
                ("refused", refused),
                ("conflicts", conflicts),
            ]
            var answer = JSONObject(counts.map { .init($0.0, .integer($0.1)) })
            answer.append("ledger", .string(ledger))
            _ = try Printer.print(.object(answer))
        } else {
            var parts = ["added \(Figures.count(added, "manifest", "manifests"))"]
            if known > 0 { parts.append("\(Figures.grouped(Int64(known))) known already") }
            if passedOver > 0 {
                parts.append("\(Figures.count(passedOver, "other JSON file", "other JSON files")) passed over")
            }
            if conflicts > 0 { parts.append("\(Figures.count(conflicts, "conflict", "conflicts"))") }
            if refused > 0 { parts.append("\(Figures.count(refused, "file", "files")) refused") }
            _ = try Printer.print("\(parts.joined(separator: ", "))  (\(ledger.onOneLine))")
        }
        if refused > 0 { return .failed }
        return conflicts > 0 ? .conflict : .fine
    }
}
