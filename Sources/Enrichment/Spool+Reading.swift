import Provenance
import Runtime

/// Where reading stands.
struct SpoolReading: ~Copyable {
    /// The number of the record that is read next.
    var sequence: Int64 = 0
    var segment: String?
    var secret: UInt32 = 0
    var file: Int32?
    /// The number behind its last record, when that was last looked up.
    var end: Int64 = 0
    var offset = SpoolFormat.headSize
    /// What the segment's own numbers stand for.
    var sources: [UInt32] = []
    var stamps: [UInt32] = []
    /// What was read of the file and not handed on yet.
    var buffer = ReadBuffer()
    var consumed = 0
    /// Where reading was to begin: what is wrong before that was told of already.
    var wanted: Int64 = 0
    /// The end of the segment was read.
    var isAtEnd = false
    /// What is at hand is no record, and the next one is looked for.
    var isInDamage = false
}

/// Memory for pieces of a file.
struct ReadBuffer: ~Copyable {
    private(set) var memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 0, alignment: 8)
    var count = 0

    deinit { memory.deallocate() }

    var unused: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(rebasing: memory[count...]) }

    /// Forgets the first bytes, and makes room for `wanted` more behind the others.
    mutating func shift(by consumed: Int, room wanted: Int) {
        let kept = count - consumed
        if memory.count < kept + wanted {
            let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: (kept + wanted + 7) & ~7, alignment: 8)
            if kept > 0 { larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[consumed..<count])) }
            memory.deallocate()
            memory = larger
        } else if kept > 0, consumed > 0, let base = memory.baseAddress {
            base.copyMemory(from: base + consumed, byteCount: kept)
        }
        count = kept
    }
}

extension Spool {
    /// The first record that is still to be read.
    package var readPosition: Int64 { reading.sequence }
    /// How many records are on the disk and were not handed on.
    package var unread: Int64 { synced - reading.sequence }
    /// How many records are here that are on their way already.
    package var adoptedAhead: Int64 {
        adopted.reduce(0) { $0 + max(0, $1.upperBound - max($1.lowerBound, readPosition)) }
    }

    private static var chunk: Int { 256 << 10 }

    /// A record that was read: its number, and what it names, by the numbers of this process.
    package struct Found {
        package let record: LineRecord
        package let sequence: Int64
        let source: UInt32
        let stamp: UInt32
        /// Where the line stood in its source.
        let position: Int64
    }

    /// Hands on the next records for as long as `take` takes them. `take` says false when it has no room.
    package mutating func read(_ take: (Found) -> Bool) {
        while reading.sequence < synced {
            if !adopted.isEmpty, let range = adopted.first(where: { $0.contains(reading.sequence) }) {
                guard skip(to: min(range.upperBound, synced)) else { return }
                adopted.removeAll { $0.upperBound <= reading.sequence }
                continue
            }
            guard let outcome = step(take) else { return }
            if !outcome { return }
        }
    }

    /// Moves past records that are delivered already.
    private mutating func skip(to end: Int64) -> Bool {
        while reading.sequence < end {
            guard let isTaken = step({ _ in true }), isTaken else { return false }
        }
        return true
    }

    /// Reads one record. False when it was not taken; nil when nothing can be read now.
    private mutating func step(_ take: (Found) -> Bool) -> Bool? {
        guard enter() else { return nil }
        while true {
            let available = reading.buffer.count - reading.consumed
            let base = reading.buffer.memory.baseAddress.map { $0 + reading.consumed }
            guard let base, let record = LineRecord.sound(at: base, count: available, reading.secret) else {
                if base.map({ LineRecord.mayGoOn(at: $0, count: available) }) ?? true {
                    switch fill() {
                    case .filled: continue
                    case .failed: return nil
                    case .atEnd: break
                    }
                }
                if let outcome = skipDamage() { return outcome }
                continue
            }
            guard record.kind == .line else {
                learn(record)
                moveOn(record.length)
                continue
            }
            if isBeyondSegment(reading.sequence) { return abandon() }
            guard record.sequence >= reading.sequence, !isBeyondSegment(record.sequence) else {
                // Sound, and none of those that were given out here.
                moveOn(record.length)
                continue
            }
            if record.sequence > reading.sequence {
                // What stood between is gone.
                news.lost += UInt64(max(0, record.sequence - max(reading.sequence, reading.wanted)))
                reading.sequence = record.sequence
            }
            let found = found(record)
            guard take(found) else { return false }
            reading.sequence += 1
            moveOn(record.length)
            return true
        }
    }

