import Manifests
import Provenance
import Trace

extension Command {
    static let manifestDiff = Command(
        path: ["manifest", "diff"], summary: "Show what changed between two builds",
        operands: "A B", operandCount: 2...2, options: [.json, .verify, .dataDirectory, .configuration],
        details: "A and B are files, directories of training runs, or versions or digests that the ledger knows.",
        examples: [
            ("colophon manifest diff als-20250304 als-20250311", "two builds that the ledger knows"),
            ("colophon manifest diff old/model_manifest.json artifacts", "two that lie here"),
        ],
        run: diffManifests)

    private static func diffManifests(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let verification = try arguments.verification()
        let before = try Lookup.manifest(arguments.operands[0], arguments, verification: verification).manifest
        let after = try Lookup.manifest(arguments.operands[1], arguments, verification: verification).manifest
        let differences = ManifestDifference.between(before.document, after.document)
        if arguments.wantsJSON {
            let answer = JSONObject([
                .init("a", .string(before.digest.hex)), .init("b", .string(after.digest.hex)),
                .init("differences", .array(differences.map(\.json))),
            ])
            return try Printer.print(.object(answer))
        }
        if differences.isEmpty { return try Printer.print("no difference") }
        return try Printer.print(rows: Printer.table(differences.map(row)))
    }

    private static func row(_ difference: ManifestDifference) -> [String] {
        func text(_ value: JSON?) -> String { value.map { JSONWriter.compact.text($0).onOneLine } ?? "(absent)" }
        return [difference.path.description, "\(text(difference.before)) → \(text(difference.after))"]
    }
}
