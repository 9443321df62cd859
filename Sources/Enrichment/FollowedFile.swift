import Provenance
import Runtime

/// One file that is followed: a machine that is asked to read on, and notices truncation, rotation and inodes that were used again.
final class FollowedFile {
    /// Who its lines belong to while they are delivered.
    let owner: Int
    var path: String { didSet { noteName(path) } }
    private(set) var mark: FileMark
    private(set) var generation: String
    private(set) var source: UInt32
    /// The first byte that was not handed on.
    private(set) var position: Int64
    /// Nil while nothing of it is to be read.
    private(set) var file: Int32?
    /// Whether its name leads to another file now, or to none.
    var isRotated = false
    /// No name leads to it any more that is looked for: it is gone when it is closed.
    var isUnlinked = false
    /// What was read of it before is in the spool.
    var isSecured = false
    /// When nothing new was found in it for the first time since something was; nil while there is more.
    private(set) var quietSince: Int64?
    /// Everything in it is delivered, and nobody seems to write to it.
    private(set) var isFinished = false
    /// The last position that was written down.
    var checkpointed: Int64
    private var lastSize: Int64 = 0
    /// Of a line that is too long, and has not ended: how many pieces of it are among the dead letters, and where it began.
    private var piece: Int?
    private var pieceStart: Int64 = 0
    /// Every name under which it was met.
    private(set) var names: [String]
    /// Its lines come after those of these files, which its name led to before, or which are older and named after it.
    private var predecessors: [(file: FollowedFile, ends: Int)] = []
    /// How often its end was reached.
    private var ends = 0
    /// What stands at hand goes on with a line that was handed on without its end.
    private var isAfterPart = false
    private let disk: any FollowedDisk

    init(
        owner: Int, _ checkpoint: Checkpoint, isDescribed: Bool, file: Int32, source: UInt32, disk: any FollowedDisk
    ) {
        self.owner = owner
        self.isDescribed = isDescribed
        path = checkpoint.path
        names = [checkpoint.path]
        mark = checkpoint.mark
        generation = checkpoint.generation
        position = checkpoint.position
        checkpointed = checkpoint.position
        self.source = source
        self.file = file
        self.disk = disk
        // Checkpoints stood inside such lines once.
        piece = checkpoint.isInside ? 1 : nil
        pieceStart = checkpoint.position
        isAfterPart = piece == nil && Self.isMiddle(of: file, checkpoint.position, disk)
    }

    /// Whether a line is at hand of which some was handed on already: one that is too long.
    private static func isMiddle(of file: Int32, _ position: Int64, _ disk: any FollowedDisk) -> Bool {
        guard position > 0 else { return false }
        return withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { byte in
            (try? disk.read(file, at: Int(position) - 1, into: byte)) == 1 && byte[0] != 0x0A
        }
    }

    deinit { if let file { disk.close(file) } }

    var checkpoint: Checkpoint {
        Checkpoint(path: path, mark: mark, generation: generation, position: checkpointed)
    }

    /// Up to where it was handed on, in whole lines: a line that is too long is buried from its beginning again.
    var handedOn: Int64 { piece == nil ? position : pieceStart }

    // MARK: - What comes before it

    func follows(_ file: FollowedFile) { predecessors.append((file, file.ends)) }

    /// Nobody waits for it any longer than now: it could not be read.
    func lose() { ends += 1 }

    /// Whether lines that come before its own are still to be read: those of a predecessor whose end was not reached since they met.
    func mustWait() -> Bool {
        predecessors.removeAll { $0.file.file == nil || $0.file.ends > $0.ends }
        return !predecessors.isEmpty
    }

    func noteName(_ name: String) { if !names.contains(name) { names.append(name) } }

    /// How much of it was not handed on.
    var unread: Int64 {
        guard let file, let size = try? disk.state(of: file).size else { return 0 }
        return max(0, size - position)
    }

    /// Whether both hold one log: one name led to both, or one is named after the other, as `app.log.1` and `app.log-20250304` are.
    func isKin(of other: FollowedFile) -> Bool {
        names.contains { name in other.names.contains { Self.isKin(name.utf8[...], $0.utf8[...]) } }
    }

