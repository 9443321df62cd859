import Provenance
import TestSupport
import Testing

@Suite("Looking for bytes")
struct ByteScanTests {
    @Test("what is not printed is found where a look at each byte finds it")
    func unprinted() {
        var chance = Chance(seed: 7)
        for byte in UInt8.min...UInt8.max {
            let isPrinted = byte >= 0x20 && byte < 0x7F
            for place in 0..<40 {
                var text = [UInt8](repeating: 0x41, count: 40)
                text[place] = byte
                let from = Int.random(in: 0...place, using: &chance)
                text.withUnsafeBytes { bytes in
                    #expect(ByteScan.firstUnprinted(bytes, from..<40) == (isPrinted ? 40 : place))
                }
            }
        }
        for _ in 0..<2000 {
            let text = (0..<Int.random(in: 0...80, using: &chance)).map { _ in
                UInt8.random(in: 0x1E...0x81, using: &chance)
            }
            let expected = text.firstIndex { $0 < 0x20 || $0 > 0x7E } ?? text.count
            text.withUnsafeBytes { #expect(ByteScan.firstUnprinted($0, 0..<text.count) == expected) }
        }
    }
}
