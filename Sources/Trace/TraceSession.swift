import Provenance

/// Splits what is traced into lines, header blocks and JSON documents, and gives each its answer, in order.
///
/// A line that begins `HTTP/`, or with the name of a header, opens a block that ends at an empty line; a body after it is
/// passed over. A line that begins like JSON opens a document, which ends where its brackets close; should it turn out to
/// be none, its lines get their own answers.
package struct TraceSession {
    package enum Style: Sendable {
        case json
        /// With line numbers when there may be several answers.
        case text(numbered: Bool)
    }

    private enum State {
        case lines
        case headers(HeaderFacts, startLine: Int, isResponse: Bool, isInterim: Bool)
        /// `left` bytes of it are to come; nil when nobody said how many.
        case body(left: Int?, isFirst: Bool)
        case document(Document)
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

    /// Looks whether the index has changed; to be called between pieces of a long input.
    package func refresh() throws(ManifestIndexError) { try tracer.refresh() }

    /// Takes the next line, without its line feed, and appends the answers that it completes.
    package mutating func take(_ line: Span<UInt8>, to output: inout [UInt8]) throws(ManifestIndexError) {
        number += 1
        let length = line.count + 1
        var end = line.count
        if end > 0, line[end - 1] == 0x0D { end -= 1 }
        let line = line.extracting(0..<end)
        switch state {
        case .lines: try takeLine(line, to: &output)
        case .headers: try takeHeader(line, to: &output)
        case .body: takeBody(line, length: length)
        case .document: try takeDocument(line, to: &output)
        }
    }

    /// Ends the input, and appends what that completes.
    package mutating func finish(to output: inout [UInt8]) throws(ManifestIndexError) {
        switch state {
        case .lines, .body: break
        case .headers: try closeBlock(to: &output)
        case .document(var document):
            state = .lines
            if case .complete = document.completeness() { return try answerDocument(document, to: &output) }
            try replay(document, to: &output)
            // Its last lines may have opened another one.
            if case .document = state { return try finish(to: &output) }
            if case .headers = state { try closeBlock(to: &output) }
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

    private mutating func takeLine(_ line: Span<UInt8>, to output: inout [UInt8]) throws(ManifestIndexError) {
        if case .json = style, tracer.answerFast(line, number: number, to: &output) {
            answers += 1
            return
        }
        let trimmed = line.extracting(Self.trimmed(line))
        if trimmed.isEmpty { return }
        if HeaderFacts.isStatusLine(line) || HeaderFacts.opensBlock(line) { return openBlock(line) }
        if trimmed[0] == UInt8(ascii: "{") || trimmed[0] == UInt8(ascii: "[") {
            // Complete or not, a document of one line is a document.
            if !tracer.isLogLine(trimmed) {
                state = .document(Document(startLine: number))
                return try takeDocument(line, to: &output)
            }
        }
        emit(try tracer.answer(trimmed), line: number, to: &output)
    }

    // MARK: - Header blocks

    private mutating func openBlock(_ line: Span<UInt8>) {
        var facts = HeaderFacts()
        let isResponse = HeaderFacts.isStatusLine(line)
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

    private mutating func takeHeader(_ line: Span<UInt8>, to output: inout [UInt8]) throws(ManifestIndexError) {
        guard case .headers(var facts, let startLine, let isResponse, let isInterim) = state else { return }
        if line.isEmpty {
            try closeBlock(to: &output)
            if isResponse, !isInterim { state = .body(left: facts.contentLength, isFirst: true) }
            return
        }
        if HeaderFacts.isStatusLine(line) {
            try closeBlock(to: &output)
            return openBlock(line)
        }
        guard isResponse || HeaderFacts.looksLikeField(line), let field = HeaderFacts.field(line) else {
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

    /// Passes over a body: as many bytes as it was said to have, else until a status line. One that follows at once
    /// belongs to the next response: the one before was without a body, as to HEAD.
    private mutating func takeBody(_ line: Span<UInt8>, length: Int) {
        guard case .body(let left, let isFirst) = state else { return }
        if HeaderFacts.isStatusLine(line), isFirst || left == nil { return openBlock(line) }
        guard let left else { return }
        state = left > length ? .body(left: left - length, isFirst: false) : .lines
    }

    private mutating func closeBlock(to output: inout [UInt8]) throws(ManifestIndexError) {
        guard case .headers(let facts, let startLine, _, let isInterim) = state else { return }
        state = .lines
        if !isInterim { emit(try tracer.answer(headers: facts), line: startLine, to: &output) }
    }

    // MARK: - JSON documents

    /// The largest JSON document that is collected.
    private static let largestDocument = 16 << 20

    /// Collects lines for as long as they can still become one JSON document. When they cannot, they were lines after all,
    /// and each gets its own answer.
    private mutating func takeDocument(_ line: Span<UInt8>, to output: inout [UInt8]) throws(ManifestIndexError) {
        guard case .document(var document) = state else { return }
        state = .lines
        document.bytes += line.array(0..<line.count)
        document.bytes.append(0x0A)
        document.lineEnds.append(document.bytes.count)
        guard document.isDue(line) else {
            state = .document(document)
            return
        }
        switch document.completeness() {
        case .complete: try answerDocument(document, to: &output)
        case .open where document.bytes.count <= Self.largestDocument: state = .document(document)
        case .open, .broken: try replay(document, to: &output)
        }
    }

    private mutating func answerDocument(_ document: Document, to output: inout [UInt8]) throws(ManifestIndexError) {
        let records = ResponseRecord.facts(of: document.bytes.span)
        for facts in records { emit(try tracer.answer(headers: facts), line: document.startLine, to: &output) }
        if records.isEmpty { emit(try tracer.answer(document.bytes.span), line: document.startLine, to: &output) }
    }

    private mutating func replay(_ document: Document, to output: inout [UInt8]) throws(ManifestIndexError) {
        let last = number
        number = document.startLine
        var start = 0
        for (index, end) in document.lineEnds.enumerated() {
            let line = document.bytes.span.extracting(start..<end - 1)
            if index == 0 {
                // What opened it is no document: it is answered as the line that it is.
                let trimmed = Self.trimmed(line)
                emit(try tracer.answer(line.extracting(trimmed)), line: number, to: &output)
            } else {
                try take(line, to: &output)
            }
            start = end
        }
        number = last
    }

    private static func trimmed(_ line: Span<UInt8>) -> Range<Int> {
        var start = 0
        var end = line.count
        while start < end, line[start] <= 0x20 { start += 1 }
        while end > start, line[end - 1] <= 0x20 { end -= 1 }
        return start..<end
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

/// Lines that may be one JSON document.
private struct Document {
    let startLine: Int
    var bytes: [UInt8] = []
    /// Where each line ends in `bytes`, its line feed included.
    var lineEnds: [Int] = []
    /// How long it was when it was last looked at.
    private var checked = 0

    enum Completeness {
        case complete
        case open
        case broken
    }

    init(startLine: Int) { self.startLine = startLine }

    /// Whether it is time to look: always at first, then where a bracket may close it, and each time that it has doubled.
    func isDue(_ line: Span<UInt8>) -> Bool {
        if lineEnds.count <= 32 || bytes.count >= 2 * checked { return true }
        var end = line.count
        while end > 0, line[end - 1] <= 0x20 { end -= 1 }
        return end > 0 && (line[end - 1] == UInt8(ascii: "}") || line[end - 1] == UInt8(ascii: "]"))
    }

    mutating func completeness() -> Completeness {
        checked = bytes.count
        do throws(JSONError) {
            try JSONSyntax.check(bytes.span)
            return .complete
        } catch {
            // What fails at the very end only lacks more.
            return error.offset == bytes.count ? .open : .broken
        }
    }
}
