import Checksum
import Provenance
import Runtime

/// Where lines go that can never be delivered: a JSON object for each, with the reason. Only its owner can read it.
package final class DeadLetterFile {
    private var file: Int32
    private let path: String
    private let limit: Int
    private var size: Int
    package private(set) var count: UInt64 = 0

    /// Why nothing more can be put there; nil while it can.
    package private(set) var problem: String?

    /// What was put there of late: a line that is read again, as after a transaction that did not come about, is not put there again.
    private var known: Set<Mark> = []
    private var knownBefore: Set<Mark> = []

    private let remembered: Int

    package typealias Writer = (Int32, Int, UnsafeRawBufferPointer, String) throws(SystemError) -> Void
    private let writer: Writer

    private struct Mark: Hashable {
        let high: UInt64
        let low: UInt64
    }

    /// Appends to `path`, up to `limit` bytes in all, and remembers at least the last `remembered` of them.
    package init(
        _ path: String, limit: Int, remembered: Int = 8192, writer: @escaping Writer = RawFile.write
    ) throws(SystemError) {
        self.writer = writer
        self.path = path
        self.limit = limit
        self.remembered = remembered
        file = try RawFile.open(path, .createIfMissing)
        size = try RawFile.size(of: file, path)
        try endTornLine()
    }

    /// A crash may have left half a line: what follows begins on one of its own.
    private func endTornLine() throws(SystemError) {
        guard size > 0 else { return }
        var last: UInt8 = 0
        let count = try withUnsafeMutableBytes(of: &last) { buffer throws(SystemError) in
            try RawFile.read(file, at: size - 1, into: buffer, path)
        }
        guard count == 1, last != 0x0A else { return }
        try write([0x0A])
        size += 1
    }

    private func write(_ bytes: [UInt8]) throws(SystemError) {
        var failure: SystemError?
        bytes.withUnsafeBytes { raw in
            do throws(SystemError) { try writer(file, size, raw, path) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// All of it, on the disk, or nothing: what a full disk took of it is no line.
    private func put(_ bytes: [UInt8]) throws(SystemError) {
        do throws(SystemError) {
            try write(bytes)
            try RawFile.sync(file, path)
        } catch {
            try? RawFile.truncate(file, to: size, path)
            throw error
        }
    }

    /// Whether a line of `count` bytes can be put there, however much of it must be escaped.
    func hasRoom(for count: Int) -> Bool {
        if problem == nil, size + 6 * count + 1024 > limit { problem = fullness }
        return problem == nil
    }

    private var fullness: String {
        "the dead letters \(path.onOneLine) are near their limit of \(limit) bytes, and nothing more is taken in that could end there: look at them, move them away, or raise dead_letters.bytes"
    }

    /// Somebody may have made room.
    func lookAgain() {
        guard problem != nil else { return }
        do throws(SystemError) {
            try find()
            if size < limit / 2 { problem = nil }
        } catch { problem = error.description }
    }

    /// Goes by what is there now: it may have been moved away, or emptied.
    private func find() throws(SystemError) {
        let there = try FileStatus.of(path)
        let own = try RawFile.status(of: file, path)
        if there?.identity != own.identity {
            let new = try RawFile.open(path, .createIfMissing)
            RawFile.close(file)
            file = new
        }
        size = try RawFile.size(of: file, path)
        try endTornLine()
    }

    deinit { RawFile.close(file) }

    /// A line, or a piece of one.
    struct Letter {
        let line: [UInt8]
        let origin: String
        let piece: (number: Int, isLast: Bool)?
    }

    /// One line, or a piece of one; false when it could not be put there, and must not be forgotten.
    package func append(
        _ line: UnsafeRawBufferPointer, origin: String, reason: String, piece: (number: Int, isLast: Bool)? = nil
    ) -> Bool {
        append([Letter(line: Array(line), origin: origin, piece: piece)], reason: reason)
    }

    /// All of them, or none.
    func append(_ letters: [Letter], reason: String) -> Bool {
        var (bytes, marks, ended): ([UInt8], [Mark], UInt64) = ([], [], 0)
        for letter in letters {
            let mark = letter.line.withUnsafeBytes { Self.mark($0, letter.origin, letter.piece?.number ?? 0) }
            if known.contains(mark) || knownBefore.contains(mark) { continue }
            bytes += Self.text(letter, reason: reason)
            marks.append(mark)
            if letter.piece?.isLast ?? true { ended += 1 }
        }
        if marks.isEmpty { return true }
        do throws(SystemError) {
            try find()
            guard size + bytes.count <= limit else {
                problem = fullness
                return false
            }
            try put(bytes)
        } catch {
            problem = error.description
            return false
        }
        problem = nil
        size += bytes.count
        for mark in marks { remember(mark) }
        count += ended
        return true
    }

    private static func text(_ letter: Letter, reason: String) -> [UInt8] {
        var object = JSONObject([
            .init("time", .string(Clock.now().description)), .init("reason", .string(reason)),
            .init("origin", .string(letter.origin)),
        ])
        if let piece = letter.piece {
            object.append("piece", .integer(piece.number))
            object.append("last", .bool(piece.isLast))
        }
        let text = letter.line.withUnsafeBytes { String(validating: $0, as: UTF8.self) }
        if let text {
            object.append("line", .string(text))
        } else {
            object.append("line_hex", .string(letter.line.withUnsafeBytes(hex)))
        }
        return JSONWriter.compact.bytes(.object(object)) + [0x0A]
    }

    private func remember(_ mark: Mark) {
        if known.count >= remembered {
            knownBefore = known
            known = []
        }
        known.insert(mark)
    }

    private static func mark(_ line: UnsafeRawBufferPointer, _ origin: String, _ piece: Int) -> Mark {
        let place = Array(origin.utf8).withUnsafeBytes { Checksum.wide($0, seed: UInt64(piece)) }
        let (high, low) = Checksum.wide(line, seed: place.0)
        return Mark(high: high, low: low)
    }

    private static func hex(_ bytes: UnsafeRawBufferPointer) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}

extension String {
    /// The bytes as text; nil when they are no UTF-8.
    fileprivate init?(validating bytes: UnsafeRawBufferPointer, as encoding: UTF8.Type) {
        guard let text = String(validating: bytes.bindMemory(to: UInt8.self), as: encoding) else { return nil }
        self = text
    }
}
