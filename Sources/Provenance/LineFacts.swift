/// The formats in which a line can carry provenance.
package enum LineFormat: String, Sendable, CaseIterable {
    /// `<time>,<user>,recommendation request …, <n> ms`
    case recommendation
    case json
    case logfmt
    /// Anything else; provenance is a suffix.
    case text
}

/// Where a value stands in a line, and how it is spelled there.
public struct FieldSpan: Sendable {
    public enum Spelling: Sendable {
        case plain
        case percent
        /// A JSON string with escapes, without its quotes; logfmt's quoted values are the same.
        case escaped
    }

    // Half the size of a range: facts are made for every line.
    @usableFromInline let start: UInt32
    @usableFromInline let end: UInt32
    public let spelling: Spelling

    @inlinable @inline(__always)
    public var range: Range<Int> { Range(uncheckedBounds: (Int(start), Int(end))) }

    package init(_ range: Range<Int>, _ spelling: Spelling) {
        start = UInt32(truncatingIfNeeded: range.lowerBound)
        end = UInt32(truncatingIfNeeded: range.upperBound)
        self.spelling = spelling
    }

    package func text(_ bytes: Span<UInt8>) -> String {
        switch spelling {
        case .plain: bytes.text(range)
        case .percent: Escaping.percentDecoded(bytes, range)
        case .escaped: JSONSyntax.decoded(bytes, range)
        }
    }
}

/// What is looked for in lines.
package struct LineReading: Sendable {
    /// Nil to tell the formats apart by themselves.
    package var format: LineFormat?
    /// The name of the value that lines are kept in order by; empty for none.
    package let key: [UInt8]
    /// The name of the value that decides whether a line is meant; empty for none.
    package let test: [UInt8]
    /// Whether they mean the second column of a recommendation line, which has no name of its own there.
    let isKeyUser: Bool
    let isTestUser: Bool
    /// Whether a recommendation line of the usual shape has nothing else that is looked for.
    let isOfUsualLines: Bool
    /// Whether the time of a text is looked for that tells of no recommendation: some want these too.
    private(set) var readsOtherTimes = true

    package init(format: LineFormat? = nil, key: String = "", test: String = "") {
        self.format = format
        self.key = Array(key.utf8)
        self.test = Array(test.utf8)
        isKeyUser = Self.isUser(key)
        isTestUser = Self.isUser(test)
        isOfUsualLines =
            (format == nil || format == .recommendation) && (key.isEmpty || isKeyUser) && (test.isEmpty || isTestUser)
    }

    private static func isUser(_ name: String) -> Bool {
        name.hasSameBytes(as: "user_id") || name.hasSameBytes(as: "user")
    }

    /// The formats told apart, and nothing else looked for.
    package static let usual: LineReading = {
        var reading = LineReading()
        reading.readsOtherTimes = false
        return reading
    }()
}

/// What a line says about where it came from: only where things stand, nothing copied.
public struct LineFacts: ~Copyable, Sendable {
    package internal(set) var format: LineFormat
    package var provenance = ProvenanceValues<FieldSpan>()
    package var attribution: FieldSpan?
    public internal(set) var requestID: FieldSpan?
    package var variant: FieldSpan?
    package var time: Instant?
    /// Whether the time names no zone, and was read as UTC.
    package var timeLacksZone = false
    /// Whether it has a time that could not be read: then it is not of now, but of a time that nobody knows.
    package var hasUnreadTime = false
    /// How long the request took, in microseconds.
    public internal(set) var duration: Int64 = 0
    /// How far from `time` it may have been: a date alone is a whole day, and two times that differ leave open which one counts.
    @usableFromInline var timeSlack: Int64 = 0
    /// Another time beside it that names no zone, where `time` does.
    package var localTime: Instant?
    /// Where that stands which counts as its time where nothing else does; empty for nowhere.
    var date: Range<UInt32> = 0..<0
    /// How much of it `time` does not say.
    var timeUnit = TimeUnit.moment
    /// Whether it has another time that could not be read.
    package var hasOtherTime = false
    /// Whether it names no moment, but a day, a minute, or two moments.
    package var hasLooseTime: Bool { timeSlack > 0 }
    /// How far around `time` what the line tells of may reach.
    @inlinable @inline(__always)
    public var reach: Int64 { duration &+ timeSlack }
    /// Whether it tells of a recommendation that was asked for.
    package var isRecommendation = false
    /// The values that the reading asked for besides.
    package var key: FieldSpan?
    package var tested: FieldSpan?
    /// Where something is added: behind the last byte that is no space, or before the brace that closes the object.
    package var end = 0
    /// Whether nothing that is added could be read: quotes of its logfmt do not close, or it begins like JSON and is none.
    package var cannotBeAddedTo = false
    /// Whether what is added to this object stands alone in it.
    package var isEmptyObject = false
    /// Whether it has an attribution of somebody else's, beside which a second one would be read in its place.
    package var hasForeignAttribution = false
    /// Whether a provenance field stands twice, is no text, or ends a text that has no whole stamp, so that it says nothing.
    public internal(set) var isRepeated = false
    /// Whether what it says of where it came from stands where anybody may have written it: it counts no further than its variant and time
    /// say the same.
    package var isUnproven = false
    /// A bit for each known field that stands in the line, and for each that has a value there.
    @usableFromInline private(set) var seen: UInt8 = 0
    private var valued: UInt8 = 0
    /// Whether they are those of a line of the usual shape: then nothing but what that tells has been set.
    private var isUsual = false
    /// Kept from line to line.
    var minutes = Instant.MinuteMemo()

