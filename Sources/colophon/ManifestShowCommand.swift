import Manifests
import Provenance
import Trace

extension Command {
    static let manifestShow = Command(
        path: ["manifest", "show"], summary: "Show what a manifest says",
        operands: "MANIFEST", operandCount: 1...1, options: [.json, .verify, .dataDirectory, .configuration],
        details: """
            MANIFEST is a file, the directory of a training run, or a version or digest that the ledger knows.
            With --json the manifest itself is printed, every member of it.
            """,
        examples: [
            ("colophon manifest show artifacts", "the one that the pointer in artifacts/ leads to"),
            ("colophon manifest show 51ac09 --json | jq .hyperparameters", "one that the ledger knows"),
        ],
        run: showManifest)

    private static func showManifest(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let indexed = try Lookup.manifest(arguments.operands[0], arguments, verification: try arguments.verification())
        if arguments.wantsJSON {
            return try Printer.print {
                JSONWriter.pretty.write(.object(indexed.manifest.document), to: &$0); $0.append(0x0A)
            }
        }
        return try Printer.print { output in
            TraceText.write(TraceText.report(of: indexed, intervals: nil, files: nil), to: &output)
            let hyperparameters = indexed.manifest.document["hyperparameters"]?.object?.members ?? []
            let rows = hyperparameters.map { member in
                (label: "parameter", text: "\(member.name) \(JSONWriter.compact.text(member.value))".onOneLine)
            }
            TraceText.write(rows, to: &output)
        }
    }
}
