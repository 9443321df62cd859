import Crypto
import Provenance
import Runtime
import SQLite
import TestSupport
import Testing

@testable import Ledger

@Suite("Doubts in the ledger")
struct DoubtTests {
    private let scratch = Scratch()

    private func at(_ time: Int64) -> Instant { Instant(microseconds: time) }

    private func add(
        _ from: Int64, _ until: Int64?, of variant: String = "v", to ledger: Ledger
    ) throws {
        let doubt = DoubtedTime(from: at(from), until: until.map(at), reason: "why")
        try ledger.add(doubt, of: variant, by: "i")
    }

    private func ledger() throws -> (Ledger, [Manifest]) {
        let ledger = try Ledger.writing(scratch.path("l"), hashing: SHA256.hash)
        let manifests = try (0..<2).map { try Specimen.manifest($0) }
        try ledger.addAll(manifests) { manifest throws(LedgerError) in
            _ = try ledger.add(manifest, file: nil, at: at(1))
        }
        return (ledger, manifests)
    }

    private func activate(
        _ ledger: Ledger, _ manifest: Manifest, at time: Int64, of variant: String = "v", doubt: DoubtedTime? = nil
    ) throws {
        _ = try ledger.activate(
            manifest.digest, variant: variant, at: at(time), cause: "pointer", actor: nil, instance: "i", doubt: doubt)
    }

    private func times(_ ledger: Ledger, _ from: Int64, _ until: Int64?, of variant: String = "v") throws -> [[Int64?]]
    {
        try ledger.doubts(of: variant, from: at(from), until: until.map(at))
            .map { [$0.from.microseconds, $0.until?.microseconds] }
            .sorted { ($0[0] ?? 0, $0[1] ?? .max) < ($1[0] ?? 0, $1[1] ?? .max) }
    }

    @Test("a doubt lasts until it is ended, by an activation too, and belongs to its variant")
    func lastsUntilEnded() throws {
        let (ledger, manifests) = try ledger()
        try activate(ledger, manifests[0], at: 100)
        try add(150, nil, to: ledger)
        try add(160, nil, of: "w", to: ledger)
        #expect(try ledger.openDoubt(of: "v")?.from == at(150))
        #expect(try times(ledger, 100, nil) == [[150, nil]])
        try ledger.endDoubts(of: "v", at: at(170))
        #expect(try ledger.openDoubt(of: "v") == nil && ledger.openDoubt(of: "w") != nil)
        try add(180, nil, to: ledger)
        try activate(ledger, manifests[1], at: 200)
        #expect(try times(ledger, 100, 200) == [[150, 170], [180, 200]])
        // It ended where the next one begins.
        #expect(try times(ledger, 200, nil) == [[180, 200]])
        try activate(
            ledger, manifests[0], at: 300, doubt: DoubtedTime(from: at(290), until: nil, reason: "seen late"))
        #expect(try times(ledger, 200, 300) == [[180, 200], [290, 300]])
        #expect(try ledger.doubts(of: "v", from: at(210), until: at(300)).map(\.reason) == ["seen late"])
        #expect(try times(ledger, 100, nil, of: "w") == [[160, nil]])
    }

    @Test("one that ends after the time that is asked for is found, and one beyond it is not")
    func findsOverlaps() throws {
        let (ledger, _) = try ledger()
        for (from, until) in [(10, 20), (30, 40), (50, 90), (95, nil)] as [(Int64, Int64?)] {
            try add(from, until, to: ledger)
        }
        #expect(try times(ledger, 20, 30) == [[10, 20]])
        #expect(try times(ledger, 60, 70) == [[50, 90]])
        #expect(try times(ledger, 41, 49).isEmpty)
        #expect(try times(ledger, 35, 100) == [[30, 40], [50, 90], [95, nil]])
        #expect(try times(ledger, 91, 95).isEmpty)
    }

