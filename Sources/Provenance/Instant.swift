/// A moment, in microseconds since 1970 in UTC.
package struct Instant: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let microseconds: Int64

    package init(microseconds: Int64) { self.microseconds = microseconds }

    package static func < (left: Instant, right: Instant) -> Bool { left.microseconds < right.microseconds }

    package func advanced(by microseconds: Int64) -> Instant {
        let (sum, overflow) = self.microseconds.addingReportingOverflow(microseconds)
        guard overflow else { return Instant(microseconds: sum) }
        return Instant(microseconds: microseconds < 0 ? .min : .max)
    }

    /// RFC 3339 in UTC: `2025-03-04T18:12:55.123456Z`. Whole seconds are written without a fraction.
    package var description: String {
        let (date, second, fraction) = parts
        let text = Self.padded(date.year, 4) + "-" + Self.padded(date.month, 2) + "-" + Self.padded(date.day, 2) + "T"
        let time = [second / 3600, second / 60 % 60, second % 60].map { Self.padded($0, 2) }.joined(separator: ":")
        return text + time + (fraction == 0 ? "Z" : "." + Self.padded(fraction, 6) + "Z")
    }

    /// `YYYYMMDDHHMMSS` in UTC: the end of a version that nobody chose.
    package var compactDigits: String {
        let (date, second, _) = parts
        return Self.padded(date.year, 4) + Self.padded(date.month, 2) + Self.padded(date.day, 2)
            + Self.padded(second / 3600, 2) + Self.padded(second / 60 % 60, 2) + Self.padded(second % 60, 2)
    }

    private var parts: (date: (year: Int, month: Int, day: Int), second: Int, fraction: Int) {
        let perDay: Int64 = 86_400_000_000
        let inDay = Int(((microseconds % perDay) + perDay) % perDay)
        let day = Int((microseconds - Int64(inDay)) / perDay)
        return (Calendar.date(day: day), inDay / 1_000_000, inDay % 1_000_000)
    }

    private static func padded(_ value: Int, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}

extension Instant {
    /// What a time of day without a zone means.
    package enum WithoutZone: Sendable {
        case isRefused
        case isUTC
    }

    /// Reads RFC 3339, also with a space for the `T` and without seconds (`2025-03-04T18:21Z`), or a date alone.
    package init?(_ text: String, withoutZone: WithoutZone = .isRefused) {
        let bytes = Array(text.utf8)
        self.init(bytes.span, in: 0..<bytes.count, withoutZone: withoutZone)
    }

    /// Reads the same from the bytes at `range`. The line path calls this, so it allocates nothing.
    package init?(_ bytes: Span<UInt8>, in range: Range<Int>, withoutZone: WithoutZone) {
        var lacksZone = false
        self.init(bytes, in: range, withoutZone: withoutZone, lacksZone: &lacksZone)
    }

    /// Reads the same, and tells whether a zone was named.
    package init?(_ bytes: Span<UInt8>, in range: Range<Int>, withoutZone: WithoutZone, lacksZone: inout Bool) {
        if let time = Self.usual(bytes, range) {
            self = time
            return
        }
        var digits = DigitReader(offset: range.lowerBound, end: range.upperBound)
        guard let year = digits.number(4, bytes), digits.take(UInt8(ascii: "-"), bytes),
            let month = digits.number(2, bytes), digits.take(UInt8(ascii: "-"), bytes),
            let day = digits.number(2, bytes), Calendar.isDate(year, month, day)
        else { return nil }
        var microseconds = Int64(Calendar.day(year, month, day)) * 86_400_000_000
        if digits.isAtEnd {
            guard case .isUTC = withoutZone else { return nil }
            lacksZone = true
            self.init(microseconds: microseconds)
            return
        }
        guard digits.takeOne(of: "Tt ", bytes), let hour = digits.number(2, bytes),
            digits.take(UInt8(ascii: ":"), bytes),
            let minute = digits.number(2, bytes), hour < 24, minute < 60
        else { return nil }
        var second = 0
        var fraction = 0
        if digits.take(UInt8(ascii: ":"), bytes) {
            // A leap second is read as the second after it.
            guard let value = digits.number(2, bytes), value <= 60 else { return nil }
            second = value
            if digits.takeOne(of: ".,", bytes) {
                guard let value = digits.fraction(bytes) else { return nil }
                fraction = value
            }
        }
        microseconds += Int64(hour * 3600 + minute * 60 + second) * 1_000_000 + Int64(fraction)
        lacksZone = digits.isAtEnd
        guard let offset = digits.zone(bytes, withoutZone), digits.isAtEnd else { return nil }
        self.init(microseconds: microseconds - Int64(offset) * 60_000_000)
    }
}

