import Provenance

/// Why a file cannot be profiled as CSV.
package enum CSVError: Error, Sendable, CustomStringConvertible {
    case noHeader
    case noColumn(name: String, columns: [String])
    case shortRow(line: Int, columns: Int, name: String)
    case openQuote(line: Int)
    case loneReturn(line: Int)
    case ambiguousColumn(name: String)

    package var description: String {
        switch self {
        case .noHeader: "the file has no header line that names its columns"
        case .noColumn(let name, let columns):
            "there is no column \"\(name.onOneLine)\"; it has \(columns.map(\.onOneLine).joined(separator: ", "))"
        case .shortRow(let line, let columns, let name):
            "line \(line) has \(Figures.count(columns, "column", "columns")), too few to hold \(name.onOneLine)"
        case .loneReturn(let line):
            "line \(line) has a carriage return that ends no line: convert the line ends to LF or CRLF"
        case .ambiguousColumn(let name): "several columns are called \"\(name.onOneLine)\""
        case .openQuote(let line): "the quote that opens in line \(line) never closes"
        }
    }
}

/// Counts the rows of a CSV file and the different values in some of its columns, as its bytes pass by.
///
/// RFC 4180 with the liberties that Python's `csv` takes: lines end in LF or CRLF, empty lines do not count, and a quote
/// inside an unquoted field is itself.
package struct CSVProfile {
    private enum State {
        case fieldStart
        case plain
        case quoted
        case quoteInQuoted
    }

    private let wanted: [String]
    /// The positions of the wanted columns; nil until the header has passed.
    private var columns: [Int]?
    /// For each column up to the last wanted one, its place in `sets`; nil for those that are passed over.
    private var setOfColumn: [Int?] = []
    private var sets: [ByteSet]
    private var headerFields: [String] = []

    private var state = State.fieldStart
    private var field: [UInt8] = []
    private var column = 0
    /// Bytes of the field at hand that passed in earlier pieces, outside quotes.
    private var passed = 0
    private var passedEndsInReturn = false
    private var rowHasQuote = false
    private var line = 1
    private var quoteLine = 1
    /// The first bytes, until there are enough to tell a byte order mark; nil when that is settled.
    private var head: [UInt8]? = []

    /// Data rows that have ended.
    package private(set) var rows: Int64 = 0

    /// Counts different values of the columns with these names.
    package init(columns: [String]) {
        wanted = columns
        sets = columns.map { _ in ByteSet() }
    }

    /// How many different values each column has, in the order in which they were asked for.
    package var distinct: [Int64] {
        (columns ?? []).map { column in setOfColumn[column].map { Int64(sets[$0].count) } ?? 0 }
    }

    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    /// Takes the next bytes.
    package mutating func feed(_ bytes: UnsafeRawBufferPointer) throws(CSVError) {
        guard var head else { return try parse(bytes) }
        let missing = min(bytes.count, Self.byteOrderMark.count - head.count)
        head += bytes[..<missing]
        self.head = head
        guard head.count == Self.byteOrderMark.count else { return }
        try settleHead()
        try parse(UnsafeRawBufferPointer(rebasing: bytes[missing...]))
    }

    /// Passes the first bytes on, unless they are a byte order mark.
    private mutating func settleHead() throws(CSVError) {
        guard let head else { return }
        self.head = nil
        if head == Self.byteOrderMark { return }
        var failure: CSVError?
        head.withUnsafeBytes { bytes in
            do throws(CSVError) { try parse(bytes) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    private mutating func parse(_ bytes: UnsafeRawBufferPointer) throws(CSVError) {
        var index = 0
        while index < bytes.count {
            if column == 0, state == .fieldStart, columns != nil {
                takePlainRows(bytes, &index)
                if index == bytes.count { return }
            }
            switch state {
            case .fieldStart, .plain:
                if state == .fieldStart, bytes[index] == UInt8(ascii: "\"") {
                    state = .quoted
                    quoteLine = line
                    rowHasQuote = true
                    index += 1
                } else {
                    try feedPlain(bytes, &index)
                }
            case .quoted: feedQuoted(bytes, &index)
            case .quoteInQuoted:
                if bytes[index] == UInt8(ascii: "\"") {
                    keep(bytes[index])
                    state = .quoted
                    index += 1
                } else {
                    state = .plain
                }
            }
        }
    }

    /// Ends the file.
    package mutating func finish() throws(CSVError) {
        try settleHead()
        if state == .quoted { throw .openQuote(line: quoteLine) }
        try endRow(Slice(base: UnsafeRawBufferPointer(start: nil, count: 0), bounds: 0..<0))
        if columns == nil { throw .noHeader }
    }

    /// Takes whole rows without a quote in them, which most are, in one tight loop; leaves the first other row.
    private mutating func takePlainRows(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) {
        let wantedColumns = setOfColumn.count
        while index < bytes.count {
            var column = 0
            var start = index
            // First to the end of the row, so that what is no plain row is left untouched.
            let end = ByteScan.first(0x0A, or: UInt8(ascii: "\""), bytes, index..<bytes.count)
            guard end < bytes.count, bytes[end] == 0x0A else { return }
            let rowEnd = end > index && bytes[end - 1] == 0x0D ? end - 1 : end
            guard rowEnd > index, ByteScan.first(0x0D, bytes, index..<rowEnd) == rowEnd else { return }
            while column < wantedColumns {
                let stop = ByteScan.first(UInt8(ascii: ","), bytes, start..<rowEnd)
                if let set = setOfColumn[column] {
                    sets[set].insert(UnsafeRawBufferPointer(rebasing: bytes[start..<stop]))
                }
                column += 1
                start = stop + 1
                if stop == rowEnd { break }
            }
            // Too few columns: the values that it had are counted again, and then it is told.
            guard column == wantedColumns else { return }
            rows += 1
            line += 1
            index = end + 1
        }
    }

    private mutating func feedPlain(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) throws(CSVError) {
        let start = index
        var end = index
        while end < bytes.count {
            let byte = bytes[end]
            if byte == UInt8(ascii: ",") || byte == 0x0A { break }
            end += 1
        }
        try refuseLoneReturn(
            bytes[start..<end], endsRow: end < bytes.count && bytes[end] == 0x0A, isCut: end == bytes.count)
        guard end < bytes.count else {
            // The field goes on in the next piece.
            if isKept { field.append(contentsOf: bytes[start..<end]) }
            passed += end - start
            passedEndsInReturn = bytes[end - 1] == 0x0D
            state = .plain
            index = end
            return
        }
        index = end + 1
        if bytes[end] == UInt8(ascii: ",") {
            try endField(bytes[start..<end])
        } else {
            line += 1
            try endRow(bytes[start..<end])
        }
    }

    /// A carriage return stands only before a line feed, here or in the next piece.
    private func refuseLoneReturn(
        _ field: Slice<UnsafeRawBufferPointer>, endsRow: Bool, isCut: Bool
    ) throws(CSVError) {
        if passedEndsInReturn, !field.isEmpty || !endsRow, !(isCut && field.isEmpty) { throw .loneReturn(line: line) }
        guard let index = field.firstIndex(of: 0x0D) else { return }
        guard index == field.endIndex - 1, endsRow || isCut else { throw .loneReturn(line: line) }
    }

    private mutating func feedQuoted(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) {
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            if byte == UInt8(ascii: "\"") {
                state = .quoteInQuoted
                return
            }
            if byte == 0x0A { line += 1 }
            keep(byte)
        }
    }

    /// Whether anybody wants to know what stands in the column at hand.
    private var isKept: Bool { columns == nil || (column < setOfColumn.count && setOfColumn[column] != nil) }

    private mutating func keep(_ byte: UInt8) { if isKept { field.append(byte) } }

    private mutating func endField(_ rest: Slice<UnsafeRawBufferPointer>) throws(CSVError) {
        if isKept { take(rest) }
        column += 1
        passed = 0
        passedEndsInReturn = false
        state = .fieldStart
    }

    private mutating func endRow(_ rest: Slice<UnsafeRawBufferPointer>) throws(CSVError) {
        var rest = rest
        if rest.last == 0x0D {
            rest = rest.dropLast()
        } else if rest.isEmpty, passedEndsInReturn {
            if isKept { field.removeLast() }
            passed -= 1
        }
        // An empty line is no row.
        let isBlank = column == 0 && passed == 0 && rest.isEmpty && !rowHasQuote
        if !isBlank {
            try endField(rest)
            if columns == nil { try readHeader() } else { try countRow() }
        }
        state = .fieldStart
        passed = 0
        passedEndsInReturn = false
        column = 0
        rowHasQuote = false
    }

    private mutating func take(_ rest: Slice<UnsafeRawBufferPointer>) {
        if columns == nil {
            field.append(contentsOf: rest)
            headerFields.append(String(decoding: field, as: UTF8.self))
        } else if let set = setOfColumn[column] {
            if field.isEmpty {
                sets[set].insert(UnsafeRawBufferPointer(rebasing: rest))
                return
            }
            field.append(contentsOf: rest)
            field.withUnsafeBytes { sets[set].insert($0) }
        }
        field.removeAll(keepingCapacity: true)
    }

    private mutating func readHeader() throws(CSVError) {
        var positions: [Int] = []
        for name in wanted {
            guard let position = headerFields.firstIndex(where: { $0.hasSameBytes(as: name) }) else {
                throw .noColumn(name: name, columns: headerFields)
            }
            guard headerFields.count(where: { $0.hasSameBytes(as: name) }) == 1 else {
                throw .ambiguousColumn(name: name)
            }
            positions.append(position)
        }
        setOfColumn = [Int?](repeating: nil, count: (positions.max() ?? -1) + 1)
        for (set, position) in positions.enumerated() where setOfColumn[position] == nil { setOfColumn[position] = set }
        columns = positions
    }

    private mutating func countRow() throws(CSVError) {
        guard column >= setOfColumn.count else {
            let missing = columns.flatMap { $0.firstIndex { $0 >= column } } ?? 0
            throw .shortRow(line: line - 1, columns: column, name: wanted[missing])
        }
        rows += 1
    }
}
