import Provenance
import Runtime

/// Takes lines in: enriches each, and puts it into the spool, or straight into delivery where its source can be read again.
package final class LineIntake {
    package struct Settings: Sendable {
        package var lineLimit = 900 << 10
        /// How far from now a line's own time may lie to be its record's.
        package var windowBack: Int64 = 24 * 3_600_000_000
        package var windowAhead: Int64 = 600_000_000

        package init() {}
    }

    private let settings: Settings
    var enricher: LineEnricher
    var spool: Spool<SpoolDirectory>
    var delivery: Delivery
    let definitions: Definitions
    let deadLetters: DeadLetterFile
    private var scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 8)
    /// The wall time, read once for many lines.
    private var now = Clock.now()
    /// Lines whose own time lies outside the window.
    package private(set) var outsideWindow: UInt64 = 0
    /// The instance's, with which every origin begins.
    private let identity: String
    private let newName: () -> String
    private var window: (back: Int64, ahead: Int64)
    /// What files' lines are for now.
    var fileMode = FileMode.direct
    /// Behind the last record in the spool that is of a file.
    private(set) var spooledFiles: Int64
    /// How many owners there are, and those that nobody uses.
    private(set) var ownerCount = 1
    private var freeOwners: [Int] = []
    /// Those that are files.
    private var fileOwners: Set<Int> = []
    /// Whether lines of files may be on their way that are not in the spool.
    private var hasDirectLines = false
    /// What each stream's line that is too long is called.
    private var overlongNames: [ObjectIdentifier: String] = [:]
    /// Dead letters that could not be put where they belong yet; while there are any, nothing more is taken.
    private var unburied: [DeadLetterFile.Letter] = []
    private var lastSource: (identity: ObjectIdentifier, number: UInt32)?

    package init(
        _ settings: Settings, enricher: consuming LineEnricher, spool: consuming Spool<SpoolDirectory>,
        delivery: consuming Delivery, definitions: Definitions, deadLetters: DeadLetterFile, identity: String,
        newName: @escaping () -> String = { (try? Instance.newULID()) ?? "unnamed" }
    ) {
        self.settings = settings
        self.identity = identity
        self.newName = newName
        window = (settings.windowBack, settings.windowAhead)
        self.enricher = enricher
        // What was found in the spool may be of files, and goes out before they are read on.
        spooledFiles = spool.next
        self.spool = spool
        self.delivery = delivery
        self.definitions = definitions
        self.deadLetters = deadLetters
    }

    deinit { scratch.deallocate() }

    /// The topic refuses times further away than this.
    func narrowWindow(back: Int64?, ahead: Int64?) {
        if let back { window.back = min(window.back, back) }
        if let ahead { window.ahead = min(window.ahead, ahead) }
    }

    /// Called between reading and enriching: what became live before a line was written is then known.
    func refresh(saysItself: Bool = false) {
        now = Clock.now()
        enricher.refresh(saysItself: saysItself)
    }

    /// A record may have waited until its own time is none any more that brokers take, or keep: then its time is that of now.
    func keepInWindow(_ record: LineRecord, now: Instant) {
        guard record.lineTime == LineRecord.noTime,
            now.microseconds &- record.milliseconds &* 1000 > window.back
        else { return }
        outsideWindow += 1
        record.renew(at: now)
    }

    /// Gives a record that was refused for its time the time of now; false where it has that already.
    func renew(_ record: LineRecord) -> Bool {
        let now = Clock.now()
        let age = now.microseconds &- record.milliseconds &* 1000
        guard record.lineTime == LineRecord.noTime || abs(age) > Self.leastAge else { return false }
        if record.lineTime == LineRecord.noTime { outsideWindow += 1 }
        record.renew(at: now)
        return true
    }

    /// Who is refused with so new a time is not refused for having waited.
    private static let leastAge: Int64 = 1_000_000

    /// Whether `bytes` in `lines` lines can be taken, whatever they are.
    package func hasRoom(_ bytes: Int, lines: Int, neverWaits: Bool = false) -> Bool {
        hasRoomInSpool(bytes, lines: lines, neverWaits: neverWaits)
            && unburied.isEmpty
            && deadLetters.hasRoom(for: min(bytes, settings.lineLimit) + settings.lineLimit)
    }

    /// The same for lines that are never too long, so that they need no room among the dead letters.
    func hasRoomInSpool(_ bytes: Int, lines: Int, neverWaits: Bool) -> Bool {
        spool.hasRoom(
            for: bytes + lines * (LineRecord.headerSize + Self.usuallyAdded), in: neverWaits ? .all : .most)
    }

    /// Whether as many lines could ever be taken at once.
    func canEverHold(_ bytes: Int, lines: Int) -> Bool {
        bytes + lines * (LineRecord.headerSize + Self.usuallyAdded) + Spool<SpoolDirectory>.overhead
            <= spool.settings.bytes / 8 * 7
    }

    /// Nothing that is usual adds more to a line.
    private static let usuallyAdded = 512

    /// Whether everything that was taken is where it belongs, or in the spool.
    var owesNothing: Bool { unburied.isEmpty }
    /// In lines.
    var owed: Int64 { Int64(Set(unburied.map(\.origin)).count) }

    // MARK: - Into the spool

    /// Takes a line, or a piece of one, from a source that cannot be read again. `stream` tells its connections apart.
    package func take(
        _ piece: LineCutter.Piece, _ line: Span<UInt8>, from source: any LineSource, stream: AnyObject? = nil
    ) {
        switch piece {
        case .line: spool(line, from: sourceNumber(source), position: spool.next)
        case .overlong(let number, let isLast, _):
            countOverlong(number, line.count)
            let key = ObjectIdentifier(stream ?? source)
            let origin = overlongNames[key] ?? "\(identity)/\(source.name)/dead/\(newName())"
            overlongNames[key] = isLast ? nil : origin
            unburied.append(
                DeadLetterFile.Letter(line: line.array(0..<line.count), origin: origin, piece: (number, isLast)))
            buryAll()
        }
    }

    /// Counts a piece of a line that is too long.
    func countOverlong(_ number: Int, _ bytes: Int) {
        if number == 0 { enricher.counters.count(overlong: 0) }
        enricher.counters.bytes &+= UInt64(bytes)
    }

    /// Puts those lines of a body that are too long among the dead letters, before anything else of it is taken: all of them, or none. False
    /// when they are not taken there.
    func buryOverlong(of bytes: UnsafeRawBufferPointer, from source: any LineSource) -> Bool {
        guard bytes.count > settings.lineLimit else { return true }
        var cutter = LineCutter(limit: settings.lineLimit)
        var letters: [DeadLetterFile.Letter] = []
        var origin = ""
        func take(_ piece: LineCutter.Piece, _ line: Span<UInt8>) {
            guard case .overlong(let number, let isLast, _) = piece else { return }
            if number == 0 { origin = "\(identity)/\(source.name)/dead/\(newName())" }
            letters.append(
                DeadLetterFile.Letter(line: line.array(0..<line.count), origin: origin, piece: (number, isLast)))
        }
        cutter.take(bytes) { take($0, $1) }
        cutter.finish { take($0, $1) }
        return letters.isEmpty || deadLetters.append(letters, reason: tooLong)
    }

    /// Puts dead letters where they belong, as far as that can be done.
    func buryAll() {
        deadLetters.lookAgain()
        while let letter = unburied.first, deadLetters.append([letter], reason: tooLong) { unburied.removeFirst() }
    }

    /// The number of a source whose lines are named by their place in the spool.
    private func sourceNumber(_ source: any LineSource) -> UInt32 {
        // Lines of one source come in runs: its name is put together once for each.
        let identity = ObjectIdentifier(source)
        if let last = lastSource, last.identity == identity { return last.number }
        let number = namedSource("\(source.name)/\(spool.generation)")
        lastSource = (identity, number)
        return number
    }

    private func spool(_ line: Span<UInt8>, from source: UInt32, position: Int64) {
        let result = enricher.enrich(line)
        if enricher.leavesOut(result) { return }
        spool(line, result, from: source, position: position)
    }

    private func spool(
        _ line: Span<UInt8>, _ result: LineEnricher.Result, from source: UInt32, position: Int64,
        extras: LineExtras = .none
    ) {
        let size = LineRecord.size(ofValue: line.count + result.addition.count, and: extras.count + result.keyRoom)
        if scratch.count < size {
            scratch.deallocate()
            scratch = .allocate(byteCount: size * 2, alignment: 8)
        }
        let record = encode(line, result, source: source, position: position, extras: extras, into: scratch)
        spool.append(record)
    }

    // MARK: - Straight into delivery

    /// What becomes of lines whose source can hand them on again.
    enum FileMode {
        /// They go straight into delivery.
        case direct
        /// Delivery is stalled: they go into the spool.
        case spool
        /// What was spooled of them must be on its way first, and soon is.
        case wait
        /// The same, and much of it is left: what is written to files meanwhile follows it into the spool.
        case follow
    }

    /// While nothing arrives, what files have goes into the spool, so that they may be rotated away; after that it is first to go out.
    func decideFileMode(now: Int64) {
        let spooled = spooledFiles - spool.readPosition
        if delivery.isStalled(now: now) {
            fileMode = .spool
        } else if spooled <= 0 {
            fileMode = .direct
        } else {
            // No more than may be on its way at once is soon gone: then nothing follows it into the spool.
            fileMode = spooled > delivery.capacity ? .follow : .wait
        }
    }

    /// Takes what the proxy says of one exchange: its line, and what its response was stamped with.
    func take(exchange entry: UnsafeRawBufferPointer, source: UInt32, position: Int64) {
        let idCount = Int(entry.load(fromByteOffset: HandoverEntry.idCountOffset, as: UInt16.self))
        let lineCount = Int(entry.load(fromByteOffset: HandoverEntry.lineCountOffset, as: UInt32.self))
        guard HandoverEntry.headSize + idCount + lineCount <= entry.count else { return }
        let start = HandoverEntry.headSize + idCount
        let line = Span<UInt8>(_unsafeBytes: UnsafeRawBufferPointer(rebasing: entry[start..<start + lineCount]))
        let hasManifest = entry[HandoverEntry.hasManifestOffset] == 1
        let prefix = entry[HandoverEntry.prefixOffset..<HandoverEntry.prefixOffset + HandoverEntry.prefixCount]
        let result = enricher.enrich(
            line, stampedBy: hasManifest ? UnsafeRawBufferPointer(rebasing: prefix) : nil,
            attribution: Attribution(strength: Int(entry[HandoverEntry.strengthOffset])))
        var extras = LineExtras()
        extras.requestID = UnsafeRawBufferPointer(rebasing: entry[HandoverEntry.headSize..<start])
        spool(line, result, from: source, position: position, extras: extras)
    }

    /// The number of a source by its whole name.
    func namedSource(_ name: String) -> UInt32 { definitions.source(Array(name.utf8)) }

    /// The number under which a generation of a file is known.
    func fileSource(_ generation: String) -> UInt32 { namedSource("file/\(generation)") }

    /// An owner of lines in delivery; the spool is number 0.
    func newOwner(isFile: Bool = false) -> Int {
        let owner = unusedOwner()
        if isFile { fileOwners.insert(owner) }
        return owner
    }

    private func unusedOwner() -> Int {
        if let free = freeOwners.popLast() { return free }
        ownerCount += 1
        return ownerCount - 1
    }

    func returnOwner(_ owner: Int) {
        fileOwners.remove(owner)
        freeOwners.append(owner)
    }

    /// Takes a line that its source can hand on again; false when there is no room for it now.
    func take(
        _ line: Span<UInt8>, source: UInt32, owner: Int, position: Int64, isLastChance: Bool = false
    ) -> Bool {
        // A file that is gone can be read only as long as it is open here.
        switch isLastChance ? .spool : fileMode {
        case .wait: return false
        case .direct:
            hasDirectLines = true
            return deliver(line, source: source, owner: owner, position: position)
        case .spool, .follow:
            guard spool.hasRoom(for: line.count + Self.mostAdded, in: .half), !hasDirectLines || secureFiles() else {
                return false
            }
            spool(line, from: source, position: position)
            spooledFiles = spool.next
            // What comes after it does not overtake it in this very turn.
            if fileMode == .direct { fileMode = .wait }
            return true
        }
    }

    /// Puts what is on its way of files' lines into the spool too, in its order: some of it cannot be read again, or other lines are to follow
    /// it there. All of it, whatever file it is of: or what comes first now would come last after a kill.
    @discardableResult
    func secureFiles() -> Bool {
        guard hasDirectLines else { return spool.write() }
        let first = spool.next
        let adopt = { (record: LineRecord) -> Int64? in
            guard self.spool.hasRoom(for: record.valueCount) else { return nil }
            return self.spool.append(record)
        }
        let isWhole = delivery.reassign(fileOwners, to: 0, adopt: adopt)
        spool.adopt(first..<spool.next)
        if spool.next > first { spooledFiles = spool.next }
        // Whoever asked may forget now where it came from: a kill must not take it.
        guard isWhole, spool.write() else { return false }
        hasDirectLines = false
        return true
    }

    /// Puts a piece of a line that is too long among the dead letters; false when there is no room for it.
    func bury(
        _ piece: Span<UInt8>, source: UInt32, position: Int64, piece number: Int, isLast: Bool, reason: String? = nil
    ) -> Bool {
        let origin = "\(identity)/\(String(decoding: definitions.sourceName(source), as: UTF8.self)):\(position)"
        let isPut = piece.withUnsafeBytes { bytes in
            deadLetters.append(bytes, origin: origin, reason: reason ?? tooLong, piece: (number, isLast))
        }
        if isPut { countOverlong(number, piece.count) }
        return isPut
    }

    private var tooLong: String { "the line is longer than \(settings.lineLimit) bytes (limits.line_bytes)" }

    /// Whether there could ever be room for such a line, with what goes on with it.
    func canEverDeliver(_ count: Int, _ extras: LineExtras) -> Bool {
        delivery.canEverHold(LineRecord.size(ofValue: count + Self.mostAdded, and: extras.count))
    }

    /// Takes a line straight into delivery; false when there is no room for it now.
    func deliver(
        _ line: Span<UInt8>, source: UInt32, owner: Int, position: Int64, extras: LineExtras = .none,
        atMost most: Attribution = .exact
    ) -> Bool {
        // What is added is bounded; the line is not looked at before there is room for both.
        guard delivery.hasRoom(LineRecord.size(ofValue: line.count + Self.mostAdded, and: extras.count)) else {
            return false
        }
        let result = enricher.enrich(line, atMost: most)
        if enricher.leavesOut(result) { return true }
        let size = LineRecord.size(ofValue: line.count + result.addition.count, and: extras.count + result.keyRoom)
        guard let memory = delivery.reserve(size) else { return false }
        let record = encode(line, result, source: source, position: position, extras: extras, into: memory)
        delivery.commit(record.length, owner: owner, start: position)
        return true
    }

    /// No addition is longer: five names, five values of 256 bytes in percent encoding, an attribution.
    static let mostAdded = 8 << 10

    // MARK: - Records

    /// Where a line's key stands in its record: in the line, or behind it where the line spells it in a way of its own, so that a user has one
    /// key however it is written. Nobody's is none.
    private func key(
        _ result: LineEnricher.Result, _ line: Span<UInt8>, _ place: (UnsafeRawBufferPointer) -> Range<Int>
    ) -> Range<Int>? {
        guard let span = result.key, !span.range.isEmpty else { return nil }
        let isPlain =
            span.spelling == .percent && line.firstIndex(of: UInt8(ascii: "%"), in: span.range) == nil
            || !result.isKeyRespelled(span)
        return isPlain ? span.range : Array(span.text(line).utf8).withUnsafeBytes(place)
    }

    private func encode(
        _ line: Span<UInt8>, _ result: LineEnricher.Result, source: UInt32, position: Int64,
        extras: LineExtras, into memory: UnsafeMutableRawBufferPointer
    ) -> LineRecord {
        let base = memory.baseAddress.unsafelyUnwrapped
        let record = LineRecord(base: base)
        let addition = result.addition
        var milliseconds = now.microseconds / 1000
        var lineTime = LineRecord.noTime
        if let time = result.time {
            let age = now.microseconds &- time.microseconds
            if age <= window.back, age >= -window.ahead {
                milliseconds = time.microseconds / 1000
            } else {
                outsideWindow += 1
                lineTime = time.microseconds
            }
        }
        let valueCount = line.count + addition.count
        // Behind the value: a request id or a key that the line lacks, and headers.
        var end = valueCount
        func place(_ bytes: UnsafeRawBufferPointer) -> Range<Int> {
            defer { end += bytes.count }
            if let source = bytes.baseAddress {
                (base + LineRecord.headerSize + end).copyMemory(from: source, byteCount: bytes.count)
            }
            return end..<end + bytes.count
        }
        let requestID = extras.requestID.isEmpty ? result.requestID : place(extras.requestID)
        let key = key(result, line, place) ?? extras.key.map(place)
        if extras.headerCount > 0 { _ = place(extras.headers) }
        record.fill(
            .line, valueCount: valueCount, more: end - valueCount, attribution: result.attribution, key: key,
            requestID: requestID, position: position, milliseconds: milliseconds, lineTime: lineTime,
            carriedCount: extras.headerCount)
        record.source = source
        record.stamp = definitions.stamp(result.held)
        let value = base + LineRecord.headerSize
        let place = result.place
        line.withUnsafeBytes { line in
            guard let start = line.baseAddress else { return }
            value.copyMemory(from: start, byteCount: place)
            if line.count > place {
                (value + place + addition.count).copyMemory(from: start + place, byteCount: line.count - place)
            }
        }
        if let start = addition.baseAddress {
            (value + place).copyMemory(from: start, byteCount: addition.count)
        }
        return record
    }
}
