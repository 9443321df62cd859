import Ledger
import Provenance
import Runtime

extension Command {
    static let history = Command(
        path: ["history"], summary: "Tell which manifest was live, for which variant, and when",
        options: [
            Option(name: "variant", value: "NAME", help: "only this variant"),
            Option(name: "at", value: "TIME", help: "what was live then: 2025-03-04T18:21Z"),
            .limit, .after, .json, .dataDirectory, .configuration,
        ],
        details: """
            Lists the activations that the ledger has recorded, the last one first. An activation lasts until the next one of the
            same variant. In doubt was an activation while the pointer named something that was not active: nobody knows then whether the
            model server had moved on. --at and --json tell from when, until when and why.
            """,
        examples: [
            ("colophon history --at 2025-03-04T18:21Z", "what answered then"),
            ("colophon history --variant als_model --limit 5", "the last five promotions of a variant"),
        ],
        run: showHistory)

    private static func showHistory(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let (limit, cursor) = (try arguments.limit(), try arguments.cursor())
        let time = try time(arguments)
        let ledger = try Lookup.ledger(arguments)
        let variant = arguments.value("variant")
        let page = try CommandError.wrap { () throws(LedgerError) in
            try ledger.history(of: variant, at: time, after: cursor, limit: limit)
        }
        let rows = page.items
        if arguments.wantsJSON {
            let next = page.next.map { JSON.integer($0) } ?? .null
            let answer = JSONObject([.init("activations", .array(rows.map(\.json))), .init("next", next)])
            _ = try Printer.print(.object(answer))
        } else if !rows.isEmpty {
            let more = page.next.map { ["more: the same with --after \($0)"] } ?? []
            _ = try Printer.print(rows: Printer.table(rows.map { text($0, isOfOneTime: time != nil) }) + more)
        }
        guard rows.isEmpty else { return .fine }
        return try nothing(time, variant, ledger)
    }

    private static func time(_ arguments: Arguments) throws(CommandError) -> Instant? {
        guard let text = arguments.value("at") else { return nil }
        guard let time = Instant(text) else {
            throw arguments.usage(
                "--at takes a time with its zone, such as 2025-03-04T18:21Z, not \"\(text.onOneLine)\"")
        }
        return time
    }

    private static func nothing(_ time: Instant?, _ variant: String?, _ ledger: Ledger) throws(CommandError) -> ExitCode
    {
        let what = variant.map { " of the variant \($0)" } ?? ""
        guard let time else {
            complain("colophon: no activation\(what.onOneLine) is in the ledger \(ledger.path.onOneLine)")
            return .fine
        }
        throw CommandError(.notFound, "no activation\(what) that lasted at \(time) is in the ledger \(ledger.path)")
    }

    private static func text(_ row: HistoryEntry, isOfOneTime: Bool) -> [String] {
        let activation = row.activation
        return [
            activation.from.description, activation.until.map { "until \($0)" } ?? "until now",
            activation.variant.onOneLine, row.manifest.version.onOneLine, row.manifest.digest.short,
            (activation.cause + (activation.actor.map { " by \($0)" } ?? "")).onOneLine,
            row.isRollback ? "rollback" : "", doubt(row.doubts, isOfOneTime: isOfOneTime),
        ]
    }

    private static func doubt(_ doubts: [DoubtedTime], isOfOneTime: Bool) -> String {
        guard let last = doubts.first else { return "" }
        guard isOfOneTime else {
            // What any promotion takes is no news.
            let now = Clock.now()
            let seconds = doubts.reduce(0) { $0 + (($1.until ?? now).microseconds - $1.from.microseconds) } / 1_000_000
            return seconds > 0 ? "in doubt for \(seconds) s" : ""
        }
        return "in doubt from \(last.from) \(last.until.map { "until \($0)" } ?? "on"): \(last.reason.onOneLine)"
    }
}
