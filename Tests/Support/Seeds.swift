import Glibc

/// Which seeds a simulation runs: those of this commit, so that every commit looks where none has looked before, or the one that
/// `COLOPHON_SEED` names.
package enum Seeds {
    package static let named: UInt64? = getenv("COLOPHON_SEED").flatMap { UInt64(String(cString: $0)) }

    private static let base: UInt64 = {
        let commit = Program.run(["git", "rev-parse", "HEAD"], in: Program.root).output.prefix(15)
        return UInt64(commit, radix: 16) ?? 1
    }()

    package static func some(_ count: Int) -> [UInt64] {
        if let named { return [named] }
        return (0..<count).map { base &+ UInt64($0) }
    }
}

extension Chance {
    /// A number below `limit`.
    package mutating func draw(_ limit: Int) -> Int { Int(next() % UInt64(max(1, limit))) }

    package mutating func percent(_ share: Int) -> Bool { draw(100) < share }
}
