import Crypto
import Provenance
import Runtime
import Synchronization
import TestSupport
import Testing

@testable import Proxy

@Suite("Identity of a request")
struct IdentityTests {
    private func check(_ text: String, _ body: (UnsafeRawBufferPointer) -> Bool) -> Bool {
        let bytes = Array(text.utf8)
        return bytes.withUnsafeBytes(body)
    }

    @Test(
        "ids of 1 to 128 harmless characters are valid",
        arguments: [
            ("a", true), ("A-Z_0.9:x", true), (String(repeating: "a", count: 128), true), ("", false),
            (String(repeating: "a", count: 129), false), ("a b", false), ("a/b", false), ("a@b", false), ("a[b", false),
            ("é", false), ("a\u{0}", false), ("a,b", false), ("{a}", false), ("`a", false), ("a\"", false),
            ("a;b", false),
        ])
    func validates(text: String, isValid: Bool) {
        #expect(check(text, RequestIdentity.isValid) == isValid, "\(text)")
    }

    @Test(
        "what looks minted is known in any case",
        arguments: [
            ("01M7Z6DMEFYFVW41E7GZAH92KR-6aa5d9e39b60", true), ("01m7z6dmefyfvw41e7gzah92kr-6AA5D9E39B60", true),
            ("01M7Z6DMEFYFVW41E7GZAH92KR", true), ("01M7Z6DMEFYFVW41E7GZAH92KR-6aa5d9e39b6", false),
            ("01M7Z6DMEFYFVW41E7GZAH92KR_6aa5d9e39b60", false), ("01M7Z6DMEFYFVW41E7GZAH92KI", false),
            ("01M7Z6DMEFYFVW41E7GZAH92KR-6aa5d9e39b6g", false), ("7f3c9a62-0d1e-4c57-9f3e-2b6a5f0c1d2e", false),
        ])
    func knowsMinted(text: String, isMinted: Bool) {
        #expect(check(text, RequestIdentity.looksMinted) == isMinted, "\(text)")
    }

    @Test("a minted id is read back by the rest of the product, and no two are alike")
    func mints() throws {
        let stamp = SimulationTests.manifests[0]
        let source = StampTable.Source(stamp: stamp, serial: 1, isCurrent: true, ceiling: .exact)
        let table = StampTable(variants: [source], known: [], headers: StampHeaders())
        var random = IDRandom(seed: (1, 2, 3, 4))
        var seen: Set<String> = []
        for number in 0..<2000 {
            let milliseconds = 1_700_000_000_000 + Int64(number) * 7_777_777
            let text = withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { output in
                let count = RequestIdentity.mint(
                    milliseconds: milliseconds, random: &random, suffix: table.variants.baseAddress,
                    to: output.baseAddress!)
                return String(decoding: output[..<count], as: UTF8.self)
            }
            let minted = try #require(MintedRequestID(text), "\(text)")
            #expect(minted.time == Instant(microseconds: milliseconds * 1000))
            #expect(stamp.digest.hex.hasPrefix(text.suffix(12)))
            #expect(check(text, RequestIdentity.isValid) && check(text, RequestIdentity.looksMinted))
            seen.insert(text)
        }
        #expect(seen.count == 2000)
    }

    @Test("a trace is started as W3C writes it")
    func startsTraces() {
        var random = IDRandom(seed: (9, 8, 7, 6))
        let text = withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { output in
            RequestIdentity.startTrace(&random, to: output.baseAddress!)
            return String(decoding: output[..<RequestIdentity.traceparentCount], as: UTF8.self)
        }
        let parts = text.split(separator: "-").map(String.init)
        #expect(parts.map(\.count) == [2, 32, 16, 2])
        #expect(parts[0] == "00" && parts[3] == "01")
        #expect(parts[1...2].allSatisfy { $0.utf8.allSatisfy { "0123456789abcdef".utf8.contains($0) } })
    }
}

@Suite("Stamps that workers read")
struct StampTableTests {
    private func find(_ known: KnownManifests, _ name: String) -> String? {
        let bytes = Array(name.utf8)
        return bytes.withUnsafeBytes { pointer in
            known.find(pointer).map { row in (0..<12).map { String(UnicodeScalar(row.pointee.idSuffix[$0])) }.joined() }
        }
    }

