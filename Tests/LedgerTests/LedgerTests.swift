import Crypto
import Ledger
import Provenance
import Runtime
import SQLite
import TestSupport
import Testing

/// A new ledger, gone when the test is.
final class LedgerFixture {
    let scratch = Scratch()
    let ledger: Ledger

    init() throws { ledger = try Ledger.writing(scratch.path("data"), hashing: SHA256.hash) }

    func add(_ manifests: [Manifest]) throws {
        try ledger.addAll(manifests) { manifest throws(LedgerError) in
            _ = try ledger.add(manifest, file: "/models/\(manifest.version).json", at: Instant(microseconds: 1))
        }
    }
}

@Suite("The ledger")
struct LedgerTests {
    @Test("a manifest is found by everything that names it, and comes back byte for byte")
    func looksUp() throws {
        let fixture = try LedgerFixture()
        let manifests = try (0..<40).map { try Specimen.manifest($0) }
        try fixture.add(manifests)
        let ledger = fixture.ledger
        for manifest in manifests {
            for length in [12, 40, 64] {
                let prefix = try #require(HexPrefix(String(manifest.digest.hex.prefix(length))))
                let found = try ledger.records(prefix, limit: 5)
                #expect(found.map(\.digest) == [manifest.digest])
                #expect(try ledger.manifest(found[0].record).bytes == manifest.bytes)
                #expect(try ledger.file(of: found[0].record) == "/models/\(manifest.version).json")
            }
            #expect(try ledger.records(version: manifest.version, limit: 5).count == 1)
            #expect(try ledger.records(commit: String(manifest.pipeline.commit?.prefix(9) ?? ""), limit: 5).count == 1)
            let model = try #require(HexPrefix(manifest.artifacts[0].sha256.hex))
            #expect(try ledger.records(.artifact, model, limit: 5).count == 1)
            #expect(try ledger.records(.dataset, model, limit: 5).isEmpty)
        }
        #expect(try ledger.records(datasetVersion: "kafka-20250301", limit: 100).count == 40)
        let shared = try #require(HexPrefix(manifests[0].artifacts[1].sha256.hex))
        #expect(try ledger.records(.artifact, shared, limit: 100).count == 40)
        #expect(try ledger.records(version: "als", limit: 5).isEmpty)
        #expect(try ledger.count() == 40)
    }

