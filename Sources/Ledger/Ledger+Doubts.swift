import Provenance
import SQLite

/// When it was not known whether the server of a variant still spoke with what was active. What was live then is in the activations; that
/// it is not sure is here.
extension Ledger {
    /// Writes what the sidecar `instance` doubted of `variant`. Who `waits` does so for another process that writes, as activations do.
    package func add(
        _ doubt: DoubtedTime, of variant: String, by instance: String, waits: Bool = false
    ) throws(LedgerError) {
        try writeSafely(waits) { () throws(LedgerError) in
            try sqlite { () throws(SQLiteError) in try insert(doubt, of: variant, by: instance) }
        }
    }

    /// Waits until the disk has it, but for another process that writes only where that is wanted: whoever watches pointers has no time.
    private func writeSafely(_ waits: Bool, _ body: () throws(LedgerError) -> Void) throws(LedgerError) {
        try sqlite { () throws(SQLiteError) in
            try database.execute(
                "PRAGMA synchronous = FULL; PRAGMA busy_timeout = \(waits ? patience : Self.shortPatience)")
        }
        defer {
            try? database.execute(
                "PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = \(patience)")
        }
        try write(body)
    }

    func insert(_ doubt: DoubtedTime, of variant: String, by instance: String) throws(SQLiteError) {
        let row = try statement(.insertDoubt)
        try row.bind(1, variant)
        try row.bind(2, doubt.from.microseconds)
        // The clock may have been set back meanwhile.
        try row.bind(3, doubt.until.map { max($0, doubt.from).microseconds })
        try row.bind(4, doubt.reason)
        try row.bind(5, instance)
        try row.run()
    }

    /// What was doubted of `variant` by one sidecar, or by any, is sure again from `time` on.
    package func endDoubts(
        of variant: String, by instance: String? = nil, at time: Instant, waits: Bool = false
    ) throws(LedgerError) {
        try writeSafely(waits) { () throws(LedgerError) in
            try sqlite { () throws(SQLiteError) in
                for query in [Query.doubtSetBack, .endDoubts] {
                    let row = try statement(query)
                    try row.bind(1, variant)
                    try row.bind(2, time.microseconds)
                    try row.bind(3, instance)
                    try row.run()
                }
            }
        }
    }

    /// The first of the doubts about `variant` that last.
    package func openDoubt(of variant: String) throws(LedgerError) -> DoubtedTime? {
        try doubts(.openDoubt) { statement throws(SQLiteError) in try statement.bind(1, variant) }.first
    }

    /// What was doubted of `variant` at any time from `from` until `until`; of what is live, also that nobody looks any more.
    package func doubts(of variant: String, from: Instant, until: Instant?) throws(LedgerError) -> [DoubtedTime] {
        var found = try doubts(.doubtsWithin) { statement throws(SQLiteError) in
            try statement.bind(1, variant)
            try statement.bind(2, from.microseconds)
            try statement.bind(3, until?.microseconds ?? .max)
            try statement.bind(4, Int64(Self.mostDoubts) + 1)
        }
        // Where there are too many to tell apart, all that lies before the last of them is doubted.
        let ended = found.filter { doubt in doubt.until.map { $0 <= until ?? $0 } ?? false }
        if ended.count > Self.mostDoubts, let first = ended.min(by: { $0.until ?? from < $1.until ?? from }) {
            found.append(DoubtedTime(from: from, until: first.until, reason: first.reason))
        }
        if until == nil, let unwatched = unwatched(variant, since: from) { found.append(unwatched) }
        return found
    }

    private static let mostDoubts = 256

    /// An older ledger may be brought up to date while it is open here.
    private func knowsDoubts() throws(LedgerError) -> Bool {
        if !hasDoubts { hasDoubts = try checkedVersion() >= Schema.doubtsVersion }
        return hasDoubts
    }

    private func doubts(
        _ query: Query, _ bind: (Statement) throws(SQLiteError) -> Void
    ) throws(LedgerError) -> [DoubtedTime] {
        guard try knowsDoubts() else { return [] }
        return try sqlite { () throws(SQLiteError) in
            let statement = try statement(query)
            defer { statement.reset() }
            try bind(statement)
            var found: [DoubtedTime] = []
            while try statement.step() {
                found.append(
                    DoubtedTime(
                        from: Instant(microseconds: statement.integer(0)),
                        until: statement.optionalInteger(1).map(Instant.init(microseconds:)),
                        reason: statement.optionalText(2) ?? ""))
            }
            return found
        }
    }
}
