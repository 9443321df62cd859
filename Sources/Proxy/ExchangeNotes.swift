import Exchanges
import HTTP
import Provenance
import Runtime

/// What is kept of one exchange until its log line is made: the head of a block, behind which its bytes stand.
struct ExchangeNote {
    var pathCount = 0
    var user = 0..<0
    var variantCount = 0
    var bucketCount = 0
    var resultCount = 0
    /// Whether the body is one that a line can show.
    var takesResult = false
    var isChunked = false
    var chunks = ChunkedBody()
}

/// Blocks for the notes of exchanges, used again and again; and where their lines go.
struct ExchangeNotes: ~Copyable {
    let ring: HandoverRing?
    /// What stands before and behind the user's id in a path: memory of its own, because arrays would be counted with every exchange.
    let prefix: UnsafeRawBufferPointer
    let suffix: UnsafeRawBufferPointer
    /// How much of a body is kept.
    let resultBytes: Int
    private let tell: (@Sendable () -> Void)?
    /// Whether lines were handed over that the reader was not told of.
    var isToTell = false
    private var free: [UnsafeMutablePointer<ExchangeNote>] = []
    var time = SecondText()

    static let pathCapacity = 1024
    static let valueCapacity = 128
    static let pathOffset = (MemoryLayout<ExchangeNote>.size + 7) & ~7
    static let variantOffset = pathOffset + pathCapacity
    static let bucketOffset = variantOffset + valueCapacity
    static let resultOffset = bucketOffset + valueCapacity
    /// More than everything in a line but its path, values and result.
    static let wordsCapacity = 256

    init(_ making: ProxySettings.LineMaking?, worker: Int) {
        ring = making?.rings[worker]
        prefix = UnsafeRawBufferPointer(copying: making?.prefix ?? [])
        suffix = UnsafeRawBufferPointer(copying: making?.suffix ?? [])
        resultBytes = making?.resultBytes ?? 0
        tell = making?.tellReader
    }

    deinit {
        prefix.deallocate()
        suffix.deallocate()
        for block in free { UnsafeMutableRawPointer(block).deallocate() }
    }

    /// Whether lines are made of exchanges at all.
    var areTaken: Bool { ring != nil }

    /// Wakes whoever takes the lines, if any were handed over.
    mutating func tellReader() {
        guard isToTell else { return }
        isToTell = false
        tell?()
    }

    mutating func take() -> UnsafeMutablePointer<ExchangeNote> {
        let note: UnsafeMutablePointer<ExchangeNote>
        if let block = free.popLast() {
            note = block
        } else {
            let size = Self.resultOffset + resultBytes
            note = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
                .bindMemory(to: ExchangeNote.self, capacity: 1)
        }
        note.initialize(to: ExchangeNote())
        return note
    }

    mutating func give(_ note: UnsafeMutablePointer<ExchangeNote>) { free.append(note) }
}

extension Worker where Net: ~Copyable {
    /// Keeps the path of a request that a line will be made of.
    @inline(__always)
    mutating func beginNote(_ client: End, _ head: UnsafeRawPointer, _ request: RequestHead) {
        guard notes.areTaken else { return }
        dropNote(client)
        keepPath(client, head + Int(request.target.start), count: request.target.count)
    }

    private mutating func keepPath(_ client: End, _ target: UnsafeRawPointer, count: Int) {
        let bytes = UnsafeRawBufferPointer(start: target, count: count)
        // Queries may hold what nobody should log.
        let path = UnsafeRawBufferPointer(rebasing: bytes[..<ByteScan.first(0x3F, bytes, 0..<count)])
        guard let user = Self.user(in: path, prefix: notes.prefix, suffix: notes.suffix) else { return }
        guard path.count <= ExchangeNotes.pathCapacity else { return counters.add(.longPaths) }
        let note = notes.take()
        note.pointee.pathCount = path.count
        note.pointee.user = user
        if let base = path.baseAddress {
            (UnsafeMutableRawPointer(note) + ExchangeNotes.pathOffset).copyMemory(from: base, byteCount: path.count)
        }
        client.pointee.note = note
    }

    /// Where the user's id stands in a path; nil when the path is none of a recommendation.
    private static func user(
        in path: UnsafeRawBufferPointer, prefix: UnsafeRawBufferPointer, suffix: UnsafeRawBufferPointer
    ) -> Range<Int>? {
        guard path.count > prefix.count + suffix.count, path.begins(with: prefix),
            UnsafeRawBufferPointer(rebasing: path[(path.count - suffix.count)...]).begins(with: suffix)
        else { return nil }
        let user = prefix.count..<path.count - suffix.count
        return ByteScan.first(0x2F, path, user) == user.upperBound ? user : nil
    }

