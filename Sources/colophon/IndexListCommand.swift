import Ledger
import Provenance
import Runtime

extension Command {
    static let indexList = Command(
        path: ["index", "list"], summary: "List the manifests in the ledger, the last added first",
        options: [.limit, .after, .json, .dataDirectory, .configuration],
        examples: [("colophon index list --limit 10", "the ten that were indexed last")],
        run: listIndex)

    static let indexSearch = Command(
        path: ["index", "search"], summary: "Find manifests by any part of their names",
        operands: "TEXT…", operandCount: 1...Int.max,
        options: [.limit, .after, .json, .dataDirectory, .configuration],
        details: """
            Finds the manifests that hold every word, in their version, family, branch, data version, dataset path or the names
            of their artifacts, without regard to case. A single word of at least six hexadecimal digits is also looked for at
            the beginning of digests, commits and hashes. Words have at least three characters; a shorter one, alone, is a whole
            version or data version.
            """,
        examples: [
            ("colophon index search kafka-202503", "everything that was trained on the data of that month"),
            ("colophon index search 80d8e56", "everything that a commit has made"),
        ],
        run: searchIndex)

    private static func listIndex(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let (limit, cursor) = (try arguments.limit(), try arguments.cursor())
        let ledger = try Lookup.ledger(arguments)
        let page = try CommandError.wrap { () throws(LedgerError) in try ledger.list(after: cursor, limit: limit) }
        if page.items.isEmpty, !arguments.wantsJSON {
            complain("colophon: no manifest\(cursor == nil ? "" : " more") is in the ledger \(ledger.path.onOneLine)")
            return .fine
        }
        return try print(page, arguments)
    }

    private static func searchIndex(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let (limit, cursor) = (try arguments.limit(), try arguments.cursor())
        let words = arguments.operands.flatMap { $0.split(whereSeparator: \.isWhitespace).map(String.init) }
        guard !words.isEmpty else { throw arguments.usage("there is no word to search for") }
        if words.count > 1, let short = words.first(where: { $0.unicodeScalars.count < Ledger.shortestWord }) {
            throw arguments.usage(
                "\"\(short.onOneLine)\" is too short: a word has at least \(Ledger.shortestWord) characters")
        }
        let ledger = try Lookup.ledger(arguments)
        let page = try CommandError.wrap { () throws(LedgerError) in
            try ledger.search(words, after: cursor, limit: limit)
        }
        guard !page.items.isEmpty else {
            if arguments.wantsJSON { _ = try print(page, arguments) }
            let text = words.joined(separator: " ").onOneLine
            throw CommandError(
                .notFound, "no manifest\(cursor == nil ? "" : " more") with \"\(text)\" is in the ledger \(ledger.path)"
            )
        }
        return try print(page, arguments)
    }

    private static func print(_ page: Page<ManifestSummary>, _ arguments: Arguments) throws(CommandError) -> ExitCode {
        if arguments.wantsJSON {
            let next = page.next.map { JSON.integer($0) } ?? .null
            return try Printer.print(
                .object(JSONObject([.init("manifests", .array(page.items.map(\.json))), .init("next", next)])))
        }
        let rows = page.items.map { item in
            [
                item.digest.short, item.version.onOneLine, (item.family ?? "-").onOneLine,
                item.trainedAt.map { "trained \($0)" } ?? "",
            ]
        }
        let more = page.next.map { ["more: the same with --after \($0)"] } ?? []
        return try Printer.print(rows: Printer.table(rows) + more)
    }
}
