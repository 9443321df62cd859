import CXXHash

/// Finds what a disk or a crash has changed; no protection against anybody who means it.
package enum Checksum {
    /// XXH3 over `bytes`, folded to 32 bits.
    package static func of(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt32 {
        let hash = XXH3_64bits_withSeed(bytes.baseAddress, bytes.count, seed)
        return UInt32(truncatingIfNeeded: hash ^ hash >> 32)
    }
}
