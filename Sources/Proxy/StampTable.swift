import Provenance

/// What a worker needs of one variant, or of one manifest: rendered once, then only read and copied.
package struct StampRow {
    /// Which activation of this process it is; 0 where no manifest was ever active.
    package let serial: UInt64
    package let hasManifest: Bool
    /// Whether the manifest that the pointer names is the one that is active: if not, the model server may be ahead of us.
    let isCurrent: Bool
    /// The most that may be claimed for what this manifest stamps.
    let ceiling: Attribution
    /// Until when the model server may still answer with what was active before; in monotonic microseconds.
    let settledAt: Int64
    /// Whether it may until every connection to it was closed and opened anew.
    let settlesByReconnecting: Bool
    /// The first digits of the digest, which end a minted request id.
    let idSuffix: InlineArray<12, UInt8>
    /// The header lines, by how much is claimed.
    let blocks: InlineArray<4, UnsafeRawBufferPointer>

    @inline(__always)
    func block(_ attribution: Attribution) -> UnsafeRawBufferPointer {
        switch attribution {
        case .unknown: blocks[0]
        case .mixed: blocks[1]
        case .inferred: blocks[2]
        case .exact: blocks[3]
        }
    }
}

/// All stamps of one moment. Immutable: an activation makes a new table, and the workers go on with that.
package final class StampTable: Sendable {
    /// What one row is made of.
    package struct Source: Sendable {
        package var stamp: Stamp?
        package var serial: UInt64
        package var isCurrent: Bool
        package var ceiling: Attribution
        package var settledAt: Int64
        package var settlesByReconnecting: Bool

        package init(
            stamp: Stamp?, serial: UInt64, isCurrent: Bool, ceiling: Attribution, settledAt: Int64 = .min,
            settlesByReconnecting: Bool = false
        ) {
            self.stamp = stamp
            self.serial = serial
            self.isCurrent = isCurrent
            self.ceiling = ceiling
            self.settledAt = settledAt
            self.settlesByReconnecting = settlesByReconnecting
        }
    }

    /// A manifest that an upstream may name.
    package struct Known: Sendable {
        package let stamp: Stamp
        package let ceiling: Attribution
        /// Whether no other manifest has its version.
        package var hasOwnVersion = true

        package init(stamp: Stamp, ceiling: Attribution) {
            self.stamp = stamp
            self.ceiling = ceiling
        }
    }

    /// The rows of the variants, in the order of the settings.
    nonisolated(unsafe) let variants: UnsafeBufferPointer<StampRow>
    /// The number of the last activation, of any variant.
    let latestSerial: UInt64
    /// What a response gets of which nothing is known.
    nonisolated(unsafe) let unknownBlock: UnsafeRawBufferPointer
    /// The manifests that an upstream may name.
    let known: KnownManifests

    package init(variants sources: [Source], known: [Known], headers: StampHeaders) {
        latestSerial = sources.map(\.serial).max() ?? 0
        let unknown = UnsafeRawBufferPointer(copying: Self.unknownLine(headers))
        unknownBlock = unknown
        let rows = UnsafeMutableBufferPointer<StampRow>.allocate(capacity: sources.count)
        for (index, source) in sources.enumerated() {
            rows.initializeElement(at: index, to: Self.row(source, unknown))
        }
        variants = UnsafeBufferPointer(rows)
        self.known = KnownManifests(known)
    }

    deinit {
        for row in variants {
            for index in row.blocks.indices where row.hasManifest { row.blocks[index].deallocate() }
        }
        variants.deallocate()
        unknownBlock.deallocate()
    }

    static func row(_ source: Source, _ unknown: UnsafeRawBufferPointer) -> StampRow {
        var suffix = InlineArray<12, UInt8>(repeating: 0)
        var blocks = InlineArray<4, UnsafeRawBufferPointer>(repeating: unknown)
        if let stamp = source.stamp {
            for (index, byte) in stamp.digest.hex.utf8.prefix(12).enumerated() { suffix[index] = byte }
            for attribution in Attribution.allCases {
                blocks[attribution.strength] = UnsafeRawBufferPointer(copying: stamp.headerBlock(attribution))
            }
        }
        return StampRow(
            serial: source.serial, hasManifest: source.stamp != nil, isCurrent: source.isCurrent,
            ceiling: source.ceiling, settledAt: source.settledAt,
            settlesByReconnecting: source.settlesByReconnecting, idSuffix: suffix, blocks: blocks)
    }

    private static func unknownLine(_ headers: StampHeaders) -> [UInt8] {
        guard let name = headers.attribution else { return [] }
        return Array("\(name): \(Attribution.unknown.rawValue)\r\n".utf8)
    }
}

