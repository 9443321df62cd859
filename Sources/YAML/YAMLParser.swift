import CYAML

/// Reads one document by libyaml. What a configuration has no use for, and what lets a small file become a large one, is refused:
/// anchors, aliases, tags, several documents, keys that are no scalars, keys that stand twice.
package struct YAMLParser {
    private static let depthLimit = 32

    private let events: Events
    private var depth = 0

    /// The document in `bytes`; nil when there is none.
    package static func parse(_ bytes: [UInt8]) throws(YAMLError) -> YAMLNode? {
        // Empty memory may have no address, which libyaml does not like.
        // Some editors begin files with a mark that is no part of them.
        let bytes = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes
        guard !bytes.isEmpty else { return nil }
        var parser = YAMLParser(events: Events(bytes))
        return try parser.document()
    }

    private mutating func document() throws(YAMLError) -> YAMLNode? {
        _ = try events.next()
        let first = try events.next()
        guard case .documentStart = first.kind else { return nil }
        let node = try node(try events.next())
        // The end of the document, and then of the stream.
        _ = try events.next()
        let last = try events.next()
        guard case .streamEnd = last.kind else {
            throw YAMLError(last.place, "a second document begins here, and there can be only one")
        }
        return node
    }

    private mutating func node(_ event: Event) throws(YAMLError) -> YAMLNode {
        guard depth < Self.depthLimit else { throw YAMLError(event.place, "this is nested too deeply") }
        depth += 1
        defer { depth -= 1 }
        switch event.kind {
        case .scalar(let text, let isPlain): return .scalar(text, isPlain: isPlain, event.place)
        case .sequenceStart: return try sequence(event.place)
        case .mappingStart: return try mapping(event.place)
        default: throw YAMLError(event.place, "a value is missing here")
        }
    }

    private mutating func sequence(_ place: YAMLPlace) throws(YAMLError) -> YAMLNode {
        var items: [YAMLNode] = []
        while true {
            let event = try events.next()
            if case .sequenceEnd = event.kind { return .sequence(items, place) }
            items.append(try node(event))
        }
    }

    private mutating func mapping(_ place: YAMLPlace) throws(YAMLError) -> YAMLNode {
        var members: [YAMLNode.Member] = []
        while true {
            let event = try events.next()
            if case .mappingEnd = event.kind { return .mapping(members, place) }
            guard case .scalar(let key, _) = event.kind else {
                throw YAMLError(event.place, "a key has to be a plain word")
            }
            if let first = members.first(where: { $0.key.utf8.elementsEqual(key.utf8) }) {
                throw YAMLError(event.place, "\(key) stands here again; it is already in line \(first.place.line)")
            }
            members.append(YAMLNode.Member(key: key, place: event.place, value: try node(try events.next())))
        }
    }
}

private struct Event {
    enum Kind {
        case streamEnd
        case documentStart
        case scalar(String, isPlain: Bool)
        case sequenceStart
        case sequenceEnd
        case mappingStart
        case mappingEnd
        case other
    }

    let kind: Kind
    let place: YAMLPlace
}

/// libyaml's parser, and the bytes that it reads.
private final class Events {
    private var parser = yaml_parser_t()
    private let bytes: UnsafeMutableBufferPointer<UInt8>

