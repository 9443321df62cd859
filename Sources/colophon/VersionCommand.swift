import Crypto
import Kafka
import Provenance
import Runtime
import SQLite
import YAML

extension Command {
    static let version = Command(
        path: ["version"], summary: "Print the version of colophon and of the libraries that it uses",
        options: [.json], examples: [("colophon version", "what to write into a bug report")],
        run: printVersion)

    private static func printVersion(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        let answer = JSONObject([
            .init("colophon", .string(Version.current)), .init("sqlite", .string(Database.version)),
            .init("openssl", .string(SHA256.libraryVersion)), .init("librdkafka", .string(KafkaLibrary.version)),
            .init("libyaml", .string(YAMLLibrary.version)),
        ])
        if arguments.wantsJSON { return try Printer.print(.object(answer)) }
        return try Printer.print(
            "colophon \(Version.current) (SQLite \(Database.version), OpenSSL \(SHA256.libraryVersion), librdkafka \(KafkaLibrary.version), libyaml \(YAMLLibrary.version))"
        )
    }
}
