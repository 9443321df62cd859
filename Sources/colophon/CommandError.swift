import Ledger
import Manifests
import Provenance
import Runtime
import Sidecar
import Trace

/// How a command ends.
enum ExitCode: Int32, Sendable {
    case fine = 0
    case failed = 1
    case usage = 2
    case conflict = 3
    case notFound = 4
}

/// Why a command ended early: one line for a person, and the exit code. Every error of the product becomes one here.
struct CommandError: Error, Sendable {
    let code: ExitCode
    let message: String

    init(_ code: ExitCode, _ message: String) {
        self.code = code
        self.message = message
    }

    static func usage(_ message: String) -> CommandError { CommandError(.usage, message) }

    init(_ error: SystemError) { self.init(.failed, error.description) }

    init(_ error: ManifestFileError) { self.init(.failed, error.description) }

    init(_ error: ManifestIndexError) { self.init(.failed, error.description) }

    init(_ error: CreationError) { self.init(error.isConflict ? .conflict : .failed, error.description) }

    init(_ error: SidecarError, _ configuration: Configuration) {
        self.init(
            error.isConflict ? .conflict : error.isUsage ? .usage : .failed, error.text(configuration))
    }

    init(_ error: LedgerError) {
        switch error {
        case .missing, .unknownManifest: self.init(.notFound, error.description)
        case .conflict: self.init(.conflict, error.description)
        default: self.init(.failed, error.description)
        }
    }

    /// Runs `body`, turning what it throws into an error for a person.
    static func wrap<Result>(_ body: () throws(LedgerError) -> Result) throws(CommandError) -> Result {
        do throws(LedgerError) { return try body() } catch { throw CommandError(error) }
    }

    static func wrap<Result: ~Copyable>(_ body: () throws(SystemError) -> Result) throws(CommandError) -> Result {
        do throws(SystemError) { return try body() } catch { throw CommandError(error) }
    }

    static func wrap<Result>(_ body: () throws(ManifestFileError) -> Result) throws(CommandError) -> Result {
        do throws(ManifestFileError) { return try body() } catch { throw CommandError(error) }
    }

    static func wrap<Result>(_ body: () throws(ManifestIndexError) -> Result) throws(CommandError) -> Result {
        do throws(ManifestIndexError) { return try body() } catch { throw CommandError(error) }
    }
}
