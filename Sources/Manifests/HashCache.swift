import Provenance
import Runtime
import Synchronization

/// The hashes of files that were read before, by all that changes when somebody writes to one: device, inode, size and both times.
/// For activations, which come again and again; `manifest verify` never asks it.
package final class HashCache: Sendable {
    private let digests = Mutex<[FileStatus.Modification: Digest]>([:])
    private static let limit = 4096

    package init() {}

    func digest(of modification: FileStatus.Modification) -> Digest? { digests.withLock { $0[modification] } }

    func remember(_ digest: Digest, of modification: FileStatus.Modification) {
        digests.withLock { known in
            if known.count >= Self.limit { known.removeAll(keepingCapacity: true) }
            known[modification] = digest
        }
    }
}
