import Provenance
import Runtime

/// From one descriptor to another: what `colophon enrich < in > out` does. There is no spool between: the pipe is what waits.
package struct LineFilter: ~Copyable {
    private var enricher: LineEnricher
    private var cutter: LineCutter
    private var output: OutputBuffer
    private let input: Int32

    private static let chunk = 64 << 10

    package init(
        _ enricher: consuming LineEnricher, from input: Int32, to output: Int32, named name: String, lineLimit: Int
    ) {
        self.enricher = enricher
        cutter = LineCutter(limit: lineLimit)
        self.output = OutputBuffer(output, name)
        self.input = input
    }

    package var counters: LineCounters { enricher.counters }
    package var problem: String? { enricher.problem }

    /// Enriches until the input ends, or until `interruption` is signalled: false then, when all that was read has been written. `progress` is
    /// told how many bytes were read.
    package mutating func run(until interruption: Wake, progress: (Int) -> Void) throws(SystemError) -> Bool {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.chunk, alignment: 4096)
        defer { buffer.deallocate() }
        Pipes.widen(input)
        Pipes.widen(output.descriptor)
        while true {
            var ready = Readiness.wait([input, interruption.number], milliseconds: 0)
            if !ready[0], !ready[1] {
                // Somebody may be waiting for what was read so far.
                try output.flush()
                ready = Readiness.wait([input, interruption.number], milliseconds: -1)
            }
            if ready[1] { break }
            guard ready[0] else { continue }
            let count = try Pipes.read(input, into: buffer)
            if count == 0 {
                try finish()
                return true
            }
            enricher.refresh()
            try take(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            progress(count)
        }
        if cutter.carriedCount > 0 {
            // What was read in part is written whole, if that can be.
            let count = Pipes.readLineEnd(input, into: buffer)
            try take(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
        try finish()
        return false
    }

    package mutating func take(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
        try cutter.take(bytes) { piece, line throws(SystemError) in
            try Self.hand(piece, line, &enricher, &output)
        }
    }

    package mutating func finish() throws(SystemError) {
        try cutter.finish { piece, line throws(SystemError) in
            try Self.hand(piece, line, &enricher, &output)
        }
        try output.flush()
    }

    private static func hand(
        _ piece: LineCutter.Piece, _ line: Span<UInt8>, _ enricher: inout LineEnricher, _ output: inout OutputBuffer
    ) throws(SystemError) {
        switch piece {
        case .line(let isEnded):
            let result = enricher.enrich(line)
            if enricher.leavesOut(result) { return }
            try output.append(line, result, isEnded: isEnded)
        case .overlong(let number, _, let isEnded):
            if number == 0 { enricher.counters.count(overlong: 0) }
            enricher.counters.bytes &+= UInt64(line.count)
            // What is too long for a record is not too long for a pipe.
            try output.append(line, isEnded: isEnded)
        }
    }
}

/// What is written, in large pieces.
package struct OutputBuffer: ~Copyable {
    let descriptor: Int32
    private let name: String
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 128 << 10, alignment: 4096)
    private var count = 0

    package init(_ descriptor: Int32, _ name: String) {
        self.descriptor = descriptor
        self.name = name
    }

    deinit { buffer.deallocate() }

    /// Appends a line with what is added to it.
    @inline(__always)
    mutating func append(
        _ line: Span<UInt8>, _ result: LineEnricher.Result, isEnded: Bool
    ) throws(SystemError) {
        let addition = result.addition
        let needed = line.count + addition.count + 1
        if buffer.count - count < needed {
            try flush()
            guard needed <= buffer.count else {
                try append(line.extracting(0..<result.place), isEnded: false)
                try append(Span(_unsafeBytes: addition), isEnded: false)
                return try append(line.extracting(result.place..<line.count), isEnded: isEnded)
            }
        }
        let place = result.place
        let start = buffer.baseAddress.unsafelyUnwrapped + count
        line.withUnsafeBytes { line in
            let source = line.baseAddress
            if let source { start.copyMemory(from: source, byteCount: place) }
            if let added = addition.baseAddress {
                (start + place).copyMemory(from: added, byteCount: addition.count)
            }
            if let source, line.count > place {
                (start + place + addition.count).copyMemory(from: source + place, byteCount: line.count - place)
            }
        }
        count += needed - 1
        if isEnded {
            buffer[count] = 0x0A
            count += 1
        }
    }

    /// Appends bytes as they are.
    mutating func append(_ bytes: Span<UInt8>, isEnded: Bool) throws(SystemError) {
        if buffer.count - count < bytes.count + 1 { try flush() }
        if bytes.count + 1 > buffer.count {
            try Pipes.writeAll(descriptor, bytes.bytes, name)
        } else {
            bytes.withUnsafeBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                (buffer.baseAddress.unsafelyUnwrapped + count).copyMemory(from: base, byteCount: bytes.count)
            }
            count += bytes.count
        }
        if isEnded {
            buffer[count] = 0x0A
            count += 1
        }
    }

    package mutating func flush() throws(SystemError) {
        guard count > 0 else { return }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        count = 0
        try Pipes.writeAll(descriptor, RawSpan(_unsafeBytes: bytes), name)
    }
}