    /// Whether it names a manifest, or anything of one.
    package var namesManifest: Bool { valued & KnownField.provenanceBits != 0 }

    /// Whether nothing in it but its variant and its time tells where it came from.
    @inlinable @inline(__always)
    public var saysNothingElse: Bool { seen == 0 && !isRepeated && requestID == nil }

    package init(_ format: LineFormat) { self.format = format }

    enum TimeUnit: UInt8 {
        case moment, minute, day

        var microseconds: Int64 {
            switch self {
            case .moment: 0
            case .minute: 60_000_000
            case .day: 86_400_000_000
            }
        }
    }

    /// Takes a time that was somewhere within `unit` from `new` on. The first one counts: others are those of whoever handed the line on; but
    /// one that is more precise counts before, and one that names its zone. Where they lie apart, nothing between them is sure.
    @inline(__always)
    mutating func take(_ new: Instant, lacksZone: Bool, _ unit: TimeUnit) {
        guard let first = time else {
            (time, timeLacksZone, timeUnit, timeSlack) = (new, lacksZone, unit, unit.microseconds)
            return
        }
        takeAnother(new, lacksZone: lacksZone, unit, beside: first)
    }

    private mutating func takeAnother(_ new: Instant, lacksZone: Bool, _ unit: TimeUnit, beside first: Instant) {
        // What does not only come of how precise it is.
        let doubted = timeSlack > timeUnit.microseconds ? timeSlack : 0
        // Which zone a time is of that names none is known only later.
        if lacksZone != timeLacksZone {
            if localTime == nil { localTime = lacksZone ? new : first }
            if lacksZone { return }
            (time, timeLacksZone, timeUnit, timeSlack) = (new, false, unit, max(doubted, unit.microseconds))
            return
        }
        let isBetter = unit.rawValue < timeUnit.rawValue
        let (base, other, span) = isBetter ? (new, first, timeUnit) : (first, new, unit)
        // How far it lies from the span that the other one names.
        let after = base.microseconds &- other.microseconds
        let apart = after < 0 ? 0 &- after : max(0, after &- span.microseconds)
        time = base
        timeSlack = max(isBetter ? max(doubted, unit.microseconds) : timeSlack, apart)
        if isBetter { timeUnit = unit }
    }

    /// Takes what the other time is now that its zone is known.
    package mutating func take(otherTime: Instant) {
        if let time { timeSlack = max(timeSlack, abs(time.microseconds &- otherTime.microseconds)) }
    }

    /// Forgets everything, for another line or another reading of this one.
    mutating func begin(_ format: LineFormat) {
        let minutes = minutes
        self = LineFacts(format)
        self.minutes = minutes
    }

    /// Becomes those of a line of the usual shape that ends at `end`. Of another one before it, all else is as it is to be.
    @inline(__always)
    mutating func beginUsual(_ end: Int, _ time: Instant, microseconds: Int64) {
        if !isUsual {
            begin(.recommendation)
            isRecommendation = true
            isUsual = true
        }
        self.end = end
        self.time = time
        duration = microseconds
    }

    /// Whether the request id, if there is a minted one, was minted under the manifest whose digest stands at `digest`.
    package func requestIDAgrees(with digest: Range<Int>, _ line: Span<UInt8>) -> Bool {
        guard let id = requestID?.range else { return true }
        guard id.count == MintedRequestID.length, line[id.lowerBound + 26] == UInt8(ascii: "-"), digest.count >= 12
        else {
            return id.count != MintedRequestID.length
        }
        for offset in 0..<12 where line[id.lowerBound + 27 + offset] != line[digest.lowerBound + offset] {
            return false
        }
        return true
    }

