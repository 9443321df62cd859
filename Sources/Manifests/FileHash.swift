import Crypto
import Provenance
import Runtime

/// Hashes files, piece by piece.
package enum FileHash {
    /// Large enough that the calls cost nothing, small enough to stay in the processor's cache.
    static let chunk = 256 << 10

    /// The digest and size of a regular file. `onPiece` sees each piece as it passes.
    package static func of<Failure: Error>(
        _ path: String, orThrow convert: (SystemError) -> Failure,
        onPiece: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) -> (digest: Digest, size: Int64) {
        var hash = SHA256()
        let size = try Files.stream(path, chunk: chunk, orThrow: convert) { piece throws(Failure) in
            hash.update(piece)
            try onPiece(piece)
        }
        return (hash.finish(), size)
    }
}
