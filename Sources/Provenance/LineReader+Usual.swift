/// The one shape that nearly every recommendation line has.
extension LineReader {
    /// Reads `<time>,<user>,recommendation request <path>, status <code>, variant=<name>, …, result: …, <n> ms`, as servers write it, with
    /// or without its variant and its result, and with nothing added. False for whatever is not quite like that, or says more than variant
    /// and time: then another reading must tell, and `facts` say what they said. What is true is what that reading would say
    /// (`UsualLineTests`); it is reached in half of the time.
    @inline(__always)
    static func usual(
        _ line: Span<UInt8>, _ reading: borrowing LineReading, into facts: inout LineFacts
    ) -> Bool {
        // The path begins within the first 76 bytes.
        guard reading.isOfUsualLines, line.count >= 76, line[27] == UInt8(ascii: ","),
            line.hasBytes(" ms", at: line.count - 3), let time = facts.minutes.usual(line, 0..<27)
        else { return false }
        let user = 28..<line.first(UInt8(ascii: ","), in: 28..<52)
        guard user.upperBound < 52, !user.isEmpty, line[28] != 0x20, line[user.upperBound - 1] != 0x20,
            line.hasBytes(",recommendation request ", at: user.upperBound)
        else { return false }
        let path = line.first(0x20, in: user.upperBound + 24..<line.count)
        guard line.hasBytes(", status ", at: path - 1), path + 12 <= line.count, isNumber(line, path + 8),
            line[path + 11] == UInt8(ascii: ",")
        else { return false }
        let code = path + 11
        var variant = code..<code
        if line.hasBytes(", variant=", at: code) {
            variant = code + 10..<line.first(UInt8(ascii: ","), in: code + 10..<line.count)
        }
        guard let duration = usualDuration(line), variant.upperBound <= duration.start,
            isRestUsual(line, variant.upperBound..<duration.start)
        else { return false }
        facts.beginUsual(line.count, time, microseconds: duration.microseconds)
        facts.variant = variant.lowerBound > code ? FieldSpan(variant, .percent) : nil
        facts.key = reading.isKeyUser ? FieldSpan(user, .plain) : nil
        facts.tested = reading.isTestUser ? FieldSpan(user, .plain) : nil
        return true
    }

    /// Whether three digits stand there.
    @inline(__always)
    private static func isNumber(_ line: Span<UInt8>, _ start: Int) -> Bool {
        line[start] &- 0x30 <= 9 && line[start + 1] &- 0x30 <= 9 && line[start + 2] &- 0x30 <= 9
    }

    /// Reads `, <n> ms` at the end, of up to seven digits.
    @inline(__always)
    private static func usualDuration(_ line: Span<UInt8>) -> (start: Int, microseconds: Int64)? {
        let end = line.count - 3
        var start = end
        var (milliseconds, power): (Int64, Int64) = (0, 1)
        while start > end - 7, line[start - 1] &- 0x30 <= 9 {
            start -= 1
            milliseconds &+= Int64(line[start] &- 0x30) &* power
            power &*= 10
        }
        guard start < end, line[start - 1] == 0x20, line[start - 2] == UInt8(ascii: ",") else { return nil }
        return (start - 2, (milliseconds &+ 1) &* 1000)
    }

    /// Whether no item before the result, or before the end where there is none, is one that counts.
    @inline(__always)
    private static func isRestUsual(_ line: Span<UInt8>, _ range: Range<Int>) -> Bool {
        var comma = range.lowerBound
        while comma < range.upperBound {
            var start = comma + 1
            if line[start] == 0x20 { start += 1 }
            switch line[start] {
            case UInt8(ascii: "r"): return line.hasBytes("result:", at: start)
            case UInt8(ascii: "v"), UInt8(ascii: "u"), 0x20: return false
            default: comma = line.first(UInt8(ascii: ","), in: start..<range.upperBound)
            }
        }
        return true
    }
}
