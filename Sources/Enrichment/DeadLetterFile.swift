import Provenance
import Runtime

/// Where lines go that can never be delivered.
package final class DeadLetterFile {
    private let descriptor: Descriptor
    private let path: String

    /// Appends to `path`, which only its owner can read.
    package init(_ path: String) throws(SystemError) {
        self.path = path
        descriptor = try Descriptor.append(path, mode: 0o600)
    }

    /// Appends a piece of a line as it is.
    func append(piece: Span<UInt8>, isEnded: Bool) throws(SystemError) {
        try descriptor.write(piece.bytes, path)
        let end: [UInt8] = [0x0A]
        if isEnded { try descriptor.write(end.span.bytes, path) }
    }
}
