import Provenance
import TestSupport
import Testing

@testable import Admin

/// The admin listener without its socket, byte by byte.
@Suite("Admin conversations")
struct AdminConversationTests {
    private func routes(token: String = "", takesLines: Bool = true) -> AdminRoutes {
        AdminRoutes(
            token: { token }, takesLines: takesLines,
            status: { .json(200, .object(JSONObject([.init("a", .integer(1))]))) },
            metrics: { AdminResponse(status: 200, contentType: "text/plain", body: Array("# EOF\n".utf8)) })
    }

    /// What comes of a request that arrives in pieces: what is handed over, and what is answered.
    private func converse(
        _ request: String, pieces: Int = 1, routes: AdminRoutes
    ) -> (handed: [AdminConversation.Handed], output: String, isWaiting: Bool) {
        var conversation = AdminConversation()
        var handed: [AdminConversation.Handed] = []
        let bytes = Array(request.utf8)
        for start in stride(from: 0, to: bytes.count, by: max(1, bytes.count / pieces)) {
            let end = min(bytes.count, start + max(1, bytes.count / pieces))
            if let one = conversation.read(Array(bytes[start..<end]), routes) { handed.append(one) }
        }
        return (handed, String(decoding: conversation.output, as: UTF8.self), !conversation.hasAnswered)
    }

    @Test("however a request is cut, it gets one answer, and the same", arguments: [1, 2, 3, 7, 20, 1000])
    func answersInPieces(pieces: Int) {
        let get = converse("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", pieces: pieces, routes: routes())
        #expect(get.output.hasPrefix("HTTP/1.1 200 OK\r\n") && get.output.hasSuffix("{\n  \"a\": 1\n}\n"))
        let body = "{\"manifest\": \"m1\", \"variant\": \"a\"}"
        let post = converse(
            "POST /v1/activations HTTP/1.1\r\nHost: [::1]:1\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
                + body, pieces: pieces, routes: routes())
        guard post.handed.count == 1, case .question(.activate("m1", "a", nil, false)) = post.handed[0] else {
            Issue.record("\(post)")
            return
        }
        #expect(post.isWaiting && post.output.isEmpty)
        let chunked = converse(
            "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n1\r\n\n\r\n0\r\n\r\n",
            pieces: pieces, routes: routes())
        guard chunked.handed.count == 1, case .lines(let lines) = chunked.handed[0] else {
            Issue.record("\(chunked)")
            return
        }
        #expect(lines == Array("a\nb\n".utf8))
    }

    /// Everything that is answered on one connection, and whether another request may follow.
    private func connection(_ bytes: [UInt8], pieces: Int) -> (outputs: [String], isOpen: Bool) {
        var conversation = AdminConversation()
        var outputs: [String] = []
        let size = max(1, bytes.count / pieces)
        for start in stride(from: 0, to: bytes.count, by: size) {
            var piece = Array(bytes[start..<min(bytes.count, start + size)])
            repeat {
                if let handed = conversation.read(piece, routes()) {
                    if case .lines(let lines) = handed { outputs.append(String(decoding: lines, as: UTF8.self)) }
                    conversation.answer(AdminResponse(status: 204, contentType: "", body: []))
                }
                piece = []
                guard conversation.hasAnswered else { continue }
                outputs.append(String(decoding: conversation.output, as: UTF8.self))
                guard conversation.isFollowed else { return (outputs, false) }
                conversation = AdminConversation(after: conversation)
            } while conversation.hasInput
        }
        return (outputs, true)
    }

    @Test("requests follow one another on a connection, however they are cut", arguments: [1, 2, 3, 5, 50, 10_000])
    func goesOn(pieces: Int) {
        let get = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
        let post =
            "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: 4\r\n\r\na\nb\n"
        let missing = "GET /v1/none HTTP/1.1\r\nHost: localhost\r\n\r\n"
        let spaced = "\r\n" + get
        let last = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        let (outputs, isOpen) = connection(Array((get + post + missing + spaced + last + get).utf8), pieces: pieces)
        guard outputs.count == 6 else {
            Issue.record("\(outputs)")
            return
        }
        #expect(outputs[0].hasPrefix("HTTP/1.1 200 ") && outputs[0].hasSuffix("{\n  \"a\": 1\n}\n"))
        #expect(outputs[1] == "a\nb\n" && outputs[2].hasPrefix("HTTP/1.1 204 "))
        #expect(outputs[3].hasPrefix("HTTP/1.1 404 ") && outputs[4] == outputs[0])
        #expect(outputs[5].hasSuffix("# EOF\n") && !isOpen)
        #expect(outputs.map { $0.contains("Connection: close") } == [false, false, false, false, false, true])
    }

