import Manifests
import Provenance
import Runtime
import Trace

extension Command {
    static let manifestVerify = Command(
        path: ["manifest", "verify"], summary: "Hash everything that a manifest names and compare",
        operands: "MANIFEST", operandCount: 1...1,
        options: [
            Option(name: "skip-dataset", help: "leave the dataset out, where it is not kept beside the model"),
            .artifactsRoot, .json, .dataDirectory, .configuration,
        ],
        details: """
            MANIFEST is a file, the directory of a training run, or a version or digest that the ledger knows.
            Relative paths are looked for below --artifacts-root, the working directory, the manifest's directory and its
            parent, in that order. Each item is ok, changed, missing or unreadable; the exit code is 1 unless all are ok.
            """,
        examples: [
            ("colophon manifest verify artifacts/model_manifest.json", "is what lies here what was trained?"),
            ("colophon manifest verify als-20250304 --skip-dataset", "on a server that has no dataset"),
        ],
        run: verifyManifest)

    private static func verifyManifest(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let indexed = try Lookup.manifest(arguments.operands[0], arguments, verification: .off)
        let manifest = indexed.manifest
        let files = ArtifactCheck(artifactsRoot: try arguments.artifactsRoot(), manifestPath: indexed.file)
            .run(manifest, includingDataset: !arguments.has("skip-dataset"), showsProgress: true)
        let isFine = manifest.isDigestVerified && files.allSatisfy(\.state.isOK)
        if arguments.wantsJSON {
            var answer = TraceJSON.object(of: indexed, intervals: nil, files: files).without("verified")
            answer.append("verified", .bool(isFine))
            _ = try Printer.print(.object(answer))
        } else {
            let failed = files.count { !$0.state.isOK } + (manifest.isDigestVerified ? 0 : 1)
            let end =
                isFine
                ? "everything that has a hash is ok"
                : "\(failed) of \(files.count + 1) \(failed == 1 ? "is" : "are") not ok"
            _ = try Printer.print(rows: Printer.table(rows(manifest, files)) + [end])
        }
        return isFine ? .fine : .failed
    }

    private static func rows(_ manifest: Manifest, _ files: [CheckedFile]) -> [[String]] {
        let digest =
            manifest.isDigestVerified
            ? ["ok", "manifest", manifest.digest.hex, "by \(manifest.form)"]
            : [
                "changed", "manifest", manifest.digest.hex,
                "it declares \((manifest.declaredSHA256 ?? "").onOneLine), which matches its contents in no known form",
            ]
        let unhashed =
            manifest.dataset.sha256 == nil
            ? manifest.dataset.path.map {
                [["unchecked", "dataset", $0.onOneLine, "the manifest gives no hash of it"]]
            } ?? [] : []
        return [digest] + unhashed
            + files.map { file in
                let name = file.kind == .dataset ? "dataset" : "artifact \(file.name.onOneLine)"
                return [file.state.word, name, file.path.onOneLine, (file.detail ?? "").onOneLine]
            }
    }
}
