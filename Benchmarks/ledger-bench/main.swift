import Crypto
import Glibc
import Ledger
import Provenance
import Runtime
import TestSupport

// What the ledger does inside a process, for `bench-ledger.py`:
//
//     ledger-bench fill DIR COUNT       a ledger with COUNT manifests
//     ledger-bench prefixes DIR COUNT   COUNT prefixes of 12 digits, some of each part of the ledger
//     ledger-bench lookup DIR FILE      look up every prefix in FILE; prints look-ups per second
//     ledger-bench search DIR           searches of every kind; prints milliseconds, one a line, with their words
//     ledger-bench freeze DIR           the small ledger that Tests/Fixtures/databases keeps of each release

func number(_ text: String) -> Int { Int(text) ?? 0 }

func fill(_ directory: String, _ count: Int) throws {
    let ledger = try Ledger.writing(directory, hashing: SHA256.hash)
    let bar = ProgressBar("filling", total: Int64(count), unit: .files)
    for start in stride(from: 0, to: count, by: 20_000) {
        let numbers = Array(start..<min(start + 20_000, count))
        try ledger.addAll(numbers) { number throws(LedgerError) in
            let data = "kafka-\(20_250_000 + number / 1000)"
            guard let manifest = try? Specimen.manifest(number, data: data) else { return }
            _ = try ledger.add(
                manifest, file: "/models/\(number)/manifests/als-\(number).json", at: Instant(microseconds: 1))
        }
        bar.advance(by: Int64(numbers.count))
    }
    bar.finish()
}

func printPrefixes(_ directory: String, _ count: Int) throws {
    let ledger = try Ledger.reading(directory, hashing: SHA256.hash)
    let total = Int(try ledger.count())
    var chance = Chance(seed: 1)
    for _ in 0..<count {
        let number = Int.random(in: 0..<total, using: &chance)
        let manifest = try Specimen.manifest(number, data: "kafka-\(20_250_000 + number / 1000)")
        print(manifest.digest.short)
    }
}

func lookUp(_ directory: String, _ file: String) throws {
    let ledger = try Ledger.reading(directory, hashing: SHA256.hash)
    let lines = (Scratch.text(of: file) ?? "").split(separator: "\n")
    let prefixes = lines.compactMap { HexPrefix(String($0)) }
    var found = 0
    let seconds = try ledger.reading { () throws(LedgerError) in
        for prefix in prefixes { found += try ledger.records(prefix, limit: 2).count }
        let started = Clock.monotonic()
        for prefix in prefixes { found += try ledger.records(prefix, limit: 2).count }
        return Double(Clock.monotonic() - started) / 1_000_000
    }
    guard found == 2 * prefixes.count else { fatalError("\(found) of \(2 * prefixes.count) found") }
    print(Int(Double(prefixes.count) / seconds))
}

func search(_ directory: String) throws {
    let ledger = try Ledger.reading(directory, hashing: SHA256.hash)
    let total = Int(try ledger.count())
    var chance = Chance(seed: 2)
    for round in 0..<200 {
        let some = Int.random(in: 0..<total, using: &chance)
        let manifest = try Specimen.manifest(some, data: "kafka-\(20_250_000 + some / 1000)")
        let kinds: [[String]] = [
            ["als-\(some)"], ["kafka-\(20_250_000 + some / 1000)"], ["als"], ["main", "interactions"],
            [manifest.digest.short], [String(manifest.pipeline.commit?.prefix(8) ?? "")],
            [manifest.artifacts[0].sha256.hex], [String(manifest.artifacts[1].sha256.hex.prefix(16))],
            ["als-\(some % 100)"], ["kafka-2025", "als-\(some / 10)"], ["no-such-name"], ["20250"],
        ]
        let words = kinds[round % kinds.count]
        let started = Clock.monotonic()
        let page = try ledger.search(words, after: nil, limit: 50)
        let next = try page.next.map { try ledger.search(words, after: $0, limit: 50).items.count } ?? 0
        let milliseconds = Double(Clock.monotonic() - started) / 1000
        print("\(milliseconds) \(words.joined(separator: " ")) (\(page.items.count) and \(next) rows)")
    }
}

func freeze(_ directory: String) throws {
    let ledger = try Ledger.writing(directory, hashing: SHA256.hash)
    let manifests = try (1...3).map { try Specimen.manifest($0) }
    try ledger.addAll(manifests) { manifest throws(LedgerError) in
        _ = try ledger.add(manifest, file: "/models/\(manifest.version).json", at: Instant(microseconds: 1))
    }
    for (index, variant) in ["als_model", "als_model", "popgen_model"].enumerated() {
        _ = try ledger.activate(
            manifests[index].digest, variant: variant, at: Instant(microseconds: Int64(index) * 1_000_000),
            cause: "pointer",
            actor: nil, instance: "default")
    }
}

let words = Array(CommandLine.arguments.dropFirst())
switch (words.first, words.count) {
case ("fill", 3): try fill(words[1], number(words[2]))
case ("prefixes", 3): try printPrefixes(words[1], number(words[2]))
case ("lookup", 3): try lookUp(words[1], words[2])
case ("search", 2): try search(words[1])
case ("freeze", 2): try freeze(words[1])
default:
    complain("ledger-bench: fill DIR COUNT | prefixes DIR COUNT | lookup DIR FILE | search DIR | freeze DIR")
    exit(2)
}