    @Test("adding again changes nothing; other bytes under one digest are a conflict")
    func isIdempotent() throws {
        let fixture = try LedgerFixture()
        let manifest = try Specimen.manifest(1)
        let ledger = fixture.ledger
        var outcomes: [Ledger.Added] = []
        for _ in 0..<3 {
            try ledger.addAll([manifest]) { manifest throws(LedgerError) in
                outcomes.append(try ledger.add(manifest, file: "/a", at: Clock.now()))
            }
        }
        #expect(outcomes == [.new, .known, .known])
        // The same document, laid out in another way.
        let other = try Manifest.parse(JSONWriter.pretty.bytes(.object(manifest.document)), hashing: SHA256.hash)
        #expect(other.digest == manifest.digest)
        #expect {
            try ledger.addAll([other]) { manifest throws(LedgerError) in
                _ = try ledger.add(manifest, file: "/b", at: Clock.now())
            }
        } throws: { error in
            if case .conflict(manifest.digest, _) = error as? LedgerError { true } else { false }
        }
        #expect(try ledger.count() == 1)
    }

    @Test("records, manifests and activations refuse to be changed or deleted, by SQL too")
    func isImmutable() throws {
        let fixture = try LedgerFixture()
        let manifest = try Specimen.manifest(1)
        try fixture.add([manifest])
        _ = try fixture.ledger.activate(
            manifest.digest, variant: "v", at: Instant(microseconds: 5), cause: "pointer", actor: nil,
            instance: "default")
        let database = try Database(fixture.ledger.path, mode: .readWrite, busyTimeout: 1000)
        for sql in [
            "UPDATE records SET body = x'00'", "DELETE FROM records", "UPDATE manifests SET version = 'x'",
            "UPDATE activations SET variant = 'x'", "DELETE FROM activations",
            "INSERT INTO activations (variant, record, active_from, wall_time, cause, instance) VALUES ('v', 1, 4, 4, '', '')",
            "INSERT INTO entities (sha256) VALUES (x'00')", "INSERT INTO entities (sha256) VALUES ('text')",
        ] {
            #expect(throws: SQLiteError.self, "\(sql)") { try database.execute(sql) }
        }
    }

    @Test("pages of the list and of a search have every manifest once, the newest first")
    func pages() throws {
        let fixture = try LedgerFixture()
        try fixture.add(try (0..<25).map { try Specimen.manifest($0) })
        for size in [1, 7, 24, 25, 26] {
            var listed: [String] = []
            var found: [String] = []
            var cursor: Int64?
            repeat {
                let page = try fixture.ledger.list(after: cursor, limit: size)
                listed += page.items.map(\.version)
                cursor = page.next
            } while cursor != nil
            repeat {
                let page = try fixture.ledger.search(["KAFKA", "als"], after: cursor, limit: size)
                found += page.items.map(\.version)
                cursor = page.next
            } while cursor != nil
            #expect(listed == (0..<25).reversed().map { "als-\($0)" })
            #expect(found == listed)
        }
    }

    @Test("a search finds any part of a name, and the beginning of any hash")
    func searches() throws {
        let fixture = try LedgerFixture()
        let one = try Specimen.manifest(1, data: "s3-v77/é \"x\"")
        let other = try Specimen.manifest(2, commit: "80d8e56f5c1b0000000000000000000000000000")
        try fixture.add([one, other])
        func search(_ words: String...) throws -> [String] {
            try fixture.ledger.search(words, after: nil, limit: 10).items.map(\.version)
        }
        #expect(try search("als-1") == ["als-1"])
        #expect(try search("v77/é") == ["als-1"])
        #expect(try search("\"x\"") == ["als-1"])
        #expect(try search("interact", "main") == ["als-2", "als-1"])
        #expect(try search("interact", "kafka") == ["als-2"])
        #expect(try search("80d8e56") == ["als-2"])
        #expect(try search("80d8e56f5c1b0000000000000000000000000000") == ["als-2"])
        #expect(try search(String(one.digest.hex.prefix(10))) == ["als-1"])
        #expect(try search(one.artifacts[0].sha256.hex) == ["als-1"])
        #expect(try search(one.artifacts[1].sha256.hex) == ["als-2", "als-1"])
        #expect(try search(String(other.dataset.sha256?.hex.prefix(8) ?? "")) == ["als-2"])
        // What is too short to be a part of a name is a whole one.
        try fixture.add([try Specimen.manifest(3, data: "v1")])
        #expect(try search("v1") == ["als-3"])
        #expect(try search("v").isEmpty)
        // What would be operators stand for themselves.
        for text in ["als OR main", "als*", "NOT", "names:als", "^als", "-als", "100%"] {
            #expect(try search(text).isEmpty, "\(text)")
        }
    }

    @Test("activations are intervals that begin where the one before ends, whatever the clock does")
    func keepsIntervals() throws {
        let fixture = try LedgerFixture()
        let manifests = try (0..<3).map { try Specimen.manifest($0) }
        try fixture.add(manifests)
        let ledger = fixture.ledger
        func activate(_ number: Int, _ time: Int64, _ variant: String = "als_model") throws -> Int64 {
            try ledger.activate(
                manifests[number].digest, variant: variant, at: Instant(microseconds: time), cause: "pointer",
                actor: "inotify",
                instance: "default"
            ).microseconds
        }
        #expect(try activate(0, 1000) == 1000)
        #expect(try activate(1, 2000) == 2000)
        #expect(try activate(2, 500) == 2001, "the clock went back; the ledger does not")
        #expect(try activate(0, 2001) == 2002)
        #expect(try activate(1, 10, "popgen_model") == 10)

        func live(_ time: Int64, _ variant: String = "als_model") throws -> String? {
            let found = try ledger.activation(of: variant, at: Instant(microseconds: time))
            guard let found else { return nil }
            let manifest = try ledger.manifest(found.record)
            return found.contains(Instant(microseconds: time)) ? manifest.version : "not in its interval"
        }
        #expect(try live(999) == nil)
        #expect(try live(1000) == "als-0")
        #expect(try live(1999) == "als-0")
        #expect(try live(2000) == "als-1")
        #expect(try live(2001) == "als-2")
        #expect(try live(1 << 60) == "als-0")
        #expect(try live(11, "popgen_model") == "als-1")
        #expect(try live(11, "unknown") == nil)
        #expect(try ledger.variants() == ["als_model", "popgen_model"])

        let history = try ledger.history(of: "als_model", after: nil, limit: 3)
        #expect(history.items.map(\.from.microseconds) == [2002, 2001, 2000])
        #expect(history.items.map(\.until?.microseconds) == [nil, 2002, 2001])
        #expect(history.items.map(\.wallTime.microseconds) == [2001, 500, 2000])
        let rest = try ledger.history(of: "als_model", after: history.next, limit: 3)
        #expect(rest.items.map(\.from.microseconds) == [1000] && rest.next == nil)
        #expect(rest.items.map(\.previous) == [nil])
        #expect(try ledger.history(of: nil, after: nil, limit: 10).items.count == 5)
        let record = try #require(try ledger.records(version: "als-0", limit: 1).first)
        #expect(try ledger.activations(of: record, limit: 10).map(\.from.microseconds) == [2002, 1000])
    }

    @Test("a manifest that is not in the ledger cannot be activated")
    func refusesUnknownManifests() throws {
        let fixture = try LedgerFixture()
        #expect(throws: LedgerError.self) {
            try fixture.ledger.activate(
                SHA256.hash([]), variant: "v", at: Instant(microseconds: 0), cause: "api", actor: nil,
                instance: "default")
        }
        #expect(try fixture.ledger.variants().isEmpty)
    }

    @Test("a rebuild derives the same again, and leaves what happened alone")
    func rebuilds() throws {
        let fixture = try LedgerFixture()
        let manifests = try (0..<30).map { try Specimen.manifest($0) }
        try fixture.add(manifests)
        _ = try fixture.ledger.activate(
            manifests[3].digest, variant: "v", at: Instant(microseconds: 5), cause: "api", actor: nil,
            instance: "default")
        let path = fixture.ledger.path
        func dump() throws -> String { try Self.dump(path) }
        let before = try dump()
        #expect(before.contains("als-29") && before.count > 10_000)
        // What is derived may be lost, and is made again.
        let database = try Database(fixture.ledger.path, mode: .readWrite, busyTimeout: 1000)
        try database.execute("DELETE FROM edges; DELETE FROM manifests; DELETE FROM entities")
        #expect(try dump() != before)
        #expect(try fixture.ledger.rebuild { () throws(LedgerError) in } == 30)
        #expect(try dump() == before)
        #expect(try fixture.ledger.search(["als-29"], after: nil, limit: 5).items.count == 1)
    }

    @Test("what fails half-way leaves everything as it was")
    func undoes() throws {
        let fixture = try LedgerFixture()
        try fixture.add([try Specimen.manifest(1)])
        let before = try Self.dump(fixture.ledger.path)
        let more = try (2..<10).map { try Specimen.manifest($0) }
        #expect(throws: LedgerError.self) {
            try fixture.ledger.addAll(more) { manifest throws(LedgerError) in
                _ = try fixture.ledger.add(manifest, file: nil, at: Clock.now())
                if manifest.version == "als-7" { throw .notALedger(path: "thrown by the test") }
            }
        }
        #expect(throws: LedgerError.self) {
            try fixture.ledger.rebuild { () throws(LedgerError) in throw .notALedger(path: "thrown by the test") }
        }
        #expect(try Self.dump(fixture.ledger.path) == before)
    }

    /// All rows of the ledger, in order, but for the numbers of entities, which a rebuild may give anew.
    private static func dump(_ path: String) throws -> String {
        let database = try Database(path, mode: .readOnly, busyTimeout: 1000)
        let queries = [
            "SELECT id, kind, hex(digest), recorded_at, hex(body) FROM records ORDER BY id",
            "SELECT record, role, name, direction, hex(sha256), label, path, size_bytes "
                + "FROM edges JOIN entities ON entities.id = entity ORDER BY 1, 2, 3",
            "SELECT record, version, family, trained_at, git_commit, dataset_version, digest_form FROM manifests ORDER BY 1",
            "SELECT record, hex(sha256), path FROM artifacts ORDER BY 1, 3",
            "SELECT record, version FROM datasets ORDER BY 1",
            "SELECT path, record FROM files ORDER BY 1",
            "SELECT id, variant, record, active_from FROM activations ORDER BY 1",
        ]
        var text = ""
        for query in queries {
            let statement = try database.prepare(query)
            while try statement.step() {
                text += (0..<8).map { statement.optionalText($0) ?? "" }.joined(separator: "|") + "\n"
            }
        }
        return text
    }
}