    /// Keeps what the head of the response says, and whether its body can be shown.
    mutating func noteResponse(_ response: ResponseHead, _ client: End, _ head: UnsafeRawPointer) {
        guard let note = client.pointee.note else { return }
        var isText = false
        var isCoded = false
        var said = UnsafeRawBufferPointer(start: nil, count: 0)
        var timesSaid = 0
        for index in 0..<fields.count {
            let value = UnsafeRawBufferPointer(
                start: head + Int(fields[index].value.start), count: fields[index].value.count)
            switch fields[index].name {
            case .lineVariant: note.pointee.variantCount = keep(value, note, ExchangeNotes.variantOffset)
            case .answeredBy:
                said = value
                timesSaid &+= 1
            case .lineBucket: note.pointee.bucketCount = keep(value, note, ExchangeNotes.bucketOffset)
            case .contentType: isText = Self.isShown(value)
            case .contentEncoding: isCoded = true
            default: break
            }
        }
        if note.pointee.variantCount == 0, case .variantHeader = settings.attribution {
            // Which variant has answered only the response says, of a name that is known or not; said twice, it says nothing.
            if timesSaid == 1 { note.pointee.variantCount = keep(said, note, ExchangeNotes.variantOffset) }
        } else if note.pointee.variantCount == 0, settings.variants.count > 1 {
            let name = settings.variants[Int(client.pointee.variant)].name
            _ = name.utf8.withContiguousStorageIfAvailable { bytes in
                note.pointee.variantCount = keep(UnsafeRawBufferPointer(bytes), note, ExchangeNotes.variantOffset)
            }
        }
        if case .chunked = response.framing { note.pointee.isChunked = true }
        note.pointee.takesResult =
            (200..<300).contains(response.status) && isText && !isCoded && notes.resultBytes > 0
    }