    private mutating func moveOn(_ count: Int) {
        reading.consumed += count
        reading.offset += count
    }

    /// Whether the segment that is read has no record of this number.
    private func isBeyondSegment(_ sequence: Int64) -> Bool {
        sequence >= reading.end && sequence >= segments.first { $0.name == reading.segment }?.end ?? .max
    }

    /// What follows is no record, though there should be one: looks for the next that is. Nil when there may be one now.
    private mutating func skipDamage() -> Bool?? {
        if !reading.isInDamage {
            reading.isInDamage = true
            if reading.sequence >= reading.wanted { news.damages += 1 }
            let available = reading.buffer.count - reading.consumed
            if let base = reading.buffer.memory.baseAddress,
                let length = LineRecord.damaged(
                    at: base + reading.consumed, count: available, next: reading.sequence)
            {
                moveOn(min(length, available))
                reading.isInDamage = false
                return .none
            }
        }
        while true {
            let available = reading.buffer.count - reading.consumed
            if available >= LineRecord.headerSize, let base = reading.buffer.memory.baseAddress {
                var offset = 8
                while offset + LineRecord.headerSize <= available {
                    let place = base + reading.consumed + offset
                    let isRecord = LineRecord.sound(at: place, count: available - offset, reading.secret) != nil
                    if isRecord
                        || !reading.isAtEnd
                            && LineRecord.mayBePart(at: place, count: available - offset, isPatient: true)
                    {
                        moveOn(offset)
                        if isRecord { reading.isInDamage = false }
                        return .none
                    }
                    offset += 8
                }
                moveOn(offset)
            }
            switch fill() {
            case .filled: continue
            case .failed: return .some(nil)
            case .atEnd:
                reading.isInDamage = false
                return .some(abandon())
            }
        }
    }

    private func found(_ record: LineRecord) -> Found {
        let stamp = Self.meaning(record.stamp, reading.stamps) ?? 0
        if let source = Self.meaning(record.source, reading.sources) {
            return Found(
                record: record, sequence: reading.sequence, source: source, stamp: stamp, position: record.position)
        }
        // Where it came from was damaged: then it is named by its place here.
        let source = definitions.source(Array("spool/\(generation)".utf8))
        return Found(
            record: record, sequence: reading.sequence, source: source, stamp: stamp, position: reading.sequence)
    }

    /// What a number of the segment's own stands for; nil where the disk has lost that.
    private static func meaning(_ number: UInt32, _ known: [UInt32]) -> UInt32? {
        number < known.count && known[Int(number)] != .max ? known[Int(number)] : nil
    }

    private mutating func learn(_ record: LineRecord) {
        let payload = Array(record.value)
        if record.kind == .source {
            Self.set(record.source, definitions.source(payload), in: &reading.sources)
        } else {
            Self.set(record.stamp, definitions.stamp(payload: payload), in: &reading.stamps)
        }
    }

    /// They are numbered from 0 in the order in which they stand; where some are damaged there are holes.
    private static func set(_ number: UInt32, _ meaning: UInt32, in known: inout [UInt32]) {
        guard number < 1 << 20 else { return }
        while known.count <= number { known.append(.max) }
        known[Int(number)] = meaning
    }

    /// Opens the segment that the next record is in; false when it cannot be.
    private mutating func enter() -> Bool {
        if reading.file != nil, reading.sequence < reading.end { return true }
        guard
            let segment = segments.last(where: { $0.first <= reading.sequence }),
            reading.sequence < segment.end || segment.name == segments.last?.name
        else { return false }
        if reading.segment == segment.name, reading.file != nil {
            reading.end = segment.end
            return true
        }
        leave()
        do throws(SystemError) { reading.file = try storage.open(segment.name) } catch {
            news.failures += 1
            news.readProblem = error.description
            return false
        }
        let wanted = reading.sequence
        reading.segment = segment.name
        reading.end = segment.end
        reading.secret = segment.secret
        reading.sequence = segment.first
        reading.wanted = wanted
        // The records before are not wanted, but what they define is.
        while reading.sequence < wanted {
            guard let isTaken = step({ $0.sequence < wanted }), isTaken else { return reading.segment != nil }
        }
        return true
    }

