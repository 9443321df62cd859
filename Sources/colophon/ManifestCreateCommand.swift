import Manifests
import Provenance
import Runtime
import Trace

extension Command {
    static let manifestCreate = Command(
        path: ["manifest", "create"], summary: "Write the manifest of a finished training run, and point to it",
        options: [
            Option(name: "model-family", value: "NAME", help: "what kind of model it is: als"),
            Option(
                name: "data", value: "FILE", help: "the dataset that it was trained on",
                aliases: ["data-path"]),
            Option(name: "artifact", value: "NAME=FILE", help: "a file that the training left", repeats: true),
            Option(name: "model-version", value: "ID", help: "the version; FAMILY-YYYYMMDDHHMMSS (UTC) when not given"),
            Option(name: "data-version", value: "ID", help: "the dataset's version; its SHA-256 when not given"),
            Option(
                name: "artifact-dir", value: "DIR",
                help: "where artifacts are that are not in the working directory, and manifests go by default"),
            Option(
                name: "manifest-dir", value: "DIR",
                help: "where manifests/ID.json and the pointer model_manifest.json go"),
            Option(
                name: "hyperparameter", value: "NAME=VALUE", help: "a number, true, false, null, or else a text",
                repeats: true),
            Option(name: "hyperparameters", value: "FILE", help: "a JSON object with all of them"),
            Option(
                name: "profile", value: "NAME=COLUMN,…",
                help: "read the dataset as CSV: count its rows, and the different values in columns"),
            .json,
        ],
        details: """
            Everything is hashed before anything is written. A version that is taken is never overwritten: with the same
            contents it is fine, with others the exit code is 3.

            It is written to --manifest-dir, else to --artifact-dir, else beside the first artifact, else here: as
            manifests/ID.json, and as model_manifest.json, which always mirrors the last one.

            The commit, branch and cleanliness come from PIPELINE_GIT_COMMIT, PIPELINE_GIT_BRANCH and PIPELINE_GIT_DIRTY, or
            else from git, where files that it does not follow count for nothing. Options may be spelled with underscores (--model_version).
            """,
        examples: [
            (
                "colophon manifest create --model-family als --data data/x.csv --artifact als_model=artifacts/als_model.npz",
                "after a training run"
            ),
            (
                "colophon manifest create --model-family als --data data/x.csv --profile user=user_id,movie=movie_id",
                "with counts of rows, users and movies"
            ),
        ],
        run: createManifest)

    private static func createManifest(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        var creation = ManifestCreation(
            family: try arguments.required("model-family"), dataPath: try arguments.required("data"), directory: "")
        guard !creation.family.isEmpty else { throw arguments.usage("--model-family is empty") }
        creation.version = arguments.value("model-version")
        creation.dataVersion = arguments.value("data-version")
        let artifactDirectory = arguments.value("artifact-dir")
        for (name, path) in try arguments.pairs("artifact") {
            creation.artifacts.append((name, try found(path, below: artifactDirectory)))
        }
        creation.directory =
            arguments.value("manifest-dir") ?? artifactDirectory
            ?? creation.artifacts.first.map { Paths.directory(of: $0.path) } ?? "."
        creation.hyperparameters = try hyperparameters(arguments)
        creation.profile = try profile(arguments)
        if let problem = GitFacts.problem { throw CommandError(.usage, problem) }
        let pipeline = GitFacts.gather()
        let result: ManifestCreation.Result
        do { result = try creation.run(pipeline: pipeline, at: Clock.now(), showsProgress: true) } catch {
            throw CommandError(error)
        }
        if result.file.manifest.pipeline.commit == nil {
            complain(
                "colophon: no git commit was found, so the manifest names none: set PIPELINE_GIT_COMMIT to record one")
        }
        return try report(result, arguments)
    }

    private static func found(_ path: String, below directory: String?) throws(CommandError) -> String {
        guard let directory else { return path }
        let status = try CommandError.wrap { () throws(SystemError) in try FileStatus.of(path) }
        return status == nil ? Paths.join(directory, path) : path
    }

    private static func hyperparameters(_ arguments: Arguments) throws(CommandError) -> JSONObject {
        var result = JSONObject()
        if let path = arguments.value("hyperparameters") {
            let bytes = try CommandError.wrap { () throws(SystemError) in
                try Files.read(path, limit: Manifest.largestBytes)
            }
            guard let bytes else {
                throw CommandError(.failed, "\(path) is larger than 16 MiB: are these hyperparameters?")
            }
            let value: JSON
            do { value = try JSONParser.parse(bytes) } catch {
                throw CommandError(.failed, "\(path) is no JSON: \(error)")
            }
            guard let object = value.object else {
                throw CommandError(.failed, "\(path) holds \(value.kind), and hyperparameters are an object")
            }
            result = object
        }
        for (name, text) in try arguments.pairs("hyperparameter", allowsEmpty: true) {
            guard result[name] == nil else { throw arguments.usage("the hyperparameter \(name) is given twice") }
            result.append(name, (try? JSONParser.parse(text)) ?? .string(text))
        }
        return result
    }

    private static func profile(_ arguments: Arguments) throws(CommandError) -> [(name: String, column: String)] {
        guard let text = arguments.value("profile") else { return [] }
        var profile: [(String, String)] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard pair.count == 2, !pair[0].isEmpty, !pair[1].isEmpty,
                !profile.contains(where: { $0.0.hasSameBytes(as: pair[0]) })
            else {
                throw arguments.usage("--profile takes user=COLUMN,movie=COLUMN, and not \"\(text.onOneLine)\"")
            }
            profile.append((pair[0], pair[1]))
        }
        return profile
    }

    private static func report(_ result: ManifestCreation.Result, _ arguments: Arguments) throws(CommandError)
        -> ExitCode
    {
        let manifest = result.file.manifest
        if arguments.wantsJSON {
            return try Printer.print(
                .object(
                    JSONObject([
                        .init("manifest_sha256", .string(manifest.digest.hex)),
                        .init("model_version", .string(manifest.version)), .init("path", .string(result.file.path)),
                        .init("pointer", .string(result.pointerPath)), .init("new", .bool(result.isNew)),
                    ])))
        }
        let verb = result.isNew ? "wrote" : "had already, with the same contents,"
        return try Printer.print(rows: [
            "\(verb) \(result.file.path.onOneLine)", "  manifest   \(manifest.digest)",
            "  model      \(manifest.version.onOneLine)", "  pointer    \(result.pointerPath.onOneLine)",
        ])
    }
}
