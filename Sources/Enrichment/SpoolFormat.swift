import Checksum
import Provenance

/// The bytes of a spool that are no records: the head of each segment, and the cursor. `docs/spool.md` describes them.
enum SpoolFormat {
    /// Of segments. In the first one records had no secret.
    static let version: UInt32 = 2
    /// Of cursors, and of checkpoints' positions.
    private static let cursorVersion: UInt32 = 1
    static let headSize = 64
    private static let magic = Array("colospl1".utf8)
    private static let cursorMagic = Array("colocur1".utf8)
    static let cursorName = "cursor"
    /// A segment that was delivered, until the next one is written over it.
    static let spareName = "spare"
    /// What stands behind the last record where older bytes follow: four zeros, for no record is so short, and a checksum of where that is,
    /// mixed with the segment's secret. Nothing behind it counts.
    static let endMarkSize = 8

    static func endMark(at offset: Int, _ secret: UInt32) -> UInt64 {
        var place = UInt64(offset).littleEndian
        let sum = withUnsafeBytes(of: &place) { Checksum.of($0) } ^ secret
        return UInt64(sum) << 32
    }

    static func appendEndMark(to bytes: inout [UInt8], at offset: Int, _ secret: UInt32) {
        withUnsafeBytes(of: endMark(at: offset, secret).littleEndian) { bytes.append(contentsOf: $0) }
    }
    static let cursorSlots = 2

    /// A segment is named by the number of its first record, and by how often one with that was begun before.
    static func name(first: Int64, attempt: Int = 0) -> String {
        let digits = String(first, radix: 16)
        return String(repeating: "0", count: max(0, 16 - digits.utf8.count)) + digits
            + (attempt > 0 ? ".\(attempt)" : "") + ".segment"
    }

    static func place(name: String) -> (first: Int64, attempt: Int)? {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2 || parts.count == 3, parts.last == "segment", parts[0].utf8.count == 16,
            let first = Int64(parts[0], radix: 16), first < .max / 2
        else { return nil }
        guard parts.count == 3 else { return (first, 0) }
        return Int(parts[1]).map { (first, $0) }
    }

    struct Head {
        let first: Int64
        let generation: String
        /// What its records' checksums are mixed with: nobody who only writes lines can make bytes that pass for a record here.
        let secret: UInt32
        /// How much of the file held an older segment's bytes when this one was begun.
        var reused = 0
    }

    static func write(_ head: Head, version: UInt32 = version) -> [UInt8] {
        slot(magic, head.first, Int64(head.secret), head.generation, version, UInt32(clamping: head.reused))
    }

    enum HeadFault: Error {
        case damaged
        case version(UInt32)
    }

    static func readHead(_ bytes: UnsafeRawBufferPointer) throws(HeadFault) -> Head {
        guard bytes.count >= headSize, bytes[0..<8].elementsEqual(magic) else { throw .damaged }
        guard let (version, first, secret, generation) = read(bytes, magic) else { throw .damaged }
        guard 1...Self.version ~= version else { throw .version(version) }
        let reused = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
        return Head(
            first: first, generation: generation, secret: UInt32(truncatingIfNeeded: secret), reused: Int(reused))
    }

    /// The secret of a head that is damaged, perhaps elsewhere.
    static func secret(ofDamaged bytes: UnsafeRawBufferPointer) -> UInt32 {
        bytes.count < headSize ? 0 : UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt32.self))
    }

    struct Cursor {
        /// How often it was written: of two slots the later one counts.
        var count: Int64
        /// The first record that has not been delivered.
        var sequence: Int64
        var generation: String
    }

    static func write(_ cursor: Cursor) -> [UInt8] {
        slot(cursorMagic, cursor.sequence, cursor.count, cursor.generation, cursorVersion)
    }

    static func readCursor(_ bytes: UnsafeRawBufferPointer) -> Cursor? {
        var best: Cursor?
        for index in 0..<cursorSlots where bytes.count >= (index + 1) * headSize {
            let slot = UnsafeRawBufferPointer(rebasing: bytes[index * headSize..<(index + 1) * headSize])
            guard let (version, sequence, count, generation) = read(slot, cursorMagic), version == cursorVersion else {
                continue
            }
            if best.map({ count > $0.count }) ?? true {
                best = Cursor(count: count, sequence: sequence, generation: generation)
            }
        }
        return best
    }

    // Both are, in every version: 8 bytes of magic, the version, a number, two larger ones, 26 letters of a ULID, and at the end a
    // checksum over all of that.

    private static func slot(
        _ magic: [UInt8], _ number: Int64, _ count: Int64, _ generation: String, _ version: UInt32,
        _ small: UInt32 = 0
    ) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: headSize)
        bytes.replaceSubrange(0..<8, with: magic)
        bytes.withUnsafeMutableBytes { raw in
            raw.storeBytes(of: version.littleEndian, toByteOffset: 8, as: UInt32.self)
            raw.storeBytes(of: small.littleEndian, toByteOffset: 12, as: UInt32.self)
            raw.storeBytes(of: number.littleEndian, toByteOffset: 16, as: Int64.self)
            raw.storeBytes(of: count.littleEndian, toByteOffset: 24, as: Int64.self)
            for (offset, byte) in generation.utf8.prefix(26).enumerated() { raw[32 + offset] = byte }
            let sum = Checksum.of(UnsafeRawBufferPointer(rebasing: raw[0..<60]))
            raw.storeBytes(of: sum.littleEndian, toByteOffset: 60, as: UInt32.self)
        }
        return bytes
    }

    private static func read(
        _ bytes: UnsafeRawBufferPointer, _ magic: [UInt8]
    ) -> (version: UInt32, number: Int64, count: Int64, generation: String)? {
        guard bytes.count >= headSize, bytes[0..<8].elementsEqual(magic),
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 60, as: UInt32.self))
                == Checksum.of(UnsafeRawBufferPointer(rebasing: bytes[0..<60]))
        else { return nil }
        return (
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)),
            Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: 16, as: Int64.self)),
            Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: 24, as: Int64.self)),
            String(decoding: bytes[32..<58], as: UTF8.self)
        )
    }
}