    init(_ source: [UInt8]) {
        bytes = .allocate(capacity: source.count)
        _ = bytes.initialize(from: source)
        // It fails only where there is no memory left.
        precondition(yaml_parser_initialize(&parser) == 1, "libyaml has no memory")
        yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING)
        yaml_parser_set_input_string(&parser, bytes.baseAddress, bytes.count)
    }

    deinit {
        yaml_parser_delete(&parser)
        bytes.deallocate()
    }

    func next() throws(YAMLError) -> Event {
        var event = yaml_event_t()
        guard yaml_parser_parse(&parser, &event) == 1 else { throw problem() }
        defer { yaml_event_delete(&event) }
        let place = YAMLPlace(line: Int(event.start_mark.line) + 1, column: Int(event.start_mark.column) + 1)
        let kind: Event.Kind
        switch event.type {
        case YAML_STREAM_END_EVENT: kind = .streamEnd
        case YAML_DOCUMENT_START_EVENT: kind = .documentStart
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            try refuse(anchor: scalar.anchor, tag: scalar.tag, place)
            let text = UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            kind = .scalar(String(decoding: text, as: UTF8.self), isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE)
        case YAML_SEQUENCE_START_EVENT:
            try refuse(anchor: event.data.sequence_start.anchor, tag: event.data.sequence_start.tag, place)
            kind = .sequenceStart
        case YAML_SEQUENCE_END_EVENT: kind = .sequenceEnd
        case YAML_MAPPING_START_EVENT:
            try refuse(anchor: event.data.mapping_start.anchor, tag: event.data.mapping_start.tag, place)
            kind = .mappingStart
        case YAML_MAPPING_END_EVENT: kind = .mappingEnd
        case YAML_ALIAS_EVENT: throw YAMLError(place, "aliases (*name) are not taken: write the value out")
        default: kind = .other
        }
        return Event(kind: kind, place: place)
    }

    private func refuse(
        anchor: UnsafeMutablePointer<UInt8>?, tag: UnsafeMutablePointer<UInt8>?, _ place: YAMLPlace
    ) throws(YAMLError) {
        if anchor != nil { throw YAMLError(place, "anchors (&name) are not taken: write the value out") }
        if tag != nil { throw YAMLError(place, "tags (!name) are not taken") }
    }

    /// The mistakes that people make, in words that they know; nil for others.
    private func mistake(at line: Int) -> YAMLError? {
        let lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
        for number in [line, line - 1] where lines.indices.contains(number) {
            if let tab = lines[number].prefix(while: isBlank).firstIndex(of: 0x09) {
                let column = tab - lines[number].startIndex + 1
                return YAMLError(
                    YAMLPlace(line: number + 1, column: column),
                    "a tab stands before the first word: indent with blanks")
            }
        }
        func isContent(_ line: Slice<UnsafeMutableBufferPointer<UInt8>>) -> Bool {
            line.first(where: { !isBlank($0) && $0 != 0x0D }).map { $0 != 0x23 } ?? false
        }
        if let first = lines.firstIndex(where: isContent), isBlank(lines[first][lines[first].startIndex]), line > first
        {
            return YAMLError(
                YAMLPlace(line: first + 1, column: 1),
                "the first key is indented: begin it at the margin, as all others")
        }
        for number in [line - 1, line] where lines.indices.contains(number) {
            let text = lines[number].drop(while: isBlank)
            guard let colon = text.firstIndex(of: 0x3A), colon + 1 < text.endIndex, text[colon + 1] != 0x20,
                text[..<colon].allSatisfy({ $0 >= 0x61 && $0 <= 0x7A || $0 == 0x5F })
            else { continue }
            return YAMLError(
                YAMLPlace(line: number + 1, column: colon - lines[number].startIndex + 2),
                "a blank is missing behind the colon of \(String(decoding: text[..<colon], as: UTF8.self))")
        }
        return nil
    }

    /// What libyaml says, and where it stopped.
    private func problem() -> YAMLError {
        let words = parser.problem.map { String(cString: $0) } ?? "this is no YAML"
        if parser.error == YAML_READER_ERROR {
            let before = UnsafeBufferPointer(bytes).prefix(parser.problem_offset)
            let line = before.reduce(1) { $0 + ($1 == 0x0A ? 1 : 0) }
            let column = before.count - (before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0)
            return YAMLError(YAMLPlace(line: line, column: column + 1), words)
        }
        let mark = parser.problem_mark
        if let mistake = mistake(at: Int(mark.line)) { return mistake }
        let context =
            parser.context.map { " \(String(cString: $0)) that begins in line \(parser.context_mark.line + 1)" } ?? ""
        return YAMLError(YAMLPlace(line: Int(mark.line) + 1, column: Int(mark.column) + 1), words + context)
    }
}
