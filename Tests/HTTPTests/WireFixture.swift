import TestSupport
import Testing

/// One case of the corpus: bytes, what must become of them, and why. The bytes are written with `\r`, `\n` and `\x00`; the line
/// ends of the file itself mean nothing.
struct WireFixture: Sendable, CustomTestStringConvertible {
    let path: String
    let kind: String
    let verdict: [String]
    let bytes: [UInt8]

    var testDescription: String { path }

    static let all: [WireFixture] = {
        let list = Program.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "Tests/Fixtures/wire"], in: Program.root)
        return list.output.split(separator: "\n").compactMap { WireFixture(String($0)) }
    }()

    init?(_ path: String) {
        guard let text = Scratch.text(of: Program.root + "/" + path), let bar = text.range(of: "\n---\n") else {
            return nil
        }
        func value(_ name: String) -> String? {
            let line = text[..<bar.lowerBound].split(separator: "\n").first { $0.hasPrefix(name + ": ") }
            return line.map { String($0.dropFirst(name.count + 2)) }
        }
        guard let kind = value("kind"), let verdict = value("verdict"), value("why") != nil else { return nil }
        self.path = path
        self.kind = kind
        self.verdict = verdict.split(separator: " ", maxSplits: kind == "chunks" ? 1 : .max).map(String.init)
        bytes = Self.unescaped(String(text[bar.upperBound...]))
    }

    static func unescaped(_ text: String) -> [UInt8] {
        var result: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte != 0x0A else { continue }
            guard byte == 0x5C, let escape = rest.popFirst() else {
                result.append(byte)
                continue
            }
            switch escape {
            case UInt8(ascii: "r"): result.append(0x0D)
            case UInt8(ascii: "n"): result.append(0x0A)
            case UInt8(ascii: "x"):
                result.append(UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) ?? 0)
                rest = rest.dropFirst(2)
            default: result.append(escape)
            }
        }
        return result
    }
}

extension String {
    /// Where `other` first stands.
    fileprivate func range(of other: String) -> Range<String.Index>? {
        let needle = Array(other.utf8)
        var start = utf8.startIndex
        while start < utf8.endIndex {
            if utf8[start...].starts(with: needle) { return start..<utf8.index(start, offsetBy: needle.count) }
            start = utf8.index(after: start)
        }
        return nil
    }
}
