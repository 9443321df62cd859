import Synchronization

/// How often something took how long, in the buckets of a histogram.
package struct Durations: Sendable {
    /// The upper ends of all buckets but the last, which has none; in microseconds.
    package static let bounds: [Int64] = [
        10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ]

    /// One for each bucket, and the sum of all in microseconds.
    static let cellCount = 23

    /// How many were in each bucket, the last one among them.
    package private(set) var counts: [UInt64]
    /// In microseconds.
    package private(set) var sum: UInt64

    package var count: UInt64 { counts.reduce(0, +) }

    init(_ cells: UnsafeMutablePointer<Atomic<UInt64>>) {
        counts = (0..<Self.cellCount - 1).map { cells[$0].load(ordering: .relaxed) }
        sum = cells[Self.cellCount - 1].load(ordering: .relaxed)
    }

    package static func + (left: Durations, right: Durations) -> Durations {
        var both = left
        for index in both.counts.indices { both.counts[index] += right.counts[index] }
        both.sum += right.sum
        return both
    }

    /// Only the thread that owns the cells calls it.
    @inline(__always)
    static func count(_ microseconds: Int64, in cells: UnsafeMutablePointer<Atomic<UInt64>>) {
        let time = max(0, microseconds)
        let index = bucket(time)
        cells[index].store(cells[index].load(ordering: .relaxed) &+ 1, ordering: .relaxed)
        let sum = cells[cellCount &- 1].load(ordering: .relaxed)
        cells[cellCount &- 1].store(sum &+ UInt64(time), ordering: .relaxed)
    }

    /// The same as `bounds`, for the compiler to compare with.
    @inline(__always)
    static func bucket(_ microseconds: Int64) -> Int {
        switch microseconds {
        case ...10: 0
        case ...25: 1
        case ...50: 2
        case ...100: 3
        case ...250: 4
        case ...500: 5
        case ...1000: 6
        case ...2500: 7
        case ...5000: 8
        case ...10_000: 9
        case ...25_000: 10
        case ...50_000: 11
        case ...100_000: 12
        case ...250_000: 13
        case ...500_000: 14
        case ...1_000_000: 15
        case ...2_500_000: 16
        case ...5_000_000: 17
        case ...10_000_000: 18
        case ...30_000_000: 19
        case ...60_000_000: 20
        default: 21
        }
    }
}