    private static func isKin(_ left: Substring.UTF8View, _ right: Substring.UTF8View) -> Bool {
        if stem(left).elementsEqual(stem(right)) { return true }
        let (short, long) = left.count <= right.count ? (left, right) : (right, left)
        return long.starts(with: short) && isSeparator(long.dropFirst(short.count).first)
    }

    /// Whether its name is that of the other, and something that rotation put behind it.
    func isNamed(after other: FollowedFile) -> Bool {
        let (own, shorter) = (path.utf8, other.path.utf8)
        return own.count > shorter.count && own.starts(with: shorter)
            && Self.isSeparator(own.dropFirst(shorter.count).first)
    }

    /// Whether no name leads to it any more, as far as its disk can say.
    var isGone: Bool {
        guard let file, let state = try? disk.state(of: file) else { return false }
        return !state.isLinked
    }

    /// A name without the numbers that rotation puts behind it.
    private static func stem(_ name: Substring.UTF8View) -> Substring.UTF8View {
        var stem = name
        while true {
            let rest = stem.reversed().drop { $0 >= 0x30 && $0 <= 0x39 }
            let digits = stem.count - rest.count
            guard digits > 0, isSeparator(rest.first) else { return stem }
            stem = stem.dropLast(digits + 1)
        }
    }

    private static func isSeparator(_ byte: UInt8?) -> Bool {
        byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
    }

    /// How many bytes were there at the last look that were not handed on.
    var behind: Int64 { max(0, lastSize - position) }

    /// What came of reading on.
    enum Reading {
        /// There may be more.
        case more
        /// There is no room for more lines now.
        case full
        /// All that ends in a line end was handed on.
        case atEnd
        /// Its contents were taken away: so many bytes were never read.
        case truncated(lost: Int64)
        case failed(SystemError)
    }

    /// Reads on and hands lines to `take`, which answers whether it took one.
    func read(
        into buffer: UnsafeMutableRawBufferPointer, now: Int64, lineLimit: Int, _ take: (Span<UInt8>, Int64) -> Bool,
        bury: (Span<UInt8>, Int64, _ piece: Int, _ isLast: Bool) -> Bool
    ) -> Reading {
        guard let file else { return .atEnd }
        do throws(SystemError) {
            let count = try disk.read(file, at: Int(position), into: buffer)
            // Looked at after reading, so that nothing is taken that another file's beginning stands before.
            let size = try disk.state(of: file).size
            let known = lastSize
            let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            if size < position, count > 0 {
                // It was cut off just now: this is of the old contents, and nowhere else any more.
                lastSize = max(known, position + Int64(count))
                return hand(bytes, isWhole: false, now: now, lineLimit: lineLimit, take, bury)
            }
            guard size >= position, try isSame(file, size) else { return .truncated(lost: max(0, known - position)) }
            lastSize = max(size, position + Int64(count))
            if lastSize > known { quietSince = nil }
            if piece == nil, bytes.first == 0 {
                switch try lookAtZeros(file, bytes, size) {
                case .few: break
                case .passed: return .more
                case .last: return endReached(0, now)
                }
            }
            return hand(bytes, isWhole: count < buffer.count, now: now, lineLimit: lineLimit, take, bury)
        } catch { return .failed(error) }
    }

