import HTTP

/// Heads, chunks and trailers: whatever the bytes, nothing traps, ranges lie inside, and pieces give what the whole gives.
func fuzzHTTP(_ bytes: [UInt8]) {
    var scanned = 0
    if case .complete(let length) = HeadScanner.scan(bytes.span.bytes, scanned: &scanned), length > 2 {
        precondition(length <= bytes.count)
        fuzzHead(Array(bytes[..<length]))
    }
    fuzzChunks(bytes)
}

private func fuzzHead(_ head: [UInt8]) {
    let names = FieldNames([("x-model-version", .stamp)], foldsUnderscores: true)
    var fields = FieldList(limit: 100)
    if case .success(let request) = RequestHead.parse(head.span.bytes, names: names, into: &fields) {
        for range in [request.line, request.target, request.authority, request.host] {
            precondition(range.start <= range.end && Int(range.end) <= head.count)
        }
        check(fields, head.count)
        if case .length(let count) = request.framing { precondition(count > 0) }
    }
    for answersHEAD in [false, true] {
        let parsed = ResponseHead.parse(head.span.bytes, answersHEAD: answersHEAD, names: names, into: &fields)
        guard case .success(let response) = parsed else { continue }
        precondition((100...999).contains(response.status))
        precondition(!answersHEAD || response.framing == .none)
        check(fields, head.count)
    }
    _ = TrailerSection.parse(head.span.bytes, names: names, into: &fields)
}

private func check(_ fields: borrowing FieldList, _ count: Int) {
    var before: UInt32 = 0
    for index in 0..<fields.count {
        let field = fields[index]
        precondition(field.line.start >= before && field.line.start < field.line.end && Int(field.line.end) <= count)
        precondition(field.value.start <= field.value.end && field.value.start > field.line.start)
        precondition(field.value.end < field.line.end)
        before = field.line.end
    }
}

private func fuzzChunks(_ bytes: [UInt8]) {
    var whole = ChunkedBody()
    let result = whole.read(bytes.span.bytes)
    var pieces = ChunkedBody()
    var consumed = 0
    for byte in bytes {
        let part = [byte]
        switch pieces.read(part.span.bytes) {
        case .failure(let fault):
            guard case .failure(let other) = result, fault == other else {
                preconditionFailure("pieces fail, the whole does not")
            }
            return
        case .success(let count): consumed += count
        }
    }
    guard case .success(let count) = result else { preconditionFailure("the whole fails, pieces do not") }
    precondition(count == consumed && whole.isAtTrailers == pieces.isAtTrailers)
}
