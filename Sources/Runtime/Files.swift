import CSystem
import Glibc
import Provenance

/// Whole files and directories.
package enum Files {
    /// Whether questions about `path`, or where it would be, are answered by this machine's kernel, and not by another machine or a process,
    /// which may let them wait.
    package static func isLocal(_ path: String) -> Bool {
        var system = statfs()
        if statfs(path, &system) == 0 { return local.contains(UInt32(truncatingIfNeeded: system.f_type)) }
        guard errno == ENOENT, statfs(Paths.directory(of: path), &system) == 0 else { return false }
        return local.contains(UInt32(truncatingIfNeeded: system.f_type))
    }

    /// ext, XFS, Btrfs, tmpfs, ramfs, overlayfs, ZFS, F2FS, bcachefs, squashfs, EROFS.
    private static let local: Set<UInt32> = [
        0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x8584_58F6, 0x794C_7630, 0x2FC1_2FC1, 0xF2F5_2010, 0xCA45_1A4E,
        0x7371_7368, 0xE0F5_E1E2,
    ]

    /// The bytes of a regular file; nil when it has more than `limit`.
    package static func read(_ path: String, limit: Int) throws(SystemError) -> [UInt8]? {
        let descriptor = try Descriptor.openRegular(path)
        let size = try descriptor.status(path).size
        guard size <= limit else { return nil }
        var bytes: [UInt8] = []
        // One byte more than it should have, so that a file that grew meanwhile is noticed.
        var buffer = [UInt8](repeating: 0, count: min(max(Int(size), 4096) + 1, limit + 1))
        while true {
            let count = try descriptor.read(into: &buffer, path)
            if count == 0 { return bytes }
            guard bytes.count + count <= limit else { return nil }
            if bytes.isEmpty, count < buffer.count {
                bytes = Array(buffer[..<count])
            } else {
                bytes += buffer[..<count]
            }
        }
    }

    /// Hands a regular file to `body` in chunks, in order; answers its size.
    package static func stream<Failure: Error>(
        _ path: String, chunk: Int, orThrow convert: (SystemError) -> Failure,
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) -> Int64 {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 4096)
        defer { buffer.deallocate() }
        let descriptor: Descriptor
        do { descriptor = try Descriptor.openRegular(path) } catch { throw convert(error) }
        var size: Int64 = 0
        while true {
            let count: Int
            do { count = try descriptor.read(into: buffer, path) } catch { throw convert(error) }
            if count == 0 { return size }
            size += Int64(count)
            try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }

    /// The names in a directory, in order of their bytes, without `.` and `..`.
    package static func names(in directory: String) throws(SystemError) -> [String] {
        guard let handle = opendir(directory) else { throw SystemError("read", directory) }
        defer { closedir(handle) }
        var names: [String] = []
        errno = 0
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw SystemError("read", directory) }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Makes a directory and those above it that are missing.
    package static func makeDirectory(_ path: String, mode: mode_t = 0o755) throws(SystemError) {
        if let status = try FileStatus.of(path) {
            guard status.isDirectory else {
                throw SystemError("use", path, code: ENOTDIR, advice: "a directory is needed there")
            }
            return
        }
        let parent = Paths.directory(of: path)
        if parent != path { try makeDirectory(parent, mode: mode) }
        guard mkdir(path, mode) == 0 || errno == EEXIST else { throw SystemError("create", path) }
    }

    package enum Placing: Sendable {
        /// The name must be free.
        case asNew
        /// What has the name is replaced.
        case replacing
    }

    /// Puts a file in its place whole: written beside it, synced, and only then given its name. False when the name
    /// was to be new and is taken; whatever had it is untouched.
    package static func place(
        _ bytes: [UInt8], at path: String, _ placing: Placing, mode: mode_t = 0o644
    ) throws(SystemError) -> Bool {
        let directory = Paths.directory(of: path)
        // Random, not numbered by process: in containers every trainer is process 1.
        let mark = String(UInt64.random(in: .min ... .max), radix: 36)
        let temporary = Paths.join(directory, ".\(Paths.name(of: path).prefix(64)).\(mark).tmp")
        do throws(SystemError) {
            try writeSynced(bytes, to: temporary, mode: mode)
            let isPlaced = try give(temporary, name: path, placing)
            try syncDirectory(directory)
            return isPlaced
        } catch {
            unlink(temporary)
            throw error
        }
    }

    private static func writeSynced(_ bytes: [UInt8], to path: String, mode: mode_t) throws(SystemError) {
        let file = try Descriptor.create(path, mode: mode)
        try file.write(bytes.span.bytes, path)
        try file.sync(path)
    }

    private static func give(_ temporary: String, name path: String, _ placing: Placing) throws(SystemError) -> Bool {
        switch placing {
        case .replacing:
            guard rename(temporary, path) == 0 else { throw SystemError("replace", path) }
            return true
        case .asNew:
            // link, unlike rename, fails when the name is taken: two trainers cannot overwrite each other.
            let isLinked = link(temporary, path) == 0
            let code = errno
            unlink(temporary)
            guard isLinked || code == EEXIST else { throw SystemError("create", path, code: code) }
            return isLinked
        }
    }

    /// Puts a small file where it belongs at once, with the time of its last change; does not wait until the disk has it.
    package static func replaceUnsynced(
        _ bytes: [UInt8], at path: String, time: Instant, mode: mode_t
    ) throws(SystemError) {
        let temporary = path + ".new"
        let number = retrying { colophon_open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode) }
        guard number >= 0 else { throw SystemError("open", temporary) }
        let file = Descriptor(owning: number)
        try file.write(bytes.span.bytes, temporary)
        let (seconds, rest) = time.microseconds.quotientAndRemainder(dividingBy: 1_000_000)
        var times = Array(repeating: timespec(tv_sec: Int(seconds), tv_nsec: Int(rest) * 1000), count: 2)
        guard futimens(file.number, &times) == 0 else { throw SystemError("change", temporary) }
        guard rename(temporary, path) == 0 else { throw SystemError("replace", path) }
    }

    /// Waits until a directory's names are on the disk.
    package static func syncDirectory(_ path: String) throws(SystemError) {
        let number = retrying { colophon_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) }
        guard number >= 0 else { throw SystemError("open", path) }
        try Descriptor(owning: number).sync(path)
    }

    /// Whether a directory may be looked into, and changed.
    package static func isDirectory(_ path: String, writable: Bool) -> Bool {
        access(path, writable ? R_OK | W_OK | X_OK : R_OK | X_OK) == 0
    }

    package static func mayWrite(_ path: String) -> Bool { access(path, W_OK) == 0 }

    /// How much room the disk of `path` has for this process; nil when that cannot be found out.
    package static func freeBytes(_ path: String) -> Int64? {
        var status = statfs()
        // Some file systems do not count.
        guard statfs(path, &status) == 0, status.f_blocks > 0 else { return nil }
        let blocks = geteuid() == 0 ? status.f_bfree : status.f_bavail
        return Int64(clamping: blocks).multipliedReportingOverflow(by: Int64(status.f_bsize)).partialValue
    }

    /// Whether `path` lies on a network file system, where SQLite's locks and shared memory do not work.
    package static func isOnNetwork(_ path: String) -> Bool {
        var status = statfs()
        guard statfs(path, &status) == 0 else { return false }
        let networks: [Int] = [
            Int(NFS_SUPER_MAGIC), Int(SMB_SUPER_MAGIC), 0xFF53_4D42 /* CIFS */, 0xFE53_4D42 /* SMB2 */,
            Int(AFS_SUPER_MAGIC), Int(CODA_SUPER_MAGIC), Int(V9FS_MAGIC), 0x00C3_6400 /* Ceph */,
        ]
        return networks.contains(Int(status.f_type))
    }
}

