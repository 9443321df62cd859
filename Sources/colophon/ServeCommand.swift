import Ledger
import Provenance
import Runtime
import Sidecar

extension Command {
    static let serve = Command(
        path: ["serve"], summary: "Stand in front of a model server and stamp its responses",
        options: SettingKey.all.map { key in
            Option(name: key.flag, value: key.value, help: key.help, repeats: key.repeats)
        },
        details: """
            Passes requests on to the model server and its responses back, each with the manifest that is live: X-Model-Version,
            X-Pipeline-Commit, X-Data-Version, X-Model-Manifest, and X-Model-Attribution, which says how surely. A new manifest
            is activated when the pointer changes, or on SIGHUP. SIGTERM ends it when all exchanges have ended, and a second one
            at once. Several variants are given as VARIANT=VALUE, once for each.
            """,
        examples: [
            (
                "colophon serve --upstream 127.0.0.1:8082 --manifest artifacts/model_manifest.json",
                "stamp what the server on port 8082 answers, on port 8080"
            ),
            (
                "colophon serve --upstream a=127.0.0.1:81 --upstream b=127.0.0.1:82 --manifest a=a.json "
                    + "--manifest b=b.json --route-header X-Arm",
                "two variants, picked by a header of the request"
            ),
        ],
        run: serve)

    private static func serve(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        var settings = SidecarSettings()
        for key in SettingKey.all where arguments.has(key.flag) {
            let values = arguments.all(key.flag)
            guard values.allSatisfy({ !$0.isEmpty }) else { throw arguments.usage("--\(key.flag) is empty") }
            do { try key.apply(values, to: &settings) } catch { throw arguments.usage(error.description) }
        }
        do throws(SidecarError) {
            let sidecar = try Sidecar(settings, dataDirectory: try directory(arguments))
            try sidecar.run()
            return .fine
        } catch {
            throw CommandError(error.isConflict ? .conflict : error.isUsage ? .usage : .failed, error.description)
        }
    }

    private static func directory(_ arguments: Arguments) throws(SidecarError) -> String {
        DataDirectory.path(named: arguments.value("data-dir") ?? Environment.value("COLOPHON_DATA_DIR"), for: .change)
    }
}
