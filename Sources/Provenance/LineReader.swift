/// Reads what a log line says about its provenance, in each of the formats of DESIGN 6.1. Allocates nothing, but
/// for a JSON name that is written with escapes.
package enum LineReader {
    /// The facts of `line`, which has no line end.
    package static func read(_ line: Span<UInt8>) -> LineFacts {
        var facts = LineFacts(.text)
        _ = read(line, .usual, into: &facts)
        return facts
    }

    /// Puts the facts of `line`, which has no line end, and what else `reading` asks for, into `facts`, which are new or those of another
    /// line; false when the line is not in the one format that `reading` allows: then they say nothing.
    package static func read(
        _ line: Span<UInt8>, _ reading: borrowing LineReading, into facts: inout LineFacts
    ) -> Bool {
        if usual(line, reading, into: &facts) || unusual(line, reading, into: &facts) { return true }
        facts.begin(.text)
        return false
    }

    /// The same, for lines of every kind, whatever was in `facts`.
    static func unusual(
        _ line: Span<UInt8>, _ reading: borrowing LineReading, into facts: inout LineFacts
    ) -> Bool {
        switch reading.format {
        case .recommendation: recommendation(line, reading, into: &facts)
        case .json: json(line, reading, into: &facts)
        case .logfmt: logfmt(line, reading, into: &facts)
        case .text: text(line, reading, into: &facts)
        case nil:
            json(line, reading, into: &facts) || recommendation(line, reading, into: &facts)
                || logfmt(line, reading, into: &facts) || text(line, reading, into: &facts)
        }
    }

    private static func text(
        _ line: Span<UInt8>, _ reading: borrowing LineReading, into facts: inout LineFacts
    ) -> Bool {
        facts.begin(.text)
        let end = trimmedEnd(line)
        _ = suffix(line, end: end, into: &facts)
        // Anybody may end a text with a name and a value; a stamp has both of these.
        if !hasWholeStamp(facts) { facts.distrust(line) }
        facts.end = end
        facts.isRecommendation = line.contains("recommendation request")
        if facts.isRecommendation {
            leadingTime(line, into: &facts)
        } else if reading.readsOtherTimes {
            columns(line, reading, into: &facts)
            if facts.time == nil { leadingTime(line, into: &facts) }
        }
        return true
    }

    /// Reads time and user of another event of the same server: `<time>,<user>,GET /rate/…`.
    private static func columns(_ line: Span<UInt8>, _ reading: borrowing LineReading, into facts: inout LineFacts) {
        guard reading.isKeyUser, let first = firstComma(line), takeTime(line, 0..<first, into: &facts),
            let second = comma(line, after: first)
        else { return }
        facts.key = FieldSpan(word(line, first + 1..<second), .plain)
    }

    /// The end of the first column, where servers write the time; nil where there is none.
    @inline(__always)
    private static func firstComma(_ line: Span<UInt8>) -> Int? {
        let limit = min(line.count, 64)
        let first = line.first(UInt8(ascii: ","), in: 0..<limit)
        return first < limit ? first : nil
    }

    /// The end of the second one, where they write the user.
    @inline(__always)
    private static func comma(_ line: Span<UInt8>, after first: Int) -> Int? {
        let limit = min(line.count, first + 512)
        let second = line.first(UInt8(ascii: ","), in: first + 1..<limit)
        return second < limit ? second : nil
    }

    /// Reads the time that a text begins with, alone or in brackets, as one word or as a date and a time.
    private static func leadingTime(_ line: Span<UInt8>, into facts: inout LineFacts) {
        let start = line.count > 0 && line[0] == UInt8(ascii: "[") ? 1 : 0
        let limit = min(line.count, start + 40)
        let first = wordEnd(line, start, limit)
        let second = first < limit && line[first] == 0x20 ? wordEnd(line, first + 1, limit) : first
        // Together first: a date alone is a time too.
        _ =
            takeTime(line, start..<trimmed(line, start, second), into: &facts)
            || takeTime(line, start..<trimmed(line, start, first), into: &facts)
        noteZoneWord(line, second, into: &facts)
        facts.hasUnreadTime = facts.hasUnreadTime || facts.time == nil && looksDated(line)
    }

    /// A zone may stand behind date and time as a word of its own. Those that are no offset have several meanings.
    private static func noteZoneWord(_ line: Span<UInt8>, _ start: Int, into facts: inout LineFacts) {
        guard facts.timeLacksZone, start < line.count, line[start] == 0x20 else { return }
        let end = wordEnd(line, start + 1, min(line.count, start + 8))
        guard end > start + 1 else { return }
        let sign = line[start + 1]
        let isOffset =
            (sign == 0x2B || sign == 0x2D) && end - start >= 4 && line[start + 2] &- 0x30 <= 9
            && line[start + 3] &- 0x30 <= 9
        if line.hasBytes("UTC", at: start + 1) || line.hasBytes("GMT", at: start + 1)
            || line.hasBytes("Z", at: start + 1) && end == start + 2
        {
            facts.timeLacksZone = false
        } else if isOffset
            || zoneNames.contains(where: { end == start + 1 + $0.utf8CodeUnitCount && line.hasBytes($0, at: start + 1) }
            )
        {
            facts.time = nil
            facts.hasUnreadTime = true
        }
    }

    private static let zoneNames: [StaticString] = [
        "CET", "CEST", "EET", "EEST", "WET", "WEST", "BST", "MSK", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST",
        "PDT", "IST", "JST",
        "KST", "AEST", "AEDT", "SGT", "HKT", "NZST", "NZDT",
    ]

    private static func wordEnd(_ line: Span<UInt8>, _ start: Int, _ limit: Int) -> Int {
        var end = start
        while end < limit, line[end] > 0x20, line[end] != UInt8(ascii: "]") { end += 1 }
        return end
    }

    /// A word may end in what separates it from the next one.
    private static func trimmed(_ line: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
        var stop = end
        while stop > start, [0x2C, 0x3A, 0x3B, 0x7C].contains(line[stop - 1]) { stop -= 1 }
        return stop
    }

    /// Whether something like `18:21:03` stands there.
    private static func hasClock(_ line: Span<UInt8>, _ range: Range<Int>) -> Bool {
        func isPair(_ index: Int) -> Bool { line[index] &- 0x30 <= 9 && line[index + 1] &- 0x30 <= 9 }
        for index in range where index + 8 <= range.upperBound {
            if line[index + 2] == 0x3A, line[index + 5] == 0x3A, isPair(index), isPair(index + 3), isPair(index + 6) {
                return true
            }
        }
        return false
    }

    /// Takes the time at `range`: a date and a time, or a number of seconds, milliseconds, microseconds or nanoseconds since 1970.
    static func takeTime(_ line: Span<UInt8>, _ range: Range<Int>, into facts: inout LineFacts) -> Bool {
        if let time = facts.minutes.usual(line, range) {
            facts.take(time, lacksZone: false, .moment)
            return true
        }
        var lacksZone = false
        if let time = Instant(line, in: range, withoutZone: .isUTC, lacksZone: &lacksZone) {
            // What has no seconds, or no time of day, says only in which minute or on which day it was.
            let isWhole = range.count > 16 && line[range.lowerBound + 16] == UInt8(ascii: ":")
            facts.take(time, lacksZone: lacksZone, isWhole ? .moment : range.count <= 10 ? .day : .minute)
            return true
        }
        guard let time = Instant(sinceEpoch: line, in: range) else { return false }
        facts.take(time, lacksZone: false, .moment)
        return true
    }

    /// Whether something that looks like a date or a time of day stands anywhere: in a line whose time was not found, that is perhaps the one.
    static func looksDated(_ line: Span<UInt8>) -> Bool {
        func digits(_ index: Int, _ count: Int) -> Bool {
            guard index + count <= line.count else { return false }
            for place in index..<index + count where line[place] &- 0x30 > 9 { return false }
            return true
        }
        if hasClock(line, 0..<line.count) { return true }
        for index in 0..<line.count where line[index] &- 0x30 <= 9 {
            if index > 0, line[index - 1] &- 0x30 <= 9 { continue }
            // 2025-03-10, 2025/03/10, 2025\/03\/10, 20250310T, 20250310_, 20250310112233, 10.3.2025 and 3/10/2025.
            if digits(index, 4), line.hasBytes("\\/", at: index + 4), digits(index + 6, 2) { return true }
            if digits(index, 14), line[index] == 0x31 || line[index] == 0x32 { return true }
            let day = digits(index, 2) ? index + 2 : index + 1
            if day < line.count, line[day] == 0x2E || line[day] == 0x2F, digits(day + 1, 1) {
                let month = digits(day + 1, 2) ? day + 3 : day + 2
                if month < line.count, line[month] == line[day], digits(month + 1, 4) { return true }
            }
            if digits(index, 4), index + 10 <= line.count, line[index + 4] == line[index + 7],
                line[index + 4] == 0x2D || line[index + 4] == 0x2F, digits(index + 5, 2), digits(index + 8, 2)
            {
                return true
            }
            if digits(index, 8), index + 8 < line.count,
                line[index + 8] == UInt8(ascii: "T") || line[index + 8] == UInt8(ascii: "_")
            {
                return true
            }
        }
        return false
    }

    private static func hasWholeStamp(_ facts: borrowing LineFacts) -> Bool {
        if facts.provenance.modelVersion == nil { return false }
        return facts.provenance.manifestSHA256 != nil
    }

    static func trimmedEnd(_ line: Span<UInt8>) -> Int {
        var end = line.count
        while end > 0, line[end - 1] <= 0x20 { end -= 1 }
        return end
    }

    // MARK: - Suffixes

    /// Reads `, name=value` items from the end backwards, for as long as they are ours and in order;
    /// answers where they begin.
    private static func suffix(_ line: Span<UInt8>, end: Int, into facts: inout LineFacts) -> Int {
        var end = end
        var lastRank = Int.max
        while let item = lastItem(line, end: end) {
            guard let field = KnownField(line, item.name), field.rank.map({ $0 < lastRank }) ?? true,
                facts.take(item.name, FieldSpan(item.value, .percent), line) != nil
            else { break }
            lastRank = field.rank ?? lastRank
            end = item.comma
        }
        return end
    }

    /// The `name=value` behind the last comma before `end`; nil when there is none. A value holds no spaces: they are
    /// written as %20.
    private static func lastItem(
        _ line: Span<UInt8>, end: Int
    ) -> (comma: Int, name: Range<Int>, value: Range<Int>)? {
        guard let comma = line.lastIndex(of: UInt8(ascii: ","), in: 0..<end) else { return nil }
        var start = comma + 1
        while start < end, line[start] == 0x20 { start += 1 }
        // No name of ours is longer than sixteen letters.
        guard let equals = line.firstIndex(of: UInt8(ascii: "="), in: start..<min(end, start + 17)), equals > start,
            line.firstIndex(of: 0x20, in: start..<end) == nil
        else { return nil }
        return (comma, start..<equals, equals + 1..<end)
    }

    // MARK: - Recommendation lines

    private static func recommendation(
        _ line: Span<UInt8>, _ reading: borrowing LineReading, into facts: inout LineFacts
    ) -> Bool {
        guard let first = firstComma(line), let second = comma(line, after: first) else { return false }
        var start = second + 1
        while start < line.count, line[start] == 0x20 { start += 1 }
        guard line.hasBytes("recommendation request", at: start) else { return false }

        let lineEnd = trimmedEnd(line)
        beginRecommendation(line, first, second, end: lineEnd, reading, into: &facts)
        // A line that is not built like this was cut short, or somebody else wrote a part of it: then nothing in it counts but its
        // columns, which the server wrote before anything of the user's.
        let middle = statusEnd(line, start + 22)
        let end = suffix(line, end: lineEnd, into: &facts)
        // Only what stands after the duration is the server's own word: a path or a title may hold anything.
        let duration = duration(line, end: end)
        if let duration, let middle, duration.start >= middle {
            facts.duration = duration.microseconds
        } else if hasWholeStamp(facts) {
            // Ours, most likely, but it stands where it proves nothing.
            facts.isUnproven = true
        } else {
            beginRecommendation(line, first, second, end: lineEnd, reading, into: &facts)
        }
        guard let middle else { return true }
        readMiddle(line, middle..<max(middle, duration?.start ?? lineEnd), reading, into: &facts)
        return true
    }

    @inline(__always)
    private static func beginRecommendation(
        _ line: Span<UInt8>, _ first: Int, _ second: Int, end: Int, _ reading: borrowing LineReading,
        into facts: inout LineFacts
    ) {
        facts.begin(.recommendation)
        facts.end = end
        facts.isRecommendation = true
        facts.hasUnreadTime = first > 0 ? !takeTime(line, 0..<first, into: &facts) : looksDated(line)
        let user = FieldSpan(word(line, first + 1..<second), .plain)
        if reading.isKeyUser { facts.key = user }
        if reading.isTestUser { facts.tested = user }
    }

    /// The range without the spaces at its ends.
    @inline(__always)
    private static func word(_ line: Span<UInt8>, _ range: Range<Int>) -> Range<Int> {
        var (start, end) = (range.lowerBound, range.upperBound)
        while start < end, line[start] == 0x20 { start += 1 }
        while start < end, line[end - 1] == 0x20 { end -= 1 }
        return start..<end
    }

    /// Where `<path>, status <code>` ends, with or without the space, for a path without spaces at `start`; nil when it does not stand there.
    private static func statusEnd(_ line: Span<UInt8>, _ start: Int) -> Int? {
        guard start < line.count, line[start] == 0x20 else { return nil }
        let space = line.first(0x20, in: start + 1..<line.count)
        guard space < line.count else { return nil }
        let code: Int
        if line[space - 1] == UInt8(ascii: ","), line.hasBytes("status ", at: space + 1) {
            code = space + 8
        } else if space - 7 > start, line.hasBytes(",status", at: space - 7) {
            code = space + 1
        } else {
            return nil
        }
        var index = code
        while index < line.count, line[index] >= 0x30, line[index] <= 0x39 { index += 1 }
        return index > code && (index == line.count || line[index] == UInt8(ascii: ",")) ? index : nil
    }

    /// Reads `, <n> ms` that ends at `end`.
    private static func duration(_ line: Span<UInt8>, end: Int) -> (start: Int, microseconds: Int64)? {
        guard line.hasBytes(" ms", at: end - 3) else { return nil }
        var index = end - 4
        while index >= 0, line[index] >= 0x30 && line[index] <= 0x39 || line[index] == UInt8(ascii: ".") { index -= 1 }
        let digits = index + 1..<end - 3
        guard !digits.isEmpty else { return nil }
        while index >= 0, line[index] == 0x20 { index -= 1 }
        guard index >= 0, line[index] == UInt8(ascii: ",") else { return nil }
        var milliseconds: Int64 = 0
        for offset in digits {
            guard line[offset] != UInt8(ascii: ".") else { break }
            milliseconds = min(milliseconds * 10 + Int64(line[offset] - 0x30), 86_400_000)
        }
        return (index, (milliseconds + 1) * 1000)
    }

    /// Reads the variant and the request id between the status and the result: whatever follows `result:` may be a title.
    private static func readMiddle(
        _ line: Span<UInt8>, _ range: Range<Int>, _ reading: borrowing LineReading, into facts: inout LineFacts
    ) {
        var start = range.lowerBound
        while start < range.upperBound, line[start] == UInt8(ascii: ",") {
            start += 1
            while start < range.upperBound, line[start] == 0x20 { start += 1 }
            if line.hasBytes("result:", at: start) { return }
            let stop = line.first(UInt8(ascii: ","), in: start..<range.upperBound)
            if line.hasBytes("variant=", at: start) {
                if facts.variant != nil { facts.isRepeated = true }
                facts.variant = FieldSpan(start + 8..<stop, .percent)
            } else if line.hasBytes("request_id=", at: start), facts.requestID == nil {
                facts.requestID = FieldSpan(start + 11..<stop, .percent)
            }
            if let value = value(of: reading.key, line, start..<stop) { facts.key = value }
            if let value = value(of: reading.test, line, start..<stop) { facts.tested = value }
            start = stop
        }
    }

    /// The value in `name=value`.
    @inline(__always)
    private static func value(of name: borrowing [UInt8], _ line: Span<UInt8>, _ item: Range<Int>) -> FieldSpan? {
        let equals = item.lowerBound + name.count
        guard equals < item.upperBound, line[equals] == UInt8(ascii: "="), !name.isEmpty,
            line.hasBytes(name, in: item.lowerBound..<equals)
        else { return nil }
        return FieldSpan(equals + 1..<item.upperBound, .percent)
    }
}
