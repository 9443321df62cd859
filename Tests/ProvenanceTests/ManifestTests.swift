import Crypto
import Provenance
import TestSupport
import Testing

@Suite("Manifests")
struct ManifestTests {
    static let complete = """
        {"model_family": "als", "model_version": "als-20250304", "trained_at": "2025-03-04T18:12:55.123456Z",
         "pipeline": {"git_commit": "80d8e56f5c1b0000000000000000000000000000", "git_branch": "main", "git_dirty": "0"},
         "data": {"dataset_path": "data/x.csv", "dataset_version": "kafka-20250301",
                  "dataset_sha256": "\(String(repeating: "e7", count: 32))", "row_count": 2445982, "unique_users": 973112,
                  "unique_movies": 25913, "dataset_size_bytes": 1942614271},
         "hyperparameters": {"rank": 64, "alpha": 0.01},
         "artifacts": {"als_model": {"path": "artifacts/als_model.npz", "sha256": "\(String(repeating: "ab", count: 32))",
                       "size_bytes": 4723920}},
         "unknown": {"kept": [1, 2.50]}}
        """

    static func parse(_ text: String, _ verification: Verification = .strict) throws(ManifestError) -> Manifest {
        try Manifest.parse(Array(text.utf8), verification: verification, hashing: SHA256.hash)
    }

    @Test("every member of the seed is read")
    func readsTheSeed() throws {
        let manifest = try Self.parse(Self.complete)
        #expect(manifest.family == "als")
        #expect(manifest.version == "als-20250304")
        #expect(manifest.trainedAt?.description == "2025-03-04T18:12:55.123456Z")
        #expect(manifest.pipeline.commit == "80d8e56f5c1b0000000000000000000000000000")
        #expect(manifest.pipeline.isDirty == false)
        #expect(manifest.dataset.rowCount == 2_445_982)
        #expect(manifest.dataset.uniqueMovies == 25_913)
        #expect(manifest.artifacts.map(\.name) == ["als_model"])
        #expect(manifest.artifacts.first?.sizeBytes == 4_723_920)
        #expect(manifest.form == .canonical(finalNewline: false))
        #expect(manifest.bytes == Array(Self.complete.utf8))
    }

