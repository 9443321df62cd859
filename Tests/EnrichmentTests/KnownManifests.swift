import Crypto
import Provenance
import TestSupport

@testable import Enrichment

/// An index of manifests and activations that are made up. It counts how often it is asked.
final class KnownManifests: ManifestIndex {
    private(set) var questions = 0
    private var manifests: [Manifest] = []
    private var lives: [(variant: String, from: Instant, manifest: Int)] = []
    /// When it was not known whether a server still spoke with what was live.
    var doubts: [(variant: String, time: DoubtedTime)] = [] { didSet { changes += 1 } }
    private var changes: Int64 = 0
    var isBroken = false
    /// When, by the clock, something later may have been live already; the end of each life where this is nil.
    var doubtedFrom: Instant?

    var place: String { "the made-up index" }

    func add(_ manifest: Manifest) { manifests.append(manifest) }

    func activate(_ manifest: Int, variant: String, at time: String) {
        guard let from = Instant(time) else { return }
        lives.append((variant, from, manifest))
        lives.sort { $0.from < $1.from }
        changes += 1
    }

    struct Broken: Error, CustomStringConvertible {
        let description = "the ledger is gone"
    }

    private func ask() throws(ManifestIndexError) {
        questions += 1
        if isBroken { throw ManifestIndexError(Broken()) }
    }

    func revision() throws(ManifestIndexError) -> Int64 {
        if isBroken { throw ManifestIndexError(Broken()) }
        return changes
    }

    private func indexed(_ number: Int) -> IndexedManifest {
        IndexedManifest(manifest: manifests[number], id: Int64(number), file: nil)
    }

    func find(_ key: ManifestKey, limit: Int) throws(ManifestIndexError) -> [IndexedManifest] {
        try ask()
        return manifests.indices.filter { index in
            let manifest = manifests[index]
            switch key {
            case .digest(let prefix): return prefix.matches(manifest.digest)
            case .version(let version): return manifest.version == version
            case .commit(let commit): return manifest.pipeline.commit?.hasPrefix(commit) ?? false
            case .commitName(let commit): return manifest.pipeline.commit == commit
            case .dataVersion(let version): return manifest.dataset.version == version
            case .dataset, .artifact: return false
            }
        }.prefix(limit).map(indexed)
    }

    func intervals(of manifest: IndexedManifest, limit: Int) throws(ManifestIndexError) -> [LiveInterval] { [] }

    func firstLive(variant: String) throws(ManifestIndexError) -> Instant? {
        try ask()
        return lives.first { $0.variant == variant }?.from
    }

    func variants() throws(ManifestIndexError) -> [String] {
        try ask()
        return Set(lives.map(\.variant)).sorted()
    }

    func live(variant: String, at time: Instant) throws(ManifestIndexError) -> (IndexedManifest, LiveInterval)? {
        try ask()
        let own = lives.filter { $0.variant == variant }
        guard let index = own.lastIndex(where: { $0.from <= time }) else { return nil }
        let until = index + 1 < own.count ? own[index + 1].from : nil
        return (
            indexed(own[index].manifest),
            LiveInterval(
                variant: variant, from: own[index].from, until: until,
                doubtedFrom: doubtedFrom.flatMap { doubt in until.map { min(doubt, $0) } },
                doubts: doubts.filter { $0.variant == variant }.map(\.time).filter { doubt in
                    doubt.until.map { $0 >= own[index].from } ?? true && until.map { doubt.from < $0 } ?? true
                })
        )
    }
}

extension LineAttributor {
    /// What is made of a line refers to what the attributor keeps until the next one. Here it is looked at later, so each is kept for ever.
    static func kept(
        _ index: any ManifestIndex, _ settings: Settings = Settings(), records: (any ExchangeRecords)? = nil,
        doubts: @escaping (Bool) -> Doubts = { _ in Doubts() }
    ) -> LineAttributor {
        let attributor = LineAttributor(index, settings, records: records, doubts: doubts)
        _ = Unmanaged.passRetained(attributor)
        return attributor
    }
}
