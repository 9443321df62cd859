import Runtime
import TestSupport
import Testing

@Suite("File systems")
struct FileSystemTests {
    @Test(
        "what is in memory is local, also where nothing is yet; what the kernel makes up, or nobody knows, is not taken for it"
    )
    func tellsLocal() {
        #expect(Files.isLocal("/dev/shm") && Files.isLocal("/dev/shm/nothing-is-there"))
        #expect(!Files.isLocal("/proc/self") && !Files.isLocal("/proc/nothing-is-there"))
        #expect(!Files.isLocal("/dev/shm/nothing/is-there"))
    }
}
