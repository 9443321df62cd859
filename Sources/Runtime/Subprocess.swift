import Glibc

/// Runs another program and collects what it prints.
package enum Subprocess {
    package struct Result: Sendable {
        package let exitStatus: Int32
        package let output: [UInt8]

        /// The output as text, without the line end.
        package var text: String {
            var bytes = output[...]
            while let last = bytes.last, last == 0x0A || last == 0x0D { bytes.removeLast() }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    /// Runs `arguments[0]`, found by PATH, to its end; nil when it could not be started. What it says on standard
    /// error is thrown away; at most `limit` bytes of its output are kept.
    package static func run(_ arguments: [String], limit: Int = 1 << 20) -> Result? {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { return nil }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let reading = Descriptor(owning: ends[0])
        var pid = pid_t()
        do {
            let writing = Descriptor(owning: ends[1])
            var actions = posix_spawn_file_actions_t()
            posix_spawn_file_actions_init(&actions)
            defer { posix_spawn_file_actions_destroy(&actions) }
            posix_spawn_file_actions_adddup2(&actions, writing.number, STDOUT_FILENO)
            posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
            posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
            var pointers = arguments.map { strdup($0) } + [nil]
            defer { for pointer in pointers { free(pointer) } }
            guard posix_spawnp(&pid, arguments[0], &actions, nil, &pointers, environ) == 0 else { return nil }
        }
        let output = drain(reading, limit: limit)
        var status: Int32 = 0
        guard retrying({ waitpid(pid, &status, 0) }) == pid else { return nil }
        let isExited = status & 0x7F == 0
        return Result(exitStatus: isExited ? status >> 8 & 0xFF : -1, output: output)
    }

    private static func drain(_ descriptor: borrowing Descriptor, limit: Int) -> [UInt8] {
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = (try? descriptor.read(into: &buffer, "a pipe")) ?? 0
            if count == 0 { return output }
            output += buffer[..<min(count, max(0, limit - output.count))]
        }
    }
}
