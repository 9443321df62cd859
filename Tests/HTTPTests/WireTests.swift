import HTTP
import TestSupport
import Testing

@Suite("The wire")
struct WireTests {
    @Test("the corpus is there")
    func hasCases() {
        #expect(WireFixture.all.count >= 400)
    }

    @Test(
        "every case has its verdict, fed whole, a byte at a time, in pieces, and with more behind it",
        arguments: WireFixture.all)
    func judges(fixture: WireFixture) {
        var chance = Chance(seed: UInt64(fixture.bytes.count))
        let whole = judge(fixture, pieces: [fixture.bytes.count])
        #expect(whole == fixture.verdict.joined(separator: " "))
        #expect(judge(fixture, pieces: Array(repeating: 1, count: fixture.bytes.count)) == whole)
        for _ in 0..<5 {
            let pieces = (0..<fixture.bytes.count).map { _ in Int.random(in: 1...9, using: &chance) }
            #expect(judge(fixture, pieces: pieces) == whole)
        }
        #expect(judge(fixture, pieces: [fixture.bytes.count], more: Array("GET / HTTP/1.1\r\n\r\n".utf8)) == whole)
    }

    private func judge(_ fixture: WireFixture, pieces: [Int], more: [UInt8] = []) -> String {
        switch fixture.kind {
        case "chunks": chunks(fixture.bytes, pieces, more)
        case "trailers": trailers(fixture.bytes, pieces, more)
        default: head(fixture.kind, fixture.bytes, pieces, more)
        }
    }

    /// Feeds a head in pieces until it is whole, or refused.
    private func scan(_ bytes: [UInt8], _ pieces: [Int], _ more: [UInt8]) -> HeadScanner.Result {
        var buffer: [UInt8] = []
        var rest = bytes[...]
        var scanned = 0
        for piece in pieces {
            buffer += rest.prefix(piece)
            rest = rest.dropFirst(piece)
            if rest.isEmpty { buffer += more }
            let result = HeadScanner.scan(buffer.span.bytes, scanned: &scanned)
            if result != .incomplete { return result }
        }
        return .incomplete
    }

    private func head(_ kind: String, _ bytes: [UInt8], _ pieces: [Int], _ more: [UInt8]) -> String {
        let length: Int
        switch scan(bytes, pieces, more) {
        case .incomplete: return "incomplete"
        case .malformed(let fault): return refused(fault, kind)
        case .complete(2): return "skip"
        case .complete(let count): length = count
        }
        var fields = FieldList(limit: 100)
        let names = FieldNames()
        let head = Array((bytes + more)[..<length])
        if kind == "request" {
            switch RequestHead.parse(head.span.bytes, names: names, into: &fields) {
            case .failure(let fault): return refused(fault, kind)
            case .success(let request): return accepted(request.framing, request.connection)
            }
        }
        let answersHEAD = kind == "response-to-head"
        switch ResponseHead.parse(head.span.bytes, answersHEAD: answersHEAD, names: names, into: &fields) {
        case .failure(let fault): return refused(fault, kind)
        case .success(let response): return accepted(response.framing, response.connection)
        }
    }

    private func refused(_ fault: HeadFault, _ kind: String) -> String {
        kind == "request" ? "refuse \(fault.status) \(fault)" : "refuse \(fault)"
    }

    private func accepted(_ framing: BodyFraming, _ connection: ConnectionOptions) -> String {
        var words = ["accept"]
        switch framing {
        case .none: words.append("none")
        case .length(let count): words.append("length \(count)")
        case .chunked: words.append("chunked")
        case .untilClose: words.append("until-close")
        }
        if connection.contains(.close) { words.append("close") }
        if connection.contains(.keepAlive) { words.append("keep-alive") }
        if connection.contains(.upgrade) { words.append("upgrade") }
        return words.joined(separator: " ")
    }

    /// Both readers of chunks must agree: the one that passes them on, and the one that takes the payload out.
    private func chunks(_ bytes: [UInt8], _ pieces: [Int], _ more: [UInt8]) -> String {
        var passing = ChunkedBody()
        var unwrapping = ChunkedBody()
        var payload: [UInt8] = []
        var consumed = 0
        var rest = bytes[...]
        for piece in pieces {
            var part = Array(rest.prefix(piece))
            rest = rest.dropFirst(piece)
            if part.isEmpty { break }
            if rest.isEmpty { part += more }
            let passed = passing.read(part.span.bytes)
            let unwrapped = unwrap(part, &unwrapping, &payload)
            switch (passed, unwrapped) {
            case (.failure(let fault), .failure(let other)): return fault == other ? "refuse \(fault)" : "disagree"
            case (.success(let count), .success):
                consumed += count
                #expect(passing.isAtTrailers == unwrapping.isAtTrailers)
            default: return "disagree"
            }
        }
        guard passing.isAtTrailers, consumed == bytes.count else { return "incomplete" }
        let text = payload.map { byte in
            byte == 0x0D ? "\\r" : byte == 0x0A ? "\\n" : String(decoding: [byte], as: UTF8.self)
        }
        return text.isEmpty ? "payload" : "payload " + text.joined()
    }

    private func unwrap(
        _ part: [UInt8], _ chunks: inout ChunkedBody, _ payload: inout [UInt8]
    ) -> Result<Void, HeadFault> {
        var cursor = 0
        while true {
            switch chunks.nextPayload(part.span.bytes, from: cursor) {
            case .failure(let fault): return .failure(fault)
            case .success(let range):
                if range.isEmpty { return .success(()) }
                payload += part[range]
                cursor = range.upperBound
            }
        }
    }

    private func trailers(_ bytes: [UInt8], _ pieces: [Int], _ more: [UInt8]) -> String {
        let length: Int
        switch scan(bytes, pieces, more) {
        case .incomplete: return "incomplete"
        case .malformed: return "refuse trailer"
        case .complete(let count): length = count
        }
        var fields = FieldList(limit: 100)
        let section = Array((bytes + more)[..<length])
        let fault = TrailerSection.parse(section.span.bytes, names: FieldNames(), into: &fields)
        return fault.map { "refuse \($0)" } ?? "accept"
    }
}
