import HTTP
import Provenance
import Runtime

/// What a response is stamped with, and how surely.
extension Worker where Net: ~Copyable {
    /// Writes the stamp of this response: of exactly one manifest, and as surely as that is known.
    @inline(__always)
    mutating func writeStamp(
        _ response: ResponseHead, _ client: End, _ answered: Answered, _ head: UnsafeRawPointer
    ) {
        var claim: Attribution
        let row: UnsafePointer<StampRow>?
        switch settings.attribution {
        case .pointer:
            row = admittedRow(client)
            claim = .inferred
        case .header:
            row = knownManifest(answered, head)
            claim = .exact
        case .variantHeader:
            row = activeManifest(answered, head)
            claim = .inferred
        }
        guard let row, row.pointee.hasManifest else {
            client.pointee.answered = client.pointee.variant
            noteStamp(client, nil, .unknown)
            if let base = unknownBlock.baseAddress { writer.write(base, count: unknownBlock.count) }
            return
        }
        if claim == .inferred {
            // What counts is when the request came: its answer may have been made long before it is read here.
            if row.pointee.serial > client.pointee.serial || client.pointee.since < row.pointee.settledAt {
                claim = .mixed
            }
            if row.pointee.settlesByReconnecting, let upstream = peer(of: client),
                !control.isReconnected(Int(upstream.pointee.upstream), since: row.pointee.serial)
            {
                claim = .mixed
            }
            if !row.pointee.isCurrent { claim = .unknown }
        }
        // What a cache kept, or a part of something, was made earlier.
        if response.status == 304 || response.status == 206 || answered.isAged { claim = weaker(claim, .mixed) }
        claim = weaker(claim, row.pointee.ceiling)
        client.pointee.answered = variant(of: row, client)
        noteStamp(client, row, claim)
        let block = row.pointee.block(claim)
        if let base = block.baseAddress { writer.write(base, count: block.count) }
    }

    /// Which variant has answered: the response may have named another one than the request.
    @inline(__always)
    private func variant(of row: UnsafePointer<StampRow>, _ client: End) -> UInt8 {
        guard case .variantHeader = settings.attribution, let base = variants.baseAddress else {
            return client.pointee.variant
        }
        return UInt8(truncatingIfNeeded: row - base)
    }

    @inline(__always)
    private func weaker(_ left: Attribution, _ right: Attribution) -> Attribution {
        switch (left, right) {
        case (.unknown, _), (_, .unknown): .unknown
        case (.mixed, _), (_, .mixed): .mixed
        case (.inferred, _), (_, .inferred): .inferred
        case (.exact, .exact): .exact
        }
    }

    private mutating func knownManifest(_ answered: Answered, _ head: UnsafeRawPointer) -> UnsafePointer<StampRow>? {
        let name = UnsafeRawBufferPointer(start: head + Int(answered.by.start), count: answered.by.count)
        let row = name.isEmpty ? nil : table._withUnsafeGuaranteedRef { $0.known.find(name) }
        if row == nil { counters.add(.unknownNames) }
        return row
    }

    private mutating func activeManifest(_ answered: Answered, _ head: UnsafeRawPointer) -> UnsafePointer<StampRow>? {
        let name = UnsafeRawBufferPointer(start: head + Int(answered.by.start), count: answered.by.count)
        for index in settings.variants.indices where settings.variants[index].name.utf8.elementsEqual(name) {
            return variants.baseAddress.map { $0 + index }
        }
        counters.add(.unknownNames)
        return nil
    }
}
