import Glibc

/// Runs a program to its end, as a user would.
package struct Program: Sendable {
    package struct Result: Sendable {
        package let status: Int32
        package let output: String
        package let errors: String

        /// The lines of standard error.
        package var complaints: [String] { errors.split(separator: "\n").map(String.init) }
    }

    /// Where this checkout is.
    package static let root: String = {
        var path = #filePath
        for _ in 0..<3 { path = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) }
        return path
    }()

    /// The program under test, as `make build` leaves it.
    package static let colophonPath = root + "/.build/release/colophon"

    /// Runs `arguments[0]` with the input and environment given. What it prints goes through files, so that no pipe can
    /// fill up. An exit by a signal is its negative number.
    package static func run(
        _ arguments: [String], input: String = "", environment: [String: String] = [:], in directory: String? = nil
    ) -> Result {
        let scratch = Scratch()
        scratch.write("in", input)
        let pid = start(
            arguments, input: scratch.path("in"), output: scratch.path("out"), errors: scratch.path("err"),
            environment: environment, in: directory)
        return Result(
            status: wait(for: pid), output: scratch.read("out") ?? "", errors: scratch.read("err") ?? "")
    }

    /// Runs a script of `Tests/EndToEnd` against the program under test, in the environment that `make deps-test` makes.
    package static func runScript(
        _ name: String, _ arguments: [String] = [], through wrapper: [String] = []
    ) -> Result {
        let python = [root + "/.venv/bin/python3", "-W", "ignore"]
        return run(wrapper + python + [root + "/Tests/EndToEnd/" + name, colophonPath] + arguments)
    }

    /// How many tests stand in a script below `Tests/EndToEnd`: it says "ok" of each of them, or has not run them all.
    package static func testCount(of script: String) -> Int {
        (Scratch.text(of: root + "/Tests/EndToEnd/" + script) ?? "").split(separator: "\n").count {
            $0.hasPrefix("def test_")
        }
    }

    /// How many tests a script says that it has run.
    package static func passed(_ result: Result) -> Int {
        result.output.split(separator: "\n").count { $0.hasPrefix("ok test_") }
    }

    /// Starts a program whose input and outputs are files.
    package static func start(
        _ arguments: [String], input: String = "/dev/null", output: String, errors: String,
        environment: [String: String] = [:], in directory: String? = nil
    ) -> pid_t {
        var words = ["env"]
        if let directory { words += ["-C", directory] }
        words += environment.map { "\($0.key)=\($0.value)" } + arguments
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        var pointers = words.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        // Test threads block signals, and children would inherit that: then SIGTERM would never reach them.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        // What is ignored here would be ignored there too: a shell that runs in the background ignores Ctrl-C.
        var usual = sigset_t()
        sigemptyset(&usual)
        for signal in [SIGINT, SIGQUIT, SIGHUP, SIGPIPE] { sigaddset(&usual, signal) }
        posix_spawnattr_setsigdefault(&attributes, &usual)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var pid = pid_t()
        let code = posix_spawnp(&pid, "env", &actions, &attributes, &pointers, environ)
        precondition(code == 0, "cannot start \(arguments): error \(code)")
        return pid
    }

    /// Whether a program that was started has ended, and waits to be asked for.
    package static func hasEnded(_ pid: pid_t) -> Bool {
        var info = siginfo_t()
        return waitid(P_PID, id_t(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_signo == SIGCHLD
    }

    /// For those who look again and again: others have work to do.
    package static func pause(microseconds: UInt32 = 10_000) { usleep(microseconds) }

    package static func wait(for pid: pid_t) -> Int32 {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) == -1, errno == EINTR {}
        return status & 0x7F == 0 ? status >> 8 & 0xFF : -(status & 0x7F)
    }
}

/// A directory of its own for one test, gone when the test is.
package final class Scratch: Sendable {
    package let directory: String

    package init() {
        var template = Array("/tmp/colophon-test-XXXXXX".utf8CString)
        precondition(mkdtemp(&template) != nil, "cannot make a scratch directory")
        directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit {
        let pid = Program.start(
            ["sh", "-c", "chmod -R u+rwx \"$1\" 2>/dev/null; rm -rf \"$1\"", "sh", directory], output: "/dev/null",
            errors: "/dev/null")
        _ = Program.wait(for: pid)
    }

    package func path(_ name: String) -> String { directory + "/" + name }

    @discardableResult
    package func write(_ name: String, _ text: String) -> String { write(name, bytes: Array(text.utf8)) }

    @discardableResult
    package func write(_ name: String, bytes: [UInt8]) -> String {
        let path = path(name)
        makeDirectory(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]))
        guard let file = fopen(path, "w") else { preconditionFailure("cannot write \(path)") }
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
        return path
    }

    private func makeDirectory(_ path: String) {
        guard mkdir(path, 0o755) != 0, errno == ENOENT else { return }
        makeDirectory(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]))
        mkdir(path, 0o755)
    }

    package func read(_ name: String) -> String? { Scratch.text(of: path(name)) }

    package static func text(of path: String) -> String? { bytes(of: path).map { String(decoding: $0, as: UTF8.self) } }

    package static func bytes(of path: String) -> [UInt8]? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            if count == 0 { return bytes }
            bytes += buffer[..<count]
        }
    }
}

/// Numbers that look random and are the same in every run with the same seed (SplitMix64).
package struct Chance: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}
