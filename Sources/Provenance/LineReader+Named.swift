/// Lines whose values have names: JSON and logfmt.
extension LineReader {
    // MARK: - JSON lines

    static func json(
        _ line: Span<UInt8>, _ reading: borrowing LineReading, into facts: inout LineFacts
    ) -> Bool {
        // What Windows begins texts with is no part of them.
        var syntax = JSONSyntax(at: line.hasBytes("\u{FEFF}", at: 0) ? 3 : 0)
        // Python writes these, and reads them.
        syntax.takesNotFinite = true
        syntax.skipSpace(line)
        guard syntax.take(UInt8(ascii: "{"), line) else { return false }
        let start = syntax.offset
        facts.begin(.json)
        do throws(JSONError) {
            try members(line, &syntax, reading, into: &facts)
            facts.end = syntax.offset - 1
            syntax.skipSpace(line)
            if syntax.offset == line.count {
                noteMissingTime(line, into: &facts)
                return true
            }
        } catch {}
        return brokenJSON(line, start, into: &facts)
    }

    /// A line that begins like an object and is none, cut short or spoiled: whoever mends it could not once something stood behind it. Nothing
    /// in it counts, not even its time. Braces that begin something else are text.
    private static func brokenJSON(_ line: Span<UInt8>, _ start: Int, into facts: inout LineFacts) -> Bool {
        var syntax = JSONSyntax(at: start)
        syntax.skipSpace(line)
        guard syntax.peek(line) == UInt8(ascii: "\"") else { return false }
        facts.begin(.json)
        facts.end = line.count
        facts.cannotBeAddedTo = true
        facts.hasUnreadTime = true
        facts.isRecommendation = line.contains("\"recommendation") || line.contains("\"/recommend")
        return true
    }

    private static func members(
        _ line: Span<UInt8>, _ syntax: inout JSONSyntax, _ reading: borrowing LineReading, into facts: inout LineFacts
    ) throws(JSONError) {
        syntax.skipSpace(line)
        if syntax.take(UInt8(ascii: "}"), line) {
            facts.isEmptyObject = true
            return
        }
        while true {
            syntax.skipSpace(line)
            let (name, isNameEscaped) = try syntax.skipString(line)
            // Nobody writes these names with escapes but to hide one.
            if isNameEscaped, KnownField(JSONSyntax.decoded(line, name)) != nil { facts.isRepeated = true }
            try syntax.skipColon(line)
            syntax.skipSpace(line)
            if syntax.peek(line) == UInt8(ascii: "\"") {
                let (content, isEscaped) = try syntax.skipString(line)
                take(name, FieldSpan(content, isEscaped ? .escaped : .plain), line, reading, into: &facts)
                if isDuration(line, name) { noteDuration(line, content, into: &facts) }
            } else {
                let start = syntax.offset
                try syntax.skipValue(line, depth: 1)
                let isNull = line.hasBytes("null", at: start)
                facts.takeNoText(name, start..<syntax.offset, isNull: isNull, line)
                if !isNull, let kind = timeName(line, name) { note(kind, line, start..<syntax.offset, into: &facts) }
                if !isNull, line[start] != UInt8(ascii: "{"), line[start] != UInt8(ascii: "[") {
                    takeAsked(name, FieldSpan(start..<syntax.offset, .plain), line, reading, into: &facts)
                }
                if !isNull, isDuration(line, name) { noteDuration(line, start..<syntax.offset, into: &facts) }
            }
            syntax.skipSpace(line)
            if syntax.take(UInt8(ascii: "}"), line) { return }
            guard syntax.take(UInt8(ascii: ","), line) else { throw syntax.expectedNext(isObject: true, line) }
        }
    }

    // MARK: - logfmt lines