    @Test("a version is all that a manifest needs")
    func needsOnlyAVersion() throws {
        let manifest = try Self.parse(#"{"model_version":"v1","pipeline":null,"data":{"dataset_version":null}}"#)
        #expect(manifest.version == "v1")
        #expect(manifest.pipeline.commit == nil)
        #expect(manifest.artifacts.isEmpty)
    }

    @Test(
        "a dirty tree is spelled in six ways",
        arguments: [
            ("\"0\"", false), ("\"1\"", true), ("0", false), ("1", true), ("true", true), ("false", false),
            ("null", nil),
        ] as [(String, Bool?)])
    func readsFlags(_ spelling: String, _ value: Bool?) throws {
        let manifest = try Self.parse(#"{"model_version":"v","pipeline":{"git_dirty":\#(spelling)}}"#)
        #expect(manifest.pipeline.isDirty == value)
    }

    static let refused: [(text: String, message: String)] = [
        ("[]", "a manifest is a JSON object, and this is an array"),
        ("{}", "model_version: missing; a manifest needs at least this text"),
        (#"{"model_version":null}"#, "model_version: missing; a manifest needs at least this text"),
        (#"{"model_version":7}"#, "model_version: expected a string, found the number 7"),
        (#"{"model_version":""}"#, "model_version: is empty; a model needs a version"),
        (
            #"{"model_version":"a/b"}"#,
            "model_version: \"a/b\" holds / or .., and a version names a file: use letters, digits, '.', '_', '-'"
        ),
        (
            #"{"model_version":"..\u001b[31m"}"#,
            "model_version: \"..\\u{1b}[31m\" holds / or .., and a version names a file: use letters, digits, '.', '_', '-'"
        ),
        (#"{"model_version":"v","pipeline":[]}"#, "pipeline: expected an object, found an array"),
        (
            #"{"model_version":"v","pipeline":{"git_dirty":"yes"}}"#,
            "pipeline.git_dirty: expected \"0\", \"1\", 0, 1, true, false or null, found \"yes\""
        ),
        (
            #"{"model_version":"v","trained_at":"yesterday"}"#,
            "trained_at: \"yesterday\" is no RFC 3339 time with a zone: write it like 2025-03-04T18:12:55.123456Z"
        ),
        (
            #"{"model_version":"v","data":{"row_count":-1}}"#,
            "data.row_count: expected a whole number from 0 on, found the number -1"
        ),
        (
            #"{"model_version":"v","data":{"dataset_sha256":"e7d9..."}}"#,
            "data.dataset_sha256: expected 64 hexadecimal digits, found \"e7d9...\""
        ),
        (#"{"model_version":"v","artifacts":{"m":{"path":"p"}}}"#, "artifacts.m.sha256: missing"),
        (
            #"{"model_version":"v","artifacts":{"a b":{"path":1}}}"#,
            "artifacts[\"a b\"].path: expected a string, found the number 1"
        ),
        (
            #"{"model_version":"v","hyperparameters":{"alpha":NaN}}"#,
            "no valid JSON: line 1, column 49 (in hyperparameters.alpha): NaN is no JSON number: "
                + "write null, or the string \"NaN\""
        ),
    ]

    @Test("what is no manifest is refused with the member's place and what belongs there", arguments: refused)
    func refuses(_ expected: (text: String, message: String)) {
        #expect {
            try Self.parse(expected.text)
        } throws: { error in
            #expect("\(error)" == expected.message)
            return true
        }
    }

    @Test("a manifest of 17 MiB is refused before it is read")
    func refusesTheEnormous() {
        let bytes = [UInt8](repeating: 0x20, count: 17 << 20)
        #expect(throws: ManifestError.self) { try Manifest.parse(bytes, hashing: SHA256.hash) }
    }
}

@Suite("Digests of manifests")
struct ManifestDigestTests {
    @Test("each form in which Python writes is found, and named")
    func findsPythonsForms() throws {
        let rows = Oracle.rows("json_oracle.py", "forms", "5", "720")
        var layouts: Set<String> = []
        for row in rows {
            let manifest = try Manifest.parse(row.bytes("file"), hashing: SHA256.hash)
            #expect(manifest.digest.hex == row.text("digest"))
            #expect(manifest.isDigestVerified)
            layouts.insert(row.text("layout"))
            // Two layouts can give the same bytes (nothing to escape, nothing to sort): then either name is right.
            if case .undeclared = manifest.form { Issue.record("the form \(row.text("layout")) was not found") }
        }
        #expect(layouts.count == 48, "24 layouts, with a newline and without")
    }

    /// Written by Python 3.11 once, and kept: what was verified yesterday is verified for ever.
    @Test("the manifests that are kept are verified still", arguments: 0..<24)
    func verifiesKeptManifests(_ number: Int) throws {
        let name = "Tests/Fixtures/manifests/python-\(number < 10 ? "0" : "")\(number).json"
        let bytes = try #require(Scratch.bytes(of: Program.root + "/" + name))
        let manifest = try Manifest.parse(bytes, hashing: SHA256.hash)
        #expect(manifest.isDigestVerified && manifest.declaredSHA256 == manifest.digest.hex)
    }

    @Test("a changed value no longer matches its digest")
    func noticesChanges() throws {
        for row in Oracle.rows("json_oracle.py", "forms", "6", "48") {
            let text = String(decoding: row.bytes("file"), as: UTF8.self)
            guard let range = text.firstRange(of: "als-") else { continue }
            let changed = text.replacingCharacters(in: range, with: "alt-")
            #expect(throws: ManifestError.self) { try ManifestTests.parse(changed) }
            let tolerated = try ManifestTests.parse(changed, .warn)
            #expect(tolerated.form == .undeclared)
            #expect(!tolerated.isDigestVerified)
            #expect(tolerated.declaredSHA256 == row.text("digest"))
            #expect(tolerated.digest.hex != row.text("digest"))
        }
    }

    @Test("a manifest without a digest goes by its canonical one, wherever its members stand")
    func namesTheUndeclared() throws {
        let one = try ManifestTests.parse(#"{"model_version":"v","a":{"y":1.0,"x":"é"}}"#)
        let other = try ManifestTests.parse(#"{ "a": {"x":"\u00e9","y":1}, "model_version":"v" }"#)
        #expect(one.digest == other.digest)
        #expect(one.digest == SHA256.hash(Array(#"{"a":{"x":"é","y":1},"model_version":"v"}"#.utf8)))
        #expect(one.form == .canonical(finalNewline: false))
    }

    @Test("a digest in capitals is the same digest")
    func readsCapitals() throws {
        let digest = SHA256.hash(Array(#"{"model_version":"v"}"#.utf8)).hex.uppercased()
        #expect(try ManifestTests.parse(#"{"model_version":"v","manifest_sha256":"\#(digest)"}"#).isDigestVerified)
    }

    @Test("two seeds above 2^53 do not share a digest")
    func keepsSeedsApart() throws {
        let one = try ManifestTests.parse(#"{"model_version":"v","seed":9007199254740992}"#)
        let other = try ManifestTests.parse(#"{"model_version":"v","seed":9007199254740993}"#)
        #expect(one.digest != other.digest)
    }

    @Test("a prefix matches the digests that begin so, and only those")
    func matchesPrefixes() throws {
        let digest = SHA256.hash([1, 2, 3])
        for length in 6...64 {
            let prefix = try #require(HexPrefix(String(digest.hex.prefix(length)).uppercased()))
            #expect(prefix.matches(digest))
            #expect(!prefix.matches(SHA256.hash([UInt8(length)])))
        }
        #expect(HexPrefix("12345") == nil)
        #expect(HexPrefix("12345g") == nil)
        #expect(HexPrefix(String(repeating: "a", count: 65)) == nil)
        #expect(Digest(bytes: digest.bytes) == digest)
        #expect(Digest(hex: digest.hex) == digest)
    }
}

extension String {
    fileprivate func firstRange(of other: String) -> Range<String.Index>? {
        indices.first { self[$0...].hasPrefix(other) }.map { $0..<index($0, offsetBy: other.count) }
    }

    fileprivate func replacingCharacters(in range: Range<String.Index>, with text: String) -> String {
        String(self[..<range.lowerBound]) + text + String(self[range.upperBound...])
    }
}

@Suite("Differences of manifests")
struct ManifestDifferenceTests {
    private func differences(_ before: String, _ after: String) throws -> [String] {
        let (before, after) = (try JSONParser.parse(before).object, try JSONParser.parse(after).object)
        return ManifestDifference.between(before ?? JSONObject(), after ?? JSONObject()).map { difference in
            func text(_ value: JSON?) -> String { value.map(JSONWriter.compact.text) ?? "-" }
            return "\(difference.path) \(text(difference.before)) \(text(difference.after))"
        }
    }

    @Test("changed, added and removed values are told by path, in order")
    func tellsPaths() throws {
        let found = try differences(
            #"{"a":1,"b":{"c":[1,2,3],"d":"x"},"e":null}"#, #"{"b":{"c":[1,5],"f":true,"d":"x"},"a":1.0,"g":{}}"#)
        #expect(found == ["a 1 1.0", "b.c[1] 2 5", "b.c[2] 3 -", "b.f - true", "e null -", "g - {}"])
    }

    @Test("the order of members is no difference")
    func ignoresOrder() throws {
        #expect(try differences(#"{"a":1,"b":[{"x":1,"y":2}]}"#, #"{"b":[{"y":2,"x":1}],"a":1}"#).isEmpty)
    }
}
