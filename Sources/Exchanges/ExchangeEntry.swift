import Checksum
import Provenance

/// What is kept of one exchange: 40 bytes that say what is known of it, then the request id, then the variant's name on disk; a multiple of
/// eight bytes long, little endian. A worker hands it over in the same form, without the name. `docs/exchanges.md` has the layout.
package struct ExchangeEntry {
    let base: UnsafeMutableRawPointer

    package static let headSize = 40
    package static let prefixCount = 12
    /// The longest request id that is kept, and the longest name of a variant.
    package static let mostID = 128
    static let mostName = 64

    package static func size(idCount: Int, nameCount: Int = 0) -> Int { (headSize + idCount + nameCount + 7) & ~7 }

    package init(_ base: UnsafeMutableRawPointer) { self.base = base }

    private func load<Value: FixedWidthInteger>(_ offset: Int) -> Value {
        Value(littleEndian: base.load(fromByteOffset: offset, as: Value.self))
    }

    private func store<Value: FixedWidthInteger>(_ value: Value, _ offset: Int) {
        base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
    }

    var length: Int { Int(load(0) as UInt32) }
    var time: Instant { Instant(microseconds: load(8)) }
    var status: Int { Int(load(16) as UInt16) }
    var strength: Int { Int(load(18) as UInt8) }
    var hasManifest: Bool { load(19) as UInt8 == 1 }
    var idCount: Int { Int(load(20) as UInt8) }
    var nameCount: Int { Int(load(21) as UInt8) }
    /// Its number among the proxy's variants; on disk its name says it.
    var variant: Int { Int(load(22) as UInt8) }
    /// How long it took, in milliseconds, rounded up.
    var duration: Int64 { Int64(load(36) as UInt32) }
    var prefix: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base + 24, count: Self.prefixCount) }
    var id: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base + Self.headSize, count: idCount) }
    var name: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base + Self.headSize + idCount, count: nameCount) }

    /// Fills it in, but for its checksum. `prefix` is nil where no manifest was stamped.
    @inline(__always)
    package func fill(
        id: UnsafeRawPointer, idCount: Int, time: Int64, microseconds: Int64, status: Int, strength: Int,
        variant: UInt8,
        prefix: UnsafeRawPointer?
    ) {
        let size = Self.size(idCount: idCount)
        // What pads it, and what is not set, is part of what is checked.
        store(UInt64(0), size - 8)
        store(UInt64(0), 32)
        store(UInt64(0), 24)
        store(UInt64(size), 0)
        store(time, 8)
        store(UInt16(truncatingIfNeeded: status), 16)
        store(UInt8(truncatingIfNeeded: strength), 18)
        store(prefix == nil ? 0 : 1 as UInt8, 19)
        store(UInt8(truncatingIfNeeded: idCount), 20)
        store(UInt8(0), 21)
        store(UInt16(variant), 22)
        store(UInt32(clamping: max(0, microseconds) / 1000 + 1), 36)
        if let prefix { (base + 24).copyMemory(from: prefix, byteCount: Self.prefixCount) }
        (base + Self.headSize).copyMemory(from: id, byteCount: idCount)
    }

    /// Copies it to `place`, with its variant's name and a checksum.
    func seal(to place: UnsafeMutableRawPointer, name: [UInt8]) {
        let copy = ExchangeEntry(place)
        let size = Self.size(idCount: idCount, nameCount: name.count)
        copy.store(UInt64(0), size - 8)
        place.copyMemory(from: base, byteCount: Self.headSize + idCount)
        copy.store(UInt8(name.count), 21)
        for (index, byte) in name.enumerated() { copy.store(byte, Self.headSize + idCount + index) }
        copy.store(UInt32(size), 0)
        copy.store(copy.checksum, 4)
    }

    private var checksum: UInt32 { Checksum.of(UnsafeRawBufferPointer(start: base + 8, count: length - 8)) }

    /// The entry at `base`, if a whole and unchanged one stands within `count` bytes.
    static func sound(at base: UnsafeMutableRawPointer, count: Int) -> ExchangeEntry? {
        guard count >= headSize else { return nil }
        let entry = ExchangeEntry(base)
        guard entry.length <= count, entry.length == size(idCount: entry.idCount, nameCount: entry.nameCount),
            entry.load(4) as UInt32 == entry.checksum
        else { return nil }
        return entry
    }

    var attribution: Attribution { Attribution(strength: strength) }

    /// What it says of lines that name its request id.
    var record: ExchangeRecord {
        ExchangeRecord(
            manifest: hasManifest ? HexPrefix(String(decoding: prefix, as: UTF8.self)) : nil, attribution: attribution,
            begin: Instant(microseconds: time.microseconds &- duration * 1000), end: time)
    }
}
