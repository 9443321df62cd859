/// Writes JSON in every layout that the product needs: its own compact and pretty text, RFC 8785, and the layouts
/// of Python's `json.dumps`, byte for byte.
package struct JSONWriter: Hashable, Sendable {
    /// How members of an object are ordered.
    package enum Order: Hashable, Sendable {
        case asWritten
        /// By Unicode scalar, as Python's `sort_keys=True` does.
        case scalars
        /// By UTF-16 code unit (RFC 8785, 3.2.3).
        case utf16
    }

    package var itemSeparator = ","
    package var nameSeparator = ":"
    /// Spaces per level, one value a line; nil for everything on one line.
    package var indent: Int?
    package var order = Order.asWritten
    /// Whether everything outside printable ASCII is written as `\u` escapes, as Python does by default.
    package var escapesNonASCII = false
    /// Whether numbers are written as RFC 8785 wants them, instead of as they were spelled.
    package var normalizesNumbers = false

    /// No white space; order and spelling as they were read.
    package static let compact = JSONWriter()

    /// No white space and nothing but ASCII, so that no reader sees a line end where there is none (U+0085, U+2028).
    package static let ascii = JSONWriter(escapesNonASCII: true)

    /// Two spaces a level; order and spelling as they were read.
    package static let pretty = JSONWriter(nameSeparator: ": ", indent: 2)

    /// RFC 8785 (JCS), but integers keep all their digits, so that two seeds above 2^53 never share a digest.
    package static let canonical = JSONWriter(order: .utf16, normalizesNumbers: true)

    package func bytes(_ value: JSON) -> [UInt8] {
        var output: [UInt8] = []
        write(value, to: &output)
        return output
    }

    package func text(_ value: JSON) -> String { String(decoding: bytes(value), as: UTF8.self) }

    /// Appends `value` to `output`.
    package func write(_ value: JSON, to output: inout [UInt8]) { write(value, level: 0, to: &output) }

    private func write(_ value: JSON, level: Int, to output: inout [UInt8]) {
        switch value {
        case .null: output += "null".utf8
        case .bool(let flag): output += (flag ? "true" : "false").utf8
        case .number(let spelling):
            output += (normalizesNumbers ? CanonicalNumber.text(spelling) ?? spelling : spelling).utf8
        case .string(let text): writeString(text, to: &output)
        case .array(let items):
            write(items, between: (UInt8(ascii: "["), UInt8(ascii: "]")), level: level, to: &output) { item, output in
                write(item, level: level + 1, to: &output)
            }
        case .object(let object):
            write(sorted(object.members), between: (UInt8(ascii: "{"), UInt8(ascii: "}")), level: level, to: &output) {
                member, output in
                writeString(member.name, to: &output)
                output += nameSeparator.utf8
                write(member.value, level: level + 1, to: &output)
            }
        }
    }

    private func write<Element>(
        _ elements: [Element], between brackets: (UInt8, UInt8), level: Int, to output: inout [UInt8],
        one: (Element, inout [UInt8]) -> Void
    ) {
        output.append(brackets.0)
        for (index, element) in elements.enumerated() {
            if index > 0 { output += itemSeparator.utf8 }
            breakLine(level + 1, to: &output)
            one(element, &output)
        }
        if !elements.isEmpty { breakLine(level, to: &output) }
        output.append(brackets.1)
    }

    private func breakLine(_ level: Int, to output: inout [UInt8]) {
        guard let indent else { return }
        output.append(0x0A)
        output += repeatElement(0x20, count: indent * level)
    }

    private func sorted(_ members: [JSONObject.Member]) -> [JSONObject.Member] {
        switch order {
        case .asWritten: members
        case .scalars: members.sorted { $0.name.precedesInBytes($1.name) }
        case .utf16: members.sorted { $0.name.utf16.lexicographicallyPrecedes($1.name.utf16) }
        }
    }

    /// Appends `text` as a JSON string, quotes included.
    package func writeString(_ text: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        if escapesNonASCII {
            for unit in text.utf16 {
                if unit < 0x7F {
                    Self.writeByte(UInt8(unit), to: &output)
                } else {
                    Self.writeUnit(unit, to: &output)
                }
            }
        } else {
            for byte in text.utf8 { Self.writeByte(byte, to: &output) }
        }
        output.append(UInt8(ascii: "\""))
    }

    private static func writeByte(_ byte: UInt8, to output: inout [UInt8]) {
        let letter: UInt8
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): letter = byte
        case 0x08: letter = UInt8(ascii: "b")
        case 0x09: letter = UInt8(ascii: "t")
        case 0x0A: letter = UInt8(ascii: "n")
        case 0x0C: letter = UInt8(ascii: "f")
        case 0x0D: letter = UInt8(ascii: "r")
        case 0..<0x20:
            writeUnit(UInt16(byte), to: &output)
            return
        default:
            output.append(byte)
            return
        }
        output.append(UInt8(ascii: "\\"))
        output.append(letter)
    }

    private static func writeUnit(_ unit: UInt16, to output: inout [UInt8]) {
        output += "\\u".utf8
        for shift: UInt16 in [12, 8, 4, 0] { output.append(hexDigit(UInt8(unit >> shift & 15))) }
    }
}

