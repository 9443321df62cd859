import Kafka
import Provenance

/// What goes on with a line though it is no part of it: behind the line in its record.
struct LineExtras {
    /// A request id that the line does not hold.
    var requestID = UnsafeRawBufferPointer(start: nil, count: 0)
    /// The key of the record that it was read from, for where the line itself has none.
    var key: UnsafeRawBufferPointer?
    var headers = UnsafeRawBufferPointer(start: nil, count: 0)
    var headerCount = 0

    static var none: LineExtras { LineExtras() }

    var count: Int { requestID.count + (key?.count ?? 0) + headers.count }
}

/// The headers of a record that was read, as they lie in the one that is to be sent: for each the length of its name, the length of its
/// value, and both; all lengths in four bytes.
struct CarriedHeaders: ~Copyable {
    private var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
    private var used = 0
    private(set) var count = 0
    /// What the record said at most of where its line is from.
    private(set) var ceiling = Attribution.exact

    private static let absent = UInt32.max
    /// Their number takes two bytes.
    private static let most = 65_535
    /// Whether the record has more than can go on with it.
    private(set) var isTooMany = false

    deinit { buffer.deallocate() }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[..<used]) }

    /// Takes those of `record` but for the ones that are given anew.
    mutating func take(_ record: ConsumedRecord, replacing own: [StaticString], dropsCloudEvents: Bool) {
        (used, count, ceiling, isTooMany) = (0, 0, .exact, false)
        record.forEachHeader { name, value in
            if name.hasSameBytes(as: "attribution"), let value {
                ceiling = min(ceiling, Attribution(rawValue: String(decoding: value, as: UTF8.self)) ?? .unknown)
            }
            if dropsCloudEvents, name.hasSameBytes(as: "content-type") || name.starts(with: "ce_".utf8) { return }
            guard !own.contains(where: { name.hasSameBytes(as: $0) }) else { return }
            guard count < Self.most else {
                isTooMany = true
                return
            }
            put(UInt32(name.count))
            put(value.map { UInt32($0.count) } ?? Self.absent)
            put(name)
            if let value { put(value) }
            count += 1
        }
    }

    private mutating func put(_ number: UInt32) { withUnsafeBytes(of: number.littleEndian) { put($0) } }

    private mutating func put(_ bytes: UnsafeRawBufferPointer) {
        if buffer.count - used < bytes.count {
            let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * (used + bytes.count), alignment: 8)
            larger.copyMemory(from: self.bytes)
            buffer.deallocate()
            buffer = larger
        }
        guard let source = bytes.baseAddress, let start = buffer.baseAddress else { return }
        (start + used).copyMemory(from: source, byteCount: bytes.count)
        used += bytes.count
    }

    /// The header at `offset`, which then is that of the next.
    static func read(
        _ base: UnsafeRawPointer, at offset: inout Int
    ) -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer?) {
        let nameCount = Int(UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
        let valueCount = UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
        let name = UnsafeRawBufferPointer(start: base + offset + 8, count: nameCount)
        offset += 8 + nameCount
        guard valueCount != absent else { return (name, nil) }
        defer { offset += Int(valueCount) }
        return (name, UnsafeRawBufferPointer(start: base + offset, count: Int(valueCount)))
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func hasSameBytes(as text: StaticString) -> Bool {
        count == text.utf8CodeUnitCount && elementsEqual(UnsafeRawBufferPointer(start: text.utf8Start, count: count))
    }
}
