import Provenance

/// Says of each line what is added to it and where. Existing bytes are never changed: a line is written as it was up to one place,
/// then what is added, then its rest.
package struct LineEnricher: ~Copyable {
    package struct Settings: Sendable {
        package var format: LineFormat?
        package var match = LineMatch.recommendation
        package var unmatched = Unmatched.forward
        /// The field that lines are kept in order by; empty for none.
        package var key = "user_id"
        /// Reads the times that name no zone.
        package var zone = TimeZone.utc

        package init() {}
    }

    /// What is made of one line.
    package struct Result {
        package enum Kind: Sendable {
            /// Something is added.
            case enriched
            /// The line says it by itself.
            case kept
            /// It is meant, and cannot be added to without spoiling it.
            case unreadable
            /// It is not meant.
            case unmatched
        }

        package let kind: Kind
        package let format: LineFormat
        /// Where the addition stands.
        package let place: Int
        let held: HeldStamp
        package let attribution: Attribution
        /// Whether the comma that the addition begins with is left out.
        let isFirstMember: Bool
        /// Whether the word for how sure it is may stand in the text.
        var isWordShown = true
        package let key: FieldSpan?
        package let time: Instant?
        package let requestID: Range<Int>?

        package var stamp: LineStamp { held.stamp }

        /// How many bytes the key takes at most where it cannot stand as it is spelled: what is no UTF-8 becomes three bytes.
        var keyRoom: Int { key.map { isKeyRespelled($0) ? 3 * $0.range.count : 0 } ?? 0 }

        func isKeyRespelled(_ key: FieldSpan) -> Bool { key.spelling != .plain && key.range.count <= Self.longestKey }

        /// A longer one stays as it is spelled.
        private static let longestKey = 1024

        /// What is added, until the next line.
        package var addition: UnsafeRawBufferPointer {
            guard kind == .enriched else { return UnsafeRawBufferPointer(start: nil, count: 0) }
            let whole = held.addition(format, isWordShown || attribution >= .inferred ? attribution : .inferred)
            return isFirstMember ? UnsafeRawBufferPointer(rebasing: whole[1...]) : whole
        }
    }

    private let reading: LineReading
    private let ownReading: LineReading
    private let textReading = LineReading(format: .text)
    /// Those of the line at hand. They lie apart, so that nobody copies them to look at them.
    private let facts = UnsafeMutablePointer<LineFacts>.allocate(capacity: 1)
    private let meant: Meant
    private let matchValue: [UInt8]
    private let drops: Bool
    private let attributor: LineAttributor
    private let zone: TimeZone
    package var counters = LineCounters()

    /// `LineMatch` without its texts: this is asked of every line.
    private enum Meant {
        case recommendations
        case all
        case field
    }

    package init(_ settings: Settings, _ attributor: LineAttributor) {
        reading = LineReading(format: settings.format, key: settings.key, test: settings.match.field)
        ownReading = LineReading(format: .recommendation, key: settings.key)
        switch settings.match {
        case .recommendation: (meant, matchValue) = (.recommendations, [])
        case .all: (meant, matchValue) = (.all, [])
        case .field(_, let value): (meant, matchValue) = (.field, Array(value.utf8))
        }
        drops = settings.unmatched == .drop
        self.attributor = attributor
        zone = settings.zone
        facts.initialize(to: LineFacts(.text))
    }

    deinit {
        facts.deinitialize(count: 1)
        facts.deallocate()
    }

    /// Whether the last result's line is to be left out.
    package func leavesOut(_ result: Result) -> Bool { drops && result.kind == .unmatched }

    /// Between pieces of a long input: what was remembered may be out of date.
    package func refresh(saysItself: Bool = false) { attributor.refresh(saysItself: saysItself) }

    /// Why the ledger could not be asked, if it ever could not.
    package var problem: String? { attributor.problem }
    package var ledgerFailures: UInt64 { attributor.failures }

    /// What is made of `line`, which has no line end. Whoever handed it on may have said how sure it is at most.
    package mutating func enrich(_ line: Span<UInt8>, atMost most: Attribution = .exact) -> Result {
        let facts = facts
        let isRead = LineReader.read(line, reading, into: &facts.pointee)
        if facts.pointee.timeLacksZone, let time = facts.pointee.time {
            facts.pointee.time = zone.instant(ofLocal: time)
        }
        if let local = facts.pointee.localTime { facts.pointee.take(otherTime: zone.instant(ofLocal: local)) }
        return judge(line, facts.pointee, isRead: isRead, atMost: most)
    }

    private mutating func judge(
        _ line: Span<UInt8>, _ facts: borrowing LineFacts, isRead: Bool, atMost most: Attribution
    ) -> Result {
        guard isRead, isMeant(line, facts) else {
            counters.count(unmatched: line.count, isDropped: drops)
            // Of the same user in the same order: its key and time are those of a line that is meant.
            return Result(
                kind: .unmatched, format: .text, place: line.count, held: .none, attribution: .unknown,
                isFirstMember: false, key: isRead ? facts.key : nil, time: isRead ? facts.time : nil, requestID: nil)
        }
        let verdict = attributor.verdict(line, facts)
        let attribution = verdict.attribution.weaker(most)
        // A weak answer without the word that says so would pass for a sure one.
        let cannotBeAddedTo = facts.cannotBeAddedTo || facts.hasForeignAttribution && attribution < .inferred
        let kind: Result.Kind = verdict.isKept ? .kept : cannotBeAddedTo ? .unreadable : .enriched
        counters.count(kind, attribution, bytes: line.count)
        if attribution == .unknown {
            counters.unknownBy.count(verdict.attribution == .unknown ? attributor.reason : .saidSo)
        }
        return Result(
            kind: kind, format: facts.format, place: facts.end, held: verdict.held, attribution: attribution,
            isFirstMember: facts.isEmptyObject, isWordShown: !facts.hasForeignAttribution, key: facts.key,
            time: facts.time, requestID: facts.requestID.map(\.range))
    }

    /// What is made of a line whose manifest is known already, by the beginning of its digest; nil for none.
    package mutating func enrich(
        _ line: Span<UInt8>, stampedBy prefix: UnsafeRawBufferPointer?, attribution: Attribution
    ) -> Result {
        // Whatever other lines look like, these are made here.
        if !LineReader.read(line, ownReading, into: &facts.pointee) {
            // With a user or a path that no reader of these expects: then it is text.
            _ = LineReader.read(line, textReading, into: &facts.pointee)
        }
        let held = prefix.flatMap { attributor.held(prefix: $0) }
        let sure = held == nil ? .unknown : attribution
        counters.count(.enriched, sure, bytes: line.count)
        if sure == .unknown {
            counters.unknownBy.count(prefix == nil || attribution == .unknown ? .response : attributor.reason)
        }
        return Result(
            kind: .enriched, format: facts.pointee.format, place: facts.pointee.end, held: held ?? .none,
            attribution: sure, isFirstMember: false, key: facts.pointee.key, time: facts.pointee.time, requestID: nil)
    }

    @inline(__always)
    private func isMeant(_ line: Span<UInt8>, _ facts: borrowing LineFacts) -> Bool {
        switch meant {
        case .recommendations: facts.isRecommendation
        case .all: facts.end > 0
        case .field: hasMatchValue(line, facts)
        }
    }

    private func hasMatchValue(_ line: Span<UInt8>, _ facts: borrowing LineFacts) -> Bool {
        guard let span = facts.tested else { return false }
        if line.hasBytes(matchValue, in: span.range) { return true }
        return span.spelling != .plain && Array(span.text(line).utf8) == matchValue
    }
}