extension Instant {
    /// Reads a number of seconds, milliseconds, microseconds or nanoseconds since 1970, which its digits tell apart: between 2001 and 2286.
    /// Seconds and milliseconds may have a fraction.
    init?(sinceEpoch bytes: Span<UInt8>, in range: Range<Int>) {
        guard range.count <= 32 else { return nil }
        var digits = DigitReader(offset: range.lowerBound, end: range.upperBound)
        guard let whole = digits.upToNineteen(bytes) else { return nil }
        let count = digits.offset - range.lowerBound
        var fraction = 0
        if digits.take(UInt8(ascii: "."), bytes) {
            guard count == 10 || count == 13, let value = digits.fraction(bytes) else { return nil }
            fraction = value
        }
        guard digits.isAtEnd else { return nil }
        switch count {
        case 10: self.init(microseconds: whole * 1_000_000 + Int64(fraction))
        case 13: self.init(microseconds: whole * 1000 + Int64(fraction / 1000))
        case 16: self.init(microseconds: whole)
        case 19: self.init(microseconds: whole / 1000)
        default: return nil
        }
    }

    /// Reads what nearly every line has, `2025-03-04T18:21:03Z` or the same with three or six digits of a fraction, eight bytes at a time; nil
    /// for all other spellings.
    static func usual(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Instant? {
        guard range.count >= 20, range.count <= 27 else { return nil }
        let text = bytes.extracting(range)
        guard let minute = minute(text), let rest = rest(text) else { return nil }
        return Instant(microseconds: minute &+ rest)
    }

    /// What `2025-03-04T18:21` at the beginning of `text` is.
    private static func minute(_ text: Span<UInt8>) -> Int64? {
        // `2025-03-` and `04T18:21`.
        guard let date = Digits(text, at: 0, between: 0x2D00_002D_0000_0000),
            let middle = Digits(text, at: 8, between: 0x0000_3A00_0054_0000)
        else { return nil }
        let (year, month, day) = (date.two(0) &* 100 &+ date.two(2), date.two(5), middle.two(0))
        let (hour, minute) = (middle.two(3), middle.two(6))
        guard hour < 24, minute < 60, Calendar.isDate(year, month, day) else { return nil }
        return Int64(Calendar.day(year, month, day) &* 86_400 &+ hour &* 3600 &+ minute &* 60) &* 1_000_000
    }

    /// What stands behind the minute in a text of 20 to 27 bytes, in microseconds.
    @inline(__always)
    private static func rest(_ text: Span<UInt8>) -> Int64? {
        let (second, fraction): (Int, Int)
        switch text.count {
        case 27:
            // `:03.2193` and, from its `.` on once more, `.219384Z`.
            guard let seconds = Digits(text, at: 16, between: 0x0000_0000_2E00_003A),
                let rest = Digits(text, at: 19, between: 0x5A00_0000_0000_002E)
            else { return nil }
            second = seconds.two(1)
            fraction = rest.two(1) &* 10_000 &+ rest.two(3) &* 100 &+ rest.two(5)
        case 24:
            // `:03.219Z`
            guard let rest = Digits(text, at: 16, between: 0x5A00_0000_2E00_003A) else { return nil }
            second = rest.two(1)
            fraction = rest.two(4) &* 10_000 &+ rest.one(6) &* 1000
        case 20:
            // `8:21:03Z`
            guard let rest = Digits(text, at: 12, between: 0x5A00_003A_0000_3A00) else { return nil }
            (second, fraction) = (rest.two(5), 0)
        default: return nil
        }
        return second <= 60 ? Int64(second &* 1_000_000 &+ fraction) : nil
    }

    /// The minute that was read last: most lines are of the same one.
    struct MinuteMemo: Sendable {
        // `1970-01-01T00:00`
        private var (date, time): (UInt64, UInt64) = (0x2D31_302D_3037_3931, 0x3030_3A30_3054_3130)
        private var minute: Int64 = 0

        /// What `Instant.usual` says.
        @inline(__always)
        mutating func usual(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Instant? {
            guard range.count >= 20, range.count <= 27 else { return nil }
            let text = bytes.extracting(range)
            let (date, time) = text.withUnsafeBytes {
                (
                    UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)),
                    UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
                )
            }
            if date != self.date || time != self.time {
                guard let minute = Instant.minute(text) else { return nil }
                (self.date, self.time, self.minute) = (date, time, minute)
            }
            guard let rest = Instant.rest(text) else { return nil }
            return Instant(microseconds: minute &+ rest)
        }
    }

