import Provenance
import Synchronization

/// What is known of a pipeline, for those who report it: any thread may ask.
package final class LineStatus: Sendable {
    package struct Figures: Sendable {
        package var counters = LineCounters()
        package var delivered: UInt64 = 0
        package var resent: UInt64 = 0
        package var dead: UInt64 = 0
        package var waiting: Int64 = 0
        package var onTheirWay = 0
        package var spoolBytes = 0
        package var spoolWaitingBytes = 0
        package var spoolFailures: UInt64 = 0
        package var lostRecords: UInt64 = 0
        package var outsideWindow: UInt64 = 0
        package var ledgerFailures: UInt64 = 0
        package var client: ClientFigures?
        /// How often brokers, or the client, refused or failed, by the name of the error.
        package var deliveryErrors: [(name: String, count: UInt64)] = []
        /// Since when the oldest line waits that has not arrived, on the monotonic clock; nil where none does.
        package var waitingSince: Int64?
        package var spoolLimit = 0
        /// Nothing more can be taken, not even of those who never wait.
        package var isSpoolFull = false
        package var problem: String?
        package var spoolProblem: String?
        package var deadLetterProblem: String?
        package var sources: [(name: String, figures: [(name: String, value: Int)])] = []
        /// Up to where each followed file was taken in.
        package var files: [(path: String, position: Int64)] = []

        package init() {}
    }

    private let shared = Mutex(Figures())

    package init() {}

    /// Once in a turn of the pipeline, not for each line.
    func publish(_ figures: Figures) { shared.withLock { $0 = figures } }

    package var figures: Figures { shared.withLock { $0 } }

    package var json: JSON {
        let now = figures
        let counters = now.counters
        let named: [(name: String, value: UInt64)] = [
            ("lines", counters.lines), ("bytes", counters.bytes), ("enriched", counters.enriched),
            ("kept", counters.kept), ("forwarded", counters.forwarded), ("dropped", counters.dropped),
            ("unreadable", counters.unreadable), ("overlong", counters.overlong), ("exact", counters.exact),
            ("inferred", counters.inferred), ("mixed", counters.mixed), ("unknown", counters.unknown),
            ("delivered", now.delivered), ("resent", now.resent), ("dead", now.dead),
            ("waiting", UInt64(clamping: now.waiting)), ("on_their_way", UInt64(clamping: now.onTheirWay)),
            ("outside_window", now.outsideWindow), ("ledger_failures", now.ledgerFailures),
            ("spool_bytes", UInt64(clamping: now.spoolBytes)), ("spool_failures", now.spoolFailures),
            ("lost_records", now.lostRecords),
        ]
        var object = JSONObject(named.map { .init($0.name, .integer($0.value)) })
        object.append(
            "unknown_by",
            .object(JSONObject(counters.unknownBy.some.map { .init($0.reason.name, .integer($0.count)) })))
        object.append(
            "client",
            now.client.map { .object(JSONObject($0.named.map { .init($0.name, .integer($0.value)) })) } ?? .null)
        object.append("problem", .optional(now.problem))
        object.append("spool_problem", .optional(now.spoolProblem))
        object.append("dead_letter_problem", .optional(now.deadLetterProblem))
        object.append(
            "sources",
            .array(
                now.sources.map { source in
                    var figures = JSONObject([.init("source", .string(source.name))])
                    for figure in source.figures { figures.append(figure.name, .integer(figure.value)) }
                    return .object(figures)
                }))
        object.append(
            "files",
            .array(
                now.files.map { file in
                    .object(
                        JSONObject([.init("file", .string(file.path)), .init("position", .integer(file.position))]))
                }))
        return .object(object)
    }
}
