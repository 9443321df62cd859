/// What one response was stamped with.
package struct ExchangeRecord: Sendable, Equatable {
    /// The manifest, by the beginning of its digest; nil where none was stamped.
    package let manifest: HexPrefix?
    package let attribution: Attribution
    /// When the exchange began and ended: another one may have the same request id.
    package let begin: Instant
    package let end: Instant

    package init(manifest: HexPrefix?, attribution: Attribution, begin: Instant, end: Instant) {
        self.manifest = manifest
        self.attribution = attribution
        self.begin = begin
        self.end = end
    }

    /// Whether something at `time` may belong to it, where clocks differ by at most `reach` microseconds.
    package func contains(_ time: Instant, reach: Int64 = 0) -> Bool {
        begin.microseconds &- reach <= time.microseconds && time.microseconds <= end.microseconds &+ reach
    }
}

/// What the proxy knows of the exchanges that it saw last.
package protocol ExchangeRecords: AnyObject {
    /// What the responses with this request id were stamped with; nil when none is remembered, or when they disagree.
    func record(of requestID: Span<UInt8>) -> ExchangeRecord?
}

/// An exchange as its record on disk tells of it.
package struct KeptExchange: Sendable {
    package let variant: String
    package let status: Int
    package let record: ExchangeRecord

    package init(variant: String, status: Int, record: ExchangeRecord) {
        self.variant = variant
        self.status = status
        self.record = record
    }
}

/// Where records of exchanges are kept for those who ask later.
package protocol KeptExchanges {
    /// Whether anybody keeps any.
    var isEmpty: Bool { get }
    /// All that are kept of a request id, in the order of their time.
    func exchanges(of requestID: String) -> [KeptExchange]
}
