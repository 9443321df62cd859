import Glibc
import Provenance
import TestSupport
import Testing

/// The example recommender, trained and served, and what it says traced.
@Suite("The example")
struct ExampleTests {
    private let colophon = Colophon()
    private let example = Program.root + "/Examples/als-recommender"

    private func train(_ arguments: String...) -> Program.Result {
        Program.run(
            ["python3", example + "/train.py", "--colophon", Program.colophonPath] + arguments,
            environment: [
                "PIPELINE_GIT_COMMIT": "80d8e56f5c1b80d8e56f5c1b80d8e56f5c1b80d8", "PIPELINE_GIT_BRANCH": "main",
            ],
            in: colophon.scratch.directory)
    }

    @Test("training twice gives the same model; another seed gives another, and no version is overwritten")
    func trains() throws {
        let first = train("--model-version", "als-1")
        #expect(
            first.status == 0 && first.output.contains("wrote ./artifacts/als/manifests/als-1.json")
                || first.output.contains("wrote artifacts/als/manifests/als-1.json"))
        let again = train("--model-version", "als-1")
        #expect(again.status == 0 && again.output.contains("had already, with the same contents"))
        let other = train("--model-version", "als-1", "--seed", "8")
        #expect(other.status == 3 && other.errors.contains("hyperparameters.seed"))
        #expect(colophon.run("manifest", "verify", "artifacts/als").status == 1, "the model is another one now")
        #expect(train("--model-version", "als-1").status == 0)
        #expect(colophon.run("manifest", "verify", "artifacts/als").status == 0)
    }

    @Test("what the server answers and logs leads back to the manifests of both variants")
    func serves() throws {
        let scratch = colophon.scratch
        #expect(train("--model-version", "als-1", "--data-version", "kafka-1").status == 0)
        #expect(train("--family", "popgen", "--model-version", "popgen-1").status == 0)
        #expect(
            colophon.run("index", "add", "artifacts").output.hasPrefix(
                "added 2 manifests, 3 other JSON files passed over"))
        let server = Program.start(
            ["python3", example + "/serve.py", "--listen", "127.0.0.1:0", "--stamp", "--log", "log"],
            output: "/dev/null",
            errors: scratch.path("server"), in: scratch.directory)
        defer {
            kill(server, SIGTERM)
            _ = Program.wait(for: server)
        }
        // Listening is the first thing that it says; should it end instead, this ends too.
        var address = ""
        while address.isEmpty, !Program.hasEnded(server) {
            Program.pause()
            let said = (scratch.read("server") ?? "").split(separator: "\n")
            address = said.first { $0.hasPrefix("listening on ") }.map { String($0.dropFirst(13)) } ?? ""
        }
        try #require(!address.isEmpty, "\(scratch.read("server") ?? "")")
        for (variant, version) in [("als_model", "als-1"), ("popgen_model", "popgen-1")] {
            for user in 39100..<39110 {
                let response = Program.run(
                    ["curl", "-sD-", "-H", "X-Experiment-Variant: \(variant)", "http://\(address)/recommend/\(user)"])
                let traced = colophon.run("trace", "-", "--json", input: response.output)
                #expect(traced.status == 0, "\(traced.output)")
                #expect(try JSONParser.parse(traced.output).object?.text("model_version") == version)
            }
        }
        // It answers first, and writes its line afterwards.
        var log = ""
        while log.count(where: { $0 == "\n" }) < 20, !Program.hasEnded(server) {
            Program.pause()
            log = scratch.read("log") ?? ""
        }
        #expect(log.split(separator: "\n").count == 20)
        let traced = colophon.run("trace", "-", "--json", "--verify", input: log)
        let rows = try traced.output.split(separator: "\n").map {
            try #require(try JSONParser.parse(String($0)).object)
        }
        #expect(
            rows.map { $0.text("model_version") } == Array(repeating: "als-1", count: 10)
                + Array(repeating: "popgen-1", count: 10))
        #expect(
            rows.allSatisfy {
                $0.flag("verified") && $0.text("input") == "recommendation line" && $0.text("attribution") == "exact"
            })
    }

    @Test("the demonstration of `make run` works, twice in a row")
    func demonstrates() {
        for _ in 0..<2 {
            let result = Program.run([
                Program.root + "/Examples/demo", Program.colophonPath, colophon.scratch.path("run"),
            ])
            #expect(result.status == 0, "\(result.errors)")
            #expect(result.output.contains("inferred: found by manifest_sha256 in the response headers"))
            #expect(result.output.contains("als_model  ok  artifacts/als/als_model.bin"))
            #expect(
                result.output.contains("X-Model-Version: als-20250311") && result.output.contains("\"ready\": true"))
            #expect(result.output.contains("manifest_sha256=") && result.output.contains(",origin="))
            #expect(result.output.contains("\"rollback\": true") && result.output.contains("(exit code 4)"))
        }
    }

    private static func freePorts() -> [Int] {
        let result = Program.run([
            "python3", "-c",
            "import socket; s = [socket.create_server(('127.0.0.1', 0)) for _ in range(3)]; print(*[x.getsockname()[1] for x in s])",
        ])
        return result.output.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
    }

    @Test("`make run` stays up until Ctrl-C, cleans up behind itself, and says so when a port is taken")
    func staysUp() throws {
        let scratch = colophon.scratch
        let ports = Self.freePorts()
        try #require(ports.count == 3)
        let names = ["LISTEN", "ADMIN", "UPSTREAM"]
        let environment = Dictionary(
            uniqueKeysWithValues: zip(names, ports).map { ($0, "127.0.0.1:\($1)") })
        let demo = Program.start(
            [Program.root + "/Examples/demo", "--stay", Program.colophonPath, scratch.path("run")],
            output: scratch.path("out"), errors: scratch.path("err"), environment: environment)
        var isUp = false
        while !isUp, !Program.hasEnded(demo) {
            Program.pause()
            isUp = (scratch.read("out") ?? "").contains("Ctrl-C ends it")
        }
        #expect(isUp, "\(scratch.read("err") ?? "")")
        let answer = Program.run(["curl", "-sD-", "-o", "/dev/null", "http://127.0.0.1:\(ports[0])/recommend/7"])
        #expect(answer.output.contains("X-Model-Version:"))
        let second = Program.run(
            [Program.root + "/Examples/demo", "--stay", Program.colophonPath, scratch.path("other")],
            environment: environment)
        #expect(second.status == 1 && second.errors.contains("something listens on 127.0.0.1:\(ports[0]) already"))
        #expect(second.errors.contains("LISTEN=127.0.0.1:PORT make run"))
        kill(demo, SIGINT)
        #expect(Program.wait(for: demo) == 130, "\(scratch.read("err") ?? "")")
        for port in ports {
            let tried = Program.run(["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:\(port)/"])
            #expect(tried.status == 7, "somebody still listens on \(port)")
        }
    }
}
