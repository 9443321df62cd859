/// How a value is written where a comma, a quote or a line end would mean something else (DESIGN 6.1).
package enum Escaping {
    /// For header values and `name=value` in a line: everything outside `[!-~]`, and `,` `"` `=` `%`, as `%XX`.
    package static func percentEncoded(_ text: String) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            if isPlain(byte) {
                output.append(byte)
            } else {
                output.append(UInt8(ascii: "%"))
                output.append(upperHexDigit(byte >> 4))
                output.append(upperHexDigit(byte & 15))
            }
        }
        return output
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: ","), UInt8(ascii: "\""), UInt8(ascii: "="), UInt8(ascii: "%"): false
        case UInt8(ascii: "!")...UInt8(ascii: "~"): true
        default: false
        }
    }

    /// Reads what `percentEncoded` wrote; a `%` without two digits stands for itself.
    package static func percentDecoded(_ bytes: Span<UInt8>, _ range: Range<Int>) -> String {
        var output: [UInt8] = []
        output.reserveCapacity(range.count)
        var index = range.lowerBound
        while index < range.upperBound {
            if bytes[index] == UInt8(ascii: "%"), index + 2 < range.upperBound, let high = hexValue(bytes[index + 1]),
                let low = hexValue(bytes[index + 2])
            {
                output.append(high << 4 | low)
                index += 3
            } else {
                output.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// For logfmt: as it is where that cannot be misread, else in quotes with escapes.
    package static func logfmt(_ text: String) -> [UInt8] {
        let needsQuotes =
            text.isEmpty
            || text.utf8.contains { $0 <= 0x20 || $0 == 0x7F || $0 == UInt8(ascii: "=") || $0 == UInt8(ascii: "\"") }
        // Some readers end a line at these.
        let hasLineEnds = text.unicodeScalars.contains {
            $0.value >= 0x80 && $0.value < 0xA0 || $0 == "\u{2028}" || $0 == "\u{2029}"
        }
        guard needsQuotes || hasLineEnds else { return Array(text.utf8) }
        // Inside quotes, JSON's escapes are logfmt's: \" \\ \n \t \u0000.
        var output: [UInt8] = []
        (hasLineEnds ? JSONWriter.ascii : JSONWriter.compact).writeString(text, to: &output)
        return output
    }
}
