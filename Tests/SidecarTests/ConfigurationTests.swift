import Enrichment
import Provenance
import Sidecar
import TestSupport
import Testing

@Suite("Configuration")
struct ConfigurationTests {
    private let scratch = Scratch()

    private func load(
        _ yaml: String? = nil, environment: [(name: String, value: String)] = [], flags: [(String, [String])] = []
    ) throws(ConfigurationError) -> Configuration {
        var file: String?
        if let yaml {
            scratch.write("colophon.yaml", yaml)
            file = scratch.path("colophon.yaml")
        }
        return try Configuration(
            Configuration.Sources(
                file: file, environment: environment,
                flags: flags.compactMap { name, texts in
                    SettingKey.named(name).map { .init($0, texts, spelling: "--" + $0.flag) }
                }))
    }

    /// What is wrong, each without the directory.
    private func problems(
        _ yaml: String?, environment: [(name: String, value: String)] = [], flags: [(String, [String])] = []
    ) -> [String] {
        do {
            _ = try load(yaml, environment: environment, flags: flags)
            return []
        } catch {
            let directory = scratch.path("")
            return error.problems.map { $0.hasPrefix(directory) ? String($0.dropFirst(directory.count)) : $0 }
        }
    }

    private func row(_ configuration: Configuration, _ key: String) -> String? {
        let lines = configuration.yaml().split(separator: "\n").map(String.init)
        let path = key.split(separator: ".").map(String.init)
        var start = 0
        for (depth, name) in path.enumerated() {
            let begin = String(repeating: "  ", count: depth) + name + ":"
            guard let found = lines[start...].firstIndex(where: { $0.hasPrefix(begin) }) else { return nil }
            start = found
        }
        return lines[start].split(whereSeparator: { $0 == " " }).joined(separator: " ")
    }

    // MARK: - The table

    @Test("the defaults of the table are those that are used")
    func agreesOnDefaults() throws {
        // These two are decided by the machine where nobody says anything.
        let decided = ["data_dir", "limits.connections"]
        var usual = ""
        dump(SidecarSettings(), to: &usual)
        for key in SettingKey.all where !decided.contains(key.name) {
            var settings = SidecarSettings()
            try key.apply(key.initial, to: &settings)
            var applied = ""
            dump(settings, to: &applied)
            #expect(applied == usual, "\(key.name)")
        }
    }

    @Test("no two keys share a flag or a variable, and each is spelled as the design has it")
    func spellsKeys() {
        #expect(Set(SettingKey.all.map(\.name)).count == SettingKey.all.count)
        #expect(Set(SettingKey.all.map(\.flag)).count == SettingKey.all.count)
        #expect(Set(SettingKey.all.map(\.variable)).count == SettingKey.all.count)
        #expect(SettingKey.named("kafka.brokers")?.flag == "kafka-brokers")
        #expect(SettingKey.named("limits.head_bytes")?.variable == "COLOPHON_LIMITS_HEAD_BYTES")
    }

