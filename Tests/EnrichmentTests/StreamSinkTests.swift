import Glibc
import Runtime
import TestSupport
import Testing

@testable import Enrichment

@Suite("Lines to a file")
struct StreamSinkTests {
    @Test("what a failed sync may have lost is written again, and not before a while; only then has it arrived")
    func writesAgain() throws {
        let scratch = Scratch()
        let path = scratch.path("out")
        let number = try RawFile.open(path, .createIfMissing)
        defer { RawFile.close(number) }
        var now: Int64 = 0
        var failing = 2
        let sink = StreamSink(
            number, path, Definitions(), identity: "i", clock: { now },
            sync: { (_, _) throws(SystemError) in
                guard failing > 0 else { return }
                failing -= 1
                throw SystemError("sync", "the disk", code: EIO)
            })
        SpoolTests.withMemory { memory in
            let record = SpoolTests.record("a line", source: 0, in: memory)
            var arrived: [UInt] = []
            func take() -> Bool {
                sink.takeEvents { token, outcome in if case .arrived = outcome { arrived.append(token) } }
            }
            func send() -> Bool { if case .sent = sink.send(record, token: 7) { true } else { false } }
            for wait: Int64 in [1_000_000, 2_000_000] {
                #expect(send())
                // Whoever is told so gives all that was on its way up, to send it again.
                let isFatal = take()
                #expect(isFatal && arrived.isEmpty && sink.problem != nil)
                sink.restart()
                now += wait - 1
                #expect(!send())
                now += 1
            }
            #expect(send())
            let isFatal = take()
            #expect(!isFatal && arrived == [7] && sink.problem == nil)
        }
        #expect(scratch.read("out") == "a line\na line\na line\n")
    }
}
