import Checksum
import Provenance
import Runtime

/// Records of exchanges on disk, by their request ids: segments of one size, each with a table in front. The oldest goes when there is no
/// room for another one. One thread at a time writes it; `docs/exchanges.md` has the layout.
package struct ExchangeIndex: ~Copyable {
    private let directory: String
    private let most: Int
    private var segments: [(number: UInt64, count: Int)] = []
    private var open: ExchangeSegment?
    /// The highest number that is taken.
    private var last: UInt64 = 0
    private let seed: UInt64
    private var retryAt: Int64 = 0
    /// How many records went with the oldest segments, and how many could not be written.
    package private(set) var dropped = 0
    package private(set) var failed = 0
    /// Why nothing can be written; nil while it can.
    package private(set) var problem: String?

    private static let retry: Int64 = 5_000_000

    /// At most `bytes` in `directory`, which is made where it is missing.
    package init(_ directory: String, bytes: Int, seed: UInt64) throws(SystemError) {
        self.directory = directory
        self.seed = seed
        most = max(2, bytes / ExchangeSegment.size)
        try Files.makeDirectory(directory, mode: 0o700)
        for name in try Files.names(in: directory).sorted() {
            // What is none of ours is never removed, nor written to.
            guard let number = ExchangeSegment.number(of: name), number < 1 << 62 else { continue }
            last = number
            if let segment = try? ExchangeSegment(reading: Paths.join(directory, name)) {
                segments.append((number, segment.count))
            }
        }
        if let last = segments.last, last.number == self.last {
            open = try? ExchangeSegment(continuing: ExchangeSegment.path(in: directory, last.number))
        }
    }

    /// How many this process has written.
    package private(set) var written = 0
    package var count: Int { segments.reduce(0) { $0 + $1.count } }

    mutating func append(_ entry: ExchangeEntry, name: [UInt8]) {
        if let open, open.append(entry, name: name) {
            segments[segments.count - 1].count += 1
            written += 1
            return
        }
        guard begin(), let open, open.append(entry, name: name) else {
            failed += 1
            return
        }
        segments[segments.count - 1].count += 1
        written += 1
    }

    /// Another segment, and room for it.
    private mutating func begin() -> Bool {
        guard problem == nil || Clock.monotonic() >= retryAt else { return false }
        open = nil
        let number = last + 1
        do throws(SystemError) {
            while segments.count >= most {
                try RawFile.remove(ExchangeSegment.path(in: directory, segments[0].number))
                dropped += segments.removeFirst().count
            }
            open = try ExchangeSegment(creating: ExchangeSegment.path(in: directory, number), seed: seed &+ number)
            segments.append((number, 0))
            last = number
            problem = nil
        } catch {
            problem = error.description
            retryAt = Clock.monotonic() + Self.retry
        }
        return open != nil
    }
}

/// One file of the index, mapped into memory: 64 bytes of head, the table, the records.
final class ExchangeSegment {
    private let file: MappedFile

    private static let headSize = 64
    private static let magic: UInt64 = 0x3178_6568_636F_6C6F  // "olochex1", little endian
    private static let version: UInt32 = 1
    private static let slotCount = 1 << 17
    private static let mostRecords = slotCount / 4 * 3
    private static let dataOffset = headSize + 4 * slotCount
    private static let dataSize = 8 << 20
    static let size = dataOffset + dataSize

    static func path(in directory: String, _ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return Paths.join(directory, String(repeating: "0", count: 16 - digits.count) + digits + ".exchanges")
    }

    static func number(of name: String) -> UInt64? {
        guard name.hasSuffix(".exchanges"), name.utf8.count == 26 else { return nil }
        return UInt64(name.prefix(16), radix: 16)
    }

    init(creating path: String, seed: UInt64) throws(SystemError) {
        file = try MappedFile(creating: path, size: Self.size)
        store(Self.version, 8)
        store(seed, 16)
        store(UInt64(0), 24)
        store(UInt64(0), 32)
        // The last of them: without it the file is none of ours.
        store(Self.magic, 0)
    }

    /// Opens one to go on with.
    init(continuing path: String) throws(SystemError) {
        file = try MappedFile(path, isWritten: true)
        guard isOurs else {
            throw SystemError("go on with", path, code: Self.damaged)
        }
    }