    @Test("Config/colophon.yaml has every key with its default, and is what the program prints")
    func documentsEveryKey() throws {
        let path = Program.root + "/Config/colophon.yaml"
        let text = try #require(Scratch.text(of: path))
        let usual = try load()
        #expect(text == usual.yaml(isDocumented: true), "Tools/accept-help makes it anew")
        let read = try Configuration(Configuration.Sources(file: path, environment: [], flags: []))
        // All but the one that the machine decides, which stands there as a comment.
        #expect(read.given == SettingKey.all.count - 1 && text.contains("\n# data_dir: /var/lib/colophon\n"))
        #expect(read.changes(since: usual).map(\.name) == ["manifest"], "only a path that is relative to the file")
        for key in SettingKey.all { #expect(!key.about.isEmpty, "\(key.name)") }
    }

    @Test("Config/colophon.schema.json is what the program prints")
    func keepsSchema() throws {
        let text = try #require(Scratch.text(of: Program.root + "/Config/colophon.schema.json"))
        #expect(text == JSONWriter.pretty.text(ConfigurationSchema.json) + "\n", "Tools/accept-help makes it anew")
    }

    @Test("what is shown can be read again, and says the same")
    func roundTrips() throws {
        let first = try load(
            """
            upstream: {als: "127.0.0.1:81", popgen: "127.0.0.1:82"}
            manifest: {als: a.json, popgen: /m/p.json}
            listen: [":8080", "unix:x.sock"]
            route: {header: X-Arm}
            logs: {files: ["*.log", "b: c"], match: "event=yes", unix: "datagram:d.sock"}
            kafka: {brokers: "a:1,[::1]:2", properties: {ssl.ca.location: ca.pem, client.id: "#x"}}
            poll: 500ms
            """)
        scratch.write("again.yaml", first.yaml())
        let second = try Configuration(
            Configuration.Sources(file: scratch.path("again.yaml"), environment: [], flags: []))
        // Where the ledger is when nobody says so, the machine decides; what is shown is what it has decided.
        #expect(second.changes(since: first).map(\.name).filter { $0 != "data_dir" } == [])
        #expect(second.given == SettingKey.all.count)
    }

    @Test("whatever a value is, it is shown so that it can be read again", arguments: 0..<200)
    func roundTripsAnything(seed: Int) throws {
        var chance = Chance(seed: UInt64(seed))
        let alphabet: [Character] = [
            "a", "Z", "0", " ", ":", "#", "\"", "'", "\\", "$", "{", "}", "\u{7F}", "\u{85}", "\u{2028}", "é", "-", ",",
            "\t", "\u{FEFF}", "~", "%", "@",
        ]
        let text = String(
            (0..<Int.random(in: 1...12, using: &chance)).map { _ in alphabet.randomElement(using: &chance) ?? "a" })
        let first: Configuration
        do { first = try load(flags: [("kafka.key", [text]), ("kafka.properties", ["client.id=" + text])]) } catch {
            return
        }
        scratch.write("again.yaml", first.yaml())
        let second = try Configuration(
            Configuration.Sources(file: scratch.path("again.yaml"), environment: [], flags: []))
        #expect(Array(second.settings.lines.enriching.key.utf8) == Array(text.utf8), "\(first.yaml())")
        #expect(second.settings.lines.kafka.properties.map { Array($0.value.utf8) } == [Array(text.utf8)])
    }

    @Test("one upstream and one manifest on the command line are shown as one value each")
    func showsSingleValues() throws {
        let first = try load(flags: [
            ("upstream", ["1.2.3.4:5"]), ("manifest", ["/x.json"]), ("listen", ["127.0.0.1:1"]),
        ])
        scratch.write("again.yaml", first.yaml())
        let second = try Configuration(
            Configuration.Sources(file: scratch.path("again.yaml"), environment: [], flags: []))
        #expect(
            second.settings.upstream.map(\.value) == ["1.2.3.4:5"]
                && second.settings.manifest.map(\.value) == ["/x.json"])
    }

    // MARK: - Precedence

    @Test("a flag wins over the environment, that over the file, and that over the default")
    func decidesPrecedence() throws {
        let yaml = "workers: 2\npoll: 3s\ninstance: of-file\n"
        let variables = [("COLOPHON_WORKERS", "3"), ("COLOPHON_POLL", "4s")].map { (name: $0.0, value: $0.1) }
        let all = try load(yaml, environment: variables, flags: [("workers", ["4"])])
        #expect(row(all, "workers") == "workers: 4 # --workers")
        #expect(row(all, "poll") == "poll: 4s # COLOPHON_POLL")
        #expect(row(all, "instance") == "instance: of-file # \(scratch.path("colophon.yaml")):3")
        #expect(row(all, "verify") == "verify: strict # default")
        #expect(all.settings.workers == 4 && all.settings.poll == 4_000_000 && all.settings.instance == "of-file")
    }

