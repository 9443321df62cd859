import Manifests
import Provenance
import Proxy
import Runtime
import Synchronization

/// Hashing what a manifest names, which may take its time.
extension ActivationLoader {
    static func unverified(_ manifest: Manifest) -> LoadFailure {
        LoadFailure(
            "\(manifest.version.onOneLine) declares the digest \((manifest.declaredSHA256 ?? "none").onOneLine) and has \(manifest.digest.hex): such a manifest is activated only with --verify warn or off"
        )
    }

    /// Looks once more at the artifacts of what is active, where more is asked of them than when it was activated. Whether the pointer has
    /// moved on meanwhile: it is watched, as the others are.
    func recheck(_ index: Int, _ file: ManifestFile) throws(LoadFailure) -> Bool {
        guard rechecked.contains(index) else { return false }
        let missing = try checkArtifacts(of: index, file, watchesItself: true)
        rechecked.remove(index)
        warn(of: file, missing: missing)
        return watches[index].hasMoved
    }

    /// Says what is active without being as it should.
    func warn(of file: ManifestFile, missing: [String]) {
        let name = Self.name(of: file)
        if !file.manifest.isDigestVerified {
            log.write(
                .warn, "manifest-unverified",
                [
                    ("file", .string(name)), ("declared", .optional(file.manifest.declaredSHA256)),
                    ("stamped_as", .string(file.manifest.digest.hex)),
                ])
        }
        if !missing.isEmpty {
            log.write(
                .warn, "artifacts-missing", [("file", .string(name)), ("artifacts", .array(missing.map(JSON.string)))])
        }
    }

    /// Where nobody knows its file, it goes by its version.
    private static func name(of file: ManifestFile) -> String {
        file.path.isEmpty ? file.manifest.version : file.path
    }

    private func pointerFile(_ path: String) -> String {
        Files.isDirectory(path, writable: false) ? Paths.join(path, ManifestFile.pointerName) : path
    }

    /// The names of those that are not there, where that is allowed.
    func checkArtifacts(
        of index: Int, _ file: ManifestFile, watchesItself: Bool = false
    ) throws(LoadFailure) -> [String] {
        guard settings.artifacts != .off else { return [] }
        var missing: [String] = []
        let name = Self.name(of: file)
        // Where nobody knows its file, what it names is looked for as if it lay where the pointer is.
        let path = file.path.isEmpty ? pointerFile(states[index].path) : file.path
        let (check, cache) = (ArtifactCheck(artifactsRoot: settings.artifactsRoot, manifestPath: path), cache)
        let manifest = file.manifest
        let checked = watchingOthers(than: watchesItself ? nil : index) {
            check.run(manifest, includingDataset: false, showsProgress: false, cache: cache)
        }
        for item in checked where !item.state.isOK {
            if case .missing = item.state, settings.artifacts == .ifPresent {
                missing.append(item.name)
                continue
            }
            throw LoadFailure(
                "\(name.onOneLine): the artifact \(item.name.onOneLine) (\(item.path.onOneLine)) is \(item.state.word): "
                    + "put the right file there, or start with --artifacts off")
        }
        return missing
    }

    /// Does what takes long on another thread. Meanwhile pointers of other variants may change: their model servers may have moved on, and
    /// are believed no more until it is their turn.
    private func watchingOthers<Outcome: Sendable>(
        than index: Int?, _ body: @escaping @Sendable () -> Outcome
    ) -> Outcome {
        let result = Result<Outcome>()
        guard let done = try? Wake(),
            (try? Threads.start("hashing", .brief) {
                result.value.withLock { $0 = body() }
                done.signal()
            }) != nil
        else { return body() }
        var pause = min(Self.shortlyHashed, settings.poll)
        while true {
            let ready = Readiness.wait([done.number, watch?.number ?? -1], milliseconds: Int32(pause / 1000))
            pause = settings.poll
            if ready[0], let value = result.value.withLock({ $0 }) { return value }
            if ready[1] { watch?.clear() }
            lookAtOthers(than: index)
            // Large models take minutes: whoever looks at lines of this time is to know.
            writeDoubts()
        }
    }

    /// What takes no longer is on record by the activation alone.
    private static let shortlyHashed: Int64 = 20_000

    private final class Result<Value: Sendable>: Sendable {
        let value = Mutex<Value?>(nil)
    }
}
