import TestSupport

/// Messages as the simulation's own reader understands them: simple, and written apart from the code under test.
struct SimpleMessage {
    var firstLine = ""
    var fields: [(name: String, value: String)] = []
    /// Behind the head.
    var bodyStart = 0

    func all(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }

    /// The head that begins at `start`; nil when it is not complete.
    init?(_ bytes: [UInt8], from start: Int) {
        var lines: [String] = []
        var line: [UInt8] = []
        var index = start
        while index < bytes.count {
            if bytes[index] == 0x0A {
                if line.last == 0x0D { line.removeLast() }
                if line.isEmpty {
                    bodyStart = index + 1
                    break
                }
                lines.append(String(decoding: line, as: UTF8.self))
                line = []
            } else {
                line.append(bytes[index])
            }
            index += 1
        }
        guard bodyStart > 0, let first = lines.first else { return nil }
        firstLine = first
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { return nil }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            fields.append((line[..<colon].lowercased(), String(value)))
        }
    }

    enum Body {
        case whole([UInt8], end: Int)
        case partial([UInt8])
        case malformed
    }

    /// The body from `bodyStart` on, by the length or the chunks that the head declares.
    func body(_ bytes: [UInt8], isClosed: Bool) -> Body {
        if let length = all("content-length").first.flatMap({ Int($0) }) {
            let end = bodyStart + length
            return bytes.count >= end
                ? .whole(Array(bytes[bodyStart..<end]), end: end) : .partial(Array(bytes[bodyStart...]))
        }
        if all("transfer-encoding") == ["chunked"] { return chunks(bytes) }
        let rest = Array(bytes[min(bodyStart, bytes.count)...])
        return isClosed ? .whole(rest, end: bytes.count) : .partial(rest)
    }

    private func chunks(_ bytes: [UInt8]) -> Body {
        var body: [UInt8] = []
        var index = bodyStart
        while true {
            guard let lineEnd = bytes[index...].firstIndex(of: 0x0A) else { return .partial(body) }
            let size = bytes[index..<lineEnd].prefix { $0 != 0x3B && $0 != 0x0D }
            guard let count = Int(String(decoding: size, as: UTF8.self), radix: 16) else { return .malformed }
            index = lineEnd + 1
            if count == 0 { break }
            guard index + count + 2 <= bytes.count else {
                return .partial(body + bytes[index..<min(bytes.count, index + count)])
            }
            body += bytes[index..<index + count]
            index += count + 2
        }
        while true {
            guard let lineEnd = bytes[index...].firstIndex(of: 0x0A) else { return .partial(body) }
            let isEmpty = lineEnd == index + 1
            if String(decoding: bytes[index..<lineEnd], as: UTF8.self).lowercased().hasPrefix("x-model") {
                return .malformed
            }
            index = lineEnd + 1
            if isEmpty { return .whole(body, end: index) }
        }
    }
}

/// What a simulated server does with a request.
enum Behaviour: String, CaseIterable {
    case length, chunked, close, none, unchanged, early, interim, spoof, connectionClose, http10
    // Faults of the server:
    case short, resetInside, silentClose, stall, garbage, surplus, contradictory, stallInside

    var isFaulty: Bool {
        switch self {
        case .short, .resetInside, .silentClose, .stall, .garbage, .contradictory, .stallInside: true
        default: false
        }
    }
}

/// One request of a simulated client, and what should come of it.
struct Plan {
    let number: Int
    let behaviour: Behaviour
    let size: Int
    let method: String
    let isHTTP10: Bool
    let upload: [UInt8]
    let isChunked: Bool
    let bytes: [UInt8]
    let closes: Bool

    /// The body that the server answers with: no two requests have the same.
    static func body(_ number: Int, _ size: Int) -> [UInt8] {
        (0..<size).map { UInt8(truncatingIfNeeded: (number &* 31 &+ $0) &* 7 &+ $0 >> 8) }
    }

