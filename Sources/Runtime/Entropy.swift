import CSystem
import Glibc

/// Randomness from the kernel.
package enum Entropy {
    package static func words() throws(SystemError) -> (UInt64, UInt64, UInt64, UInt64) {
        var words = InlineArray<4, UInt64>(repeating: 0)
        let count = withUnsafeMutableBytes(of: &words) { bytes in
            retrying { getrandom(bytes.baseAddress, bytes.count, 0) }
        }
        guard count == 32 else { throw SystemError("read", "random bytes from the kernel") }
        return (words[0], words[1], words[2], words[3])
    }
}
