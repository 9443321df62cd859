import Crypto
import Manifests
import Provenance
import Runtime
import TestSupport
import Testing

@Suite("Making manifests")
struct ManifestCreationTests {
    private let scratch = Scratch()
    private let time = Instant(microseconds: 1_741_111_975_123_456)

    private func creation() -> ManifestCreation {
        scratch.write("data.csv", "user_id,movie_id\n1,a\n1,b\n2,a\n")
        scratch.write("model.bin", "weights")
        var creation = ManifestCreation(
            family: "als", dataPath: scratch.path("data.csv"), directory: scratch.path("out"))
        creation.artifacts = [("als_model", scratch.path("model.bin"))]
        creation.hyperparameters = JSONObject([.init("alpha", .number("1e-05"))])
        creation.profile = [("user", "user_id"), ("movie", "movie_id")]
        return creation
    }

    private func run(_ creation: ManifestCreation) throws(CreationError) -> ManifestCreation.Result {
        try creation.run(
            pipeline: Manifest.Pipeline(commit: "80d8e56", branch: "main", isDirty: false), at: time,
            showsProgress: false)
    }

    @Test("everything that was told and counted is in it, and its own digest matches")
    func writesEverything() throws {
        let result = try run(creation())
        let manifest = result.file.manifest
        #expect(result.isNew)
        #expect(manifest.version == "als-20250304181255")
        #expect(manifest.trainedAt == time)
        #expect(manifest.dataset.rowCount == 3)
        #expect(manifest.dataset.uniqueUsers == 2)
        #expect(manifest.dataset.uniqueMovies == 2)
        #expect(manifest.dataset.version == manifest.dataset.sha256?.hex)
        #expect(manifest.artifacts.first?.sha256 == SHA256.hash(Array("weights".utf8)))
        #expect(manifest.form == .canonical(finalNewline: false) && manifest.declaredSHA256 != nil)
        let pointer = try #require(Scratch.bytes(of: result.pointerPath))
        #expect(pointer == manifest.bytes)
        #expect(Scratch.bytes(of: result.file.path) == manifest.bytes)
        #expect(
            try Files.names(in: scratch.path("out")) == ["manifests", "model_manifest.json"], "nothing is left over")
    }

    @Test("the same build again is fine and changes nothing; another one of the version is a conflict")
    func keepsVersions() throws {
        var creation = creation()
        creation.version = "v1"
        let first = try run(creation)
        let again = try creation.run(
            pipeline: Manifest.Pipeline(commit: "80d8e56", branch: "main", isDirty: false),
            at: time.advanced(by: 5_000_000),
            showsProgress: false)
        #expect(!again.isNew && again.file.manifest.bytes == first.file.manifest.bytes)

        scratch.write("model.bin", "other weights")
        #expect {
            try run(creation)
        } throws: { error in
            (error as? CreationError)?.isConflict == true && "\(error)".contains("artifacts.als_model.sha256")
        }
        #expect(Scratch.bytes(of: first.file.path) == first.file.manifest.bytes)
        #expect(Scratch.bytes(of: first.pointerPath) == first.file.manifest.bytes)
    }

    @Test("a file that is in the way and no manifest is not overwritten")
    func keepsOtherFiles() {
        var creation = creation()
        creation.version = "v1"
        scratch.write("out/manifests/v1.json", "{")
        #expect(throws: CreationError.self) { try run(creation) }
        #expect(scratch.read("out/manifests/v1.json") == "{")
        #expect(scratch.read("out/model_manifest.json") == nil)
    }

    @Test("a pointer that is a link, or a manifest by another trainer, is replaced")
    func replacesPointers() throws {
        scratch.write("out/model_manifest.json", "older")
        let result = try run(creation())
        #expect(Scratch.bytes(of: result.pointerPath) == result.file.manifest.bytes)
    }

    @Test(
        "a version that cannot name a file is refused, and nothing is written",
        arguments: [
            "", "a/b", "..", ".hidden", "a\nb", String(repeating: "v", count: 201), String(repeating: "é", count: 90),
        ])
    func refusesVersions(_ version: String) {
        var creation = creation()
        creation.version = version
        #expect(throws: CreationError.self) { try run(creation) }
        #expect(scratch.read("out/model_manifest.json") == nil)
    }

    @Test("a missing artifact, a directory, and a FIFO are refused, and nothing is written")
    func refusesFiles() {
        _ = Program.run(["mkfifo", scratch.path("fifo")])
        for path in [scratch.path("missing"), scratch.directory, scratch.path("fifo")] {
            var creation = creation()
            creation.artifacts.append(("other", path))
            #expect(throws: CreationError.self) { try run(creation) }
            #expect(scratch.read("out/model_manifest.json") == nil)
        }
    }
}

