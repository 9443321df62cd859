import Provenance

/// What records name by number: manifests' record headers, and where lines came from.
package final class Definitions {
    /// A source's lines are named `<instance>/<source>:<position>`.
    private var sources: [UnsafeRawBufferPointer] = []
    private var sourceNumbers: [[UInt8]: UInt32] = [:]
    private var stamps: [StampValues] = []
    private var stampNumbers: [[UInt8]: UInt32] = [:]
    /// Kept, so that no other one can be in its place.
    private var lastStamp = (held: HeldStamp.none, stamp: LineStamp.none, number: UInt32(0))

    package init() {
        // Number 0 is that of no manifest.
        _ = stamp(payload: StampValues.payload(LineStamp.none.recordValues))
    }

    deinit {
        for source in sources { source.deallocate() }
        for stamp in stamps { stamp.payload.deallocate() }
    }

    /// The number of the source with this name: `http/<generation>`.
    package func source(_ name: [UInt8]) -> UInt32 {
        if let known = sourceNumbers[name] { return known }
        let number = UInt32(sources.count)
        sources.append(UnsafeRawBufferPointer(copying: name))
        sourceNumbers[name] = number
        return number
    }

    func sourceName(_ number: UInt32) -> UnsafeRawBufferPointer { sources[Int(number)] }

    func stamp(_ held: HeldStamp) -> UInt32 {
        if held === lastStamp.held { return lastStamp.number }
        let stamp = held.stamp
        let number = self.stamp(payload: StampValues.payload(stamp.recordValues))
        lastStamp = (held, stamp, number)
        return number
    }

    func stamp(payload: [UInt8]) -> UInt32 {
        if let known = stampNumbers[payload] { return known }
        let number = UInt32(stamps.count)
        stamps.append(StampValues(payload: UnsafeRawBufferPointer(copying: payload)))
        stampNumbers[payload] = number
        return number
    }

    func stampPayload(_ number: UInt32) -> UnsafeRawBufferPointer { stamps[Int(number)].payload }

    func stampValue(_ number: UInt32, _ field: ProvenanceField) -> UnsafeRawBufferPointer? {
        stamps[Int(number)].values[field.rawValue]
    }
}

/// A manifest's values in record headers, as the spool keeps them: for each field two bytes of length, and the value.
struct StampValues {
    let payload: UnsafeRawBufferPointer
    /// Where each stands in it.
    private(set) var values = InlineArray<5, UnsafeRawBufferPointer?>(repeating: nil)

    private static let absent = UInt16.max

    static func payload(_ values: [[UInt8]?]) -> [UInt8] {
        values.flatMap { value -> [UInt8] in
            let count = value.map { UInt16($0.count) } ?? absent
            return [UInt8(truncatingIfNeeded: count), UInt8(truncatingIfNeeded: count >> 8)] + (value ?? [])
        }
    }

    init(payload: UnsafeRawBufferPointer) {
        self.payload = payload
        var offset = 0
        for index in values.indices where payload.count - offset >= 2 {
            let count = UInt16(littleEndian: payload.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
            offset += 2
            guard count != Self.absent else { continue }
            let end = min(offset + Int(count), payload.count)
            values[index] = UnsafeRawBufferPointer(rebasing: payload[offset..<end])
            offset = end
        }
    }
}