    static func sum(_ bytes: [UInt8]) -> String {
        String(bytes.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }, radix: 16)
    }

    init(_ number: Int, _ world: SimulatedWorld, isCalm: Bool) {
        self.number = number
        let sizes = [0, 1, 17, 900, 5000, 70_000]
        // Among them some that fill a buffer to its last byte.
        size = world.percent(1) ? 65_300 + world.draw(300) : sizes[world.draw(world.percent(10) ? 6 : 5)]
        let faulty = Behaviour.allCases.filter(\.isFaulty)
        let fine = Behaviour.allCases.filter { !$0.isFaulty }
        let isFaulty = !isCalm && world.percent(25)
        behaviour = isFaulty ? faulty[world.draw(faulty.count)] : fine[world.draw(fine.count)]
        method = ["GET", "POST", "PUT", "HEAD"][world.draw(4)]
        isHTTP10 = world.percent(10)
        let hasUpload = method == "POST" || method == "PUT"
        upload = hasUpload ? Self.body(number + 1_000_000, sizes[world.draw(5)]) : []
        isChunked = hasUpload && !isHTTP10 && world.percent(50)
        closes = isHTTP10 || world.percent(10)
        var head = "\(method) /x/\(number)/\(behaviour.rawValue)/\(size) HTTP/1.\(isHTTP10 ? 0 : 1)\r\nHost: model\r\n"
        // Nobody may pretend.
        if world.percent(20) { head += "X-Model-Version: evil\r\nX_Model-Manifest: evil\r\n" }
        if world.percent(20) { head += "Connection: X-Secret\r\nX-Secret: 1\r\n" }
        if closes, !isHTTP10 { head += "Connection: close\r\n" }
        if world.percent(30) { head += "X-Request-Id: mine-\(number)\r\n" }
        var body: [UInt8] = []
        if isChunked {
            head += "Transfer-Encoding: chunked\r\n"
            var rest = upload[...]
            while !rest.isEmpty {
                let piece = rest.prefix(1 + world.draw(700))
                rest = rest.dropFirst(piece.count)
                body +=
                    Array((String(piece.count, radix: 16) + (world.percent(10) ? ";a=b" : "") + "\r\n").utf8) + piece
                body += [0x0D, 0x0A]
            }
            body += Array((world.percent(30) ? "0\r\nX-Model-Version: evil\r\nX-Sum: 1\r\n\r\n" : "0\r\n\r\n").utf8)
        } else if hasUpload {
            head += "Content-Length: \(upload.count)\r\n"
            body = upload
        }
        bytes = Array(((world.percent(10) ? "\r\n" : "") + head + "\r\n").utf8) + body
    }
}

/// A server's side of one connection.
final class SimulatedServer {
    let socket: SimulatedWorld.Socket
    private var consumed = 0
    private var toSend: [UInt8] = []
    private var endsAfter = false
    private var resetsAfter = false
    /// What is sent too much comes with the last byte: later, nobody could tell it from the next response.
    private var comesAtOnce = false
    private var isStalled = false
    private var hasAnsweredEarly = false

    init(_ socket: SimulatedWorld.Socket) { self.socket = socket }

    /// Reads what came, and sends some of what it has to say. False when there was nothing to do.
    func act(_ world: SimulatedWorld, _ scene: Scene) -> Bool {
        guard !socket.isClosed, !socket.isBroken else { return false }
        if socket.isConnecting {
            guard world.percent(50) else { return true }
            socket.isConnecting = false
            if world.percent(10), !scene.isCalm { world.breakDown(socket) } else { socket.writable = true }
            return true
        }
        if !scene.isCalm, world.draw(400) == 0 {
            if world.percent(50) { world.breakDown(socket) } else { world.end(socket) }
            return true
        }
        if socket.room == 0 {
            world.open(1 + world.draw(6000), of: socket)
            return true
        }
        if !toSend.isEmpty {
            let count =
                comesAtOnce || world.percent(5)
                ? toSend.count : min(toSend.count, 1 + world.draw(world.percent(30) ? 4 : 9000))
            world.deliver(Array(toSend.prefix(count)), to: socket)
            toSend.removeFirst(count)
            comesAtOnce = false
            if toSend.isEmpty { finish(world) }
            return true
        }
        if socket.hasEnded || isStalled { return false }
        return answer(world, scene)
    }

    private func finish(_ world: SimulatedWorld) {
        if resetsAfter { world.breakDown(socket) } else if endsAfter { world.end(socket) }
    }

    private func answer(_ world: SimulatedWorld, _ scene: Scene) -> Bool {
        guard let request = SimpleMessage(socket.outgoing, from: consumed) else { return false }
        let parts = request.firstLine.split(separator: " ")
        let path = parts.count == 3 ? parts[1].split(separator: "/") : []
        guard path.count == 4, let number = Int(path[1]), let behaviour = Behaviour(rawValue: String(path[2])),
            let size = Int(path[3]), parts[2] == "HTTP/1.1"
        else {
            scene.fail("the server reads \(request.firstLine)")
            isStalled = true
            return false
        }
        check(request, scene)
        var isWhole = true
        var upload: [UInt8] = []
        if !request.all("content-length").isEmpty || !request.all("transfer-encoding").isEmpty {
            switch request.body(socket.outgoing, isClosed: false) {
            case .whole(let body, let end):
                upload = body
                consumed = end
            case .partial: isWhole = false
            case .malformed:
                scene.fail("the body of \(number) arrives malformed")
                return false
            }
        } else {
            consumed = request.bodyStart
        }
        if hasAnsweredEarly {
            // The rest of an upload that was answered before it was whole.
            hasAnsweredEarly = !isWhole
            return isWhole
        }
        if !isWhole {
            guard behaviour == .early else { return false }
            hasAnsweredEarly = true
        }
        scene.noteServed(number, method: String(parts[0]), step: world.step)
        respond(number, behaviour, size, upload: upload, isHEAD: parts[0] == "HEAD", world, scene)
        return true
    }