    private func hand(
        _ bytes: UnsafeRawBufferPointer, isWhole: Bool, now: Int64, lineLimit: Int,
        _ take: (Span<UInt8>, Int64) -> Bool, _ bury: (Span<UInt8>, Int64, Int, Bool) -> Bool
    ) -> Reading {
        var start = 0
        if isAfterPart, let first = bytes.first {
            isAfterPart = false
            // Only its end had been missing.
            if first == 0x0A {
                start = 1
                position += 1
            }
        }
        while start < bytes.count {
            // Zeros where a line would begin are looked at by themselves.
            if piece == nil, start > 0, bytes[start] == 0 {
                quietSince = nil
                return .more
            }
            let end = ByteScan.first(0x0A, bytes, start..<bytes.count)
            let line = Span<UInt8>(_unsafeBytes: UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
            if end == bytes.count {
                // The rest of a line is read again when there is more of it, unless it is too long to wait for.
                guard line.count > lineLimit || piece != nil else { break }
                // Nor where it ends in room for what is written next.
                if piece == nil, bytes[end - 1] == 0,
                    bytes[start..<end].lastIndex(where: { $0 != 0 }).map({ $0 - start < lineLimit }) ?? true
                {
                    return endReached(start, now)
                }
                guard bury(line, handedOn, piece ?? 0, false) else { return .full }
                if piece == nil { pieceStart = position }
                piece = (piece ?? 0) + 1
                position += Int64(line.count)
                return .more
            }
            if let number = piece {
                guard bury(line, pieceStart, number, true) else { return .full }
                piece = nil
            } else if line.count > lineLimit {
                guard bury(line, position, 0, true) else { return .full }
            } else {
                guard take(line, position) else { return .full }
            }
            position += Int64(line.count) + 1
            start = end + 1
        }
        if start > 0 { quietSince = nil }
        return isWhole ? endReached(start, now) : .more
    }

    /// All that there is was handed on, of which the last look found `count` bytes.
    private func endReached(_ count: Int, _ now: Int64) -> Reading {
        ends += 1
        if count > 0 { quietSince = nil } else if quietSince == nil { quietSince = now }
        return .atEnd
    }

    private enum Zeros {
        /// None, or so few that they are somebody's.
        case few
        /// They were passed over.
        case passed
        /// Nothing follows them yet.
        case last
    }

    /// Looks at what begins with zeros. Whoever goes on writing where it was, after its file was cut off, leaves zeros before its next line: those
    /// are nobody's. But where nothing follows them they may be room that was made for what is written next.
    private func lookAtZeros(
        _ file: Int32, _ bytes: UnsafeRawBufferPointer, _ size: Int64
    ) throws(SystemError) -> Zeros {
        var end = position + Int64(bytes.firstIndex { $0 != 0 } ?? bytes.count)
        if end == position + Int64(bytes.count) {
            // What was looked at before is zeros still: writers go on where they are.
            end = try endOfZeros(file, from: max(end, zerosEnd), size)
            guard end < size else {
                zerosEnd = end
                return .last
            }
        }
        guard end - position >= Self.leastHole else { return .few }
        passedHole += end - position
        position = end
        holeEnd = end
        return .passed
    }

    private func endOfZeros(_ file: Int32, from start: Int64, _ size: Int64) throws(SystemError) -> Int64 {
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 8)
        defer { piece.deallocate() }
        var end = start
        while end < size {
            let count = try disk.read(file, at: Int(end), into: piece)
            if let found = piece[..<count].firstIndex(where: { $0 != 0 }) { return end + Int64(found) }
            if count == 0 { break }
            end += Int64(count)
        }
        return end
    }

    private static let leastHole = 512
    /// Up to where nothing but zeros stood behind `position`.
    private var zerosEnd: Int64 = 0
    /// Where the last hole that was passed over ends.
    private var holeEnd: Int64 = 0
    private var passedHole: Int64 = 0

    /// How many bytes of a hole have come to their end.
    func takePassedHole() -> Int64? {
        defer { passedHole = 0 }
        return passedHole > 0 ? passedHole : nil
    }

    /// Hands on a last line that nothing ends, of a file that nobody writes to any more.
    func finishLine(
        into buffer: UnsafeMutableRawBufferPointer, _ take: (Span<UInt8>, Int64) -> Bool
    ) -> Bool {
        guard let file, let count = try? disk.read(file, at: Int(position), into: buffer), count > 0 else {
            return true
        }
        let all = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        guard ByteScan.first(0x0A, all, 0..<count) == count, piece == nil else { return true }
        // Zeros at the end are room for what may be written there.
        guard let last = all.lastIndex(where: { $0 != 0 }) else { return true }
        let bytes = UnsafeRawBufferPointer(rebasing: all[...last])
        guard take(Span<UInt8>(_unsafeBytes: bytes), position) else { return false }
        position += Int64(bytes.count)
        isAfterPart = true
        return true
    }

