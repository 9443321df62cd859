import TestSupport
import Testing

@testable import HTTP

@Suite("Heads")
struct HeadTests {
    @Test("names are found in any case, by their whole length, and no others")
    func findsNames() {
        let long = "x-a-very-long-header-name-of-ours"
        let mine = FieldName.stamp
        let names = FieldNames([(long, mine), ("ab", FieldName.route)])
        func find(_ text: String) -> FieldName {
            let bytes = Array((text + ": y").utf8)
            return names.find(bytes.span.bytes, 0, text.utf8.count)
        }
        for (name, field) in FieldName.wire {
            #expect(find(name) == field)
            #expect(find(name.uppercased()) == field)
            #expect(find(name + "x") == .other)
            #expect(find("x" + name) == .other)
            #expect(find(String(name.dropLast())) == .other || name == "te")
        }
        #expect(find(long.uppercased()) == mine)
        let altered = String(long.dropLast(12)) + "Z" + long.suffix(11)
        #expect(find(altered) == .other)
        #expect(find("aB") == FieldName.route)
        #expect(find("a") == .other)
    }

    @Test("a name with underscores is the one with dashes, where that was asked for")
    func foldsUnderscores() {
        let stamp = FieldName.stamp
        let folding = FieldNames([("x-model-version", stamp)], foldsUnderscores: true)
        let strict = FieldNames([("x-model-version", stamp)])
        for text in ["X_Model_Version", "X-Model_Version", "x_model-version"] {
            let bytes = Array(text.utf8)
            #expect(folding.findFolded(bytes.span.bytes, 0, bytes.count) == stamp)
            #expect(strict.findFolded(bytes.span.bytes, 0, bytes.count) == .other)
        }
    }

    @Test("what is notable of a request is found where it stands")
    func readsRequest() {
        let text =
            "POST http://b:81/x?y HTTP/1.1\r\nHost: a\r\nA: 1\r\nConnection: close, A\r\nContent-Length:  12 \r\n\r\n"
        let bytes = Array(text.utf8)
        var fields = FieldList(limit: 10)
        guard case .success(let request) = RequestHead.parse(bytes.span.bytes, names: FieldNames(), into: &fields)
        else {
            Issue.record("refused")
            return
        }
        func word(_ range: WireRange) -> String {
            String(decoding: bytes[Int(range.start)..<Int(range.end)], as: UTF8.self)
        }
        #expect(request.method == .post)
        #expect(word(request.authority) == "b:81")
        #expect(word(request.target) == "/x?y")
        #expect(word(request.host) == "a")
        #expect(request.connection == [.close, .namesFields])
        #expect(request.framing == .length(12))
        #expect(fields.count == 3 && fields.total == 4)
        #expect(word(fields[2].value) == "12")
        let named = bytes.span.bytes.hasElement(sameAs: WireRange(40, 41), in: fields[1].value)
        #expect(named)
    }

    @Test("a head is rewritten in its place: cut, added to, and the body not moved", arguments: 0..<300)
    func rewrites(seed: Int) {
        var chance = Chance(seed: UInt64(seed))
        let room = 400
        let lines = (0..<Int.random(in: 0...12, using: &chance)).map { number in
            "F\(number): " + String(repeating: "v", count: Int.random(in: 0...30, using: &chance)) + "\r\n"
        }
        let first = "GET / HTTP/1.1\r\n"
        let body = "the body"
        let isCut = lines.map { _ in Bool.random(using: &chance) }
        let added = String(repeating: "A: b\r\n", count: Int.random(in: 0...20, using: &chance))
        var memory = [UInt8](repeating: 0, count: room) + Array((first + lines.joined() + "\r\n" + body).utf8)
        let length = first.utf8.count + lines.joined().utf8.count + 2
        var writer = HeadWriter(capacity: 1000, cutLimit: 20)
        writer.begin()
        writer.write("PUT / HTTP/1.1\r\n")
        for _ in 0..<added.utf8.count / 6 { writer.write("A: b\r\n") }
        var offset = first.utf8.count
        for (line, cut) in zip(lines, isCut) {
            if cut { writer.cut(WireRange(offset, offset + line.utf8.count)) }
            offset += line.utf8.count
        }
        let start = memory.withUnsafeMutableBytes { bytes in
            bytes.baseAddress.flatMap {
                writer.place($0 + room, length: length, firstLine: first.utf8.count, room: room)
            }
        }
        let kept = zip(lines, isCut).filter { !$0.1 }.map(\.0).joined()
        let expected = "PUT / HTTP/1.1\r\n" + added + kept + "\r\n" + body
        guard let start else {
            Issue.record("it fits")
            return
        }
        #expect(String(decoding: memory[(room + start)...], as: UTF8.self) == expected)
    }

    @Test("what does not fit is not written")
    func refusesWhatDoesNotFit() {
        var memory = [UInt8](repeating: 1, count: 100)
        var writer = HeadWriter(capacity: 64, cutLimit: 1)
        writer.begin()
        for _ in 0..<20 { writer.write("0123456789") }
        let overflown = memory.withUnsafeMutableBytes {
            writer.place($0.baseAddress! + 50, length: 20, firstLine: 5, room: 50)
        }
        #expect(overflown == nil)
        writer.begin()
        for _ in 0..<6 { writer.write("0123456789") }
        let tooFar = memory.withUnsafeMutableBytes {
            writer.place($0.baseAddress! + 50, length: 20, firstLine: 5, room: 50)
        }
        #expect(tooFar == nil)
        #expect(memory == [UInt8](repeating: 1, count: 100))
    }

    @Test(
        "dates are written as RFC 9110 wants them",
        arguments: [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"), (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT"),
        ] as [(Int64, String)])
    func writesDates(second: Int64, text: String) {
        var bytes = [UInt8](repeating: 0, count: HTTPDate.length)
        bytes.withUnsafeMutableBytes { HTTPDate.write(second: second, to: $0) }
        #expect(String(decoding: bytes, as: UTF8.self) == text)
    }
}
