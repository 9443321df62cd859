import Crypto
import Provenance
import Runtime
import Synchronization

/// Compares the files that a manifest names with what is on the disk, every byte of them.
package struct ArtifactCheck: Sendable {
    /// Where relative paths are looked for, in this order.
    private let roots: [String]

    /// `manifestPath` is where the manifest was read; nil when that is not known.
    package init(artifactsRoot: String?, manifestPath: String?) {
        var roots: [String] = []
        if let artifactsRoot { roots.append(artifactsRoot) }
        roots.append("")
        if let manifestPath {
            let directory = Paths.directory(of: manifestPath)
            roots += [directory, Paths.join(directory, "..")]
            // A manifest in `manifests/` has its pointer one directory up, and so its artifacts.
            if Paths.name(of: directory) == ManifestFile.folderName { roots.append(Paths.join(directory, "../..")) }
        }
        self.roots = roots
    }

    private struct Item: Sendable {
        let kind: CheckedFile.Kind
        let name: String
        let path: String
        let sha256: Digest
        let foundAt: String?
        let size: Int64
    }

    /// Hashes every artifact, and the dataset unless that is left out, several at a time. What is in `cache` and was not changed
    /// since is not read again.
    package func run(
        _ manifest: Manifest, includingDataset: Bool, showsProgress: Bool, cache: HashCache? = nil
    ) -> [CheckedFile] {
        var items = manifest.artifacts.map { item(.artifact, $0.name, $0.path, $0.sha256) }
        if includingDataset, let sha256 = manifest.dataset.sha256 {
            items.append(item(.dataset, "", manifest.dataset.path ?? "", sha256))
        }
        let total = items.reduce(0) { $0 + $1.size }
        let bar = showsProgress ? ProgressBar("verifying", total: total, unit: .bytes) : nil
        let results = Mutex([CheckedFile?](repeating: nil, count: items.count))
        let work = items
        let searched = roots.map { $0.isEmpty ? "the working directory" : $0 }
        Threads.forEach(work.count) { index in
            let checked = Self.check(work[index], bar, searched, cache)
            results.withLock { $0[index] = checked }
        }
        bar?.finish()
        return results.withLock { $0.compactMap { $0 } }
    }

    private func item(_ kind: CheckedFile.Kind, _ name: String, _ path: String, _ sha256: Digest) -> Item {
        let found =
            path.isEmpty
            ? nil : roots.lazy.map { Paths.join($0, path) }.first { (try? FileStatus.of($0)) ?? nil != nil }
        let size = found.flatMap { (try? FileStatus.of($0)) ?? nil }?.size ?? 0
        return Item(kind: kind, name: name, path: path, sha256: sha256, foundAt: found, size: size)
    }

    private static func check(
        _ item: Item, _ bar: ProgressBar?, _ searched: [String], _ cache: HashCache?
    ) -> CheckedFile {
        CheckedFile(
            kind: item.kind, name: item.name, path: item.path, foundAt: item.foundAt, expected: item.sha256,
            state: state(item, bar, cache),
            searched: Paths.isAbsolute(item.path) ? [Paths.directory(of: item.path)] : searched
        )
    }

    private static func state(_ item: Item, _ bar: ProgressBar?, _ cache: HashCache?) -> FileState {
        guard let path = item.foundAt else { return .missing }
        let modification = cache == nil ? nil : ((try? FileStatus.of(path)) ?? nil)?.modification
        if let cache, let modification, let digest = cache.digest(of: modification) {
            return digest == item.sha256 ? .ok : .changed(found: digest)
        }
        do throws(SystemError) {
            let (digest, _) = try FileHash.of(path, orThrow: { $0 as SystemError }) { piece throws(SystemError) in
                bar?.advance(by: Int64(piece.count))
            }
            // A file that was written to meanwhile is not remembered.
            if let cache, let modification, ((try? FileStatus.of(path)) ?? nil)?.modification == modification {
                cache.remember(digest, of: modification)
            }
            return digest == item.sha256 ? .ok : .changed(found: digest)
        } catch {
            return .unreadable(reason: error.description)
        }
    }
}
