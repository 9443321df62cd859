import Provenance
import Runtime

/// The queue on disk between enrichment and Kafka: segments that records are appended to, and a cursor that acknowledgement moves.
///
/// What was appended is handed on only once it is synced, so that no position is ever given to two lines, whatever crashes.
package struct Spool<Storage: SpoolStorage>: ~Copyable {
    struct Segment {
        let name: String
        let secret: UInt32
        /// The number of its first record.
        let first: Int64
        /// The number of the first record behind it.
        var end: Int64
        /// How many of its bytes are records, its head among them.
        var size: Int
        /// Up to where older bytes stand in its file, where it is written over those of another segment.
        var reused = 0
        var file: Int32?
    }

    let storage: Storage
    let settings: SpoolSettings
    let definitions: Definitions
    /// Part of the name of every line that was spooled first: a ULID, new when the spool is new.
    package internal(set) var generation: String
    var segments: [Segment] = [] {
        didSet {
            // Asked for with every line: not to be counted together each time.
            segmentBytes = 0
            for segment in segments.dropLast() { segmentBytes += max(segment.size, segment.reused) }
            segmentBytes += segments.last?.size ?? 0
        }
    }
    private var segmentBytes = 0
    /// How many bytes the file takes that is kept to be written over; 0 for none.
    var spareBytes = 0
    /// That of the records in it.
    var spareSecret: UInt32 = 0

    // What was appended and is not known to be on the disk.
    var unsynced: [UInt8] = []
    var unsyncedCount: Int64 = 0
    /// How much of it was written.
    var writtenCount = 0
    /// Of the segment that it is written to.
    private var secret: UInt32 = 0
    /// What that segment knows.
    var localSources = SegmentNumbers()
    var localStamps = SegmentNumbers()

    // What is read.
    var reading = SpoolReading()
    /// Ranges that are delivered without being read.
    var adopted: [Range<Int64>] = []

    var cursor: SpoolFormat.Cursor
    let cursorFile: Int32
    /// Whether the file says what the cursor is.
    var isCursorWritten = true
    package internal(set) var news = SpoolNews()

    /// The number that the next record gets.
    package internal(set) var next: Int64 = 0
    /// The number of the first record that is not yet known to be on the disk.
    package var synced: Int64 { next - unsyncedCount }

    // MARK: - Appending

    /// How many bytes the spool takes on the disk, with those that are to be written.
    package var bytes: Int { usedBytes() + spareBytes }
    /// The same without the file that is kept to be written over, for that makes room where it is wanted, and with `more`.
    func usedBytes(with more: Int = 0) -> Int {
        let older = segments.last.map { $0.reused - $0.size } ?? 0
        return segmentBytes + max(unsynced.count + more, older)
    }
    /// How many bytes of it wait. Of a segment that was delivered in part, as large a part as of its records.
    package var waitingBytes: Int {
        segments.reduce(unsynced.count) { sum, segment in
            let (count, done) = (segment.end - segment.first, cursor.sequence - segment.first)
            guard count > 0, done < count else { return sum }
            return sum + Int(Double(segment.size) * Double(count - max(0, done)) / Double(count))
        }
    }
    /// Whether there is no room for a line of usual length, not even of those who never wait.
    package var hasNoRoom: Bool { usedBytes(with: LineRecord.size(ofValue: 4096) + Self.overhead) > settings.bytes }
    /// How many it may take.
    var limit: Int { settings.bytes }

    /// How much of the spool some may fill. Who can wait leaves room for those who cannot.
    package enum Share {
        /// For those who never wait: the proxy, and datagrams.
        case all
        case most
        /// For files, which can be read again.
        case half
    }

    private func bytes(of share: Share) -> Int {
        switch share {
        case .all: settings.bytes
        case .most: settings.bytes / 8 * 7
        case .half: settings.bytes / 2
        }
    }

    /// Whether a record whose value has `count` bytes may be appended.
    package func hasRoom(for count: Int, in share: Share = .all) -> Bool {
        // Its definitions may have to be written too, and the head of a segment.
        news.problem == nil && usedBytes(with: LineRecord.size(ofValue: count) + Self.overhead) <= bytes(of: share)
            && (unsynced.isEmpty || unsynced.count + LineRecord.size(ofValue: count) <= settings.unsynced)
    }

    static var overhead: Int { 4096 }

    /// Whether so much waits to be synced that it must be first.
    package var mustSync: Bool { unsynced.count >= settings.unsynced / 2 }
    package var hasUnsynced: Bool { unsyncedCount > 0 }
    package var unsyncedLines: Int64 { unsyncedCount }
    /// Whether all that was appended survives this process.
    package var isWritten: Bool { writtenCount == unsynced.count }

    /// Appends a record; the number that it gets. Only where there is room.
    @discardableResult
    package mutating func append(_ record: LineRecord) -> Int64 {
        let sequence = next
        let source =
            localSources[record.source]
            ?? Self.define(
                record.source, &localSources, .source, definitions.sourceName(record.source), &unsynced, secret)
        let stamp =
            localStamps[record.stamp]
            ?? Self.define(
                record.stamp, &localStamps, .stamp, definitions.stampPayload(record.stamp), &unsynced, secret)
        let start = unsynced.count
        unsynced.append(contentsOf: record.bytes)
        Self.seal(&unsynced, at: start, secret) { copy in
            copy.sequence = sequence
            copy.source = source
            copy.stamp = stamp
        }
        next += 1
        unsyncedCount += 1
        return sequence
    }

    private static func seal(_ bytes: inout [UInt8], at start: Int, _ secret: UInt32, _ change: (LineRecord) -> Void) {
        bytes.withUnsafeMutableBytes { bytes in
            let record = LineRecord(base: bytes.baseAddress.unsafelyUnwrapped + start)
            change(record)
            record.seal(secret)
        }
    }

    /// The number under which the segment knows something; it is written down first where the segment does not yet.
    private static func define(
        _ number: UInt32, _ known: inout SegmentNumbers, _ kind: LineRecord.Kind, _ value: UnsafeRawBufferPointer,
        _ bytes: inout [UInt8], _ secret: UInt32
    ) -> UInt32 {
        let local = known.define(number)
        let start = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: LineRecord.size(ofValue: value.count)))
        bytes.replaceSubrange(start + LineRecord.headerSize..<start + LineRecord.headerSize + value.count, with: value)
        seal(&bytes, at: start, secret) { record in
            record.fill(kind, valueCount: value.count)
            if kind == .source { record.source = local } else { record.stamp = local }
        }
        return local
    }

    // MARK: - Writing

    /// Writes what was appended, so that it survives this process; false when that failed, and it stays here.
    @discardableResult
    package mutating func write() -> Bool {
        guard writtenCount < unsynced.count else { return true }
        do throws(SystemError) {
            if bytes > settings.bytes { removeSpare() }
            if segments.last?.file == nil || isFull { try begin() }
            let index = segments.count - 1
            guard let file = segments[index].file else { return false }
            let count = unsynced.count
            let offset = segments[index].size + writtenCount
            let end = segments[index].size + count
            if end + SpoolFormat.endMarkSize <= segments[index].reused {
                SpoolFormat.appendEndMark(to: &unsynced, at: end, secret)
            }
            defer { unsynced.removeLast(unsynced.count - count) }
            try Self.write(unsynced, writtenCount..<unsynced.count, to: file, at: offset, storage)
            writtenCount = count
            news.problem = nil
            removeSuperseded()
            return true
        } catch {
            giveUpSegment(error)
            return false
        }
    }

    private static func write(
        _ bytes: [UInt8], _ part: Range<Int>, to file: Int32, at offset: Int, _ storage: Storage
    ) throws(SystemError) {
        var failure: SystemError?
        bytes.withUnsafeBytes { raw in
            do throws(SystemError) {
                try storage.write(file, at: offset, UnsafeRawBufferPointer(rebasing: raw[part]))
            } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Writes, and waits until the disk has it; false when that failed, and it stays here.
    @discardableResult
    package mutating func sync() -> Bool {
        guard unsyncedCount > 0 else { return true }
        guard write(), let file = segments.last?.file else { return false }
        do throws(SystemError) { try storage.sync(file) } catch {
            giveUpSegment(error)
            return false
        }
        let index = segments.count - 1
        segments[index].size += unsynced.count
        segments[index].end = next
        unsynced.removeAll(keepingCapacity: true)
        unsyncedCount = 0
        writtenCount = 0
        return true
    }

    /// Segments that failed before anything of them was synced: the last one has it all now.
    private mutating func removeSuperseded() {
        guard segments.dropLast().contains(where: { $0.end == $0.first }) else { return }
        for segment in segments.dropLast() where segment.end == segment.first {
            if reading.segment == segment.name { leave() }
            try? storage.remove(segment.name)
        }
        let last = segments[segments.count - 1].name
        segments.removeAll { $0.end == $0.first && $0.name != last }
    }

    private var isFull: Bool {
        guard writtenCount == 0, let last = segments.last else { return false }
        return last.size >= settings.segment
    }

    /// Begins a segment with the first record that is not synced; what is not synced is put down anew, with all that it names.
    private mutating func begin() throws(SystemError) {
        let first = synced
        // One that failed may hold what was written and never synced: it stays until this one has it.
        let failed = segments.last { $0.first == first }.flatMap { SpoolFormat.place(name: $0.name) }
        let name = SpoolFormat.name(first: first, attempt: failed.map { $0.attempt + 1 } ?? 0)
        var secret = UInt32.random(in: 1 ... .max)
        while secret == spareSecret { secret = UInt32.random(in: 1 ... .max) }
        let reused = spareBytes
        let file = try reused > 0 ? storage.open(SpoolFormat.spareName) : storage.create(name)
        do throws(SystemError) {
            var head = SpoolFormat.write(
                SpoolFormat.Head(first: first, generation: generation, secret: secret, reused: reused))
            if reused > 0 { SpoolFormat.appendEndMark(to: &head, at: head.count, secret) }
            try Self.write(head, 0..<head.count, to: file, at: 0, storage)
            if reused > 0 { try takeSpare(file, name) }
            try storage.syncNames()
        } catch {
            storage.close(file)
            try? storage.remove(name)
            throw error
        }
        if let index = segments.indices.last, let before = segments[index].file {
            // What an older segment left behind it is of no use any more.
            cutOlder(index)
            // It is read on through a descriptor of its own.
            storage.close(before)
            segments[index].file = nil
        }
        segments.append(
            Segment(
                name: name, secret: secret, first: first, end: first, size: SpoolFormat.headSize, reused: reused,
                file: file))
        self.secret = secret
        renumber()
    }

    /// Puts what is not synced down anew for a segment that knows no definitions yet.
    private mutating func renumber() {
        let old = unsynced
        let (sources, stamps) = (localSources.defined, localStamps.defined)
        unsynced.removeAll(keepingCapacity: true)
        localSources.removeAll()
        localStamps.removeAll()
        writtenCount = 0
        let count = unsyncedCount
        next -= count
        unsyncedCount = 0
        var copy = old
        copy.withUnsafeMutableBytes { bytes in
            var offset = 0
            while offset < bytes.count {
                let record = LineRecord(base: bytes.baseAddress.unsafelyUnwrapped + offset)
                if record.kind == .line {
                    record.source = sources[Int(record.source)]
                    record.stamp = stamps[Int(record.stamp)]
                    append(record)
                }
                offset += record.length
            }
        }
    }

    /// After an error nobody knows what the file holds behind what was synced: the next attempt begins another one.
    private mutating func giveUpSegment(_ error: SystemError) {
        news.failures += 1
        news.problem = error.description
        removeSpare()
        let whole = writtenCount
        writtenCount = 0
        guard let index = segments.indices.last, let file = segments[index].file else { return }
        // Takes back what was written in part. What was written before stays: if this process is killed before it is written anew, it is
        // found there.
        try? storage.truncate(file, to: segments[index].size + whole)
        segments[index].reused = 0
        storage.close(file)
        segments[index].file = nil
        // One that holds nothing would only be in the way.
        guard whole == 0, segments[index].end == segments[index].first else { return }
        if reading.segment == segments[index].name { leave() }
        try? storage.remove(segments[index].name)
        segments.removeLast()
    }
}

/// What one segment calls sources or stamps: it numbers them from 0, in the order in which it is told of them.
struct SegmentNumbers {
    /// By our numbers: its own, or `unknown`.
    private var own: [UInt32] = []
    /// By its own numbers: ours.
    private(set) var defined: [UInt32] = []
    private static let unknown = UInt32.max

    subscript(number: UInt32) -> UInt32? {
        guard number < own.count, own[Int(number)] != Self.unknown else { return nil }
        return own[Int(number)]
    }

    mutating func define(_ number: UInt32) -> UInt32 {
        while own.count <= number { own.append(Self.unknown) }
        own[Int(number)] = UInt32(defined.count)
        defined.append(number)
        return own[Int(number)]
    }

    mutating func removeAll() {
        own.removeAll(keepingCapacity: true)
        defined.removeAll(keepingCapacity: true)
    }
}

package struct SpoolSettings: Sendable {
    /// How many bytes it may take (`spool.bytes`).
    package var bytes = 1 << 30
    /// How long a segment grows.
    package var segment = 16 << 20
    /// How many bytes may wait to be synced.
    package var unsynced = 8 << 20

    package init() {}
}

/// What happened to a spool that people should know.
package struct SpoolNews: Sendable {
    /// Writes and syncs that failed.
    package internal(set) var failures: UInt64 = 0
    /// The last failure, until a write succeeds.
    package internal(set) var problem: String?
    /// Places in which the disk had changed what was written.
    package internal(set) var damages: UInt64 = 0
    /// Why it could not be read, until it can be.
    package internal(set) var readProblem: String?
    /// Records that were damaged on the disk.
    package internal(set) var lost: UInt64 = 0
    /// Bytes behind the last whole record that a crash left.
    package internal(set) var torn: UInt64 = 0
    /// How many records were found at the start.
    package internal(set) var recovered: Int64 = 0
    /// Files that could not be read, and were put aside.
    package internal(set) var setAside: [String] = []
}
