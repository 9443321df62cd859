import Provenance
import Runtime

extension Spool {
    /// Opens what is there, up to the last whole record, or begins a new one.
    package static func open(
        _ storage: Storage, _ settings: SpoolSettings, _ definitions: Definitions,
        makeGeneration: () throws(SystemError) -> String
    ) throws(SpoolError) -> Spool {
        let found = try find(storage)
        let generation: String
        if let known = found.cursor?.generation ?? found.generation {
            generation = known
        } else {
            do { generation = try makeGeneration() } catch { throw .system(error) }
        }
        var spool = Spool(storage, settings, definitions, generation, found)
        try spool.recover(found.secrets)
        if spool.news.torn > 0 || !spool.news.setAside.isEmpty {
            // Numbers may have been lost with what was damaged: none of them is given out again under the same name.
            do { spool.generation = try makeGeneration() } catch { throw .system(error) }
            spool.cursor.generation = spool.generation
            // Before any of them is: or the next start would go on under the old name.
            spool.isCursorWritten = false
            spool.acknowledge(spool.cursor.sequence)
            if (try? spool.storage.sync(spool.cursorFile)) == nil { spool.isCursorWritten = false }
        }
        return spool
    }

    private init(
        _ storage: Storage, _ settings: SpoolSettings, _ definitions: Definitions, _ generation: String,
        _ found: Findings
    ) {
        self.storage = storage
        self.settings = settings
        self.definitions = definitions
        self.generation = generation
        segments = found.segments
        news = found.news
        cursorFile = found.cursorFile
        // Before the first delivery there is none: all waits, also what is damaged.
        let oldest = (found.segments.map(\.first) + news.setAside.compactMap { SpoolFormat.place(name: $0)?.first })
            .min()
        cursor = found.cursor ?? SpoolFormat.Cursor(count: 0, sequence: oldest ?? 0, generation: generation)
    }

    /// What was found on the disk.
    private struct Findings {
        var cursorFile: Int32 = -1
        var cursor: SpoolFormat.Cursor?
        var segments: [Segment] = []
        var generation: String?
        /// Of those that were put aside.
        var secrets: [String: UInt32] = [:]
        var news = SpoolNews()
    }

    private static func find(_ storage: Storage) throws(SpoolError) -> Findings {
        var found = Findings()
        let newer: UInt32?
        do throws(SystemError) {
            let names = try storage.names()
            if names.contains(SpoolFormat.cursorName) {
                found.cursorFile = try storage.open(SpoolFormat.cursorName)
                found.cursor = try readCursor(found.cursorFile, storage)
            } else {
                found.cursorFile = try storage.create(SpoolFormat.cursorName)
            }
            newer = try readSegments(names, storage, &found)
        } catch { throw .system(error) }
        if let newer { throw .newer(version: newer) }
        return found
    }

    private static func readCursor(_ file: Int32, _ storage: Storage) throws(SystemError) -> SpoolFormat.Cursor? {
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: SpoolFormat.cursorSlots * SpoolFormat.headSize, alignment: 8)
        defer { buffer.deallocate() }
        let count = try storage.read(file, at: 0, into: buffer)
        return SpoolFormat.readCursor(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }

    /// Reads the heads of all segments. Answers the version of one that a later Colophon wrote.
    private static func readSegments(
        _ names: [String], _ storage: Storage, _ found: inout Findings
    ) throws(SystemError) -> UInt32? {
        var newer: UInt32?
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: SpoolFormat.headSize, alignment: 8)
        defer { buffer.deallocate() }
        for name in names {
            if name == SpoolFormat.spareName { try storage.remove(name) }
            guard let (first, _) = SpoolFormat.place(name: name) else { continue }
            let file = try storage.open(name)
            let size = try storage.size(of: file)
            let count = try storage.read(file, at: 0, into: buffer)
            storage.close(file)
            do throws(SpoolFormat.HeadFault) {
                let head = try SpoolFormat.readHead(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                guard head.first == first else { throw .damaged }
                if found.generation == nil { found.generation = head.generation }
                found.segments.append(
                    Segment(
                        name: name, secret: head.secret, first: first, end: first, size: size, reused: head.reused,
                        file: nil))
            } catch {
                if case .version(let version) = error {
                    newer = version
                } else if size < SpoolFormat.headSize {
                    // One that was never finished holds nothing; others are kept for whoever wants to look.
                    try storage.remove(name)
                } else {
                    try storage.rename(name, to: name + ".damaged")
                    found.news.setAside.append(name)
                    found.secrets[name] = SpoolFormat.secret(
                        ofDamaged: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                }
            }
        }
        found.segments.sort { left, right in
            let (one, other) = (SpoolFormat.place(name: left.name), SpoolFormat.place(name: right.name))
            return (one?.first ?? 0, one?.attempt ?? 0) < (other?.first ?? 0, other?.attempt ?? 0)
        }
        for index in found.segments.indices.dropLast() { found.segments[index].end = found.segments[index + 1].first }
        return newer
    }

    /// Finds the last whole record, and takes away what a crash left behind it.
    private mutating func recover(_ secrets: [String: UInt32]) throws(SpoolError) {
        try dropUnfinished()
        if let index = segments.indices.last {
            reading.sequence = segments[index].first
            let (end, size, isMarked) = try scan(segments[index])
            if !isMarked, segments[index].size > size {
                // Where an older segment's bytes stand behind it, nobody can tell how many were being written.
                let torn = segments[index].size - max(size, min(segments[index].reused, segments[index].size))
                news.torn += UInt64(max(torn, SpoolFormat.endMarkSize))
            }
            do throws(SystemError) {
                let file = try storage.open(segments[index].name)
                defer { storage.close(file) }
                if segments[index].size > size { try storage.truncate(file, to: size) }
                // What a killed process wrote was perhaps never synced, and is about to be handed on.
                try storage.sync(file)
                try storage.syncNames()
            } catch { throw .system(error) }
            segments[index].end = end
            segments[index].size = size
            segments[index].reused = 0
            next = end
            if end == segments[index].first {
                // It holds no record: another one begins with the same number.
                let name = segments.removeLast().name
                do throws(SystemError) { try storage.remove(name) } catch { throw .system(error) }
            }
        }
        try countSetAside(secrets)
        next = max(next, cursor.sequence)
        cursor.sequence = min(max(cursor.sequence, segments.first?.first ?? next), next)
        leave()
        reading.sequence = cursor.sequence
        news.recovered = next - cursor.sequence
        removeSegmentsBehind()
    }

    /// Segments with damaged heads are put aside whole, and what waited in them is lost. Between others they are missed when reading comes there.
    private mutating func countSetAside(_ secrets: [String: UInt32]) throws(SpoolError) {
        guard !news.setAside.isEmpty else { return }
        let oldest = segments.first?.first
        if let oldest { news.lost += UInt64(max(0, oldest - cursor.sequence)) }
        for name in news.setAside {
            guard let first = SpoolFormat.place(name: name)?.first, oldest == nil || first >= next else { continue }
            let aside = Segment(
                name: name + ".damaged", secret: secrets[name] ?? 0, first: first, end: first, size: 0, file: nil)
            let end = try scan(aside).end
            // Without a record that can be read, nobody knows how many there were.
            news.lost += end > first ? UInt64(max(0, end - max(first, cursor.sequence))) : 1
        }
    }

    /// Segments that were to replace the tail of one before them, and were not finished when the process was killed, are of no use: that
    /// tail is still there, and longer.
    private mutating func dropUnfinished() throws(SpoolError) {
        var best: (index: Int, end: Int64)?
        for index in segments.indices.suffix(Self.mostUnfinished) {
            let end = try scan(segments[index]).end
            if end >= best?.end ?? .min { best = (index, end) }
        }
        guard let best else { return }
        do throws(SystemError) {
            for segment in segments[(best.index + 1)...] { try storage.remove(segment.name) }
        } catch { throw .system(error) }
        segments.removeSubrange((best.index + 1)...)
    }

    private static var mostUnfinished: Int { 4 }
    /// How often the bytes of a segment are looked at for long records that are none.
    private static var patience: Int { 8 }

    private mutating func removeSegmentsBehind() {
        guard let oldest = segments.first, oldest.end <= cursor.sequence else { return }
        // A killed process may have moved the cursor and never synced it: without these segments it must be on the disk.
        guard (try? storage.sync(cursorFile)) != nil else { return }
        while let oldest = segments.first, oldest.end <= cursor.sequence {
            segments.removeFirst()
            try? storage.remove(oldest.name)
        }
    }

    /// The number behind the last whole record of a segment, where that record ends, and whether its end mark stands there. What is damaged
    /// before it is passed over.
    private mutating func scan(_ segment: Segment) throws(SpoolError) -> (end: Int64, size: Int, isMarked: Bool) {
        var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        do throws(SystemError) {
            let file = try storage.open(segment.name)
            defer { storage.close(file) }
            var offset = SpoolFormat.headSize
            var (end, size) = (segment.first, offset)
            var isInDamage = false
            // Whoever writes lines can make bytes that look like the heads of long records: only so many are looked at for nothing.
            var patience = Self.patience * (try storage.size(of: file))
            while true {
                let count = try storage.read(file, at: offset, into: buffer)
                var consumed = 0
                var needsMore = false
                while consumed < count {
                    let place = buffer.baseAddress.unsafelyUnwrapped + consumed
                    // No more stand before it than there is room for.
                    let most = Int64((offset + consumed) / LineRecord.headerSize)
                    let isPatient = patience > 0 || !isInDamage
                    if let record = LineRecord.sound(
                        at: place, count: count - consumed, segment.secret, isPatient: isPatient, &patience),
                        record.kind != .line || 0...most ~= record.sequence &- segment.first
                    {
                        if record.kind == .line { end = max(end, record.sequence + 1) }
                        consumed += record.length
                        size = offset + consumed
                        isInDamage = false
                    } else if isEndMark(place, at: offset + consumed, count - consumed, segment) {
                        // Behind something that is damaged it says where the end is, and not that all is well.
                        return (end, size, offset + consumed == size)
                    } else if count == buffer.count,
                        LineRecord.mayBePart(at: place, count: count - consumed, isPatient: isPatient)
                    {
                        if isInDamage { patience -= count }
                        needsMore = true
                        break
                    } else if !isInDamage,
                        let length = LineRecord.damaged(at: place, count: count - consumed, next: end)
                    {
                        consumed += min(length, count - consumed)
                    } else {
                        // Either a crash cut it off here, or there is a sound one further on.
                        consumed += 8
                        isInDamage = true
                    }
                }
                if count < buffer.count { return (end, size, false) }
                if consumed == 0, needsMore {
                    guard count < LineRecord.longest else {
                        offset += 8
                        continue
                    }
                    buffer.deallocate()
                    buffer = .allocate(byteCount: 4 * count, alignment: 4096)
                }
                offset += consumed
            }
        } catch { throw .system(error) }
    }

    private func isEndMark(_ place: UnsafeMutableRawPointer, at offset: Int, _ count: Int, _ segment: Segment) -> Bool {
        segment.reused > 0 && count >= SpoolFormat.endMarkSize
            && UInt64(littleEndian: place.loadUnaligned(as: UInt64.self))
                == SpoolFormat.endMark(at: offset, segment.secret)
    }

    /// Closes what is open. What was delivered is on record as far as it can be. Answers how many lines could not be kept.
    @discardableResult
    package mutating func close() -> Int64 {
        _ = sync()
        let isCursorOnDisk = (try? storage.sync(cursorFile)) != nil && isCursorWritten
        leave()
        removeSpare()
        if let index = segments.indices.last, let file = segments[index].file {
            cutOlder(index)
            storage.close(file)
            segments[index].file = nil
        }
        // What was delivered does not stay behind.
        if isCursorOnDisk, unsyncedCount == 0, segments.count == 1, segments[0].end <= cursor.sequence {
            try? storage.remove(segments.removeLast().name)
        }
        storage.close(cursorFile)
        return unsyncedCount
    }
}

/// Why a spool cannot be used.
package enum SpoolError: Error, Sendable, CustomStringConvertible {
    case system(SystemError)
    /// A later Colophon wrote it.
    case newer(version: UInt32)

    package var description: String {
        switch self {
        case .system(let error): error.description
        case .newer(let version):
            "the spool is of version \(version), which a later Colophon wrote: run that one until it is empty, or name another --data-dir"
        }
    }
}
