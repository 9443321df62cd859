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
    package private(set) var dead: UInt64 = 0
    private var spoolSources: [UInt32?] = []
    private var pieces: [ObjectIdentifier: Int] = [:]

    package init(
        _ settings: Settings, enricher: consuming LineEnricher, spool: consuming Spool<SpoolDirectory>,
        delivery: consuming Delivery, definitions: Definitions, deadLetters: DeadLetterFile
    ) {
        self.settings = settings
        self.enricher = enricher
        self.spool = spool
        self.delivery = delivery
        self.definitions = definitions
        self.deadLetters = deadLetters
    }

    deinit { scratch.deallocate() }

    func refresh() {
        now = Clock.now()
        enricher.refresh()
    }

    /// Whether lines of `bytes` in all can be spooled, however short they are.
    package func hasRoom(_ bytes: Int) -> Bool {
        // Each line costs its record's head and what is added to it, and the shortest is its line end alone.
        spool.hasRoom(for: bytes + settings.lineLimit) && deadLetters.problem == nil
    }

    // MARK: - Into the spool

    /// Takes a line, or a piece of one, from a source that cannot be read again.
    package func take(_ piece: LineCutter.Piece, _ line: Span<UInt8>, from source: any LineSource) {
        switch piece {
        case .line: spool(line, from: sourceNumber(source))
        case .overlong(let isFirst, let isLast, _):
            if isFirst { enricher.counters.count(overlong: 0) }
            bury(line, isFirst: isFirst, isLast: isLast, source: source)
        }
    }

    /// The number of a source whose lines are named by their place in the spool.
    package func sourceNumber(_ source: any LineSource) -> UInt32 {
        definitions.source(Array("\(source.name)/\(spool.generation)".utf8))
    }

    private func spool(_ line: Span<UInt8>, from source: UInt32) {
        let result = enricher.enrich(line)
        if enricher.leavesOut(result) { return }
        let size = LineRecord.size(ofValue: line.count + result.addition.count)
        if scratch.count < size {
            scratch.deallocate()
            scratch = .allocate(byteCount: size * 2, alignment: 8)
        }
        let record = encode(line, result, source: source, position: spool.next, into: scratch)
        spool.append(record)
    }

    private func bury(_ line: Span<UInt8>, isFirst: Bool, isLast: Bool, source: any LineSource) {
        let key = ObjectIdentifier(source)
        let number = isFirst ? 0 : pieces[key] ?? 0
        pieces[key] = isLast ? nil : number + 1
        if isFirst { dead += 1 }
        let reason = "the line is longer than \(settings.lineLimit) bytes (limits.line_bytes)"
        line.withUnsafeBytes { bytes in
            _ = deadLetters.append(
                bytes, origin: "\(source.name)/\(spool.generation):\(spool.next)", reason: reason,
                piece: (number, isLast))
        }
    }

    // MARK: - Straight into delivery

    enum Direct {
        case taken
        /// There is no room for it now.
        case full
    }

    /// Takes a line that its source can hand on again, unless there is no room.
    func deliver(_ line: Span<UInt8>, source: UInt32, owner: Int, position: Int64) -> Direct {
        // What is added is bounded; the line is not looked at before there is room for both.
        guard delivery.hasRoom(LineRecord.size(ofValue: line.count + Self.mostAdded)) else { return .full }
        let result = enricher.enrich(line)
        if enricher.leavesOut(result) { return .taken }
        let size = LineRecord.size(ofValue: line.count + result.addition.count)
        guard let memory = delivery.reserve(size) else { return .full }
        _ = encode(line, result, source: source, position: position, into: memory)
        delivery.commit(size, owner: owner, start: position)
        return .taken
    }

    /// No addition is longer: five names, five values of 256 bytes in percent encoding, an attribution.
    static let mostAdded = 8 << 10

    // MARK: - Records

    private func encode(
        _ line: Span<UInt8>, _ result: borrowing LineEnricher.Result, source: UInt32, position: Int64,
        into memory: UnsafeMutableRawBufferPointer
    ) -> LineRecord {
        let base = memory.baseAddress.unsafelyUnwrapped
        let record = LineRecord(base: base)
        let addition = result.addition
        var milliseconds = now.microseconds / 1000
        var lineTime = LineRecord.noTime
        if let time = result.time {
            let age = now.microseconds &- time.microseconds
            if age <= settings.windowBack, age >= -settings.windowAhead {
                milliseconds = time.microseconds / 1000
            } else {
                outsideWindow += 1
                lineTime = time.microseconds
            }
        }
        record.fill(
            .line, valueCount: line.count + addition.count, attribution: result.attribution, key: result.key,
            requestID: result.requestID, position: position, milliseconds: milliseconds, lineTime: lineTime)
        record.source = source
        record.stamp = definitions.stamp(result.stamp)
        let value = base + LineRecord.headerSize
        let place = result.place
        line.withUnsafeBytes { line in
            guard let start = line.baseAddress else { return }
            value.copyMemory(from: start, byteCount: place)
            if line.count > place {
                (value + place + addition.count).copyMemory(from: start + place, byteCount: line.count - place)
            }
        }
        addition.withUnsafeBytes { added in
            if let start = added.baseAddress { (value + place).copyMemory(from: start, byteCount: added.count) }
        }
        return record
    }
}