@Suite("Verifying files")
struct ArtifactCheckTests {
    private let scratch = Scratch()

    private func manifest(_ path: String, _ contents: String) throws -> Manifest {
        let digest = SHA256.hash(Array(contents.utf8)).hex
        let text = """
            {"model_version":"v","data":{"dataset_path":"\(path)","dataset_sha256":"\(digest)"},
             "artifacts":{"m":{"path":"\(path)","sha256":"\(digest)"}}}
            """
        return try Manifest.parse(Array(text.utf8), hashing: SHA256.hash)
    }

    private func words(_ manifest: Manifest, root: String? = nil, at path: String? = nil) -> [String] {
        ArtifactCheck(artifactsRoot: root, manifestPath: path)
            .run(manifest, includingDataset: true, showsProgress: false).map(\.state.word)
    }

    @Test("a file is ok, changed, missing or unreadable")
    func tellsStates() throws {
        let path = scratch.write("model.bin", "weights")
        #expect(words(try manifest(path, "weights")) == ["ok", "ok"])
        #expect(words(try manifest(path, "other")) == ["changed", "changed"])
        #expect(words(try manifest(scratch.path("gone"), "weights")) == ["missing", "missing"])
        #expect(words(try manifest(scratch.directory, "weights")) == ["unreadable", "unreadable"])
    }

    @Test("paths are looked for below the root, the manifest's directory and its parent, in that order")
    func searches() throws {
        scratch.write("run/root/model.bin", "at the root")
        scratch.write("run/manifests/model.bin", "beside the manifest")
        scratch.write("run/other.bin", "above the manifest")
        let manifestPath = scratch.path("run/manifests/v.json")
        let root = scratch.path("run/root")
        #expect(words(try manifest("model.bin", "at the root"), root: root, at: manifestPath) == ["ok", "ok"])
        #expect(words(try manifest("model.bin", "beside the manifest"), at: manifestPath) == ["ok", "ok"])
        #expect(words(try manifest("other.bin", "above the manifest"), root: root, at: manifestPath) == ["ok", "ok"])
        let found = ArtifactCheck(artifactsRoot: nil, manifestPath: manifestPath)
            .run(try manifest("other.bin", "above the manifest"), includingDataset: false, showsProgress: false)
        #expect(found.map(\.foundAt) == [scratch.path("run/manifests/../other.bin")])
    }

    @Test("the newest of a directory's manifests is taken when there is no pointer")
    func findsTheNewest() throws {
        scratch.write("run/manifests/a.json", #"{"model_version":"a","trained_at":"2025-03-05T00:00:00Z"}"#)
        scratch.write("run/manifests/b.json", #"{"model_version":"b","trained_at":"2025-03-04T00:00:00Z"}"#)
        scratch.write("run/manifests/c.json", #"{"model_version":"c","trained_at":"2025-03-05T00:00:00Z"}"#)
        #expect(try ManifestFile.load(scratch.path("run")).manifest.version == "c")
        scratch.write("run/model_manifest.json", #"{"model_version":"pointed"}"#)
        #expect(try ManifestFile.load(scratch.path("run")).manifest.version == "pointed")
    }

    @Test("below a directory, other JSON is passed over, and a broken manifest is not")
    func tellsManifestsFromOtherFiles() {
        func kind(_ text: String) -> String {
            switch ManifestFolder.readFound(scratch.write("f.json", text), verification: .strict) {
            case .manifest: "manifest"
            case .somethingElse: "other"
            case .tooLarge: "too large"
            case .failed: "failed"
            }
        }
        #expect(kind(#"{"model_version":"v"}"#) == "manifest")
        #expect(kind(#"{"user":1}"#) == "other")
        #expect(kind("[1,2]") == "other")
        #expect(kind("{\"model_version\":\"v\"") == "failed")
        #expect(kind(#"{"model_version":7}"#) == "failed")
        #expect(kind(#"{"model_version":"v","manifest_sha256":"00"}"#) == "failed")
    }
}
