/// Numbers as people read them.
package enum Figures {
    /// `2,445,982`
    package static func grouped(_ value: Int64) -> String {
        let digits = String(value.magnitude)
        var result = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { result += "," }
            result.append(digit)
        }
        return (value < 0 ? "-" : "") + result
    }

    /// `1.81 GiB`, `4.5 MiB`, `312 bytes`
    package static func bytes(_ value: Int64) -> String {
        var unit = "bytes"
        var scaled = Double(value)
        for next in ["KiB", "MiB", "GiB", "TiB"] where scaled >= 1024 {
            scaled /= 1024
            unit = next
        }
        guard unit != "bytes" else { return value == 1 ? "1 byte" : "\(value) bytes" }
        let hundredths = Int64(scaled * 100)
        let fraction = hundredths % 100
        guard fraction > 0 else { return "\(hundredths / 100) \(unit)" }
        let digits = fraction % 10 == 0 ? "\(fraction / 10)" : (fraction < 10 ? "0\(fraction)" : "\(fraction)")
        return "\(hundredths / 100).\(digits) \(unit)"
    }

    /// `1 file`, `2 files`
    package static func count(_ value: Int, _ singular: String, _ plural: String) -> String {
        "\(grouped(Int64(value))) \(value == 1 ? singular : plural)"
    }
}
