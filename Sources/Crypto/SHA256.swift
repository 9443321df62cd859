import CCrypto
import Provenance

/// SHA-256 by libcrypto, which uses what the processor has for it.
package struct SHA256: ~Copyable {
    private var context = SHA256_CTX()

    package init() {
        // These calls fail for nothing but a null pointer.
        precondition(SHA256_Init(&context) == 1, "libcrypto could not begin a hash")
    }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        precondition(SHA256_Update(&context, bytes.baseAddress, bytes.count) == 1, "libcrypto could not hash")
    }

    package consuming func finish() -> Digest {
        let bytes = [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
            precondition(SHA256_Final(buffer.baseAddress, &context) == 1, "libcrypto could not finish a hash")
            count = 32
        }
        guard let digest = Digest(bytes: bytes) else { preconditionFailure("SHA-256 has 32 bytes") }
        return digest
    }

    /// The digest of bytes that are all at hand.
    package static let hash: Hashing = { bytes in
        var hash = SHA256()
        bytes.withUnsafeBytes { hash.update($0) }
        return hash.finish()
    }
}

extension SHA256 {
    /// The version of libcrypto that is in use.
    package static var libraryVersion: String { String(cString: OpenSSL_version(OPENSSL_VERSION_STRING)) }
}
