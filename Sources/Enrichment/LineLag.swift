/// Since when the oldest line waits that has not arrived. It remembers how many lines had come at some moments, not each line: lines
/// leave about in the order in which they came.
struct LineLag {
    private struct Moment {
        /// How many lines had come when it began.
        let lines: UInt64
        let time: Int64
    }

    private var moments: [Moment] = []
    private static let limit = 512
    /// In microseconds: moments that lie closer together are one.
    private static let step: Int64 = 100_000

    /// So many lines have come, and so many of them have left. Returns since when the oldest of the others waits; nil where none does.
    mutating func note(come: UInt64, gone: UInt64, now: Int64) -> Int64? {
        if come > (moments.last?.lines ?? 0), moments.last.map({ now - $0.time >= Self.step }) ?? true {
            moments.append(Moment(lines: come, time: now))
        }
        // What had come by a moment and has left since then says nothing any more.
        if let first = moments.firstIndex(where: { $0.lines > gone }) {
            moments.removeFirst(first)
        } else if come <= gone {
            moments.removeAll(keepingCapacity: true)
        } else {
            // The lines since the last moment, which was too close to be followed by another one.
            moments.removeFirst(max(0, moments.count - 1))
        }
        if moments.count >= Self.limit {
            // Of a long wait every second moment is enough.
            var isKept = false
            moments.removeAll { _ in
                isKept.toggle()
                return !isKept
            }
        }
        return come > gone ? moments.first?.time ?? now : nil
    }
}
