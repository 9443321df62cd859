/// A field that somebody acts on; all others pass through unread. An enumeration, so that telling them apart is one jump.
package enum FieldName: UInt8, Sendable {
    /// A field that nobody asked about.
    case other

    // What framing and forwarding depend on (RFC 9110 section 7.6.1, RFC 9112 section 6).
    case host, contentLength, transferEncoding, connection, keepAlive, proxyConnection, te, upgrade, http2Settings
    case expect, via, date, age

    // What only some callers ask for, under the names that they give.
    case authorization, requestID, traceparent, forwardedFor, forwardedProto, contentType, contentEncoding, origin
    case ifNoneMatch
    /// One of the names of a stamp: nobody but us writes those.
    case stamp
    /// A known name with an underscore for a dash: some servers would take it for that name, and some would not.
    case lookalike
    /// Picks the variant.
    case route
    /// In which the upstream says what answered.
    case answeredBy
    /// What goes into the line of an exchange.
    case lineVariant, lineBucket

    static let wire: [(name: String, field: FieldName)] = [
        ("host", .host), ("content-length", .contentLength), ("transfer-encoding", .transferEncoding),
        ("connection", .connection), ("keep-alive", .keepAlive), ("proxy-connection", .proxyConnection), ("te", .te),
        ("upgrade", .upgrade), ("http2-settings", .http2Settings), ("expect", .expect), ("via", .via), ("date", .date),
        ("age", .age),
    ]
}

/// The names that are acted on, found by length and both ends in one probe of a small table.
package final class FieldNames: Sendable {
    private struct Entry {
        var first: UInt64 = 0
        var last: UInt64 = 0
        var length = 0
        var field = FieldName.other
        var offset = 0
    }

    private nonisolated(unsafe) let entries: UnsafeMutablePointer<Entry>
    /// All names one after the other, in lower case: what lies between both ends is compared with these.
    private nonisolated(unsafe) let text: UnsafeMutableRawBufferPointer
    private static let size = 256
    /// Whether `_` is looked up as `-`, as servers behind CGI and WSGI read it.
    private let foldsUnderscores: Bool

    /// `others` are names besides those of the wire; a name given twice keeps its first meaning.
    package init(_ others: [(name: String, field: FieldName)] = [], foldsUnderscores: Bool = false) {
        self.foldsUnderscores = foldsUnderscores
        let all = FieldName.wire + others.filter { !$0.name.isEmpty }
        precondition(all.count <= Self.size / 4, "too many names for the table")
        entries = .allocate(capacity: Self.size)
        entries.initialize(repeating: Entry(), count: Self.size)
        text = .allocate(byteCount: max(1, all.reduce(0) { $0 + $1.name.utf8.count }), alignment: 8)
        var offset = 0
        for (name, field) in all {
            let lower = name.utf8.map { $0 | 0x20 }
            text.baseAddress?.advanced(by: offset).copyMemory(from: lower, byteCount: lower.count)
            let known = UnsafeRawBufferPointer(rebasing: text[offset..<offset + lower.count])
            insert(known.bytes, field, offset: offset)
            offset += lower.count
        }
    }

    deinit {
        entries.deallocate()
        text.deallocate()
    }

    private func insert(_ name: RawSpan, _ field: FieldName, offset: Int) {
        guard find(name, 0, name.byteCount) == .other else { return }
        let (first, last) = Self.ends(name, 0, name.byteCount)
        var slot = Self.hash(first, last, name.byteCount)
        while entries[slot].length != 0 { slot = (slot + 1) % Self.size }
        entries[slot] = Entry(first: first, last: last, length: name.byteCount, field: field, offset: offset)
    }

    /// What the name at these bytes means; `other` for most.
    @inline(__always)
    func find(_ bytes: RawSpan, _ start: Int, _ length: Int) -> FieldName {
        let (first, last) = Self.ends(bytes, start, length)
        var slot = Self.hash(first, last, length)
        while entries[slot].length != 0 {
            let entry = entries[slot]
            if entry.length == length, entry.first == first, entry.last == last,
                length <= 16 || middleMatches(bytes, start, length, entry.offset)
            {
                return entry.field
            }
            slot = (slot &+ 1) & (Self.size &- 1)
        }
        return .other
    }

    /// What a name that has underscores is: never more than something to be left out.
    @inline(never)
    func findFolded(_ bytes: RawSpan, _ start: Int, _ length: Int) -> FieldName {
        guard foldsUnderscores, length <= 64 else { return .other }
        return withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { scratch in
            for index in 0..<length {
                let byte = bytes.byte(start + index)
                scratch[index] = byte == 0x5F ? 0x2D : byte
            }
            let meant = find(UnsafeRawBufferPointer(rebasing: scratch[..<length]).bytes, 0, length)
            return meant == .other || meant == .stamp ? meant : .lookalike
        }
    }

    private func middleMatches(_ bytes: RawSpan, _ start: Int, _ length: Int, _ offset: Int) -> Bool {
        for index in 8..<length &- 8 where bytes.byte(start &+ index) | 0x20 != text[offset &+ index] { return false }
        return true
    }

    /// The first and last eight bytes in lower case; what is shorter is packed into one.
    @inline(__always)
    private static func ends(_ bytes: RawSpan, _ start: Int, _ length: Int) -> (UInt64, UInt64) {
        let lower: UInt64 = 0x2020_2020_2020_2020
        if length >= 8 { return (bytes.word(start) | lower, bytes.word(start &+ length &- 8) | lower) }
        var packed: UInt64 = 0
        if start &+ 8 <= bytes.byteCount {
            packed = bytes.word(start) & ((1 as UInt64) << UInt64(length &* 8) &- 1)
        } else {
            for index in 0..<length { packed |= UInt64(bytes.byte(start &+ index)) << UInt64(index &* 8) }
        }
        return (packed | lower, 0)
    }

    @inline(__always)
    private static func hash(_ first: UInt64, _ last: UInt64, _ length: Int) -> Int {
        let mixed = (first ^ (last &<< 7 | last &>> 57) ^ UInt64(truncatingIfNeeded: length)) &* 0x9E37_79B9_7F4A_7C15
        return Int(truncatingIfNeeded: mixed &>> 56)
    }
}