    /// Where the digest of a manifest stands, if one is named.
    package var namedDigest: Range<Int>? { provenance.manifestSHA256?.range }

    /// Takes a provenance field, its attribution or the request id, if `name` is one of their names.
    mutating func take(_ name: Range<Int>, _ value: FieldSpan, _ bytes: Span<UInt8>) -> KnownField? {
        guard let field = KnownField(bytes, name) else { return nil }
        // Other people have attributions too, but not at the end of a line, behind what Colophon adds.
        if case .attribution = field, value.spelling != .percent, Attribution(rawValue: value.text(bytes)) == nil {
            hasForeignAttribution = true
            return nil
        }
        note(field)
        valued |= field.bit
        switch field {
        case .provenance(let field):
            provenance[field] = value
        case .attribution:
            attribution = value
        case .requestID:
            requestID = value
        }
        return field
    }

    /// Takes a member that is no text: null is as good as absent, but it stands there; anything else says nothing. Ids may be numbers.
    mutating func takeNoText(_ name: Range<Int>, _ value: Range<Int>, isNull: Bool, _ bytes: Span<UInt8>) {
        guard let field = KnownField(bytes, name) else { return }
        if field == .requestID, !isNull {
            note(field)
            if bytes[value.lowerBound] <= UInt8(ascii: "9") { requestID = FieldSpan(value, .plain) }
            return
        }
        guard field != .attribution else {
            hasForeignAttribution = hasForeignAttribution || !isNull
            return
        }
        note(field)
        if !isNull { isRepeated = true }
    }

    /// Keeps of the end of a text that has no whole stamp what may weaken the answer: less than a stamp of ours proves nothing, and nothing is
    /// to stand beside it.
    mutating func distrust(_ line: Span<UInt8>) {
        let (id, word, hasPart) = (requestID, attribution, namesManifest)
        begin(format)
        if let id {
            note(.requestID)
            requestID = id
            isUnproven = true
        }
        if let word, Attribution(rawValue: word.text(line)) != nil {
            note(.attribution)
            attribution = word
        }
        isRepeated = hasPart
    }

    private mutating func note(_ field: KnownField) {
        if seen & field.bit != 0 { isRepeated = true }
        seen |= field.bit
    }
}

extension LineFacts {
    /// Whether every provenance field that the line has is spelled exactly like this. False also where it may only look
    /// different, because it is spelled in another way.
    package func agrees(with stamp: Stamp.Spelled, _ line: Span<UInt8>) -> Bool {
        for field in ProvenanceField.allCases {
            guard let span = provenance[field] else { continue }
            guard stamp.isPlain || span.spelling == .percent, let bytes = stamp.bytes[field.rawValue],
                line.hasBytes(bytes, in: span.range)
            else { return false }
        }
        return true
    }
}

/// The names under which a line carries what Colophon added to it.
enum KnownField: Equatable {
    case provenance(ProvenanceField)
    case attribution
    case requestID

    /// Where it stands in the order of a suffix; nil where it may stand anywhere.
    var rank: Int? {
        switch self {
        case .provenance(let field): field.rawValue
        case .attribution: ProvenanceField.allCases.count
        case .requestID: nil
        }
    }

    /// The bits of all provenance fields.
    static let provenanceBits: UInt8 = 0b11111

    /// One bit for each.
    var bit: UInt8 {
        switch self {
        case .provenance(let field): 1 << UInt8(field.rawValue)
        case .attribution: 1 << 5
        case .requestID: 1 << 6
        }
    }

    init?(_ name: String) {
        let bytes = Array(name.utf8)
        self.init(bytes.span, 0..<bytes.count)
    }

    init?(_ bytes: Span<UInt8>, _ name: Range<Int>) {
        // The length, and then one letter, tell all names apart: a line of other fields costs next to nothing.
        let found: (name: StaticString, field: KnownField)
        switch name.count {
        case 13: found = ("model_version", .provenance(.modelVersion))
        case 15:
            switch bytes[name.lowerBound + 9] {
            case UInt8(ascii: "c"): found = ("pipeline_commit", .provenance(.pipelineCommit))
            case UInt8(ascii: "b"): found = ("pipeline_branch", .provenance(.pipelineBranch))
            default: found = ("manifest_sha256", .provenance(.manifestSHA256))
            }
        case 12: found = ("data_version", .provenance(.dataVersion))
        case 11: found = ("attribution", .attribution)
        case 10: found = ("request_id", .requestID)
        default: return nil
        }
        guard bytes.hasBytes(found.name, at: name.lowerBound) else { return nil }
        self = found.field
    }
}
