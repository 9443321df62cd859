import Crypto
import Provenance
import TestSupport

/// The built program with a scratch directory of its own, as a user has it.
final class Colophon: Sendable {
    let scratch = Scratch()

    var dataDirectory: String { scratch.path("data") }

    func run(
        _ arguments: String..., input: String = "", environment: [String: String] = [:], in directory: String? = nil
    ) -> Program.Result {
        run(arguments, input: input, environment: environment, in: directory)
    }

    func run(
        _ arguments: [String], input: String = "", environment: [String: String] = [:], in directory: String? = nil
    ) -> Program.Result {
        let own = ["COLOPHON_DATA_DIR": dataDirectory, "LC_ALL": "C.UTF-8"]
        return Program.run(
            [Program.colophonPath] + arguments, input: input, environment: own.merging(environment) { $1 },
            in: directory ?? scratch.directory)
    }

    /// Writes a manifest that is made up, and answers its path.
    func write(_ number: Int) throws -> String {
        scratch.write("manifests/als-\(number).json", bytes: try Specimen.manifest(number).bytes)
    }
}