    @Test("of a doubt during which the clock was set back, the time that came twice is doubted")
    func survivesClocks() throws {
        let (ledger, _) = try ledger()
        try add(100, nil, to: ledger)
        try ledger.endDoubts(of: "v", at: at(50))
        #expect(try times(ledger, 0, nil) == [[50, 100], [100, 100]])
    }

    @Test("a longer doubt is found beside shorter ones, whichever ended first")
    func findsAll() throws {
        let (ledger, _) = try ledger()
        try add(40, 60, to: ledger)
        try add(5, 90, to: ledger)
        try add(70, 80, to: ledger)
        #expect(try times(ledger, 10, 50) == [[5, 90], [40, 60]])
    }

    @Test("one sidecar ends its own doubts; an activation ends all")
    func endsOnes() throws {
        let (ledger, manifests) = try ledger()
        try add(10, nil, to: ledger)
        try ledger.endDoubts(of: "v", by: "another", at: at(20))
        #expect(try ledger.openDoubt(of: "v") != nil)
        try activate(ledger, manifests[0], at: 30)
        #expect(try times(ledger, 0, 30) == [[10, 30]])
    }

    @Test("a ledger that another one writes refuses a doubt, and everything else waits as before")
    func waitsForNobody() throws {
        let (ledger, _) = try ledger()
        let other = try Database(ledger.path, mode: .readWrite, busyTimeout: 0)
        try other.execute("BEGIN IMMEDIATE")
        #expect(throws: LedgerError.self) { try add(10, nil, to: ledger) }
        try other.execute("ROLLBACK")
        let patience = try ledger.database.prepare("PRAGMA busy_timeout")
        #expect(try patience.step() && patience.integer(0) == Int64(Ledger.busyTimeoutMilliseconds))
        try add(10, nil, to: ledger)
    }

    @Test("of too many, the old ones are one: nothing that was doubted is ever sure")
    func collapsesMany() throws {
        let (ledger, _) = try ledger()
        for number in 0..<300 { try add(Int64(number) * 10 + 10, Int64(number) * 10 + 15, to: ledger) }
        let found = try ledger.doubts(of: "v", from: at(0), until: nil)
        #expect(found.count <= 260)
        for number in 0..<300 {
            #expect(found.contains { $0.contains(at(Int64(number) * 10 + 12)) }, "\(number)")
        }
        // The latest are still told apart.
        #expect(!found.contains { $0.contains(at(299 * 10 + 7)) })
    }

    @Test("a doubt only ends, and once, by SQL too")
    func isImmutable() throws {
        let (ledger, _) = try ledger()
        try add(10, nil, to: ledger)
        try add(10, 20, to: ledger)
        let database = try Database(ledger.path, mode: .readWrite, busyTimeout: 1000)
        for sql in [
            "DELETE FROM doubts", "UPDATE doubts SET until = 30 WHERE until = 20", "UPDATE doubts SET since = 5",
            "UPDATE doubts SET reason = 'x'", "UPDATE doubts SET until = NULL",
            "UPDATE doubts SET variant = 'x', until = 12",
            "UPDATE doubts SET until = 5 WHERE until IS NULL",
        ] {
            #expect(throws: SQLiteError.self, "\(sql)") { try database.execute(sql) }
        }
        try database.execute("UPDATE doubts SET until = 30 WHERE until IS NULL")
    }

