// swift-tools-version: 6.2
import PackageDescription

/// What every target of ours is compiled with: Swift 6, and no warning left standing.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    // Decision 16: what can only be checked while it runs is checked by the builds that tests run in.
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

/// Dependencies point one way; see ARCHITECTURE.md. `make build` refuses an import that is not declared here.
let package = Package(
    name: "colophon",
    products: [.executable(name: "colophon", targets: ["colophon"])],
    targets: [
        // C libraries and the few Linux calls that Swift's own Glibc module leaves out. No code of ours in C.
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CRdKafka", pkgConfig: "rdkafka", providers: [.apt(["librdkafka-dev"])]),
        .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
        .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
        .systemLibrary(name: "CSystem"),

        // The pure domain: no IO, no C.
        .target(name: "Provenance", swiftSettings: strict),

        // The machine, and one wrapper for each C library.
        .target(name: "Runtime", dependencies: ["CSystem", "Provenance"], swiftSettings: strict),
        .target(name: "Crypto", dependencies: ["CCrypto", "Provenance"], swiftSettings: strict),
        .target(name: "SQLite", dependencies: ["CSQLite"], swiftSettings: strict),

        .target(name: "Kafka", dependencies: ["CRdKafka"], swiftSettings: strict),
        .target(name: "Checksum", dependencies: ["CXXHash"], swiftSettings: strict),
        .target(name: "YAML", dependencies: ["CYAML"], swiftSettings: strict),

        // The wire, without sockets.
        .target(name: "HTTP", dependencies: ["Provenance"], swiftSettings: strict),

        .target(name: "Telemetry", swiftSettings: strict),

        // Features. None imports another.
        .target(name: "Manifests", dependencies: ["Provenance", "Runtime", "Crypto"], swiftSettings: strict),
        .target(name: "Ledger", dependencies: ["Provenance", "Runtime", "SQLite"], swiftSettings: strict),
        .target(name: "Trace", dependencies: ["Provenance"], swiftSettings: strict),
        .target(name: "Exchanges", dependencies: ["Provenance", "Runtime", "Checksum"], swiftSettings: strict),
        .target(name: "Proxy", dependencies: ["Provenance", "HTTP", "Runtime", "Exchanges"], swiftSettings: strict),

        .target(
            name: "Enrichment", dependencies: ["Provenance", "Runtime", "Kafka", "Checksum"], swiftSettings: strict),
        .target(name: "Admin", dependencies: ["Provenance", "HTTP", "Runtime"], swiftSettings: strict),

        // What `serve` runs: settings, start, supervision, end.
        .target(
            name: "Sidecar",
            dependencies: [
                "Provenance", "Runtime", "Crypto", "Manifests", "Ledger", "Kafka", "Enrichment", "Exchanges", "Proxy",
                "Trace", "Admin", "YAML", "Telemetry",
            ],
            swiftSettings: strict),

        // The command line, which composes them.
        .executableTarget(
            name: "colophon",
            dependencies: [
                "Provenance", "Runtime", "Crypto", "SQLite", "Manifests", "Ledger", "Trace", "Kafka", "Enrichment",
                "Exchanges",
                "Sidecar", "YAML",
            ],
            swiftSettings: strict),

        // Tests: one target for each module, and the program as its users see it.
        .target(
            name: "TestSupport", dependencies: ["Provenance", "Crypto"], path: "Tests/Support",
            exclude: ["json_oracle.py", "csv_oracle.py", "kafka", "kafka-log4j2.properties"], swiftSettings: strict),
        .testTarget(
            name: "ProvenanceTests", dependencies: ["Provenance", "Crypto", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "ManifestsTests", dependencies: ["Manifests", "Provenance", "Crypto", "Runtime", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "LedgerTests", dependencies: ["Ledger", "Provenance", "Crypto", "Runtime", "SQLite", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "TraceTests",
            dependencies: ["colophon", "Trace", "Ledger", "Provenance", "Crypto", "Runtime", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "EnrichmentTests",
            dependencies: ["Enrichment", "Provenance", "Crypto", "Kafka", "Checksum", "Runtime", "TestSupport"],
            swiftSettings: strict),
        .testTarget(name: "RuntimeTests", dependencies: ["Runtime", "TestSupport"], swiftSettings: strict),
        .testTarget(name: "HTTPTests", dependencies: ["HTTP", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "ExchangesTests", dependencies: ["Exchanges", "Provenance", "Runtime", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "ProxyTests",
            dependencies: ["Proxy", "HTTP", "Provenance", "Crypto", "Runtime", "Exchanges", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "EndToEnd", dependencies: ["Provenance", "Crypto", "Ledger", "Runtime", "TestSupport"],
            exclude: ["proxy", "lines", "api.py", "api_hooks.py", "installing.py", "booting.py", "documents.py"],
            swiftSettings: strict),
        .testTarget(
            name: "SidecarTests",
            dependencies: ["Sidecar", "Enrichment", "YAML", "Provenance", "Runtime", "TestSupport"],
            swiftSettings: strict),
        .testTarget(name: "TidyTests", dependencies: ["TestSupport"], swiftSettings: strict),

        // What `make fuzz` runs, with the fuzzer linked in; here it is only kept compiling.
        .target(
            name: "Fuzz", dependencies: ["Provenance", "HTTP"], path: "Fuzz", exclude: ["run"], swiftSettings: strict),

        .executableTarget(
            name: "spool-bench", dependencies: ["Enrichment", "Provenance", "Runtime"], path: "Benchmarks/spool-bench",
            swiftSettings: strict),

        // What `make bench` measures inside the process; it also makes the ledgers that tests and benchmarks start from.
        .executableTarget(
            name: "ledger-bench", dependencies: ["Provenance", "Crypto", "Ledger", "Runtime", "TestSupport"],
            path: "Benchmarks/ledger-bench", swiftSettings: strict),
    ]
)