    /// Keeps a value of a header as a line may hold it; one that is too long, or holds what lines are built with, is left out.
    private func keep(_ value: UnsafeRawBufferPointer, _ note: UnsafeMutablePointer<ExchangeNote>, _ offset: Int) -> Int
    {
        guard value.count <= ExchangeNotes.valueCapacity, let base = value.baseAddress,
            value.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x2C && $0 != 0x3D && $0 != 0x22 && $0 != 0x25 })
        else { return 0 }
        (UnsafeMutableRawPointer(note) + offset).copyMemory(from: base, byteCount: value.count)
        return value.count
    }

    /// JSON and text, whatever their parameters.
    private static func isShown(_ type: UnsafeRawBufferPointer) -> Bool {
        let end = ByteScan.first(0x3B, type, 0..<type.count)
        func begins(_ word: StaticString) -> Bool {
            guard type.count >= word.utf8CodeUnitCount else { return false }
            for index in 0..<word.utf8CodeUnitCount where type[index] | 0x20 != word.utf8Start[index] { return false }
            return true
        }
        if begins("text/") || begins("application/json") { return true }
        guard end >= 5 else { return false }
        let ending = type[end - 5..<end]
        return zip(ending, "+json".utf8).allSatisfy { $0 | 0x20 == $1 || $0 == $1 }
    }

    /// Keeps the beginning of the body, as it passes: from `from` to where it was taken.
    mutating func noteBody(_ client: End, _ upstream: End, from: Int) {
        guard let note = client.pointee.note, note.pointee.takesResult else { return }
        let most = notes.resultBytes
        let bytes = UnsafeRawBufferPointer(start: data(upstream) + from, count: upstream.pointee.start &- from)
        let result = UnsafeMutableRawPointer(note) + ExchangeNotes.resultOffset
        func keep(_ range: Range<Int>) {
            let count = min(range.count, most - note.pointee.resultCount)
            guard count > 0, let base = bytes.baseAddress else { return }
            (result + note.pointee.resultCount).copyMemory(from: base + range.lowerBound, byteCount: count)
            note.pointee.resultCount += count
        }
        if !note.pointee.isChunked || upstream.pointee.flags.contains(.unwrapsChunks) {
            keep(0..<bytes.count)
        } else {
            var cursor = 0
            while note.pointee.resultCount < most,
                case .success(let payload) = note.pointee.chunks.nextPayload(bytes.bytes, from: cursor),
                !payload.isEmpty
            {
                keep(payload)
                cursor = payload.upperBound
            }
        }
        if note.pointee.resultCount == most { note.pointee.takesResult = false }
    }

    /// Forgets what was kept.
    @inline(__always)
    mutating func dropNote(_ client: End) {
        guard let note = client.pointee.note else { return }
        client.pointee.note = nil
        notes.give(note)
    }

    /// Hands over what is known of an exchange, and its line where one is made of it. What finds no room is shed, and counted: nobody waits.
    @inline(__always)
    mutating func endExchange(_ client: End) {
        let isToRecord = records != nil && client.pointee.claim != nil
        guard isToRecord || client.pointee.note != nil else { return }
        let claim = finalClaim(client)
        if isToRecord { record(client, claim) }
        guard let note = client.pointee.note else { return }
        if client.pointee.flags.contains(.hasResponse) || client.pointee.status > 0 { handOver(client, note, claim) }
        dropNote(client)
    }

    /// How sure it is now that the response has ended: an activation may have happened meanwhile.
    private func finalClaim(_ client: End) -> Attribution? {
        guard case .pointer = settings.attribution, client.pointee.claim == .inferred,
            let row = admittedRow(client), row.pointee.serial > client.pointee.serial
        else { return client.pointee.claim }
        return .mixed
    }

    /// Wakes those who take lines and records: once in a turn, for all that were handed over in it, unless it is much.
    mutating func tellReaders() {
        notes.tellReader()
        guard hasRecorded else { return }
        hasRecorded = false
        settings.recording?.tellReader()
    }

    private mutating func record(_ client: End, _ claim: Attribution?) {
        guard !client.pointee.isRecorded, let ring = records, let buffer = client.pointee.buffer, let claim else {
            return
        }
        client.pointee.isRecorded = true
        let idCount = Int(client.pointee.idCount)
        let size = ExchangeEntry.size(idCount: idCount)
        guard let entry = ring.reserve(size) else {
            counters.add(.droppedRecords)
            return
        }
        ExchangeEntry(entry).fill(
            id: buffer, idCount: idCount, time: wall, microseconds: now &- client.pointee.since,
            status: client.pointee.status, strength: claim.strength,
            variant: client.pointee.variant,
            prefix: client.pointee.isStamped ? UnsafeRawPointer(buffer + BufferPool.suffixOffset) : nil)
        ring.commit(size)
        hasRecorded = true
        if ring.isFilling { tellReaders() }
    }

    private mutating func handOver(
        _ client: End, _ note: UnsafeMutablePointer<ExchangeNote>, _ claim: Attribution?
    ) {
        guard let ring = notes.ring, let buffer = client.pointee.buffer else { return }
        let position = ring.position
        let idCount = Int(client.pointee.idCount)
        // A comma of the user's takes three bytes, and the path stands there once more.
        let shown = note.pointee.pathCount + 3 * note.pointee.user.count + note.pointee.variantCount
        let most = HandoverEntry.size(
            idCount: idCount,
            lineCount: shown + note.pointee.bucketCount + note.pointee.resultCount + ExchangeNotes.wordsCapacity)
        guard let entry = ring.reserve(most) else {
            counters.add(.shedLines)
            return
        }
        var line = LineWriter(entry + HandoverEntry.headSize + idCount)
        write(note, client, to: &line)
        let size = HandoverEntry.size(idCount: idCount, lineCount: line.count)
        entry.storeBytes(of: UInt32(size), toByteOffset: HandoverEntry.lengthOffset, as: UInt32.self)
        let hasManifest = client.pointee.isStamped && client.pointee.claim != nil
        entry.storeBytes(
            of: UInt8((claim ?? .unknown).strength), toByteOffset: HandoverEntry.strengthOffset, as: UInt8.self)
        entry.storeBytes(of: hasManifest ? 1 : 0, toByteOffset: HandoverEntry.hasManifestOffset, as: UInt8.self)
        entry.storeBytes(of: UInt16(idCount), toByteOffset: HandoverEntry.idCountOffset, as: UInt16.self)
        entry.storeBytes(of: UInt32(line.count), toByteOffset: HandoverEntry.lineCountOffset, as: UInt32.self)
        (entry + HandoverEntry.prefixOffset)
            .copyMemory(from: buffer + BufferPool.suffixOffset, byteCount: HandoverEntry.prefixCount)
        (entry + HandoverEntry.headSize).copyMemory(from: buffer, byteCount: idCount)
        entry.storeBytes(of: now, toByteOffset: HandoverEntry.timeOffset, as: Int64.self)
        entry.storeBytes(of: HandoverEntry.mark(position), toByteOffset: HandoverEntry.markOffset, as: UInt64.self)
        ring.commit(size)
        counters.add(.lines)
        notes.isToTell = true
        if ring.isFilling { tellReaders() }
    }

    /// `<time>,<user>,recommendation request <path>, status <code>, variant=…, bucket=…, result: …, <n> ms`
    private mutating func write(
        _ note: UnsafeMutablePointer<ExchangeNote>, _ client: End, to line: inout LineWriter
    ) {
        notes.time.update(wall)
        notes.time.bytes.span.withUnsafeBytes { line.write($0) }
        line.write(number: Int(max(0, wall) % 1_000_000), digits: 6)
        line.write("Z,")
        let path = UnsafeRawBufferPointer(
            start: UnsafeRawPointer(note) + ExchangeNotes.pathOffset, count: note.pointee.pathCount)
        for index in note.pointee.user {
            // A comma would begin another column.
            if path[index] == 0x2C { line.write("%2C") } else { line.write(byte: path[index]) }
        }
        line.write(",recommendation request ")
        line.write(path)
        line.write(", status ")
        line.write(number: client.pointee.status, digits: 1)
        let base = UnsafeRawPointer(note)
        if note.pointee.variantCount > 0 {
            line.write(", variant=")
            line.write(
                UnsafeRawBufferPointer(start: base + ExchangeNotes.variantOffset, count: note.pointee.variantCount))
        }
        if note.pointee.bucketCount > 0 {
            line.write(", bucket=")
            line.write(
                UnsafeRawBufferPointer(start: base + ExchangeNotes.bucketOffset, count: note.pointee.bucketCount))
        }
        if note.pointee.resultCount > 0 {
            line.write(", result: ")
            let result = UnsafeRawBufferPointer(
                start: base + ExchangeNotes.resultOffset, count: note.pointee.resultCount)
            line.write(shown: result)
        }
        line.write(", ")
        line.write(number: Int(max(0, now &- client.pointee.since) / 1000), digits: 1)
        line.write(" ms")
    }
}