    static func logfmt(
        _ line: Span<UInt8>, _ reading: borrowing LineReading, into facts: inout LineFacts
    ) -> Bool {
        facts.begin(.logfmt)
        facts.end = trimmedEnd(line)
        var index = 0
        var isFirst = true
        while true {
            while index < line.count, line[index] <= 0x20 { index += 1 }
            guard index < line.count else {
                noteMissingTime(line, into: &facts)
                return !isFirst
            }
            let start = index
            while index < line.count, line[index] > 0x20, line[index] != UInt8(ascii: "=") { index += 1 }
            let name = start..<index
            guard index < line.count, line[index] == UInt8(ascii: "="), !name.isEmpty else {
                // A word without a value is allowed, but a line does not begin with one.
                if isFirst { return false }
                if index < line.count, line[index] == UInt8(ascii: "=") { index += 1 }
                continue
            }
            if isFirst, !isName(line, name) { return false }
            isFirst = false
            index += 1
            // It began as logfmt: what cannot be read in it is not read in another way.
            guard let value = logfmtValue(line, &index) else {
                let isRecommendation = facts.isRecommendation || isOfRecommendation(line, index + 1..<line.count)
                facts.begin(.logfmt)
                facts.end = trimmedEnd(line)
                facts.cannotBeAddedTo = true
                facts.hasUnreadTime = true
                facts.isRecommendation = isRecommendation
                return true
            }
            take(name, value, line, reading, into: &facts)
            if isDuration(line, name) { noteDuration(line, value.range, into: &facts) }
        }
    }

    private static func isName(_ line: Span<UInt8>, _ range: Range<Int>) -> Bool {
        for index in range {
            switch line[index] {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"),
                UInt8(ascii: "@"):
                continue
            default: return false
            }
        }
        return true
    }

    /// The value at `index`, which is moved past it; nil when its quotes do not close. Loggers escape in ways of their own: what is no escape
    /// of ours is taken as it stands.
    private static func logfmtValue(_ line: Span<UInt8>, _ index: inout Int) -> FieldSpan? {
        let start = index
        guard index < line.count, line[index] == UInt8(ascii: "\"") else {
            while index < line.count, line[index] > 0x20 { index += 1 }
            return FieldSpan(start..<index, .plain)
        }
        var syntax = JSONSyntax(at: start)
        if let (content, isEscaped) = try? syntax.skipString(line) {
            index = syntax.offset
            return FieldSpan(content, isEscaped ? .escaped : .plain)
        }
        var end = start + 1
        while end < line.count, line[end] != UInt8(ascii: "\"") { end += line[end] == UInt8(ascii: "\\") ? 2 : 1 }
        guard end < line.count else { return nil }
        index = end + 1
        return FieldSpan(start + 1..<end, .plain)
    }

    // MARK: - Named values, in JSON and logfmt

    private static func take(
        _ name: Range<Int>, _ value: FieldSpan, _ line: Span<UInt8>, _ reading: borrowing LineReading,
        into facts: inout LineFacts
    ) {
        takeAsked(name, value, line, reading, into: &facts)
        if !facts.isRecommendation { facts.isRecommendation = isOfRecommendation(line, value.range) }
        if facts.take(name, value, line) != nil { return }
        if name.count == 7, line.hasBytes("variant", at: name.lowerBound) {
            if facts.variant != nil { facts.isRepeated = true }
            facts.variant = value
        } else if let kind = timeName(line, name), !value.range.isEmpty {
            note(kind, line, value.range, into: &facts)
        }
    }

    private static func note(_ kind: TimeName, _ line: Span<UInt8>, _ range: Range<Int>, into facts: inout LineFacts) {
        switch kind {
        case .time: noteTime(line, range, into: &facts)
        case .date:
            facts.date =
                UInt32(truncatingIfNeeded: range.lowerBound)..<UInt32(truncatingIfNeeded: range.upperBound)
        }
    }

    private static func noteTime(_ line: Span<UInt8>, _ range: Range<Int>, into facts: inout LineFacts) {
        guard !takeTime(line, range, into: &facts) else { return }
        facts.hasUnreadTime = true
        if looksDated(line.extracting(range)) { facts.hasOtherTime = true }
    }

    /// A line without a time is of now; but not where it may have one under a name that is not known here.
    private static func noteMissingTime(_ line: Span<UInt8>, into facts: inout LineFacts) {
        guard facts.time == nil, !facts.hasUnreadTime else { return }
        guard facts.date.isEmpty else {
            return noteTime(line, Int(facts.date.lowerBound)..<Int(facts.date.upperBound), into: &facts)
        }
        facts.hasUnreadTime = looksDated(line)
    }

