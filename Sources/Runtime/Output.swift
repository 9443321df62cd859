import Glibc

/// Standard output, written in large pieces.
package final class Output {
    private let descriptor: Int32
    private var buffer: [UInt8] = []
    private static let flushAt = 1 << 16

    package init(_ descriptor: Int32 = STDOUT_FILENO) {
        self.descriptor = descriptor
        buffer.reserveCapacity(2 * Self.flushAt)
    }

    package func write(_ text: String) throws(SystemError) {
        buffer += text.utf8
        if buffer.count >= Self.flushAt { try flush() }
    }

    /// Appends in place, for those who write much.
    package func append(_ body: (inout [UInt8]) -> Void) throws(SystemError) {
        body(&buffer)
        if buffer.count >= Self.flushAt { try flush() }
    }

    package func flush() throws(SystemError) {
        defer { buffer.removeAll(keepingCapacity: true) }
        let descriptor = descriptor
        let isWritten = buffer.withUnsafeBytes { bytes in
            var start = 0
            while start < bytes.count {
                let count = retrying {
                    Glibc.write(descriptor, bytes.baseAddress?.advanced(by: start), bytes.count - start)
                }
                guard count >= 0 else { return false }
                start += count
            }
            return true
        }
        guard isWritten else { throw SystemError("write to", "standard output") }
    }
}

/// Standard input, in chunks.
package enum Input {
    /// Reads what there is; 0 at the end.
    package static func read(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
        let count = retrying { Glibc.read(STDIN_FILENO, buffer.baseAddress, buffer.count) }
        guard count >= 0 else { throw SystemError("read", "standard input") }
        return count
    }
}

/// Writes one line to standard error, past any buffer.
package func complain(_ line: String) {
    let longest = 4000
    let text = line.utf8.count > longest ? String(line.unicodeScalars.prefix(longest)) + " … (cut)" : line
    let bytes = Array((text + "\n").utf8)
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
