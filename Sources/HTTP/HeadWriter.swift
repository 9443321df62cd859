/// Rewrites a head where it stands: fields are cut out, others put in behind the first line, and the body, which follows, does
/// not move. Its memory is made once; it counts on nothing that fits not.
package struct HeadWriter: ~Copyable {
    /// The first line and the fields that are put in.
    private let block: UnsafeMutableRawBufferPointer
    private var blockCount = 0
    private let cuts: UnsafeMutablePointer<WireRange>
    private let cutLimit: Int
    private var cutCount = 0
    private var hasOverflowed = false

    /// `capacity` bounds the first line and the added fields together.
    package init(capacity: Int, cutLimit: Int) {
        block = .allocate(byteCount: capacity, alignment: 16)
        cuts = .allocate(capacity: cutLimit)
        self.cutLimit = cutLimit
    }

    deinit {
        block.deallocate()
        cuts.deallocate()
    }

    package mutating func begin() {
        blockCount = 0
        cutCount = 0
        hasOverflowed = false
    }

    /// How much is written so far: for those who take it back.
    package var count: Int { blockCount }

    /// Leaves out the bytes of `range`. Ranges come in the order in which they stand, and behind the first line.
    @inline(__always)
    package mutating func cut(_ range: WireRange) {
        guard cutCount < cutLimit else {
            hasOverflowed = true
            return
        }
        cuts[cutCount] = range
        cutCount &+= 1
    }

    @inline(__always)
    package mutating func write(_ bytes: UnsafeRawPointer, count: Int) {
        guard count <= block.count &- blockCount, let base = block.baseAddress else {
            hasOverflowed = true
            return
        }
        (base + blockCount).copyMemory(from: bytes, byteCount: count)
        blockCount &+= count
    }

    @inline(__always)
    package mutating func write(_ text: StaticString) {
        write(UnsafeRawPointer(text.utf8Start), count: text.utf8CodeUnitCount)
    }

    /// Writes the bytes that stand at `range` of `head`.
    @inline(__always)
    package mutating func write(_ head: UnsafeRawPointer, _ range: WireRange) {
        write(head + Int(range.start), count: range.count)
    }

    @inline(__always)
    package mutating func write(_ byte: UInt8) {
        guard blockCount < block.count else {
            hasOverflowed = true
            return
        }
        block[blockCount] = byte
        blockCount &+= 1
    }

    /// Overwrites one byte of what is written.
    package mutating func replace(at index: Int, by byte: UInt8) {
        precondition(index >= 0 && index < blockCount, "beyond what is written")
        block[index] = byte
    }

    /// Puts the new head before the body of the old one. `head` has `length` bytes, of which the first line and its line end take
    /// `firstLine`; `room` bytes before it may be overwritten. Returns where the new head begins, relative to the old one;
    /// nil when it does not fit.
    @inline(__always)
    package mutating func place(
        _ head: UnsafeMutableRawPointer, length: Int, firstLine: Int, room: Int
    ) -> Int? {
        guard !hasOverflowed, let base = block.baseAddress else { return nil }
        var shift = 0
        var end = length
        var index = cutCount &- 1
        while index >= 0 {
            let cut = cuts[index]
            let start = Int(cut.end)
            if shift > 0 { (head + start + shift).copyMemory(from: head + start, byteCount: end &- start) }
            shift &+= cut.count
            end = Int(cut.start)
            index &-= 1
        }
        if shift > 0 { (head + firstLine + shift).copyMemory(from: head + firstLine, byteCount: end &- firstLine) }
        let start = firstLine &+ shift &- blockCount
        guard -start <= room else { return nil }
        (head + start).copyMemory(from: base, byteCount: blockCount)
        return start
    }
}