/// Paths as text.
package enum Paths {
    package static func isAbsolute(_ path: String) -> Bool { path.utf8.first == UInt8(ascii: "/") }

    package static func join(_ directory: String, _ path: String) -> String {
        if isAbsolute(path) || directory.isEmpty { return path }
        return directory.utf8.last == UInt8(ascii: "/") ? directory + path : directory + "/" + path
    }

    // By bytes: a combining mark after a slash makes another Character of it, and no other path.

    /// The directory that holds what `path` names.
    package static func directory(of path: String) -> String {
        var trimmed = path.utf8[...]
        while trimmed.count > 1, trimmed.last == UInt8(ascii: "/") { trimmed.removeLast() }
        guard let slash = trimmed.lastIndex(of: UInt8(ascii: "/")) else { return "." }
        return slash == trimmed.startIndex ? "/" : String(decoding: trimmed[..<slash], as: UTF8.self)
    }

    /// The last name in `path`.
    package static func name(of path: String) -> String {
        path.utf8.split(separator: UInt8(ascii: "/")).last.map { String(decoding: $0, as: UTF8.self) } ?? "/"
    }

    /// Where links lead to; nil when there is nothing.
    package static func resolved(_ path: String) -> String? {
        guard let text = realpath(path, nil) else { return nil }
        defer { free(text) }
        return String(cString: text)
    }

    /// Every link on the way that `path` leads, in its target's path too: whoever swaps one changes only what is around it.
    package static func links(on path: String) -> [String] {
        var found: [String] = []
        var base = "/"
        var rest = names(absolute(path))
        while let name = rest.popLast() {
            if name == "." { continue }
            let place = name == ".." ? directory(of: base) : join(base, name)
            guard let target = FileStatus.target(of: place) else {
                base = place
                continue
            }
            // As the kernel does: links may lead in circles.
            guard found.count < 40 else { break }
            found.append(place)
            if isAbsolute(target) { base = "/" }
            rest += names(target)
        }
        return found
    }

    /// The names in a path, the last one first.
    private static func names(_ path: String) -> [String] {
        path.utf8.split(separator: UInt8(ascii: "/")).reversed().map { String(decoding: $0, as: UTF8.self) }
    }

    /// The same place, whatever the working directory is later.
    package static func absolute(_ path: String) -> String {
        guard !isAbsolute(path), let here = getcwd(nil, 0) else { return path }
        defer { free(here) }
        return absolute(path, from: String(cString: here))
    }

    /// Where `path` leads from `directory`.
    package static func absolute(_ path: String, from directory: String) -> String {
        var rest = path.utf8[...]
        while rest.starts(with: "./".utf8) { rest = rest.dropFirst(2) }
        return rest.isEmpty || rest.elementsEqual(".".utf8)
            ? directory : join(directory, String(decoding: rest, as: UTF8.self))
    }
}