/// Manifests by what an upstream may call them: a digest, a prefix of one, or a version that exactly one of them has.
final class KnownManifests: Sendable {
    /// In the order of their digests.
    private nonisolated(unsafe) let rows: UnsafeBufferPointer<StampRow>
    private nonisolated(unsafe) let digests: UnsafeBufferPointer<InlineArray<64, UInt8>>
    /// -1 where several have it.
    private let versions: [(name: [UInt8], row: Int)]

    init(_ manifests: [StampTable.Known]) {
        let sorted = manifests.map { (hex: Array($0.stamp.digest.hex.utf8), known: $0) }
            .sorted { $0.hex.lexicographicallyPrecedes($1.hex) }
        let rows = UnsafeMutableBufferPointer<StampRow>.allocate(capacity: sorted.count)
        let digests = UnsafeMutableBufferPointer<InlineArray<64, UInt8>>.allocate(capacity: sorted.count)
        let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
        var versions: [[UInt8]: Int?] = [:]
        for (index, entry) in sorted.enumerated() {
            let source = StampTable.Source(
                stamp: entry.known.stamp, serial: 0, isCurrent: true, ceiling: entry.known.ceiling)
            rows.initializeElement(at: index, to: StampTable.row(source, nothing))
            var digest = InlineArray<64, UInt8>(repeating: 0)
            for (position, byte) in entry.hex.enumerated() { digest[position] = byte }
            digests.initializeElement(at: index, to: digest)
            let version = entry.known.stamp.values.modelVersion ?? ""
            // As it is, and as a header has to spell it. A version that two manifests have names neither.
            for name in Set([Array(version.utf8), Escaping.percentEncoded(version)]) {
                let isOnly = versions[name] == nil && entry.known.hasOwnVersion
                versions[name] = .some(isOnly ? index : nil)
            }
        }
        self.rows = UnsafeBufferPointer(rows)
        self.digests = UnsafeBufferPointer(digests)
        self.versions = versions.map { name, row in (name, row ?? -1) }
            .sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    deinit {
        for row in rows { for index in row.blocks.indices { row.blocks[index].deallocate() } }
        rows.deallocate()
        digests.deallocate()
    }

    /// The manifest that `name` names; nil when it names none, or more than one.
    func find(_ name: UnsafeRawBufferPointer) -> UnsafePointer<StampRow>? {
        guard let base = rows.baseAddress else { return nil }
        let version = findVersion(name)
        guard name.count >= 12, name.count <= 64, let index = findDigest(name) else {
            return version.flatMap { $0 < 0 ? nil : base + $0 }
        }
        // What is the version of one and begins the digest of another names neither.
        guard version == nil || version == index else { return nil }
        return base + index
    }

    /// The manifest that has this version; -1 where several have it.
    private func findVersion(_ name: UnsafeRawBufferPointer) -> Int? {
        var low = 0
        var high = versions.count
        while low < high {
            let middle = (low + high) / 2
            if versions[middle].name.lexicographicallyPrecedes(name) { low = middle + 1 } else { high = middle }
        }
        guard low < versions.count, versions[low].name.elementsEqual(name) else { return nil }
        return versions[low].row
    }

    private func findDigest(_ prefix: UnsafeRawBufferPointer) -> Int? {
        var low = 0
        var high = digests.count
        while low < high {
            let middle = (low + high) / 2
            if order(digests[middle], prefix) < 0 { low = middle + 1 } else { high = middle }
        }
        guard low < digests.count, order(digests[low], prefix) == 0 else { return nil }
        // A prefix that two digests have names neither.
        if low + 1 < digests.count, order(digests[low + 1], prefix) == 0 { return nil }
        return low
    }

    /// How the beginning of `digest` compares with `prefix`, in either case.
    private func order(_ digest: InlineArray<64, UInt8>, _ prefix: UnsafeRawBufferPointer) -> Int {
        for index in 0..<prefix.count {
            let byte = prefix[index]
            let lower = byte &- 0x41 <= 25 ? byte | 0x20 : byte
            if digest[index] != lower { return Int(digest[index]) - Int(lower) }
        }
        return 0
    }
}
