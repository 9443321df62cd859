import Checksum
import Provenance

/// A line as it waits for delivery, in memory and in the spool alike: 72 bytes that say what is known of it, then the enriched line.
/// Always a multiple of eight bytes long, little endian. `docs/spool.md` has the layout.
package struct LineRecord {
    let base: UnsafeMutableRawPointer

    package init(base: UnsafeMutableRawPointer) { self.base = base }

    package enum Kind: UInt8 {
        case line = 1
        /// What a manifest's record headers are, under a number that lines in the same segment use.
        case stamp = 2
        /// Where lines came from, under a number that lines in the same segment use.
        case source = 3
    }

    package static let headerSize = 72
    /// No record is longer; a length that says so was damaged.
    static let longest = 32 << 20
    static let none = UInt32.max
    package static let noTime = Int64.min

    /// `more` bytes may stand behind the value: a request id that is no part of the line.
    package static func size(ofValue count: Int, and more: Int = 0) -> Int { (headerSize + count + more + 7) & ~7 }

    private func load<Value: FixedWidthInteger>(_ offset: Int) -> Value {
        Value(littleEndian: base.load(fromByteOffset: offset, as: Value.self))
    }

    private func store<Value: FixedWidthInteger>(_ value: Value, _ offset: Int) {
        base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
    }

    var length: Int { Int(load(0) as UInt32) }
    var kind: Kind? { Kind(rawValue: load(8) as UInt8) }
    var attribution: Attribution { Attribution(strength: Int(load(9) as UInt8)) }
    package var source: UInt32 {
        get { load(12) }
        nonmutating set { store(newValue, 12) }
    }
    var stamp: UInt32 {
        get { load(16) }
        nonmutating set { store(newValue, 16) }
    }
    /// How many headers of the record that it was read from go on with it.
    var carriedCount: Int { Int(load(10) as UInt16) }
    var valueCount: Int { Int(load(36) as UInt32) }
    /// Where the line stood in its source.
    var position: Int64 {
        get { load(40) }
        nonmutating set { store(newValue, 40) }
    }
    /// The record's time, in milliseconds since 1970.
    var milliseconds: Int64 { load(48) }
    /// The line's own time in microseconds where the record has another one; `noTime` otherwise.
    var lineTime: Int64 { load(56) }

    /// Its number in the spool.
    var sequence: Int64 {
        get { load(64) }
        nonmutating set { store(newValue, 64) }
    }

    var value: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base + Self.headerSize, count: valueCount)
    }
    var key: UnsafeRawBufferPointer? { part(20) }
    var requestID: UnsafeRawBufferPointer? { part(28) }

    private func part(_ offset: Int) -> UnsafeRawBufferPointer? {
        let count: UInt32 = load(offset + 4)
        guard count != Self.none else { return nil }
        return UnsafeRawBufferPointer(start: base + Self.headerSize + Int(load(offset) as UInt32), count: Int(count))
    }

    /// Those headers, behind everything else.
    func forEachCarried(_ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer?) -> Void) {
        var offset = Self.headerSize + max(valueCount, partEnd(20), partEnd(28))
        for _ in 0..<carriedCount {
            let (name, value) = CarriedHeaders.read(UnsafeRawPointer(base), at: &offset)
            body(name, value)
        }
    }

    private func partEnd(_ offset: Int) -> Int {
        let count: UInt32 = load(offset + 4)
        return count == Self.none ? 0 : Int(load(offset) as UInt32) + Int(count)
    }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: length) }

    /// Fills in everything but the value.
    package func fill(
        _ kind: Kind, valueCount: Int, more: Int = 0, attribution: Attribution = .unknown, key: Range<Int>? = nil,
        requestID: Range<Int>? = nil, position: Int64 = 0, milliseconds: Int64 = 0, lineTime: Int64 = noTime,
        carriedCount: Int = 0
    ) {
        let size = Self.size(ofValue: valueCount, and: more)
        store(UInt32(size), 0)
        store(UInt32(0), 4)
        store(UInt32(kind.rawValue) | UInt32(attribution.strength) << 8 | UInt32(carriedCount) << 16, 8)
        store(UInt32(0), 12)
        store(UInt32(0), 16)
        put(key, 20)
        put(requestID, 28)
        store(UInt32(valueCount), 36)
        store(position, 40)
        store(milliseconds, 48)
        store(lineTime, 56)
        store(Int64(0), 64)
        // What pads it is part of what is checked.
        for offset in Self.headerSize + valueCount + more..<size { store(UInt8(0), offset) }
    }

    private func put(_ range: Range<Int>?, _ offset: Int) {
        store(UInt32(range?.lowerBound ?? 0), offset)
        store(range.map { UInt32($0.count) } ?? Self.none, offset + 4)
    }

    /// Makes `now` the record's time; the line's own is kept beside it, to the millisecond, unless it is there already.
    func renew(at now: Instant) {
        if lineTime == Self.noTime { store(milliseconds &* 1000, 56) }
        store(now.microseconds / 1000, 48)
    }

    // MARK: - In the spool

    func seal(_ secret: UInt32) { store(checksum(secret), 4) }

    /// A seed would be as good, and cost more.
    private func checksum(_ secret: UInt32) -> UInt32 {
        Checksum.of(UnsafeRawBufferPointer(start: base + 8, count: length - 8)) ^ secret
    }

    /// Whether what begins at `base` could be a record that goes on behind `count` bytes.
    static func mayGoOn(at base: UnsafeMutableRawPointer, count: Int) -> Bool {
        guard count >= headerSize else { return true }
        let length = LineRecord(base: base).length
        return length > count && length <= longest && length % 8 == 0
    }

    /// The record that begins at `base`, if a whole and unchanged one does within `count` bytes.
    @inline(__always)
    static func sound(at base: UnsafeMutableRawPointer, count: Int, _ secret: UInt32) -> LineRecord? {
        guard isPlausible(at: base, count: count) else { return nil }
        let record = LineRecord(base: base)
        guard record.length <= count, record.load(4) as UInt32 == record.checksum(secret) else { return nil }
        return record
    }

    /// The same; what is looked at for nothing is taken from `patience`, and who has none looks at short ones only.
    static func sound(
        at base: UnsafeMutableRawPointer, count: Int, _ secret: UInt32, isPatient: Bool, _ patience: inout Int
    ) -> LineRecord? {
        let record = LineRecord(base: base)
        guard isPlausible(at: base, count: count), record.length <= count, isPatient || record.isShort else {
            return nil
        }
        if record.load(4) as UInt32 == record.checksum(secret) { return record }
        patience -= record.length
        return nil
    }

    /// Whether what begins at `base` could be a record that goes on behind `count` bytes, and is worth reading on for.
    static func mayBePart(at base: UnsafeMutableRawPointer, count: Int, isPatient: Bool) -> Bool {
        guard count >= headerSize else { return true }
        let record = LineRecord(base: base)
        return record.length > count && isPlausible(at: base, count: count) && (isPatient || record.isShort)
    }

    private var isShort: Bool { length <= 4096 }

    /// Whether the head at `base` says nothing that a record's cannot, but for its checksum.
    static func isPlausible(at base: UnsafeMutableRawPointer, count: Int) -> Bool {
        guard count >= headerSize else { return false }
        let record = LineRecord(base: base)
        let length = record.length
        return length >= headerSize && length <= longest && length % 8 == 0 && record.kind != nil
            && record.valueCount <= length - headerSize && record.hasSoundPart(20) && record.hasSoundPart(28)
            && record.carriedCount == 0
    }

    /// How long the record at `base` is whose head says what only a whole one does, though it is not as it was written; nil where that cannot be
    /// told. Nothing in its value is then taken for a record: whoever wrote the line may have put it there.
    static func damaged(at base: UnsafeMutableRawPointer, count: Int, next: Int64) -> Int? {
        guard count >= headerSize else { return nil }
        let record = LineRecord(base: base)
        let length = record.length
        guard let kind = record.kind, length <= longest, record.carriedCount == 0, record.valueCount <= longest,
            kind != .line || record.sequence == next
        else { return nil }
        let end = max(record.valueCount, record.partEnd(20), record.partEnd(28))
        return length == size(ofValue: end) ? length : nil
    }

    private func hasSoundPart(_ offset: Int) -> Bool {
        let count: UInt32 = load(offset + 4)
        return count == Self.none || Int(load(offset) as UInt32) + Int(count) <= length - Self.headerSize
    }
}
