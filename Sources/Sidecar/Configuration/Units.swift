import Runtime

/// Durations and sizes as people write them.
package enum Units {
    /// Microseconds of `500ms`, `30s`, `10m`, `2h`, or of a number of seconds.
    package static func microseconds(_ text: String) -> Int64? {
        number(text, [("ms", 1000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("", 1_000_000)])
    }

    /// Bytes of `64KiB`, `1MiB`, `1GiB`, or of a number of bytes.
    package static func bytes(_ text: String) -> Int64? {
        number(text, [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1), ("", 1)])
    }

    /// A size as it is best read.
    package static func text(_ bytes: Int) -> String {
        if bytes >= 1 << 30, bytes % (1 << 30) == 0 { return "\(bytes >> 30)GiB" }
        if bytes >= 1 << 20, bytes % (1 << 20) == 0 { return "\(bytes >> 20)MiB" }
        if bytes >= 1 << 10, bytes % (1 << 10) == 0 { return "\(bytes >> 10)KiB" }
        return "\(bytes)"
    }

    /// A time as it is best read, in whole units.
    static func duration(_ microseconds: Int64) -> String {
        for (unit, factor) in [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)] as [(String, Int64)]
        where microseconds >= factor && microseconds % factor == 0 {
            return "\(microseconds / factor)\(unit)"
        }
        return microseconds == 0 ? "0s" : "\(microseconds / 1000)ms"
    }

    private static func number(_ text: String, _ units: [(name: String, factor: Int64)]) -> Int64? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let value = Int64(digits), let unit = units.first(where: { $0.name == text.dropFirst(digits.count) })
        else {
            return nil
        }
        let (product, overflow) = value.multipliedReportingOverflow(by: unit.factor)
        return overflow ? nil : product
    }
}