    mutating func leave() {
        if let file = reading.file { storage.close(file) }
        let sequence = reading.sequence
        reading = SpoolReading()
        reading.sequence = sequence
    }

    private enum Filling {
        case filled
        case atEnd
        case failed
    }

    /// Reads more of the segment.
    private mutating func fill() -> Filling {
        guard let file = reading.file, let segment = segments.first(where: { $0.name == reading.segment }) else {
            return .failed
        }
        let kept = reading.buffer.count - reading.consumed
        let room = segment.size - reading.offset - kept
        // A record may be longer than a piece.
        let wanted = min(room, max(Self.chunk, kept))
        guard wanted > 0 else {
            reading.isAtEnd = true
            return .atEnd
        }
        reading.isAtEnd = false
        reading.buffer.shift(by: reading.consumed, room: wanted)
        reading.consumed = 0
        do throws(SystemError) {
            let space = UnsafeMutableRawBufferPointer(rebasing: reading.buffer.unused[..<wanted])
            let count = try storage.read(file, at: reading.offset + kept, into: space)
            reading.buffer.count += count
            if count == 0 { reading.isAtEnd = true }
            news.readProblem = nil
            return count > 0 ? .filled : .atEnd
        } catch {
            news.failures += 1
            news.readProblem = error.description
            return .failed
        }
    }

    /// What follows in this segment is no record, though there should be some: the disk has lost them.
    private mutating func abandon() -> Bool? {
        guard let index = segments.firstIndex(where: { $0.name == reading.segment }) else { return nil }
        let end = segments[index].end
        guard reading.sequence < end else { return nil }
        news.lost += UInt64(end - reading.sequence)
        reading.sequence = end
        leave()
        return true
    }

    // MARK: - Acknowledgement

    /// Everything before `sequence` is delivered: it is never read again, and whole segments of it are removed.
    package mutating func acknowledge(_ sequence: Int64) {
        guard sequence > cursor.sequence || !isCursorWritten else { return }
        cursor.sequence = max(sequence, cursor.sequence)
        cursor.count += 1
        let bytes = SpoolFormat.write(cursor)
        let offset = Int(cursor.count % Int64(SpoolFormat.cursorSlots)) * SpoolFormat.headSize
        do throws(SystemError) {
            try Self.put(bytes, cursorFile, offset, storage)
            isCursorWritten = true
        } catch {
            // Until it succeeds, a little more would be sent again after a start.
            isCursorWritten = false
            cursor.count -= 1
            news.failures += 1
            removeSpare()
        }
        removeDelivered()
    }

    private static func put(
        _ bytes: [UInt8], _ file: Int32, _ offset: Int, _ storage: Storage
    ) throws(SystemError) {
        var failure: SystemError?
        bytes.withUnsafeBytes { raw in
            do throws(SystemError) { try storage.write(file, at: offset, raw) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    private mutating func removeDelivered() {
        while let oldest = segments.first, oldest.end <= cursor.sequence, oldest.end > oldest.first {
            let isLast = segments.count == 1
            // The one that is written to stays until it is worth the trouble.
            if isLast, hasUnsynced || oldest.size < settings.segment / 4 { return }
            // Without the segment only the cursor knows which numbers were given out.
            guard (try? storage.sync(cursorFile)) != nil, isCursorWritten else { return }
            if reading.segment == oldest.name { leave() }
            if let file = oldest.file { storage.close(file) }
            segments.removeFirst()
            // What the segment knew, the next one must be told again.
            if isLast {
                localSources.removeAll()
                localStamps.removeAll()
            }
            retire(oldest)
        }
    }

    /// These records are on their way already: reading passes over them.
    package mutating func adopt(_ range: Range<Int64>) { if !range.isEmpty { adopted.append(range) } }
}
