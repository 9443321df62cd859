import Manifests
import Provenance
import Runtime
import Sidecar
import Trace

/// Looks manifests up among the files below a directory, where there is no ledger.
struct FolderIndex: ManifestIndex {
    let place: String
    private let manifests: [IndexedManifest]
    /// Whether the one manifest is taken for what was active, whenever that was.
    private let isActive: Bool

    /// Reads every manifest below `directory`, or the one file that it is; `complain` is told of those that cannot be read.
    init(_ directory: String, complain: (String) -> Void) throws(CommandError) {
        place = "the manifests below \(directory)"
        isActive = false
        let walk = try CommandError.wrap { () throws(SystemError) in try ManifestFolder.walk(directory) }
        for problem in walk.problems { complain("colophon: \(problem.onOneLine)") }
        var found: [Digest: IndexedManifest] = [:]
        var order: [Digest] = []
        for path in walk.files {
            switch ManifestFolder.readFound(path, verification: .strict) {
            case .manifest(let file):
                let digest = file.manifest.digest
                if found[digest] == nil { order.append(digest) }
                // The pointer's copy gives way to the manifest's own file.
                if found[digest] == nil || Paths.name(of: path) != ManifestFile.pointerName {
                    found[digest] = IndexedManifest(manifest: file.manifest, id: Int64(order.count), file: path)
                }
            case .somethingElse, .tooLarge: continue
            case .failed(let error): complain("colophon: \(error.description.onOneLine)")
            }
        }
        manifests = order.compactMap { found[$0] }
    }

    /// Reads the one manifest at `path`, which the user says is the active one.
    init(activeFile path: String) throws(CommandError) {
        let file = try CommandError.wrap { () throws(ManifestFileError) in try ManifestFile.load(path) }
        do throws(StampError) { _ = try Stamp(file.manifest) } catch {
            throw CommandError(.failed, "\(file.path.onOneLine) cannot have been active: \(error)")
        }
        place = "the manifest \(file.path)"
        manifests = [IndexedManifest(manifest: file.manifest, id: 1, file: file.path)]
        isActive = true
    }

    /// The files were read once.
    func revision() throws(ManifestIndexError) -> Int64 { 0 }

    func find(_ key: ManifestKey, limit: Int) throws(ManifestIndexError) -> [IndexedManifest] {
        Array(manifests.lazy.filter { Self.matches($0.manifest, key) }.prefix(limit))
    }

    private static func matches(_ manifest: Manifest, _ key: ManifestKey) -> Bool {
        switch key {
        case .digest(let prefix): prefix.matches(manifest.digest)
        case .version(let version): manifest.version.hasSameBytes(as: version)
        case .commit(let commit):
            manifest.pipeline.commit.map { $0.lowercased().hasPrefix(commit.lowercased()) } ?? false
        case .commitName(let commit): manifest.pipeline.commit.map { $0.hasSameBytes(as: commit) } ?? false
        case .dataVersion(let version): manifest.dataset.version.map { $0.hasSameBytes(as: version) } ?? false
        case .dataset(let prefix): manifest.dataset.sha256.map(prefix.matches) ?? false
        case .artifact(let prefix): manifest.artifacts.contains { prefix.matches($0.sha256) }
        }
    }

    // Files tell nothing of what was live when.

    func intervals(of manifest: IndexedManifest, limit: Int) throws(ManifestIndexError) -> [LiveInterval] { [] }

    func firstLive(variant: String) throws(ManifestIndexError) -> Instant? { isActive ? start : nil }

    /// Nothing was made from it before it was trained.
    private var start: Instant { manifests.first?.manifest.trainedAt ?? Instant(microseconds: .min / 2) }

    func variants() throws(ManifestIndexError) -> [String] { isActive ? [SidecarSettings.onlyVariant] : [] }

    func live(variant: String, at time: Instant) throws(ManifestIndexError) -> (IndexedManifest, LiveInterval)? {
        guard isActive, start <= time, let only = manifests.first else { return nil }
        return (only, LiveInterval(variant: variant, from: start, until: nil))
    }
}
