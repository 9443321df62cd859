import Provenance

/// Splits what is traced into lines, header blocks and JSON documents, and gives each its answer, in order.
///
/// A line that begins `HTTP/`, or with the name of a header, opens a block that ends at an empty line; a body after it is
/// passed over. A line that is only `{` or `[` opens a JSON document that ends where its brackets close.
package struct TraceSession {
    package enum Style: Sendable {
        case json
        /// With line numbers when there may be several answers.
        case text(numbered: Bool)
    }

    private enum State {
        case lines
        case headers(HeaderFacts, startLine: Int, isResponse: Bool, isInterim: Bool)
        case body
        case document([UInt8], startLine: Int)
    }

    private let tracer: Tracer
    private let style: Style
    private var state = State.lines
    private var number = 0

    /// How many inputs got an answer.
    package private(set) var answers = 0
    /// How many of them are not known.
    package private(set) var unknowns = 0

    package init(_ tracer: Tracer, style: Style) {
        self.tracer = tracer
        self.style = style
    }

    /// Takes the next line, without its line feed, and appends the answers that it completes.
    package mutating func take(_ line: Span<UInt8>, to output: inout [UInt8]) throws(TraceIndexError) {
        number += 1
        var end = line.count
        if end > 0, line[end - 1] == 0x0D { end -= 1 }
        let line = line.extracting(0..<end)
        switch state {
        case .lines: try takeLine(line, to: &output)
        case .headers: try takeHeader(line, to: &output)
        case .body: if line.hasBytes("HTTP/", at: 0) { openBlock(line) }
        case .document: try takeDocument(line, to: &output)
        }
    }

    /// Ends the input, and appends what that completes.
    package mutating func finish(to output: inout [UInt8]) throws(TraceIndexError) {
        switch state {
        case .lines, .body: break
        case .headers: try closeBlock(to: &output)
        case .document(let bytes, let startLine): try answerDocument(bytes, startLine, to: &output)
        }
        state = .lines
    }

    /// Answers for a line that was too long to be kept.
    package mutating func takeOverlong(limit: Int, to output: inout [UInt8]) {
        number += 1
        let reason = "the line is longer than \(Figures.bytes(Int64(limit)))"
        emit(TraceAnswer(input: .text, outcome: .unknown(reason: reason)), line: number, to: &output)
    }

    // MARK: - Lines

    private mutating func takeLine(_ line: Span<UInt8>, to output: inout [UInt8]) throws(TraceIndexError) {
        if case .json = style, tracer.answerFast(line, number: number, to: &output) {
            answers += 1
            return
        }
        var start = 0
        var end = line.count
        while start < end, line[start] <= 0x20 { start += 1 }
        while end > start, line[end - 1] <= 0x20 { end -= 1 }
        let trimmed = line.extracting(start..<end)
        if trimmed.isEmpty { return }
        if line.hasBytes("HTTP/", at: 0) || HeaderFacts.looksLikeField(line) { return openBlock(line) }
        if trimmed.count == 1, trimmed[0] == UInt8(ascii: "{") || trimmed[0] == UInt8(ascii: "[") {
            state = .document([], startLine: number)
            return try takeDocument(line, to: &output)
        }
        emit(try tracer.answer(trimmed), line: number, to: &output)
    }

    // MARK: - Header blocks

    private mutating func openBlock(_ line: Span<UInt8>) {
        var facts = HeaderFacts()
        let isResponse = line.hasBytes("HTTP/", at: 0)
        var isInterim = false
        if isResponse {
            // `HTTP/1.1 103`: a response that only announces another carries no stamp (RFC 9110, 15.2).
            let space = line.firstIndex(of: 0x20, in: 0..<line.count)
            isInterim = space.map { $0 + 1 < line.count && line[$0 + 1] == UInt8(ascii: "1") } ?? false
        } else if let field = HeaderFacts.field(line) {
            facts.take(name: field.name, value: field.value)
        }
        state = .headers(facts, startLine: number, isResponse: isResponse, isInterim: isInterim)
    }

    private mutating func takeHeader(_ line: Span<UInt8>, to output: inout [UInt8]) throws(TraceIndexError) {
        guard case .headers(var facts, let startLine, let isResponse, let isInterim) = state else { return }
        if line.isEmpty {
            try closeBlock(to: &output)
            if isResponse, !isInterim { state = .body }
            return
        }
        if line.hasBytes("HTTP/", at: 0) {
            try closeBlock(to: &output)
            return openBlock(line)
        }
        guard let field = HeaderFacts.field(line) else {
            // After bare headers comes something else; within a response it is a broken line, and says nothing.
            if isResponse { return }
            try closeBlock(to: &output)
            return try takeLine(line, to: &output)
        }
        // A list of single headers: each begins anew.
        if !isResponse, facts.has(field.name) {
            try closeBlock(to: &output)
            return openBlock(line)
        }
        facts.take(name: field.name, value: field.value)
        state = .headers(facts, startLine: startLine, isResponse: isResponse, isInterim: isInterim)
    }

    private mutating func closeBlock(to output: inout [UInt8]) throws(TraceIndexError) {
        guard case .headers(let facts, let startLine, _, let isInterim) = state else { return }
        state = .lines
        if !isInterim { emit(try tracer.answer(headers: facts), line: startLine, to: &output) }
    }

    // MARK: - JSON documents

    /// The largest JSON document that is collected.
    private static let largestDocument = 16 << 20

    private mutating func takeDocument(_ line: Span<UInt8>, to output: inout [UInt8]) throws(TraceIndexError) {
        guard case .document(var bytes, let startLine) = state else { return }
        state = .lines
        bytes += line.array(0..<line.count)
        bytes.append(0x0A)
        // Brackets that close a document stand at the beginning of their line; whether they do is for the parser to say.
        let closes = line.count > 0 && (line[0] == UInt8(ascii: "}") || line[0] == UInt8(ascii: "]"))
        if closes || bytes.count > Self.largestDocument {
            return try answerDocument(bytes, startLine, to: &output)
        }
        state = .document(bytes, startLine: startLine)
    }

    private mutating func answerDocument(
        _ bytes: [UInt8], _ startLine: Int, to output: inout [UInt8]
    ) throws(TraceIndexError) {
        emit(try tracer.answer(bytes.span), line: startLine, to: &output)
    }

    // MARK: - Answers

    private mutating func emit(_ answer: TraceAnswer, line: Int, to output: inout [UInt8]) {
        answers += 1
        if !answer.isKnown { unknowns += 1 }
        switch style {
        case .json: TraceJSON.write(answer, line: line, to: &output)
        case .text(let numbered): TraceText.write(answer, line: numbered ? line : nil, to: &output)
        }
    }
}
