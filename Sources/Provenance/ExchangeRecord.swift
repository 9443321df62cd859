/// What one response was stamped with.
package struct ExchangeRecord: Sendable, Equatable {
    /// The manifest, by the beginning of its digest; nil where none was stamped, or where several exchanges disagree.
    package let manifest: HexPrefix?
    package let attribution: Attribution

    package init(manifest: HexPrefix?, attribution: Attribution) {
        self.manifest = manifest
        self.attribution = attribution
    }
}

/// What the proxy knows of the exchanges that it saw last.
package protocol ExchangeRecords: AnyObject {
    /// What the response with this request id was stamped with; nil when none is remembered.
    func record(of requestID: Span<UInt8>) -> ExchangeRecord?
}

/// An exchange as its record on disk tells of it.
package struct KeptExchange: Sendable {
    package let time: Instant
    package let variant: String
    package let status: Int
    package let record: ExchangeRecord

    package init(time: Instant, variant: String, status: Int, record: ExchangeRecord) {
        self.time = time
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