/// How many lines there were, and what became of them.
package struct LineCounters: Sendable {
    package var lines: UInt64 = 0
    package var bytes: UInt64 = 0
    package var enriched: UInt64 = 0
    package var kept: UInt64 = 0
    package var unreadable: UInt64 = 0
    package var forwarded: UInt64 = 0
    package var dropped: UInt64 = 0
    package var overlong: UInt64 = 0
    package var exact: UInt64 = 0
    package var inferred: UInt64 = 0
    package var mixed: UInt64 = 0
    package var unknown: UInt64 = 0
    /// The same by why.
    package internal(set) var unknownBy = UnknownCounters()

    package init() {}

    mutating func count(unmatched bytes: Int, isDropped: Bool) {
        lines &+= 1
        self.bytes &+= UInt64(bytes)
        if isDropped { dropped &+= 1 } else { forwarded &+= 1 }
    }

    mutating func count(overlong bytes: Int) {
        lines &+= 1
        self.bytes &+= UInt64(bytes)
        overlong &+= 1
    }

    mutating func count(_ kind: LineEnricher.Result.Kind, _ attribution: Attribution, bytes: Int) {
        lines &+= 1
        self.bytes &+= UInt64(bytes)
        switch kind {
        case .enriched: enriched &+= 1
        case .kept: kept &+= 1
        case .unreadable: unreadable &+= 1
        case .unmatched: forwarded &+= 1
        }
        switch attribution {
        case .exact: exact &+= 1
        case .inferred: inferred &+= 1
        case .mixed: mixed &+= 1
        case .unknown: unknown &+= 1
        }
    }
}