    @Test("a ledger of the first release is brought up to date by who may write")
    func upgrades() throws {
        let fixture = Program.root + "/Tests/Fixtures/databases/ledger-0.1.0.sqlite"
        let path = scratch.write("old/ledger.sqlite", bytes: try #require(Scratch.bytes(of: fixture)))
        let before = try Database(path, mode: .immutable, busyTimeout: 0).prepare("PRAGMA user_version")
        #expect(try before.step() && before.integer(0) == 1)
        let ledger = try Ledger.reading(scratch.path("old"), hashing: SHA256.hash)
        try add(100, 200, of: "als_model", to: ledger)
        #expect(try times(ledger, 0, nil, of: "als_model") == [[100, 200]])
    }

    /// Notes as a sidecar of that name leaves them.
    private func note(_ ledger: Ledger, _ instance: String, until time: Instant, due: Instant, since: Int64) throws {
        let directory = Ledger.watchDirectory(in: scratch.path("l"), of: instance)
        try Files.makeDirectory(directory)
        try WatchNote(time: time, due: due, path: "/p")
            .write(Paths.join(directory, ledger.noteName(of: "v", since: at(since))))
    }

    @Test("what is live is doubted from the last note on, once the next one is overdue, and by nobody else's")
    func nobodyWatches() throws {
        let (ledger, manifests) = try ledger()
        let now = Clock.now()
        func moment(_ seconds: Int64) -> Instant { now.advanced(by: seconds * 1_000_000) }
        let since = moment(-100).microseconds
        try activate(ledger, manifests[0], at: since)
        func doubted(by reader: Ledger) throws -> [Instant] {
            try reader.doubts(of: "v", from: at(since), until: nil).map(\.from)
        }
        func fresh() throws -> Ledger { try Ledger.reading(scratch.path("l"), hashing: SHA256.hash) }
        // Nobody ever noted anything: nothing is known of it.
        #expect(try doubted(by: fresh()) == [])
        try note(ledger, "a", until: moment(-50), due: moment(-40), since: since)
        #expect(try doubted(by: fresh()) == [moment(-50)])
        // An activation that has ended is not a matter of who watches now.
        #expect(try fresh().doubts(of: "v", from: at(since), until: moment(-60)).isEmpty)
        // Another one still watches, or watched longer.
        try note(ledger, "b", until: moment(-30), due: moment(-20), since: since)
        #expect(try doubted(by: fresh()) == [moment(-30)])
        try note(ledger, "b", until: moment(-3), due: moment(600), since: since)
        #expect(try doubted(by: fresh()) == [])
        // A note of another activation says nothing of this one.
        try RawFile.remove(scratch.path("l/watched/b/" + ledger.noteName(of: "v", since: at(since))))
        try note(ledger, "b", until: moment(-3), due: moment(600), since: since + 1)
        #expect(try doubted(by: fresh()) == [moment(-50)])
        // A note from the future says nothing, whatever it promises: the clock was set back.
        try note(ledger, "a", until: moment(300), due: moment(600), since: since)
        #expect(try doubted(by: fresh()) == [at(since)])
        // Where others have noted something, and nobody of this one, nothing of it is sure.
        try RawFile.remove(scratch.path("l/watched/a/" + ledger.noteName(of: "v", since: at(since))))
        #expect(try doubted(by: fresh()) == [at(since)])
        // Whoever watches it by himself knows more.
        let own = try fresh()
        own.watchedHere = ["v"]
        #expect(try doubted(by: own) == [])
    }

    @Test("notes that say less than they should say nothing")
    func brokenNotes() throws {
        let path = scratch.path("note")
        let now = Clock.now()
        for text in ["", "\n", "\(now)", "\(now)\n\(now)", "\(now)\nsoon\n/p", "soon\n\(now)\n/p"] {
            try Files.replaceUnsynced(Array(text.utf8), at: path, time: now, mode: 0o600)
            #expect(WatchNote(path) == nil, "\(text)")
        }
        // A copy is newer than what was copied; a file that was touched back is older than what it says.
        let later = now.advanced(by: 5_000_000)
        for (written, file) in [(now, later), (later, now)] {
            let text = "\(written)\n\(later)\n/p\nq"
            try Files.replaceUnsynced(Array(text.utf8), at: path, time: file, mode: 0o600)
            let note = try #require(WatchNote(path))
            #expect(note.time == now && note.due == later && note.path == "/p\nq")
        }
    }
}