    @Test("a switch can be put off where a file has put it on")
    func putsSwitchesOff() throws {
        let all = try load("manifest_optional: yes\n", flags: [("manifest_optional", ["false"])])
        #expect(!all.settings.manifestOptional)
        #expect(
            problems("manifest_optional: maybe\n") == [
                "colophon.yaml:1: manifest_optional takes true or false, not \"maybe\""
            ])
    }

    @Test("lists and maps are JSON in the environment, and a list of one may stand there plainly")
    func readsVariables() throws {
        let all = try load(environment: [
            (name: "COLOPHON_LISTEN", value: "[\"127.0.0.1:1\",\"[::1]:2\"]"),
            (name: "COLOPHON_MANIFEST", value: "{\"a\":\"x.json\",\"b\":\"y.json\"}"),
            (name: "COLOPHON_LOGS_FILES", value: "/var/log/*.log"),
            (name: "COLOPHON_KAFKA_PROPERTIES", value: "{\"linger.ms\":\"1\"}"),
        ])
        #expect(all.settings.listen == ["127.0.0.1:1", "[::1]:2"])
        #expect(all.settings.manifest.map(\.variant) == ["a", "b"])
        #expect(all.settings.lines.files == ["/var/log/*.log"])
        #expect(all.settings.lines.kafka.properties.map(\.name) == ["linger.ms"])
        #expect(
            problems(nil, environment: [(name: "COLOPHON_KAFKA_PROPERTIES", value: "linger.ms=1")]).first?
                .hasPrefix("COLOPHON_KAFKA_PROPERTIES takes JSON") == true)
        #expect(
            problems(nil, environment: [(name: "COLOPHON_LISTEN", value: "[1]")]).first?
                .hasPrefix("COLOPHON_LISTEN takes JSON") == true)
        #expect(
            try load(environment: [(name: "COLOPHON_LISTEN", value: "[::1]:8080")]).settings.listen == ["[::1]:8080"])
    }

    @Test("a variable that means nothing is told of, unless it is one of Kubernetes's")
    func warnsOfVariables() throws {
        let all = try load(environment: [
            (name: "COLOPHON_KAFKA_BROKER", value: "x:1"), (name: "COLOPHON_SERVICE_HOST", value: "10.0.0.1"),
            (name: "COLOPHON_PORT_9464_TCP", value: "tcp://10.0.0.1:9464"), (name: "OTHER", value: "1"),
        ])
        #expect(
            all.warnings == [
                "the variable COLOPHON_KAFKA_BROKER is no key of the configuration; did you mean COLOPHON_KAFKA_BROKERS?"
            ])
    }

    // MARK: - What is wrong

    @Test(
        "each mistake is told with its line and what to do",
        arguments: [
            ("lisen: x", "1: there is no key lisen; did you mean listen? (`colophon config show` prints all)"),
            (
                "kafka:\n  topics: x",
                "2: there is no key kafka.topics; did you mean kafka.topic? (`colophon config show` prints all)"
            ),
            ("kafka.topic: x", "1: kafka.topic is written as a section: kafka:, and its keys below it, indented"),
            ("kafka: x", "1: kafka is a section: its keys stand below it, indented"),
            ("poll:", "1: poll has no value: write one, or remove the line"),
            ("poll: \"\"", "1: poll is empty: write a value, or leave it out"),
            ("workers: [1, 2]", "1: workers takes one value"),
            ("upstream: [a, b]", "1: upstream takes one value, or a map from variants to values"),
            ("upstream: {a: {b: c}}", "1: upstream takes one value for a"),
            (
                "upstream: {a/b: c}",
                "1: upstream takes names of letters, digits, dots, dashes and underscores, not \"a/b\""
            ),
            ("kafka: {properties: x}", "1: kafka.properties takes a map from names to values"),
            ("listen: [[a]]", "1: listen takes a list of single values"),
            ("poll: 1 day", "1: poll takes a time from 50ms to 168h, such as 500ms, 5s or 10m, not \"1 day\""),
            (
                "spool: {bytes: 1GB}",
                "1: spool.bytes takes a size from 16MiB to 1048576GiB, in KiB, MiB or GiB, not \"1GB\""
            ),
            ("workers: 0", "1: workers takes a number from 1 to 256, not \"0\""),
            ("verify: maybe", "1: verify takes one of strict, warn, off, not \"maybe\""),
            (
                "tiemouts:\n  idle: 1s",
                "1: there is no key tiemouts; did you mean timeouts? (`colophon config show` prints all)"
            ),
            (
                "kafka:\nbrokers: a:1",
                "2: there is no key brokers here; did you mean kafka.brokers, indented below its section?"
            ),
            (
                "timeouts:\n  idle:1s",
                "2: timeouts is a section: its keys stand below it, indented, each with a colon and a blank before its value"
            ),
            ("admin:\n  token:hunter2: x", "2: there is no key admin.token…: behind a key stand a colon and a blank"),
            ("admin: {token:hunter2}", "1: there is no key admin.token…: behind a key stand a colon and a blank"),
            (
                "log: {level: warning}",
                "1: log.level takes one of debug, info, warn, error, not \"warning\"; did you mean warn?"
            ),
            (
                "attribution: {settle: never}",
                "1: attribution.settle takes none, upstream-restart, or a time such as 500ms, 5s or 10m, not \"never\""
            ),
            ("data_dir: ~/x", "1: data_dir takes a path that is written out: nobody puts a directory in for ~ in"),
            ("instance: ${X", "1: instance has a ${ that no } closes"),
            ("admin: {token: (redacted)}", "1: admin.token has what is shown in the place of a secret"),
            (
                "kafka: {properties: {sasl.password: (redacted)}}",
                "1: kafka.properties has what is shown in the place of a secret"
            ),
            ("a: b\n  c: d", "2: mapping values are not allowed in this context"),
            ("just words", "1: keys and values are expected here, such as `listen: 127.0.0.1:8080`"),
            ("admin: {token: \"${NOT_SET}\"}", "1: admin.token needs the variable NOT_SET, which is not set, or empty"),
        ])
    func tellsMistakes(yaml: String, expected: String) {
        let told = problems(yaml)
        #expect(told.count == 1 && told[0].hasPrefix("colophon.yaml:" + expected), "\(told)")
        #expect(!told.contains { $0.contains("hunter2") })
    }

    @Test("all mistakes are told at once, and the first one says how many there are")
    func tellsAll() throws {
        let yaml = "lisen: x\npoll: soon\nverify: maybe\n"
        #expect(problems(yaml, flags: [("workers", ["0"])]).count == 4)
        let error = #expect(throws: ConfigurationError.self) { _ = try load(yaml) }
        #expect(error?.description.hasSuffix("(and 2 more: `colophon config check FILE` lists all)") == true)
    }

    @Test("a file that is not there, or a directory, is told of")
    func tellsOfMissingFiles() {
        for path in [scratch.path("nowhere.yaml"), scratch.path("")] {
            let error = #expect(throws: ConfigurationError.self) {
                _ = try Configuration(Configuration.Sources(file: path, environment: [], flags: []))
            }
            #expect(
                error?.problems.first?.contains("(--config, COLOPHON_CONFIG) cannot be read") == true,
                "\(error.map { "\($0)" } ?? "")")
        }
    }

    @Test(
        "an empty file, or one of comments and empty sections, changes nothing",
        arguments: ["", "# x\n", "kafka:\nlogs:\n  # a\n"])
    func takesNothing(yaml: String) throws {
        #expect(try load(yaml).given == 0)
    }

    @Test("what is right alone and wrong together is told by where it stands")
    func tellsContradictions() throws {
        let all = try load(
            "upstream: {a: \"127.0.0.1:1\", b: \"127.0.0.1:2\"}\nmanifest: {a: x}\nroute: {header: X-Arm}\n")
        let error = #expect(throws: SidecarError.self) { try all.settings.check() }
        #expect(error?.text(all).hasSuffix("colophon.yaml:2: manifest names none for the variant b") == true)
        let flags = try load(flags: [("admin.listen", ["0.0.0.0:9464"])])
        let other = #expect(throws: SidecarError.self) { try flags.settings.check() }
        #expect(other?.text(flags).hasPrefix("--admin-listen 0.0.0.0:9464 can be reached from elsewhere") == true)
        let wrong: [(yaml: String, words: String)] = [
            ("upstream: {a: \"h:1\", b: \"h:2\"}\n", "route.header (--route-header) is needed"),
            ("listen: [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n", ":1: listen names 127.0.0.1:1"),
            ("admin: {listen: \"127.0.0.1:8080\"}\n", "listen (--listen) names 127.0.0.1:8080"),
            ("listen: 127.0.0.1:8082\n", "upstream (--upstream) 127.0.0.1:8082 is where it listens itself"),
            ("listen: 0.0.0.0:8082\n", "upstream (--upstream) 0.0.0.0:8082 is where it listens itself"),
            ("listen: [\"0.0.0.0:1\", \"127.0.0.1:1\"]\n", "0.0.0.0:1 and 127.0.0.1:1, which are one address"),
            (
                "listen: 127.0.0.1:7\nadmin: {listen: \"localhost:7\"}\n",
                ":1: listen names 127.0.0.1:7, which is that of"
            ),
            ("log: {access: /tmp}\n", ":1: log.access /tmp is a directory"),
            (
                "logs: {to: stdout, unix: /\(String(repeating: "x", count: 150))}\n",
                "has 151 bytes, and no socket's path more than 107"
            ),
            (
                "upstream: {default: \"127.0.0.1:1\", b: \"127.0.0.1:2\"}\nmanifest: {default: x, b: y}\nroute: {header: X-Arm}\n",
                ":1: upstream names default beside all variants"
            ),
            ("kafka: {properties: {sasl.username: x}}\n", ":1: kafka.properties has nowhere to go"),
            ("instance: a/b\n", ":1: instance \"a/b\" is no name"),
            ("admin: {token: \"a b\"}\n", ":1: admin.token takes printable"),
            ("stamp: {version: X-A, commit: x-a}\n", ":1: stamp.commit is x-a, as stamp.version is"),
            ("kafka: {brokers: \"b:1\", properties: {no.such: x}}\n", ":1: kafka.properties: no.such"),
        ]
        for (yaml, words) in wrong {
            let all = try load(yaml)
            let error = #expect(throws: SidecarError.self) { try all.settings.check() }
            let told = error?.text(all) ?? "nothing"
            #expect(told.contains(words), "\(told)")
        }
    }

    // MARK: - Variables and secrets

    @Test("variables are put in, and two dollars are one")
    func fillsVariables() throws {
        let variables = [(name: "USER_NAME", value: "svc"), (name: "PASSWORD", value: "a:b #c\"")]
        let all = try load(
            "instance: x-${USER_NAME}-$${y}\nkafka: {properties: {sasl.password: \"${PASSWORD}\"}}\n",
            environment: variables)
        #expect(all.settings.instance == "x-svc-${y}")
        #expect(all.settings.lines.kafka.properties.first?.value == "a:b #c\"")
        // What is shown is as it was written: it is a configuration again, for whoever has other variables.
        let shown = all.yaml()
        #expect(shown.contains("x-${USER_NAME}-$${y}") && !shown.contains("svc"), "\(shown)")
    }

    @Test("no secret is ever shown")
    func hidesSecrets() throws {
        let yaml = """
            admin: {token: hunter2-a}
            kafka:
              brokers: b:1
              properties: {sasl.password: hunter2-b, ssl.key.password: "${KEY}", sasl.username: "${NAME}", client.id: me}
            """
        let variables = [(name: "KEY", value: "hunter2-c"), (name: "NAME", value: "hunter2-d")]
        let all = try load(yaml, environment: variables)
        for text in [all.yaml(), all.yaml(isDocumented: true), JSONWriter.compact.text(all.json)] {
            #expect(!text.contains("hunter2"))
            #expect(text.contains("(redacted)") && text.contains("${KEY}") && text.contains("me"))
        }
        let around = [(name: "HOME", value: "/x")]
        for token in ["${HOME}hunter2${HOME}", "x${HOME}hunter2", "${HOME}hunter2}"] {
            #expect(try !load("admin: {token: \"\(token)\"}\n", environment: around).yaml().contains("hunter2"))
        }
        #expect(
            try !load(environment: [(name: "COLOPHON_ADMIN_TOKEN", value: "${hunter2}")]).yaml().contains("hunter2"))
        #expect(try load("admin: {token: $TOKEN}\n").warnings.first?.contains("a variable is written ${NAME}") == true)
        let flags = try load(flags: [
            ("kafka.properties", ["sasl.password=hunter2", "sasl.pasword=hunter2"]), ("admin.token", ["hunter2"]),
        ])
        #expect(!flags.yaml().contains("hunter2"))
        let variable = try load(environment: [
            (name: "COLOPHON_KAFKA_PROPERTIES", value: "{\"sasl.password\":\"hunter2\"}"),
            (name: "COLOPHON_ADMIN_TOKEN", value: "hunter2"),
        ])
        #expect(!variable.yaml().contains("hunter2"))
    }

    // MARK: - Paths

    @Test("paths in a file are relative to it, and nothing else is")
    func rebasesPaths() throws {
        let yaml = """
            listen: [unix:p.sock, "127.0.0.1:1"]
            manifest: {a: m/a.json, b: /m/b.json}
            data_dir: ./data
            logs: {files: ["logs/*.log"], unix: [datagram:d.sock, s.sock], to: "file:out.log"}
            log: {access: off}
            admin: {listen: off}
            kafka: {properties: {ssl.ca.location: ca.pem, client.id: ca.pem}}
            """
        let settings = try load(yaml).settings
        let here = scratch.path("")
        #expect(settings.listen == ["unix:\(here)p.sock", "127.0.0.1:1"])
        #expect(settings.manifest.map(\.value) == ["\(here)m/a.json", "/m/b.json"])
        #expect(settings.dataDirectory == "\(here)data")
        #expect(settings.lines.files == ["\(here)logs/*.log"])
        #expect(settings.lines.unix.map(\.path) == ["\(here)d.sock", "\(here)s.sock"])
        #expect(settings.lines.to == .file("\(here)out.log"))
        #expect(settings.accessLog == nil && settings.adminListen == "off")
        #expect(settings.lines.kafka.properties.map(\.value) == ["\(here)ca.pem", "ca.pem"])
        #expect(try load(flags: [("data_dir", ["data"])]).settings.dataDirectory == "data")
    }
}