    @Test(
        "nothing follows what was not understood, or not read to its end",
        arguments: [
            "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n", "rubbish\r\n\r\n",
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n",
            "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: 99999999\r\n\r\n",
            "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n",
            "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n0\r\n\r\n",
        ])
    func ends(request: String) {
        let (outputs, isOpen) = connection(
            Array((request + "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n").utf8), pieces: 1)
        #expect(!isOpen && outputs.last?.contains("Connection: close\r\n") == true, "\(outputs)")
    }

    @Test("what comes while another request is answered is kept, and says when it is enough")
    func keepsWhatFollows() {
        let order =
            "POST /v1/activations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"manifest\": \"m\"}"
        for (count, isFull) in [(1, false), (16 << 10, false), (16 << 10 | 1, true)] {
            var conversation = AdminConversation()
            #expect(conversation.read(Array(order.utf8), routes()) != nil)
            for _ in 0..<count { _ = conversation.read([0x47], routes()) }
            #expect(conversation.isFull == isFull, "\(count)")
            conversation.answer(AdminResponse(status: 204, contentType: "", body: []))
            #expect(conversation.isFollowed && AdminConversation(after: conversation).hasInput)
        }
    }

    @Test("every route is described, and every description has a route")
    func describesRoutes() throws {
        let document = try #require(OpenAPI.document.object)
        let paths = try #require(document["paths"]?.object)
        var described: Set<String> = []
        for path in paths.members {
            for operation in path.value.object?.members ?? [] {
                described.insert("\(operation.name.uppercased()) \(path.name)")
                #expect(operation.value.object?["responses"]?.object?.members.isEmpty == false, "\(path.name)")
            }
        }
        #expect(described == Set(AdminRoute.all.map { "\($0.method) \($0.template)" }))
        let ids = AdminRoute.all.map(\.name)
        #expect(Set(ids).count == ids.count)
        // Every schema that is referred to is there.
        let text = JSONWriter.compact.text(OpenAPI.document)
        let schemas = try #require(document["components"]?.object?["schemas"]?.object)
        for part in text.split(separator: "#/components/schemas/").dropFirst() {
            let name = String(part.prefix { $0 != "\"" })
            #expect(schemas[name] != nil, "\(name)")
        }
    }

    @Test(
        "percent signs are decoded or refused",
        arguments: [
            ("a%20b", "a b"), ("a+b", "a b"), ("%C3%A9", "é"), ("%c3%a9", "é"), ("", ""), ("%2F%2e%2e", "/.."),
            ("%00", "\0"),
            ("%", nil), ("%4", nil), ("%zz", nil), ("%ff", nil), ("%C3", nil), ("é", "é"),
        ] as [(String, String?)])
    func decodes(text: String, expected: String?) {
        #expect(PercentCoding.decoded(text, plusIsSpace: true) == expected)
    }

    @Test("rubbish is answered once, or waited for", arguments: 0..<300)
    func survivesRubbish(seed: Int) {
        var chance = Chance(seed: UInt64(seed))
        let words = [
            "GET ", "POST ", "FOO ", "/v1/trace", "/v1/manifests/", "?q=", "%", "&", " HTTP/1.1\r\n",
            "Host: localhost\r\n", "Content-Length: 5\r\n",
            "Content-Type: application/json\r\n", "Transfer-Encoding: chunked\r\n", "\r\n", "{}", "5\r\nabcde\r\n",
            "0\r\n\r\n", "\0", "If-None-Match: *\r\n",
        ]
        let request = (0..<Int.random(in: 1...14, using: &chance)).map { _ in words.randomElement(using: &chance) ?? ""
        }.joined()
        let outcome = converse(request, pieces: Int.random(in: 1...5, using: &chance), routes: routes())
        #expect(outcome.handed.count <= 1)
        // One status line at most, but for the one that lets a body come.
        let answers = outcome.output.split(separator: "HTTP/1.1 ", omittingEmptySubsequences: true).filter {
            !$0.hasPrefix("100 ")
        }
        #expect(answers.count <= 1, "\(outcome.output)")
    }
}
