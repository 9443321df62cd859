import Enrichment
import Provenance

/// What `enrich` says at its end.
struct LineReport {
    private let counters: LineCounters
    private let problem: String?
    /// What has arrived in Kafka; nil where lines go elsewhere.
    var delivered: UInt64?
    /// What stays in the spool.
    var waiting: Int64 = 0
    var dead: UInt64 = 0
    /// Where those lie.
    var deadLetters = ""
    /// What was read and could be kept nowhere.
    var lost: Int64 = 0

    init(_ counters: LineCounters, problem: String?) {
        self.counters = counters
        self.problem = problem
    }

    private var figures: [(name: String, value: UInt64)] {
        [
            ("lines", counters.lines), ("enriched", counters.enriched), ("kept", counters.kept),
            ("forwarded", counters.forwarded), ("dropped", counters.dropped), ("unreadable", counters.unreadable),
            ("overlong", counters.overlong), ("dead", dead), ("exact", counters.exact),
            ("inferred", counters.inferred), ("mixed", counters.mixed), ("unknown", counters.unknown),
        ]
            + (delivered.map {
                [("delivered", $0), ("waiting", UInt64(clamping: waiting)), ("lost", UInt64(clamping: lost))]
            } ?? [])
    }

    var text: String {
        var parts = ["\(Figures.grouped(Int64(clamping: counters.lines))) \(counters.lines == 1 ? "line" : "lines")"]
        let what = Self.some([
            (counters.enriched, "enriched"),
            (counters.kept, "kept as they were, for they say themselves where they came from"),
            (counters.forwarded, "forwarded as they were"), (counters.dropped, "dropped"),
            (counters.unreadable, "not added to, for that would spoil them"),
            (counters.overlong, "too long"), (dead, deadLetters.isEmpty ? "dead" : "dead, in \(deadLetters)"),
        ])
        if !what.isEmpty { parts.append(what) }
        let how = Self.some([
            (counters.exact, "exact"), (counters.inferred, "inferred"), (counters.mixed, "mixed"),
            (counters.unknown, "unknown" + whyUnknown),
        ])
        if !how.isEmpty { parts.append("attribution: \(how)") }
        if let delivered {
            parts.append("\(Figures.grouped(Int64(clamping: delivered))) delivered")
            if lost > 0 { parts.append("\(Figures.grouped(lost)) LOST, for the disk took them not") }
            if waiting > 0 {
                parts.append(
                    "\(Figures.grouped(waiting)) are not delivered: they wait in the spool, in their files or in their topic for the next start"
                )
            }
        }
        if let problem { parts.append("the ledger could not always be asked: \(problem.onOneLine)") }
        return parts.joined(separator: "; ")
    }

    private static func some(_ figures: [(UInt64, String)]) -> String {
        figures.filter { $0.0 > 0 }.map { "\(Figures.grouped(Int64(clamping: $0.0))) \($0.1)" }.joined(separator: ", ")
    }

    /// The reason, or for each of several how many.
    private var whyUnknown: String {
        let reasons = counters.unknownBy.some
        if reasons.count == 1 { return " (\(reasons[0].reason.text))" }
        return reasons.isEmpty ? "" : " (\(Self.some(reasons.map { ($0.count, $0.reason.text) })))"
    }

    var json: String {
        var object = JSONObject(figures.map { .init($0.name, .integer(Int(clamping: $0.value))) })
        object.append(
            "unknown_by",
            .object(
                JSONObject(
                    counters.unknownBy.some.map { .init($0.reason.name, .integer(Int(clamping: $0.count))) })))
        if let problem { object.append("problem", .string(problem)) }
        return String(decoding: JSONWriter.compact.bytes(.object(object)), as: UTF8.self)
    }
}
