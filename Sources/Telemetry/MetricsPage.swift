/// A page of metrics in the format of OpenMetrics 1.0, which Prometheus reads. Pure: values come in, bytes go out.
package struct MetricsPage: ~Copyable {
    package static let contentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    package enum Kind: String, Sendable {
        case counter
        case gauge
        case histogram
        case info
    }

    package typealias Labels = [(name: String, value: String)]

    private var bytes: [UInt8] = []
    private var name = ""
    private var kind = Kind.gauge

    package init() { bytes.reserveCapacity(Self.usual) }

    private static let usual = 32 << 10

    /// Begins a family: what is added next belongs to it. A name with a unit ends in it.
    package mutating func begin(_ name: String, _ kind: Kind, _ help: String, unit: String = "") {
        self.name = name
        self.kind = kind
        write("# TYPE \(name) \(kind.rawValue)\n")
        if !unit.isEmpty { write("# UNIT \(name) \(unit)\n") }
        write("# HELP \(name) ")
        write(escaping: help, quotes: false)
        write("\n")
    }

    package mutating func add(_ value: some BinaryInteger, _ labels: Labels = []) { add(text: "\(value)", labels) }

    /// In microseconds, and shown in seconds.
    package mutating func add(microseconds: Int64, _ labels: Labels = []) {
        add(text: Self.seconds(microseconds), labels)
    }

    /// The labels are all that there is to say.
    package mutating func add(info labels: Labels) { add(text: "1", labels) }

    private mutating func add(text: String, _ labels: Labels) {
        let suffix =
            switch kind {
            case .counter: "_total"
            case .info: "_info"
            case .gauge, .histogram: ""
            }
        sample(suffix, labels, text)
    }

    /// A histogram of durations: how many were in each bucket and beyond the last, and the sum. Both in microseconds.
    package mutating func add(bounds: [Int64], counts: [UInt64], sum: UInt64, _ labels: Labels = []) {
        var total: UInt64 = 0
        for (bound, count) in zip(bounds, counts) {
            total += count
            sample("_bucket", labels + [("le", Self.seconds(bound))], "\(total)")
        }
        total = counts.reduce(0, +)
        sample("_bucket", labels + [("le", "+Inf")], "\(total)")
        sample("_count", labels, "\(total)")
        sample("_sum", labels, Self.seconds(Int64(clamping: sum)))
    }

    private mutating func sample(_ suffix: String, _ labels: Labels, _ value: String) {
        write(name)
        write(suffix)
        var separator = "{"
        for label in labels {
            write(separator)
            write(label.name)
            write("=\"")
            write(escaping: label.value, quotes: true)
            write("\"")
            separator = ","
        }
        if !labels.isEmpty { write("}") }
        write(" ")
        write(value)
        write("\n")
    }

    /// The whole page.
    package consuming func finish() -> [UInt8] {
        bytes + Array("# EOF\n".utf8)
    }

    private mutating func write(_ text: String) { bytes += text.utf8 }

    private mutating func write(escaping text: String, quotes: Bool) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): write("\\\\")
            case UInt8(ascii: "\n"): write("\\n")
            case UInt8(ascii: "\"") where quotes: write("\\\"")
            default: bytes.append(byte)
            }
        }
    }

    /// `1.5` of 1,500,000: exact, and always with a point, as OpenMetrics likes the ends of buckets.
    private static func seconds(_ microseconds: Int64) -> String {
        let size = microseconds.magnitude
        var fraction = String(size % 1_000_000)
        fraction = String(repeating: "0", count: 6 - fraction.utf8.count) + fraction
        while fraction.utf8.count > 1, fraction.utf8.last == UInt8(ascii: "0") { fraction.removeLast() }
        return (microseconds < 0 ? "-" : "") + "\(size / 1_000_000).\(fraction)"
    }
}
