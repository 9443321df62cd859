/// Finds the end of a chunked body as it passes (RFC 9112 section 7.1). It keeps no bytes.
package struct ChunkedBody: Sendable {
    private enum State: UInt8 {
        case size, firstSize, spaceAfterSize, extensions, sizeLineFeed, data, dataReturn, dataLineFeed, trailers
    }

    private var state = State.firstSize
    private var digits: UInt8 = 0
    /// The bytes of the line that holds the present chunk's size: extensions are bounded.
    private var lineLength: UInt16 = 0
    private var remaining = 0

    /// The longest line of a chunk's size with its extensions.
    package static let longestLine = 1024

    package init() {}

    /// The last chunk has passed: what follows is the trailer section, to its empty line.
    package var isAtTrailers: Bool { state == .trailers }

    /// Reads on, up to the last chunk's line end. Returns how many bytes belong to the chunks; fewer than `bytes` has when the
    /// trailer section begins.
    package mutating func read(_ bytes: RawSpan) -> Result<Int, HeadFault> {
        var index = 0
        while index < bytes.byteCount {
            if state == .data {
                let count = min(remaining, bytes.byteCount &- index)
                index &+= count
                remaining &-= count
                if remaining == 0 { state = .dataReturn }
                continue
            }
            if state == .trailers { return .success(index) }
            if let fault = step(bytes.byte(index)) { return .failure(fault) }
            index &+= 1
        }
        return .success(index)
    }

    /// Where the payload of the present chunk lies in `bytes`, from `start` on: for those who pass on only the payload.
    /// Reads framing up to the next payload. `payload` is empty when the bytes, or the chunks, end.
    package mutating func nextPayload(_ bytes: RawSpan, from start: Int) -> Result<Range<Int>, HeadFault> {
        var index = start
        while index < bytes.byteCount, state != .trailers {
            if state == .data {
                let end = index &+ min(remaining, bytes.byteCount &- index)
                remaining &-= end &- index
                if remaining == 0 { state = .dataReturn }
                return .success(index..<end)
            }
            if let fault = step(bytes.byte(index)) { return .failure(fault) }
            index &+= 1
        }
        return .success(index..<index)
    }

    @inline(__always)
    private mutating func step(_ byte: UInt8) -> HeadFault? {
        switch state {
        case .firstSize, .size:
            return size(byte)
        case .spaceAfterSize:
            // RFC 9112 section 7.1.1: whitespace may stand before the semicolon of an extension, and nowhere else.
            guard longerLine() else { return .chunkExtension }
            if byte == 0x3B { state = .extensions } else if !ByteClass.isSpace(byte) { return .chunkSize }
        case .extensions:
            guard longerLine() else { return .chunkExtension }
            if byte == 0x0D { state = .sizeLineFeed } else if ByteClass.isControl(byte) { return .chunkExtension }
        case .sizeLineFeed:
            guard byte == 0x0A else { return .chunkSize }
            state = remaining == 0 ? .trailers : .data
            digits = 0
            lineLength = 0
        case .dataReturn:
            guard byte == 0x0D else { return .chunkData }
            state = .dataLineFeed
        case .dataLineFeed:
            guard byte == 0x0A else { return .chunkData }
            state = .size
        case .data, .trailers: break
        }
        return nil
    }

    @inline(__always)
    private mutating func size(_ byte: UInt8) -> HeadFault? {
        let value = ByteClass.hex(byte)
        if value <= 15 {
            // Fifteen digits cannot overflow; more are no size that anybody means.
            guard digits < 15 else { return .chunkSize }
            remaining = remaining &<< 4 | Int(value)
            digits &+= 1
            state = .size
            return nil
        }
        guard digits > 0 else { return .chunkSize }
        switch byte {
        case 0x0D: state = .sizeLineFeed
        case 0x3B: state = .extensions
        case 0x20, 0x09: state = .spaceAfterSize
        default: return .chunkSize
        }
        return nil
    }

    private mutating func longerLine() -> Bool {
        lineLength &+= 1
        return lineLength <= Self.longestLine
    }
}

/// The fields behind the last chunk (RFC 9112 section 7.1.2).
package enum TrailerSection {
    /// Reads a complete trailer section, from its first byte to its empty line.
    package static func parse(
        _ section: RawSpan, names: borrowing FieldNames, into fields: inout FieldList
    ) -> HeadFault? {
        var facts = FieldFacts()
        let fault = FieldParser.parse(section, from: 0, names: names, into: &fields, &facts)
        return fault.map { $0 == .tooManyFields ? .tooManyFields : .trailer }
    }
}