    private func check(_ request: SimpleMessage, _ scene: Scene) {
        for name in ["x-model-version", "x_model-manifest", "x-model-manifest", "x-secret", "connection"]
        where !request.all(name).isEmpty { scene.fail("the server gets \(name)") }
        for name in ["host", "x-request-id", "traceparent", "via", "x-forwarded-for"] where request.all(name).count != 1
        {
            scene.fail("the server gets \(request.all(name).count) of \(name)")
        }
    }

    private func respond(
        _ number: Int, _ behaviour: Behaviour, _ size: Int, upload: [UInt8], isHEAD: Bool, _ world: SimulatedWorld,
        _ scene: Scene
    ) {
        let body = isHEAD ? [] : Plan.body(number, size)
        let sum = "X-Number: \(number)\r\nX-Sum: \(Plan.sum(upload))\r\nX-Answered-By: m\(scene.answeringModel())\r\n"
        let plain = Array("HTTP/1.1 200 OK\r\n\(sum)Content-Length: \(size)\r\n\r\n".utf8)
        switch behaviour {
        case .length, .early: toSend = plain + body
        case .interim:
            toSend =
                Array("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n".utf8) + plain + body
        case .chunked:
            toSend = Array("HTTP/1.1 200 OK\r\n\(sum)Transfer-Encoding: chunked\r\n\r\n".utf8)
            if !isHEAD { toSend += chunked(body, world) }
        case .close:
            toSend = Array("HTTP/1.1 200 OK\r\n\(sum)\r\n".utf8) + body
            endsAfter = true
        case .http10:
            toSend = Array("HTTP/1.0 200 OK\r\n\(sum)Content-Length: \(size)\r\n\r\n".utf8) + body
            endsAfter = true
        case .none: toSend = Array("HTTP/1.1 204 No Content\r\n\(sum)\r\n".utf8)
        case .unchanged: toSend = Array("HTTP/1.1 304 Not Modified\r\n\(sum)ETag: \"1\"\r\n\r\n".utf8)
        case .spoof:
            toSend = Array("HTTP/1.1 200 OK\r\nX-Model-Version: evil\r\nX-Model-Manifest: evil\r\n\(sum)".utf8)
            toSend += Array("Connection: X-Secret\r\nX-Secret: 1\r\nContent-Length: \(size)\r\n\r\n".utf8) + body
        case .connectionClose:
            toSend = Array("HTTP/1.1 200 OK\r\n\(sum)Connection: close\r\nContent-Length: \(size)\r\n\r\n".utf8) + body
            endsAfter = true
        case .short:
            toSend = Array("HTTP/1.1 200 OK\r\n\(sum)Content-Length: \(size + 10)\r\n\r\n".utf8) + body
            endsAfter = true
        case .resetInside:
            toSend = Array("HTTP/1.1 200 OK\r\n\(sum)Transfer-Encoding: chunked\r\n\r\nffff\r\n".utf8) + body
            resetsAfter = true
        case .stallInside:
            toSend = Array("HTTP/1.1 200 OK\r\n\(sum)Content-Length: \(size + 10)\r\n\r\n".utf8) + body
            isStalled = true
        case .silentClose: world.end(socket)
        case .stall: isStalled = true
        case .garbage: toSend = Array("\u{1}\u{2} nonsense\r\n\r\n".utf8)
        case .contradictory:
            toSend = Array("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".utf8)
        case .surplus:
            comesAtOnce = true
            toSend = plain + body + Array("HTTP/1.1 200 OK\r\nX-Number: 0\r\nContent-Length: 4\r\n\r\nevil".utf8)
        }
    }

    private func chunked(_ body: [UInt8], _ world: SimulatedWorld) -> [UInt8] {
        var result: [UInt8] = []
        var rest = body[...]
        while !rest.isEmpty {
            let piece = rest.prefix(1 + world.draw(3000))
            rest = rest.dropFirst(piece.count)
            result += Array((String(piece.count, radix: 16) + "\r\n").utf8) + piece + [0x0D, 0x0A]
        }
        return result + Array((world.percent(30) ? "0\r\nX-Model-Version: evil\r\nX-End: 1\r\n\r\n" : "0\r\n\r\n").utf8)
    }
}