    private enum TimeName {
        /// A logger's.
        case time
        /// Some shippers' too; others write of the day that something is about.
        case date
    }

    /// What a name says of its value, in letters of either case. Length and first letter tell nearly all names apart.
    @inline(__always)
    private static func timeName(_ line: Span<UInt8>, _ name: Range<Int>) -> TimeName? {
        guard name.count <= 10, !name.isEmpty else { return nil }
        return switch (name.count, line[name.lowerBound] | 0x20) {
        case (1, UInt8(ascii: "t")): .time
        case (2, UInt8(ascii: "t")): `is`("ts", line, name) ? .time : nil
        case (2, UInt8(ascii: "@") | 0x20): `is`("@t", line, name) ? .time : nil
        case (4, UInt8(ascii: "t")): `is`("time", line, name) ? .time : nil
        case (4, UInt8(ascii: "d")): `is`("date", line, name) ? .date : nil
        case (7, UInt8(ascii: "a")): `is`("asctime", line, name) ? .time : nil
        case (8, UInt8(ascii: "d")): `is`("datetime", line, name) ? .time : nil
        case (9, UInt8(ascii: "t")): `is`("timestamp", line, name) ? .time : nil
        case (9, UInt8(ascii: "e")): `is`("eventtime", line, name) ? .time : nil
        case (10, UInt8(ascii: "@") | 0x20): `is`("@timestamp", line, name) ? .time : nil
        case (10, UInt8(ascii: "e")): `is`("event_time", line, name) ? .time : nil
        default: nil
        }
    }

    private static func `is`(_ word: StaticString, _ line: Span<UInt8>, _ name: Range<Int>) -> Bool {
        for index in 0..<word.utf8CodeUnitCount {
            let byte = line[name.lowerBound + index]
            guard (byte &- 0x41 < 26 ? byte | 0x20 : byte) == word.utf8Start[index] else { return false }
        }
        return true
    }

    private static func takeAsked(
        _ name: Range<Int>, _ value: FieldSpan, _ line: Span<UInt8>, _ reading: borrowing LineReading,
        into facts: inout LineFacts
    ) {
        if name.count == reading.key.count, !name.isEmpty, line.hasBytes(reading.key, in: name) { facts.key = value }
        if name.count == reading.test.count, !name.isEmpty, line.hasBytes(reading.test, in: name) {
            facts.tested = value
        }
    }

    /// Whether a value is what servers write of recommendations: `recommendation…`, or the path `/recommend/…`.
    private static func isOfRecommendation(_ line: Span<UInt8>, _ value: Range<Int>) -> Bool {
        guard value.count >= 10, line[value.lowerBound] | 0x20 == UInt8(ascii: "r") || line[value.lowerBound] == 0x2F
        else { return false }
        return line.hasBytes("recommendation", at: value.lowerBound)
            || line.hasBytes("/recommend", at: value.lowerBound)
    }

    private static func isDuration(_ line: Span<UInt8>, _ name: Range<Int>) -> Bool {
        name.count == 11 && line.hasBytes("duration_ms", at: name.lowerBound)
    }

    /// One that cannot be read may be as long as any.
    private static func noteDuration(_ line: Span<UInt8>, _ range: Range<Int>, into facts: inout LineFacts) {
        if !range.isEmpty { facts.duration = wholeMilliseconds(line, range) ?? longestDuration }
    }

    /// A day: no request takes longer.
    private static let longestDuration: Int64 = 86_400_000_000

    /// Milliseconds, rounded up, as microseconds.
    private static func wholeMilliseconds(_ line: Span<UInt8>, _ range: Range<Int>) -> Int64? {
        var value: Int64 = 0
        for index in range {
            if line[index] == UInt8(ascii: ".") { break }
            guard line[index] >= 0x30, line[index] <= 0x39 else { return nil }
            value = min(value * 10 + Int64(line[index] - 0x30), 86_400_000)
        }
        return range.isEmpty ? nil : (value + 1) * 1000
    }
}
