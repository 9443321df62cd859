/// Where something stands in a head.
package struct WireRange: Equatable, Sendable {
    package var start: UInt32
    package var end: UInt32

    package static let none = WireRange(start: 0, end: 0)

    @inline(__always)
    package init(start: UInt32, end: UInt32) {
        self.start = start
        self.end = end
    }

    @inline(__always)
    package init(_ start: Int, _ end: Int) {
        self.start = UInt32(truncatingIfNeeded: start)
        self.end = UInt32(truncatingIfNeeded: end)
    }

    @inline(__always)
    package var count: Int { Int(end &- start) }
    package var isEmpty: Bool { end == start }
}

/// One field line that somebody acts on.
package struct Field: Sendable {
    package var name: FieldName
    /// From the first byte of the name to behind the line end.
    package var line: WireRange
    /// Without the spaces around it.
    package var value: WireRange
}

/// The notable fields of one head. Its memory is made once, for as many fields as a head may have.
package struct FieldList: ~Copyable {
    private let fields: UnsafeMutablePointer<Field>
    /// How many fields a head may have, notable or not.
    package let limit: Int
    package private(set) var count = 0
    package private(set) var total = 0

    package init(limit: Int) {
        self.limit = limit
        fields = .allocate(capacity: limit)
    }

    deinit { fields.deallocate() }

    package subscript(index: Int) -> Field {
        @inline(__always) get {
            precondition(index >= 0 && index < count, "a field beyond the list")
            return fields[index]
        }
    }

    package mutating func removeAll() {
        count = 0
        total = 0
    }

    /// False when there are more fields than allowed.
    @inline(__always)
    mutating func countOne() -> Bool {
        total &+= 1
        return total <= limit
    }

    @inline(__always)
    mutating func append(_ field: Field) {
        fields[count] = field
        count &+= 1
    }
}

/// How the end of a body is found (RFC 9112 section 6.3).
package enum BodyFraming: Equatable, Sendable {
    case none
    case length(Int)
    case chunked
    /// Until the connection ends; responses only.
    case untilClose
}

/// What `Connection` and its like ask for.
package struct ConnectionOptions: OptionSet, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let close = ConnectionOptions(rawValue: 1)
    package static let keepAlive = ConnectionOptions(rawValue: 2)
    package static let upgrade = ConnectionOptions(rawValue: 4)
    /// Names fields besides the usual ones: those are not forwarded (RFC 9110 section 7.6.1).
    package static let namesFields = ConnectionOptions(rawValue: 8)
}

/// Finds the end of a head in bytes that come in pieces, looking at each byte once.
package enum HeadScanner {
    package enum Result: Equatable, Sendable {
        /// The head ends here, behind its empty line.
        case complete(Int)
        case incomplete
        case malformed(HeadFault)
    }

    /// Looks from `scanned` on, and leaves there where to go on when more has come. The head begins at 0.
    @inline(__always)
    package static func scan(_ bytes: RawSpan, scanned: inout Int) -> Result {
        while true {
            let index = WireScan.lineFeed(bytes, from: scanned)
            guard index < bytes.byteCount else {
                scanned = index
                return .incomplete
            }
            // RFC 9112 section 2.2 lets a recipient take a lone LF for a line end; two readers may then differ, so we do not.
            guard index > 0, bytes.byte(index &- 1) == 0x0D else { return .malformed(.bareLineFeed) }
            scanned = index &+ 1
            if index >= 3, bytes.byte(index &- 2) == 0x0A { return .complete(index &+ 1) }
            if index == 1 { return .complete(2) }
        }
    }
}