/// Numbers as RFC 8785, 3.2.2.3 wants them: the shortest form of ECMAScript. Integers keep every digit.
package enum CanonicalNumber {
    /// The canonical text of a number that the grammar admits; nil when it is too large for a double.
    package static func text(_ spelling: String) -> String? {
        if spelling.utf8.allSatisfy({ $0 == UInt8(ascii: "-") || ($0 >= 0x30 && $0 <= 0x39) }) {
            return spelling == "-0" ? "0" : spelling
        }
        guard let value = Double(spelling), value.isFinite else { return nil }
        return text(value)
    }

    /// ECMAScript's `Number.prototype.toString` for a finite double.
    package static func text(_ value: Double) -> String {
        if value == 0 { return "0" }
        let (digits, point) = shortest(value.magnitude)
        let count = digits.count
        let sign = value < 0 ? "-" : ""
        func text(_ part: ArraySlice<UInt8>) -> String { String(decoding: part, as: UTF8.self) }
        func zeros(_ count: Int) -> String { String(repeating: "0", count: count) }
        if count <= point, point <= 21 { return sign + text(digits[...]) + zeros(point - count) }
        if 0 < point, point <= 21 { return sign + text(digits[..<point]) + "." + text(digits[point...]) }
        if -6 < point, point <= 0 { return sign + "0." + zeros(-point) + text(digits[...]) }
        let exponent = point - 1
        let mantissa = count == 1 ? text(digits[...]) : text(digits[..<1]) + "." + text(digits[1...])
        return sign + mantissa + (exponent < 0 ? "e-" : "e+") + String(exponent.magnitude)
    }

    /// The fewest digits that name this double and no other, and where the decimal point stands among them.
    private static func shortest(_ value: Double) -> (digits: [UInt8], point: Int) {
        var digits: [UInt8] = []
        var point = 0
        var exponent = 0
        var seenPoint = false
        var text = Substring(value.description)
        if let mark = text.firstIndex(of: "e") {
            exponent = Int(text[text.index(after: mark)...]) ?? 0
            text = text[..<mark]
        }
        for byte in text.utf8 {
            if byte == UInt8(ascii: ".") {
                seenPoint = true
                continue
            }
            if digits.isEmpty, byte == UInt8(ascii: "0") {
                if seenPoint { point -= 1 }
                continue
            }
            digits.append(byte)
            if !seenPoint { point += 1 }
        }
        while digits.last == UInt8(ascii: "0") { digits.removeLast() }
        return (digits, point + exponent)
    }
}
