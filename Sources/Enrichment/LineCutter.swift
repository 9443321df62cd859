import Glibc
import Provenance

/// Cuts what is read into lines and hands each on with where it began; keeps only the beginning of the one that has not ended yet.
///
/// A line may be as long as it likes: past `limit` it is no longer kept, and its pieces are handed on as they come.
package struct LineCutter: ~Copyable {
    /// One step of the cutting.
    package enum Piece {
        /// A whole line without its line end; whether it has one.
        case line(isEnded: Bool)
        /// A piece of a line that is too long: its number from 0, and whether the line ends with it.
        case overlong(number: Int, isLast: Bool, isEnded: Bool)
    }

    private var carried: [UInt8] = []
    /// How many pieces of a line that is too long were handed on; nil while no such line is at hand.
    private var pieces: Int?
    private let limit: Int

    package init(limit: Int) { self.limit = limit }

    /// How many bytes of a line that has not ended are kept.
    package var carriedCount: Int { carried.count }

    package mutating func take<Failure: Error>(
        _ bytes: UnsafeRawBufferPointer, _ body: (Piece, Span<UInt8>) throws(Failure) -> Void
    ) throws(Failure) {
        var start = 0
        while start < bytes.count, let base = bytes.baseAddress {
            guard let found = memchr(base + start, 0x0A, bytes.count - start) else { break }
            let stop = UnsafeRawPointer(found) - base
            try end(line: UnsafeRawBufferPointer(rebasing: bytes[start..<stop]), isEnded: true, body)
            start = stop + 1
        }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
        guard !rest.isEmpty else { return }
        if let number = pieces {
            pieces = number + 1
            try body(.overlong(number: number, isLast: false, isEnded: false), Span(_unsafeBytes: rest))
        } else if carried.count + rest.count > limit {
            pieces = 1
            carried.append(contentsOf: rest)
            try body(.overlong(number: 0, isLast: false, isEnded: false), carried.span)
            carried.removeAll(keepingCapacity: true)
        } else {
            carried.append(contentsOf: rest)
        }
    }

    /// Hands on the last line if nothing ended it.
    package mutating func finish<Failure: Error>(
        _ body: (Piece, Span<UInt8>) throws(Failure) -> Void
    ) throws(Failure) {
        guard pieces != nil || !carried.isEmpty else { return }
        try end(line: UnsafeRawBufferPointer(start: nil, count: 0), isEnded: false, body)
    }

    private mutating func end<Failure: Error>(
        line: UnsafeRawBufferPointer, isEnded: Bool, _ body: (Piece, Span<UInt8>) throws(Failure) -> Void
    ) throws(Failure) {
        if pieces == nil, carried.isEmpty, line.count <= limit {
            return try body(.line(isEnded: isEnded), Span(_unsafeBytes: line))
        }
        defer { carried.removeAll(keepingCapacity: true) }
        if let number = pieces {
            pieces = nil
            try body(.overlong(number: number, isLast: true, isEnded: isEnded), Span(_unsafeBytes: line))
        } else if carried.count + line.count > limit {
            carried.append(contentsOf: line)
            try body(.overlong(number: 0, isLast: true, isEnded: isEnded), carried.span)
        } else {
            carried.append(contentsOf: line)
            try body(.line(isEnded: isEnded), carried.span)
        }
    }
}
