import Provenance

/// The date of a head (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
package enum HTTPDate {
    package static let length = 29

    /// Writes the date of a second since 1970 as 29 bytes.
    package static func write(second: Int64, to output: UnsafeMutableRawBufferPointer) {
        precondition(output.count >= length, "no room for a date")
        let day = second >= 0 ? second / 86_400 : (second - 86_399) / 86_400
        let time = Int(second - day * 86_400)
        let (year, month, date) = Calendar.date(day: Int(day))
        var writer = Writer(output: output)
        writer.text("ThuFriSatSunMonTueWed", at: Int((day % 7 + 7) % 7) * 3)
        writer.text(", ", at: 0, count: 2)
        writer.digits(date)
        writer.byte(0x20)
        writer.text("JanFebMarAprMayJunJulAugSepOctNovDec", at: (month - 1) * 3)
        writer.byte(0x20)
        writer.digits(year / 100 % 100)
        writer.digits(year % 100)
        writer.byte(0x20)
        writer.digits(time / 3600)
        writer.byte(0x3A)
        writer.digits(time / 60 % 60)
        writer.byte(0x3A)
        writer.digits(time % 60)
        writer.text(" GMT", at: 0, count: 4)
    }

    private struct Writer {
        let output: UnsafeMutableRawBufferPointer
        var index = 0

        mutating func byte(_ byte: UInt8) {
            output[index] = byte
            index += 1
        }

        mutating func digits(_ value: Int) {
            byte(UInt8(0x30 + value / 10))
            byte(UInt8(0x30 + value % 10))
        }

        mutating func text(_ names: StaticString, at start: Int, count: Int = 3) {
            for offset in 0..<count { byte(names.utf8Start[start + offset]) }
        }
    }
}
