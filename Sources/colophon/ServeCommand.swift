import Ledger
import Provenance
import Sidecar

extension Command {
    static let serve = Command(
        path: ["serve"], summary: "Stand in front of a model server and stamp its responses",
        options: [.configuration] + SettingKey.all.map { Option($0) },
        details: """
            Passes requests on to the model server and its responses back, each with the manifest that is live: X-Model-Version,
            X-Pipeline-Commit, X-Data-Version, X-Model-Manifest, and X-Model-Attribution, which says how surely. A new manifest
            is activated when the pointer changes, or on SIGHUP, which also loads the configuration anew. SIGTERM ends it when all
            exchanges have ended, and a second one at once. Several variants are given as VARIANT=VALUE, once for each. Each option
            is also a key of the file that --config names and a variable (--kafka-brokers: kafka.brokers, COLOPHON_KAFKA_BROKERS);
            an option wins over the variable, and that over the file.
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
        var flags: [Configuration.Flag] = []
        for key in SettingKey.all { if let flag = try arguments.flag(key) { flags.append(flag) } }
        let sources = try arguments.sources(flags)
        let configuration = try arguments.configuration(sources, linesGo: .off)
        do throws(SidecarError) {
            let named = configuration.settings.dataDirectory
            let sidecar = try Sidecar(
                configuration, from: sources, dataDirectory: DataDirectory.path(named: named, for: .change))
            try sidecar.run()
            return .fine
        } catch { throw CommandError(error, configuration) }
    }
}
