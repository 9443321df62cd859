import HTTP

/// Why the sidecar answers by itself. No model spoke: such a response carries no model headers.
package enum Fault: Equatable {
    case head(HeadFault)
    case requestTimeout
    case bodyTimeout
    case tooManyConnections
    case upstreamRefused
    case connectTimeout
    case upstreamClosed
    case upstreamMalformed(HeadFault)
    case upstreamSwitched
    case responseTimeout
    case uploadTimeout
    case noRoom

    /// What happened, without its details; for those who count.
    package enum Kind: Int, CaseIterable, Sendable {
        case malformedRequest, requestTimeout, bodyTimeout, tooManyConnections, upstreamRefused, connectTimeout
        case upstreamClosed, malformedResponse, upstreamSwitched, responseTimeout, uploadTimeout, noRoom

        /// As reports spell it: `upstream_refused`.
        package var name: String { WorkerCounters.snakeCase("\(self)") }
    }

    var kind: Kind {
        switch self {
        case .head: .malformedRequest
        case .requestTimeout: .requestTimeout
        case .bodyTimeout: .bodyTimeout
        case .tooManyConnections: .tooManyConnections
        case .upstreamRefused: .upstreamRefused
        case .connectTimeout: .connectTimeout
        case .upstreamClosed: .upstreamClosed
        case .upstreamMalformed: .malformedResponse
        case .upstreamSwitched: .upstreamSwitched
        case .responseTimeout: .responseTimeout
        case .uploadTimeout: .uploadTimeout
        case .noRoom: .noRoom
        }
    }

    enum Side: Int {
        case client
        case upstream
        case sidecar

        var name: StaticString {
            switch self {
            case .client: "client"
            case .upstream: "upstream"
            case .sidecar: "sidecar"
            }
        }
    }

    var status: Int {
        switch self {
        case .head(let fault): fault.status
        case .requestTimeout, .bodyTimeout: 408
        case .tooManyConnections: 503
        case .upstreamRefused, .upstreamClosed, .upstreamMalformed, .upstreamSwitched: 502
        case .connectTimeout, .responseTimeout, .uploadTimeout: 504
        case .noRoom: 500
        }
    }

    var side: Side {
        switch self {
        case .head, .requestTimeout, .bodyTimeout: .client
        case .tooManyConnections, .noRoom: .sidecar
        default: .upstream
        }
    }

    var counter: WorkerCounters.Counter {
        switch side {
        case .client: .clientFaults
        case .upstream: .upstreamFaults
        case .sidecar: .ownFaults
        }
    }

    var reason: StaticString {
        switch self {
        case .head(let fault): fault.reason
        case .requestTimeout: "the head of the request did not come within timeouts.request_head"
        case .bodyTimeout: "nothing more of the request's body came within timeouts.request_body"
        case .tooManyConnections: "there are as many connections as limits.connections allows: try again soon"
        case .upstreamRefused: "the upstream cannot be reached: see that the model server runs"
        case .connectTimeout: "the upstream did not accept a connection within timeouts.connect"
        case .upstreamClosed: "the upstream closed the connection before it answered"
        case .upstreamMalformed(let fault): fault.reason
        case .upstreamSwitched: "the upstream switched protocols, which nobody had asked for"
        case .responseTimeout: "the upstream did not answer within timeouts.response_head"
        case .uploadTimeout: "the upstream took nothing more of the request within timeouts.request_body"
        case .noRoom: "the head does not fit with what is added to it"
        }
    }

    private var title: StaticString {
        switch status {
        case 400: "Bad Request"
        case 408: "Request Timeout"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        default: "HTTP Version Not Supported"
        }
    }

    /// Writes the whole response, with a problem document (RFC 9457) unless it answers HEAD. Returns its length.
    func write(
        to output: UnsafeMutableRawBufferPointer, requestID: UnsafeRawBufferPointer, date: UnsafeRawBufferPointer,
        closes: Bool, isHEAD: Bool
    ) -> Int {
        var body = ResponseText(output: output)
        // The body first, at the end of the room, because its length stands before it.
        let half = output.count / 2
        body.index = half
        writeBody(&body, requestID)
        let bodyCount = body.index - half
        var head = ResponseText(output: output)
        head.write("HTTP/1.1 ")
        head.write(number: status)
        head.write(" ")
        head.write(title)
        head.write("\r\nDate: ")
        head.write(date)
        head.write("\r\nContent-Type: application/problem+json\r\nContent-Length: ")
        head.write(number: bodyCount)
        head.write("\r\nServer-Timing: colophon;desc=\"")
        head.write(side.name)
        head.write("\"\r\n")
        if !requestID.isEmpty {
            head.write("X-Request-Id: ")
            head.write(requestID)
            head.write("\r\n")
        }
        if status == 503 { head.write("Retry-After: 1\r\n") }
        if closes { head.write("Connection: close\r\n") }
        head.write("\r\n")
        guard !isHEAD else { return head.index }
        precondition(head.index <= half, "a response of our own is too long")
        head.write(UnsafeRawBufferPointer(rebasing: output[half..<half + bodyCount]))
        return head.index
    }

    private func writeBody(_ body: inout ResponseText, _ requestID: UnsafeRawBufferPointer) {
        body.write("{\"title\":\"")
        body.write(title)
        body.write("\",\"status\":")
        body.write(number: status)
        body.write(",\"detail\":\"")
        if case .upstreamMalformed = self { body.write("the upstream's response is malformed: ") }
        body.write(reason)
        body.write("\",\"fault\":\"")
        body.write(side.name)
        // An id has no character that JSON would escape.
        if !requestID.isEmpty {
            body.write("\",\"request_id\":\"")
            body.write(requestID)
        }
        body.write("\"}\n")
    }
}

/// Writes text into memory of a fixed size.
private struct ResponseText {
    let output: UnsafeMutableRawBufferPointer
    var index = 0

    mutating func write(_ bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count <= output.count - index, "a response of our own is too long")
        guard let source = bytes.baseAddress, let target = output.baseAddress else { return }
        (target + index).copyMemory(from: source, byteCount: bytes.count)
        index += bytes.count
    }

    mutating func write(_ text: StaticString) {
        write(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func write(number: Int) {
        var divisor = 1
        while number / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            output[index] = UInt8(0x30 + number / divisor % 10)
            index += 1
            divisor /= 10
        }
    }
}
