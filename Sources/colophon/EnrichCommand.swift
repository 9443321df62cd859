import Enrichment
import Ledger
import Provenance
import Runtime

extension Command {
    static let enrich = Command(
        path: ["enrich"], summary: "Add to each log line which manifest it came from",
        options: [
            Option(name: "manifest", value: "FILE", help: "take this manifest for the active one; no ledger is needed"),
            .manifests, .dataDirectory,
            Option(name: "format", value: "auto|recommendation|json|logfmt|text", help: "what lines look like (auto)"),
            Option(
                name: "match", value: "recommendation|all|FIELD=VALUE", help: "which lines are meant (recommendation)"),
            Option(name: "unmatched", value: "forward|drop", help: "what becomes of the others (forward)"),
            Option(name: "timezone", value: "UTC|+HH:MM", help: "of times that name none (UTC)"),
        ],
        details: "",
        examples: [("colophon enrich --manifest model_manifest.json < server.log > enriched.log", "enrich a file")],
        run: enrich)

    private static func enrich(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let attributor = LineAttributor(try Lookup.index(arguments))
        let filter = LineEnricher(LineEnricher.Settings(), attributor)
        var run = LineFilter(filter, from: 0, to: 1, named: "standard output", lineLimit: 900 << 10)
        try CommandError.wrap { () throws(SystemError) in try run.run { _ in } }
        complain("\(run.counters)")
        return .fine
    }
}