    /// Whether a file of which nothing but zeros is known could be the one of which everything before `position` was handed on.
    static func beginsWithHole(
        _ file: Int32, _ position: Int64, _ disk: any FollowedDisk, isAfterPart: Bool = false
    ) throws(SystemError) -> Bool {
        func byte(_ place: Int64) throws(SystemError) -> UInt8? {
            var byte: UInt8 = 0
            let count = try withUnsafeMutableBytes(of: &byte) { buffer throws(SystemError) in
                try disk.read(file, at: Int(place), into: buffer)
            }
            return count == 1 ? byte : nil
        }
        guard try byte(0) == 0, let last = try byte(position - 1) else { return false }
        return last == 0x0A || isAfterPart && last != 0
    }

    /// Notes how much there is, whether or not it is read now. Answers how many bytes were cut off that nobody has read, where reading on would
    /// not notice it.
    func look() -> Int64 {
        guard let file, let size = try? disk.state(of: file).size else { return 0 }
        isCut = size < position
        defer { if size != lastSize, !isCut { lastSize = size } }
        if size > lastSize { quietSince = nil }
        return !isCut && size < lastSize ? lastSize - size : 0
    }

    /// Whether the last look found less of it than was handed on.
    private(set) var isCut = false

    // MARK: - Which file it is

    /// Whether the first bytes are still those that were seen; learns more of them while the file is short.
    private func isSame(_ file: Int32, _ size: Int64) throws(SystemError) -> Bool {
        var same = true
        var failure: SystemError?
        let wanted = Int(min(Int64(FileMark.longest), max(size, Int64(mark.fingerprintCount))))
        withUnsafeTemporaryAllocation(byteCount: max(1, wanted), alignment: 8) { buffer in
            do throws(SystemError) {
                let count = try disk.read(file, at: 0, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]))
                let seen = mark.fingerprintCount
                guard count >= seen else {
                    same = false
                    return
                }
                let bytes = UnsafeRawBufferPointer(buffer)
                same = FileMark.fingerprint(UnsafeRawBufferPointer(rebasing: bytes[..<seen])) == mark.fingerprint
                // A hole looks like another one: then the end of the last line must still be where it was.
                if same, position > holeEnd, bytes[..<seen].allSatisfy({ $0 == 0 }) {
                    same = try Self.beginsWithHole(file, position, disk, isAfterPart: isAfterPart)
                }
                // Zeros at the end may be written over.
                var known = count
                while known > seen, bytes[known - 1] == 0 { known -= 1 }
                guard same, known > seen else { return }
                mark.fingerprintCount = known
                mark.fingerprint = FileMark.fingerprint(UnsafeRawBufferPointer(rebasing: bytes[..<known]))
                isMarkNew = true
            } catch { failure = error }
        }
        if let failure { throw failure }
        return same
    }

    /// Whether more is known of the file than was written down.
    private(set) var isMarkNew = true
    /// Whether anything of this generation was written down.
    private(set) var isDescribed: Bool

    func noteDescribed() {
        isMarkNew = false
        isDescribed = true
    }

    /// What the same file holds now begins anew: a line of it is never taken for one that was there before.
    func begin(generation: String, source: UInt32) {
        self.generation = generation
        self.source = source
        position = 0
        checkpointed = 0
        lastSize = 0
        isCut = false
        (zerosEnd, holeEnd) = (0, 0)
        piece = nil
        quietSince = nil
        mark.fingerprintCount = 0
        mark.fingerprint = FileMark.fingerprint(UnsafeRawBufferPointer(start: nil, count: 0))
        isMarkNew = true
        isDescribed = false
    }

    /// Closes what nobody writes to; it is remembered, so that it is not read again under another name.
    func finish() {
        if let file { disk.close(file) }
        file = nil
        isFinished = true
        // What was begun of a line that is too long has no end any more: all of it is among the dead letters.
        if piece != nil {
            piece = nil
            isAfterPart = true
        }
    }

    /// It has grown again.
    func resume(_ file: Int32) {
        self.file = file
        isFinished = false
        quietSince = nil
    }
}