/// Writes a line where there is room for the longest.
private struct LineWriter {
    private let base: UnsafeMutableRawPointer
    private(set) var count = 0

    init(_ base: UnsafeMutableRawPointer) { self.base = base }

    mutating func write(byte: UInt8) {
        base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
        count &+= 1
    }

    mutating func write(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress else { return }
        (base + count).copyMemory(from: source, byteCount: bytes.count)
        count &+= bytes.count
    }

    mutating func write(_ text: StaticString) {
        write(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func write(number: Int, digits: Int) {
        var text = InlineArray<20, UInt8>(repeating: 0x30)
        var (start, rest) = (text.count, number.magnitude)
        repeat {
            start &-= 1
            text[start] = UInt8(truncatingIfNeeded: 0x30 &+ rest % 10)
            rest /= 10
        } while rest > 0
        start = min(start, text.count - digits)
        text.span.extracting(start..<text.count).withUnsafeBytes { write($0) }
    }

    /// Control bytes and what is no UTF-8 as spaces; what was cut in the middle of a character ends before it.
    mutating func write(shown bytes: UnsafeRawBufferPointer) {
        let span = Span<UInt8>(_unsafeBytes: bytes)
        var index = 0
        while index < bytes.count {
            let end = ByteScan.firstUnprinted(bytes, index..<bytes.count)
            write(UnsafeRawBufferPointer(rebasing: bytes[index..<end]))
            index = end
            guard index < bytes.count else { return }
            let byte = bytes[index]
            if byte < 0x80 {
                write(byte: 0x20)
                index &+= 1
                continue
            }
            let length = JSONSyntax.scalarLength(span, at: index)
            if length > 0 {
                write(UnsafeRawBufferPointer(rebasing: bytes[index..<index + length]))
                index &+= length
            } else {
                // The beginning of a character at the very end was cut off there.
                if bytes.count - index < 4, byte >= 0xC2, bytes[(index + 1)...].allSatisfy({ $0 & 0xC0 == 0x80 }) {
                    return
                }
                write(byte: 0x20)
                index &+= 1
            }
        }
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func begins(with other: UnsafeRawBufferPointer) -> Bool {
        guard let base = baseAddress, let start = other.baseAddress else { return other.isEmpty }
        return count >= other.count && ByteScan.isEqual(base, start, other.count)
    }
}