    /// Eight bytes that are digits but for what stands between them.
    private struct Digits {
        /// The value of each digit.
        private let values: UInt64

        /// Nil where another byte stands than the ones of `between`, or anything but a digit where that has none.
        @inline(__always)
        init?(_ text: Span<UInt8>, at offset: Int, between: UInt64) {
            let word = text.withUnsafeBytes {
                UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            }
            // 0xFF where something stands between: no such byte is zero, and none has its highest bit set.
            let high = (between &+ 0x7F7F_7F7F_7F7F_7F7F) & 0x8080_8080_8080_8080
            let separators = (high &- high >> 7) | high
            let values = (word ^ 0x3030_3030_3030_3030) & ~separators
            guard word & separators == between,
                ((values &+ 0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080 == 0
            else { return nil }
            self.values = values
        }

        @inline(__always)
        func one(_ index: Int) -> Int { Int(truncatingIfNeeded: values >> UInt64(index &* 8) & 0xF) }

        /// The number that the digits at `index` and behind it are.
        @inline(__always)
        func two(_ index: Int) -> Int {
            let pair = values >> UInt64(index &* 8)
            return Int(truncatingIfNeeded: (pair & 0xF) &* 10 &+ (pair >> 8 & 0xF))
        }
    }
}

/// Reads the digits of a time.
private struct DigitReader {
    var offset: Int
    let end: Int

    var isAtEnd: Bool { offset == end }

    mutating func take(_ byte: UInt8, _ bytes: Span<UInt8>) -> Bool {
        guard offset < end, bytes[offset] == byte else { return false }
        offset += 1
        return true
    }

    mutating func takeOne(of choices: StaticString, _ bytes: Span<UInt8>) -> Bool {
        for index in 0..<choices.utf8CodeUnitCount where take(choices.utf8Start[index], bytes) { return true }
        return false
    }

    /// Exactly `count` digits.
    mutating func number(_ count: Int, _ bytes: Span<UInt8>) -> Int? {
        guard offset + count <= end else { return nil }
        var value = 0
        for index in offset..<offset + count {
            guard bytes[index] >= 0x30, bytes[index] <= 0x39 else { return nil }
            value = value * 10 + Int(bytes[index] - 0x30)
        }
        offset += count
        return value
    }

    /// One digit or more, at most 19.
    mutating func upToNineteen(_ bytes: Span<UInt8>) -> Int64? {
        var value: UInt64 = 0
        let start = offset
        while offset < end, offset - start < 19, bytes[offset] >= 0x30, bytes[offset] <= 0x39 {
            value = value &* 10 &+ UInt64(bytes[offset] - 0x30)
            offset += 1
        }
        return offset > start ? Int64(exactly: value) : nil
    }

    /// One digit or more, as microseconds; those beyond the sixth are cut off.
    mutating func fraction(_ bytes: Span<UInt8>) -> Int? {
        var value = 0
        var scale = 100_000
        let start = offset
        while offset < end, bytes[offset] >= 0x30, bytes[offset] <= 0x39 {
            value += Int(bytes[offset] - 0x30) * scale
            scale /= 10
            offset += 1
        }
        return offset > start ? value : nil
    }

    /// Minutes east of UTC.
    mutating func zone(_ bytes: Span<UInt8>, _ withoutZone: Instant.WithoutZone) -> Int? {
        if isAtEnd {
            if case .isUTC = withoutZone { return 0 }
            return nil
        }
        if takeOne(of: "Zz", bytes) { return 0 }
        let isWest = take(UInt8(ascii: "-"), bytes)
        guard isWest || take(UInt8(ascii: "+"), bytes), let hour = number(2, bytes) else { return nil }
        _ = take(UInt8(ascii: ":"), bytes)
        guard let minute = number(2, bytes), hour < 24, minute < 60 else { return nil }
        return (isWest ? -1 : 1) * (hour * 60 + minute)
    }
}

/// The proleptic Gregorian calendar, by whole days since 1970-01-01.
package enum Calendar {
    static func isDate(_ year: Int, _ month: Int, _ day: Int) -> Bool {
        guard month >= 1, month <= 12, day >= 1 else { return false }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        switch month {
        case 2: return day <= (isLeap ? 29 : 28)
        case 4, 6, 9, 11: return day <= 30
        default: return day <= 31
        }
    }

    // Years are counted from March here, so that the leap day is the last of its year.

    static func day(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let marchYear = month <= 2 ? year - 1 : year
        let era = (marchYear >= 0 ? marchYear : marchYear - 399) / 400
        let yearOfEra = marchYear - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    package static func date(day: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }
}
