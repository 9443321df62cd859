import CCrypto
import Provenance

/// SHA-256 by libcrypto, which uses what the processor has for it.
package struct SHA256: ~Copyable {
    private let context: OpaquePointer

    package init() {
        // libcrypto fails here only when memory is exhausted or SHA-256 itself is switched off: nothing to go on with.
        guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
            fatalError("libcrypto offers no SHA-256")
        }
        self.context = context
    }

    deinit { EVP_MD_CTX_free(context) }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        precondition(EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1, "libcrypto could not hash")
    }

    package consuming func finish() -> Digest {
        let bytes = [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
            precondition(EVP_DigestFinal_ex(context, buffer.baseAddress, nil) == 1, "libcrypto could not finish a hash")
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