    private func stamp(_ json: String) throws -> Stamp {
        try Stamp(try Manifest.parse(Array(json.utf8), verification: .strict, hashing: SHA256.hash))
    }

    @Test("what an upstream names is found by digest, by a prefix of 12, or by a version that one manifest has")
    func findsKnown() throws {
        let stamps = try (0..<200).map { try stamp("{\"model_version\":\"v\($0)\"}") }
        let twins = [
            try stamp("{\"model_version\":\"twin\",\"a\":1}"), try stamp("{\"model_version\":\"twin\",\"a\":2}"),
        ]
        let known = KnownManifests((stamps + twins).map { StampTable.Known(stamp: $0, ceiling: .exact) })
        for (number, stamp) in stamps.enumerated() {
            let suffix = String(stamp.digest.hex.prefix(12))
            #expect(find(known, stamp.digest.hex) == suffix)
            #expect(find(known, stamp.digest.hex.uppercased()) == suffix)
            #expect(find(known, suffix) == suffix)
            #expect(find(known, String(suffix.dropLast())) == nil)
            #expect(find(known, "v\(number)") == suffix)
        }
        for name in [
            "twin", "", "v", "v200", "v0 ", String(repeating: "0", count: 64), String(repeating: "f", count: 65),
        ] {
            #expect(find(known, name) == nil, "\(name)")
        }
        #expect(find(known, twins[0].digest.hex) != nil)
    }

    /// What two threads that look at tables share with the one that changes them.
    private final class Looking: Sendable {
        let isDone = Atomic<Bool>(false)
        let wrong = Atomic<Int>(0)
        let turns = Atomic<Int>(0)
    }

    @Test("workers never see a table that was freed, however fast tables change")
    func survivesChanges() throws {
        func table(_ index: Int) -> StampTable {
            let stamp = SimulationTests.manifests[index % SimulationTests.manifests.count]
            let source = StampTable.Source(stamp: stamp, serial: UInt64(index), isCurrent: true, ceiling: .exact)
            return StampTable(variants: [source], known: [], headers: StampHeaders())
        }
        let board = StampBoard(table(0), workers: 2)
        let looking = Looking()
        let expected = SimulationTests.manifests.map { Array($0.digest.hex.utf8.prefix(12)) }
        @Sendable func look(_ worker: Int) {
            while !looking.isDone.load(ordering: .acquiring) {
                let row = board.beginTurn(worker)._withUnsafeGuaranteedRef { $0.variants[0] }
                let name = expected[Int(row.serial) % expected.count]
                let block = row.block(.inferred)
                let isRight =
                    (0..<12).allSatisfy { row.idSuffix[$0] == name[$0] } && block.count > 12 && block[0] == 0x58
                if !isRight { looking.wrong.add(1, ordering: .relaxed) }
                board.endTurn(worker)
                looking.turns.add(1, ordering: .relaxed)
            }
        }
        let first = try Threads.start("looks 0") { look(0) }
        let second = try Threads.start("looks 1") { look(1) }
        for index in 1...3000 { board.publish(table(index)) }
        while looking.turns.load(ordering: .relaxed) < 1000 { board.reclaim() }
        looking.isDone.store(true, ordering: .releasing)
        first.join()
        second.join()
        #expect(looking.wrong.load(ordering: .relaxed) == 0)
        #expect(board.reclaim() == 0)
    }

    @Test("a table is freed when no worker can see it any more, and not before")
    func freesTables() throws {
        final class Watch { weak var table: StampTable? }
        let watch = Watch()
        func table() -> StampTable { StampTable(variants: [], known: [], headers: StampHeaders()) }
        var first: StampTable? = table()
        watch.table = first
        let board = StampBoard(first!, workers: 2)
        first = nil
        _ = board.beginTurn(0)
        board.publish(table())
        #expect(watch.table != nil)
        board.publish(table())
        #expect(watch.table != nil)
        board.endTurn(0)
        #expect(board.reclaim() == 0)
        #expect(watch.table == nil)
    }
}
