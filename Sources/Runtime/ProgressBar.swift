import CSystem
import Glibc
import Provenance
import Synchronization

/// A bar on standard error for work that passes a second; nothing at all where that is no terminal.
package final class ProgressBar: Sendable {
    private let title: String
    private let total: Int64
    private let unit: Unit
    private let columns: Int
    private let started = Clock.monotonic()
    private let done = Atomic<Int64>(0)
    private let nextDrawing: Atomic<Int64>
    private let isShown = Atomic<Bool>(false)

    package enum Unit: Sendable {
        case bytes
        case files
        case lines
    }

    private static let silence: Int64 = 1_000_000
    private static let interval: Int64 = 100_000

    /// `total` is 0 where nobody knows how much there will be.
    package init(_ title: String, total: Int64, unit: Unit) {
        self.title = title
        self.total = total
        self.unit = unit
        columns = Int(colophon_terminal_columns(STDERR_FILENO))
        nextDrawing = Atomic(started + Self.silence)
    }

    /// Counts work that was done; any thread may call it.
    package func advance(by amount: Int64) {
        let done = done.add(amount, ordering: .relaxed).newValue
        guard columns > 0 else { return }
        let now = Clock.monotonic()
        let due = nextDrawing.load(ordering: .relaxed)
        guard now >= due else { return }
        // Whoever moves the time of the next drawing draws; the others go on with their work.
        let (isOurs, _) = nextDrawing.compareExchange(
            expected: due, desired: now + Self.interval, ordering: .relaxed)
        if isOurs { draw(done, after: now - started) }
    }

    private func draw(_ done: Int64, after elapsed: Int64) {
        isShown.store(true, ordering: .relaxed)
        let rate = Double(done) / (Double(elapsed) / 1_000_000)
        guard total > 0 else {
            // Nobody knows how much there will be.
            write("\r\u{1B}[K\(title) \(amount(done))  \(amount(Int64(rate)))/s")
            return
        }
        let share = min(1, Double(done) / Double(total))
        let left = rate > 0 ? Int64(Double(max(0, total - done)) / rate) : 0
        let figures = " \(Int(share * 100)) %  \(amount(done)) of \(amount(total))  \(left) s left"
        let width = max(0, min(30, columns - title.utf8.count - figures.utf8.count - 4))
        let filled = Int(share * Double(width))
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
        write("\r\u{1B}[K\(title) \(bar)\(figures)")
    }

    /// Takes the bar away, until it is drawn again: something else is to be written there.
    package func finish() {
        if isShown.load(ordering: .relaxed) { write("\r\u{1B}[K") }
    }

    private func amount(_ count: Int64) -> String {
        switch unit {
        case .bytes: Figures.bytes(count)
        case .files, .lines: Figures.grouped(count) + (unit == .lines ? " lines" : "")
        }
    }

    private func write(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
