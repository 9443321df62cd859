import Provenance
import Runtime

/// Prints the results of commands that answer once.
enum Printer {
    static func print(_ text: String) throws(CommandError) -> ExitCode {
        try print(rows: [text])
    }

    /// JSON for machines, on one line.
    static func print(_ value: JSON) throws(CommandError) -> ExitCode {
        try print(rows: [JSONWriter.compact.text(value)])
    }

    static func print(rows: [String]) throws(CommandError) -> ExitCode {
        try print { output in for row in rows { output += "\(row)\n".utf8 } }
    }

    static func print(_ body: (inout [UInt8]) -> Void) throws(CommandError) -> ExitCode {
        let output = Output()
        try CommandError.wrap { () throws(SystemError) in
            try output.append(body)
            try output.flush()
        }
        return .fine
    }

    /// Rows in columns; the last column is as wide as it likes.
    static func table(_ rows: [[String]]) -> [String] {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in rows.map { $0[column].unicodeScalars.count }.max() ?? 0 }
        return rows.map { row in
            row.enumerated().map { column, text in
                column == columns - 1
                    ? text : text + String(repeating: " ", count: widths[column] - text.unicodeScalars.count + 2)
            }.joined().trimmingSpaces
        }
    }
}

extension String {
    /// Without the spaces at its end.
    fileprivate var trimmingSpaces: String {
        String(
            decoding: utf8.prefix(
                (utf8.lastIndex { $0 != 0x20 }.map { utf8.distance(from: utf8.startIndex, to: $0) } ?? -1) + 1),
            as: UTF8.self)
    }
}