@Suite("Opening a ledger")
struct LedgerOpeningTests {
    private let scratch = Scratch()

    private func message(_ body: () throws -> Void) -> String {
        do { try body() } catch { return "\(error)" }
        return "nothing was thrown"
    }

    @Test("a ledger that is not there is named, with what to do")
    func tellsMissing() {
        let text = message { _ = try Ledger.reading(scratch.path("none"), hashing: SHA256.hash) }
        #expect(
            text.contains("no ledger at \(scratch.path("none"))/ledger.sqlite") && text.contains("colophon index add"))
    }

    @Test("a file that is no database, another program's database, and one from the future are refused and left alone")
    func refusesOthers() throws {
        scratch.write("rubbish/ledger.sqlite", String(repeating: "no database ", count: 500))
        scratch.write("other/x", "")
        try Database(scratch.path("other/ledger.sqlite"), mode: .create, busyTimeout: 0).execute("CREATE TABLE t (x)")
        _ = try Ledger.writing(scratch.path("newer"), hashing: SHA256.hash)
        try Database(scratch.path("newer/ledger.sqlite"), mode: .readWrite, busyTimeout: 0)
            .execute("PRAGMA user_version = 99")
        for (name, word) in [("rubbish", "damaged"), ("other", "no ledger of Colophon"), ("newer", "newer Colophon")] {
            let path = scratch.path(name)
            #expect(message { _ = try Ledger.reading(path, hashing: SHA256.hash) }.contains(word))
            let before = Scratch.bytes(of: path + "/ledger.sqlite")
            #expect(message { _ = try Ledger.writing(path, hashing: SHA256.hash) }.contains(word))
            #expect(Scratch.bytes(of: path + "/ledger.sqlite") == before, "\(name) was changed")
        }
    }

    @Test("a ledger with bytes changed is told to be damaged, or answers as it should: it never crashes")
    func survivesDamage() throws {
        let fixture = try LedgerFixture()
        try fixture.add(try (0..<200).map { try Specimen.manifest($0) })
        try Database(fixture.ledger.path, mode: .readWrite, busyTimeout: 0).execute("PRAGMA wal_checkpoint(TRUNCATE)")
        let bytes = try #require(Scratch.bytes(of: fixture.ledger.path))
        var chance = Chance(seed: 3)
        var damaged = 0
        for round in 0..<60 {
            var changed = bytes
            for _ in 0..<40 {
                changed[Int.random(in: 100..<bytes.count, using: &chance)] = UInt8.random(in: 0...255, using: &chance)
            }
            scratch.write("damaged\(round)/ledger.sqlite", bytes: changed)
            do throws(LedgerError) {
                let ledger = try Ledger.reading(scratch.path("damaged\(round)"), hashing: SHA256.hash)
                _ = try ledger.list(after: nil, limit: 500)
                _ = try ledger.search(["als"], after: nil, limit: 500)
                for record in 1...200 { _ = try? ledger.manifest(Int64(record)) }
            } catch {
                damaged += 1
                #expect(
                    "\(error)".contains("move it aside") || "\(error)".contains("move the ledger aside"), "\(error)")
            }
        }
        #expect(damaged > 5)
    }

    @Test("several who make the same new ledger at once all succeed")
    func racesToCreate() throws {
        for round in 0..<5 {
            let path = scratch.path("race\(round)")
            Threads.forEach(8) { number in
                do {
                    let ledger = try Ledger.writing(path, hashing: SHA256.hash)
                    let manifest = try Specimen.manifest(number)
                    try ledger.addAll([manifest]) { manifest throws(LedgerError) in
                        _ = try ledger.add(manifest, file: nil, at: Clock.now())
                    }
                } catch {
                    Issue.record("\(error)")
                }
            }
            #expect(try Ledger.reading(path, hashing: SHA256.hash).count() == 8)
        }
    }

    /// Written by `ledger-bench freeze DIR` of that release, and never again.
    @Test("the ledger of each release opens, and answers", arguments: ["0.1.0"])
    func opensOldReleases(_ release: String) throws {
        let fixture = Program.root + "/Tests/Fixtures/databases/ledger-\(release).sqlite"
        scratch.write("old/ledger.sqlite", bytes: try #require(Scratch.bytes(of: fixture)))
        let ledger = try Ledger.writing(scratch.path("old"), hashing: SHA256.hash)
        #expect(try ledger.count() == 3)
        let record = try #require(try ledger.records(version: "als-2", limit: 1).first)
        #expect(try ledger.manifest(record).bytes == Specimen.manifest(2).bytes)
        #expect(try ledger.search(["kafka"], after: nil, limit: 9).items.count == 3)
        #expect(
            try ledger.history(of: nil, after: nil, limit: 9).items.map(\.variant) == [
                "popgen_model", "als_model", "als_model",
            ])
        try ledger.addAll([try Specimen.manifest(9)]) { manifest throws(LedgerError) in
            _ = try ledger.add(manifest, file: nil, at: Clock.now())
        }
        #expect(try ledger.rebuild { () throws(LedgerError) in } == 4)
    }
}