    init(reading path: String) throws(SystemError) {
        file = try MappedFile(path, isWritten: false)
        guard isOurs else { throw SystemError("read", path, code: Self.damaged) }
    }

    /// What the system calls data that is not what it should be.
    private static let damaged: Int32 = 74

    private var isOurs: Bool {
        file.count == Self.size && load(0) as UInt64 == Self.magic && load(8) as UInt32 == Self.version
            && (0...Self.dataSize).contains(used) && used % 8 == 0 && (0...Self.mostRecords).contains(count)
    }

    private func load<Value: FixedWidthInteger>(_ offset: Int) -> Value {
        Value(littleEndian: file.base.load(fromByteOffset: offset, as: Value.self))
    }

    private func store<Value: FixedWidthInteger>(_ value: Value, _ offset: Int) {
        file.base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
    }

    private var seed: UInt64 { load(16) }
    private var used: Int { Int(truncatingIfNeeded: load(24) as UInt64) }
    var count: Int { Int(truncatingIfNeeded: load(32) as UInt64) }

    private func slot(of id: UnsafeRawBufferPointer) -> Int {
        Int(Checksum.of(id, seed: seed)) & (Self.slotCount - 1)
    }

    /// False when it is full.
    func append(_ entry: ExchangeEntry, name: [UInt8]) -> Bool {
        let size = ExchangeEntry.size(idCount: entry.idCount, nameCount: name.count)
        let place = used
        guard place + size <= Self.dataSize, count < Self.mostRecords else { return false }
        var slot = slot(of: entry.id)
        var looks = 0
        while load(Self.headSize + 4 * slot) as UInt32 != 0 {
            // A table without end was damaged.
            looks += 1
            guard looks < Self.slotCount else { return false }
            slot = (slot + 1) & (Self.slotCount - 1)
        }
        entry.seal(to: file.base + Self.dataOffset + place, name: name)
        store(UInt64(place + size), 24)
        store(UInt64(count + 1), 32)
        store(UInt32(place / 8 + 1), Self.headSize + 4 * slot)
        return true
    }

    /// All entries of a request id, in the order in which they came.
    func forEach(_ id: UnsafeRawBufferPointer, _ body: (ExchangeEntry) -> Void) {
        var slot = slot(of: id)
        for _ in 0..<Self.slotCount {
            let number = load(Self.headSize + 4 * slot) as UInt32
            guard number != 0 else { return }
            slot = (slot + 1) & (Self.slotCount - 1)
            let place = (Int(number) - 1) * 8
            guard place < Self.dataSize,
                let entry = ExchangeEntry.sound(
                    at: file.base + Self.dataOffset + place, count: Self.dataSize - place),
                entry.id.elementsEqual(id)
            else { continue }
            body(entry)
        }
    }
}

/// Looks through what all instances of a data directory keep.
package final class ExchangeFiles: KeptExchanges {
    private let dataDirectory: String
    private lazy var segments = open()

    package init(dataDirectory: String) { self.dataDirectory = dataDirectory }

    /// Where an instance keeps them.
    package static func directory(of instance: String) -> String { Paths.join(instance, "exchanges") }

    package var isEmpty: Bool { segments.isEmpty }

    /// Mapped once, however many ids are asked for.
    private func open() -> [ExchangeSegment] {
        let instances = Paths.join(dataDirectory, "instances")
        var found: [ExchangeSegment] = []
        for instance in (try? Files.names(in: instances)) ?? [] {
            let directory = Self.directory(of: Paths.join(instances, instance))
            for name in (try? Files.names(in: directory)) ?? [] where ExchangeSegment.number(of: name) != nil {
                if let segment = try? ExchangeSegment(reading: Paths.join(directory, name)) { found.append(segment) }
            }
        }
        return found
    }

    package func exchanges(of requestID: String) -> [KeptExchange] {
        var found: [KeptExchange] = []
        let id = Array(requestID.utf8)
        guard id.count <= ExchangeEntry.mostID else { return [] }
        for segment in segments {
            id.withUnsafeBytes { id in
                segment.forEach(id) { entry in
                    found.append(
                        KeptExchange(
                            variant: String(decoding: entry.name, as: UTF8.self),
                            status: entry.status, record: entry.record))
                }
            }
        }
        return found.sorted { $0.record.end < $1.record.end }
    }
}
