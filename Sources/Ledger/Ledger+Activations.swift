import Provenance
import SQLite

/// Manifest M was active for a variant from one time until another.
package struct Activation: Sendable {
    package let id: Int64
    package let variant: String
    package let record: Int64
    package let from: Instant
    /// Nil while it is the active one.
    package let until: Instant?
    /// What the clock said; `from` never goes back, even when the clock does.
    package let wallTime: Instant
    /// What asked for it: the pointer, a signal, the API.
    package let cause: String
    package let actor: String?
    /// The sidecar that activated it.
    package let instance: String
    /// The manifest that was active before.
    package let previous: Int64?

    package func contains(_ time: Instant) -> Bool { from <= time && until.map { time < $0 } ?? true }
}

extension Ledger {
    /// Writes that the manifest with `digest` is active for `variant` from now on, and waits until the disk has it.
    /// Activations never go back in time, whatever the clock does: one is at least a microsecond after the last. With it ends what was
    /// doubted of the variant; `doubt` is one that nobody has written yet. The clock is read once no other process writes: waiting for one
    /// is no time in which the manifest was active.
    package func activate(
        _ digest: Digest, variant: String, at clock: @autoclosure () -> Instant, cause: String, actor: String?,
        instance: String,
        doubt: DoubtedTime? = nil
    ) throws(LedgerError) -> Instant {
        try sqlite { () throws(SQLiteError) in try database.execute("PRAGMA synchronous = FULL") }
        defer { try? database.execute("PRAGMA synchronous = NORMAL") }
        return try write { () throws(LedgerError) in
            guard let prefix = HexPrefix(digest.hex), let record = try records(prefix, limit: 1).first?.record else {
                throw .unknownManifest(digest, path: path)
            }
            let wallTime = clock()
            return try sqlite { () throws(SQLiteError) in
                let last = try statement(.lastActivation)
                defer { last.reset() }
                try last.bind(1, variant)
                let hasLast = try last.step()
                let from = hasLast ? max(wallTime.microseconds, last.integer(0) + 1) : wallTime.microseconds
                let row = try statement(.insertActivation)
                try row.bind(1, variant)
                try row.bind(2, record)
                try row.bind(3, from)
                try row.bind(4, wallTime.microseconds)
                try row.bind(5, cause)
                try row.bind(6, actor)
                try row.bind(7, instance)
                try row.bind(8, hasLast ? last.integer(1) : nil)
                try row.run()
                let start = Instant(microseconds: from)
                if let doubt {
                    let ended = DoubtedTime(from: doubt.from, until: start, reason: doubt.reason)
                    try insert(ended, of: variant, by: instance)
                }
                return start
            }
        }
    }

    /// When a manifest was live, its latest time first.
    package func activations(of record: Int64, limit: Int) throws(LedgerError) -> [Activation] {
        try activations(.intervalsOfRecord) { statement throws(SQLiteError) in
            try statement.bind(1, record)
            try statement.bind(2, Int64(limit))
        }
    }

    /// What was active for `variant` at `time`.
    package func activation(of variant: String, at time: Instant) throws(LedgerError) -> Activation? {
        try activations(.intervalAt) { statement throws(SQLiteError) in
            try statement.bind(1, variant)
            try statement.bind(2, time.microseconds)
        }.first
    }

    /// From when on, by the clock, something later may have been active in the place of `activation`: its end, or sooner where the clock had
    /// been set back before one that followed.
    func doubtedEnd(of activation: Activation) throws(LedgerError) -> Instant? {
        guard let until = activation.until else { return nil }
        return try sqlite { () throws(SQLiteError) in
            let statement = try statement(.earliestWallTime)
            defer { statement.reset() }
            try statement.bind(1, activation.variant)
            try statement.bind(2, until.microseconds)
            guard try statement.step(), let earliest = statement.optionalInteger(0) else { return until }
            return min(until, Instant(microseconds: earliest))
        }
    }

    /// When anything was active for `variant` for the first time; nil when nothing ever was.
    package func firstActivation(of variant: String) throws(LedgerError) -> Instant? {
        try sqlite { () throws(SQLiteError) in
            let statement = try statement(.firstActivation)
            defer { statement.reset() }
            try statement.bind(1, variant)
            guard try statement.step() else { return nil }
            return statement.optionalInteger(0).map(Instant.init(microseconds:))
        }
    }

    /// All activations, of one variant or of all, the last one first.
    package func history(of variant: String?, after cursor: Int64?, limit: Int) throws(LedgerError) -> Page<Activation>
    {
        let rows = try activations(variant == nil ? .history : .historyOfVariant) { statement throws(SQLiteError) in
            try statement.bind(1, cursor ?? .max)
            try statement.bind(2, Int64(limit) + 1)
            if let variant { try statement.bind(3, variant) }
        }
        let items = Array(rows.prefix(limit))
        return Page(items: items, next: rows.count > limit ? items.last?.id : nil)
    }

    /// All variants that ever had an activation, in order.
    package func variants() throws(LedgerError) -> [String] {
        try sqlite { () throws(SQLiteError) in
            var variants: [String] = []
            while true {
                let next = try statement(.nextVariant)
                defer { next.reset() }
                try next.bind(1, variants.last ?? "")
                guard try next.step(), let variant = next.optionalText(0) else { return variants }
                variants.append(variant)
            }
        }
    }

    private func activations(
        _ query: Query, _ bind: (Statement) throws(SQLiteError) -> Void
    ) throws(LedgerError) -> [Activation] {
        try sqlite { () throws(SQLiteError) in
            let statement = try statement(query)
            defer { statement.reset() }
            try bind(statement)
            var found: [Activation] = []
            while try statement.step() {
                found.append(
                    Activation(
                        id: statement.integer(0), variant: statement.text(1), record: statement.integer(2),
                        from: Instant(microseconds: statement.integer(3)),
                        until: statement.optionalInteger(4).map(Instant.init(microseconds:)),
                        wallTime: Instant(microseconds: statement.integer(5)), cause: statement.text(6),
                        actor: statement.optionalText(7), instance: statement.text(8),
                        previous: statement.optionalInteger(9)))
            }
            return found
        }
    }
}
