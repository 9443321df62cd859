import CXXHash

/// Finds what a disk or a crash has changed; no protection against anybody who means it.
package enum Checksum {
    /// XXH3 over `bytes`, folded to 32 bits.
    package static func of(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt32 {
        let hash = XXH3_64bits_withSeed(bytes.baseAddress, bytes.count, seed)
        return UInt32(truncatingIfNeeded: hash ^ hash >> 32)
    }

    /// XXH3 over `bytes`, 128 bits of it: enough that no two are alike by accident, and with a seed that nobody else knows not easily
    /// on purpose.
    package static func wide(_ bytes: UnsafeRawBufferPointer, seed: UInt64) -> (UInt64, UInt64) {
        let hash = XXH3_128bits_withSeed(bytes.baseAddress, bytes.count, seed)
        return (hash.high64, hash.low64)
    }
}
