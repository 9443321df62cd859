import Checksum
import Provenance
import Runtime

/// Which file a checkpoint is about: by device, inode, and the first bytes, since inodes are used again.
package struct FileMark: Sendable, Equatable {
    var identity: FileStatus.Identity
    /// How many of the first bytes were looked at, and what came of it.
    var fingerprintCount: Int
    var fingerprint: UInt32

    /// As many are enough to tell files of log lines apart.
    static let longest = 1024

    static func fingerprint(_ bytes: UnsafeRawBufferPointer) -> UInt32 { Checksum.of(bytes) }
}

/// How far a file has been delivered.
package struct Checkpoint: Sendable {
    package var path: String
    package var mark: FileMark
    /// A ULID, new whenever the file's contents begin anew.
    package let generation: String
    package var position: Int64
    /// Whether it stands inside a line that is too long, of which a part is among the dead letters.
    package var isInside = false
}

/// Where checkpoints are kept: for each generation a description, and a position that is written again and again.
package final class Checkpoints {
    private let directory: String
    private let host: String
    private var positions: [String: (file: Int32, count: Int64, position: Int64)] = [:]
    /// Those that were moved since the last sync.
    private var moved: Set<String> = []
    /// What could not be written.
    package private(set) var failures: UInt64 = 0
    package private(set) var problem: String?

    /// `host` names the machine: its inodes mean nothing on another one.
    package init(_ directory: String, host: String) throws(SystemError) {
        self.directory = directory
        self.host = host
        try Files.makeDirectory(directory, mode: 0o700)
    }

    deinit { for entry in positions.values { RawFile.close(entry.file) } }

    private func path(_ generation: String, _ ending: String) -> String { Paths.join(directory, generation + ending) }

    // MARK: - Reading

    /// All that are readable and of this host. Others are put aside, and named in `setAside`.
    package func load(setAside: inout [(name: String, reason: String)]) -> [Checkpoint] {
        var found: [Checkpoint] = []
        for name in (try? Files.names(in: directory)) ?? [] where name.hasSuffix(".json") {
            let generation = String(name.dropLast(5))
            do throws(Unreadable) {
                found.append(try read(generation))
            } catch {
                setAside.append((name, error.reason))
                let old = Paths.join(directory, name)
                try? RawFile.rename(old, to: old + ".set-aside")
                let position = path(generation, ".position")
                try? RawFile.rename(position, to: position + ".set-aside")
            }
        }
        return found
    }

    private struct Unreadable: Error {
        let reason: String
    }

    private func read(_ generation: String) throws(Unreadable) -> Checkpoint {
        let bytes: [UInt8]?
        do { bytes = try Files.read(path(generation, ".json"), limit: 1 << 16) } catch {
            throw Unreadable(reason: error.description)
        }
        guard let bytes, let json = try? JSONParser.parse(bytes.span), case .object(let object) = json,
            object.integer("version") == 1, let path = object.text("path"),
            let device = object.text("device").flatMap({ UInt64($0) }),
            let inode = object.text("inode").flatMap({ UInt64($0) }),
            let count = object.integer("fingerprint_bytes"), 0...FileMark.longest ~= count,
            let hash = object.integer("fingerprint"), 0...Int(UInt32.max) ~= hash,
            let position = readPosition(generation), position >= 0, ULID.time(Array(generation.utf8)) != nil
        else { throw Unreadable(reason: "it is damaged, or a later Colophon wrote it") }
        guard object.text("host").map({ $0.hasSameBytes(as: host) }) ?? false else {
            throw Unreadable(reason: "it comes from another host, where inodes mean other files")
        }
        return Checkpoint(
            path: path,
            mark: FileMark(
                identity: FileStatus.Identity(device: device, inode: inode), fingerprintCount: count,
                fingerprint: UInt32(truncatingIfNeeded: hash)), generation: generation, position: position,
            isInside: object.flag("inside"))
    }

    private func readPosition(_ generation: String) -> Int64? {
        guard let bytes = try? Files.read(path(generation, ".position"), limit: 4096) else { return nil }
        return bytes.withUnsafeBytes { SpoolFormat.readCursor($0) }?.sequence
    }

    // MARK: - Writing

    /// Writes what is known of the file. Its position is written first, so that one never stands without the other.
    package func describe(_ checkpoint: Checkpoint) -> Bool {
        guard move(checkpoint.generation, to: checkpoint.position) else { return false }
        let object = JSONObject([
            .init("version", .integer(1)), .init("host", .string(host)), .init("path", .string(checkpoint.path)),
            .init("device", .string(String(checkpoint.mark.identity.device))),
            .init("inode", .string(String(checkpoint.mark.identity.inode))),
            .init("fingerprint_bytes", .integer(checkpoint.mark.fingerprintCount)),
            .init("fingerprint", .integer(Int(checkpoint.mark.fingerprint))),
            .init("inside", .bool(checkpoint.isInside)),
        ])
        return attempt { () throws(SystemError) in
            _ = try Files.place(
                JSONWriter.compact.bytes(.object(object)) + [0x0A], at: path(checkpoint.generation, ".json"),
                .replacing,
                mode: 0o600)
        }
    }

    /// Everything before `position` is delivered.
    @discardableResult
    package func move(_ generation: String, to position: Int64) -> Bool {
        attempt { () throws(SystemError) in
            var entry: (file: Int32, count: Int64, position: Int64)
            if let known = positions[generation] {
                if known.position == position { return }
                entry = known
            } else {
                let path = path(generation, ".position")
                let file = try RawFile.open(path, .createIfMissing)
                let before = (try? Files.read(path, limit: 4096)).flatMap { bytes in
                    bytes.withUnsafeBytes { SpoolFormat.readCursor($0) }
                }
                entry = (file, before?.count ?? 0, -1)
            }
            entry.count += 1
            entry.position = position
            // Kept open even when the write fails: the next one tries again.
            positions[generation] = (entry.file, entry.count, -1)
            let slot = SpoolFormat.write(
                SpoolFormat.Cursor(count: entry.count, sequence: position, generation: generation))
            let offset = Int(entry.count % Int64(SpoolFormat.cursorSlots)) * SpoolFormat.headSize
            var failure: SystemError?
            slot.withUnsafeBytes { raw in
                do throws(SystemError) { try RawFile.write(entry.file, at: offset, raw, directory) } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
            positions[generation] = entry
            moved.insert(generation)
        }
    }

    /// Waits until the disk has all positions.
    package func sync() {
        moved = moved.filter { generation in
            guard let entry = positions[generation] else { return false }
            return !attempt { () throws(SystemError) in try RawFile.sync(entry.file, directory) }
        }
    }

    /// Nothing will be asked about this generation again.
    package func forget(_ generation: String) {
        if let entry = positions.removeValue(forKey: generation) { RawFile.close(entry.file) }
        try? RawFile.remove(path(generation, ".json"))
        try? RawFile.remove(path(generation, ".position"))
    }

    @discardableResult
    private func attempt(_ body: () throws(SystemError) -> Void) -> Bool {
        do throws(SystemError) {
            try body()
            problem = nil
            return true
        } catch {
            failures += 1
            problem = error.description
            return false
        }
    }
}

extension JSONObject {
    fileprivate func text(_ name: String) -> String? {
        if case .string(let text)? = self[name] { text } else { nil }
    }

    fileprivate func flag(_ name: String) -> Bool {
        if case .bool(let value)? = self[name] { value } else { false }
    }

    fileprivate func integer(_ name: String) -> Int? {
        if case .number(let digits)? = self[name] { Int(digits) } else { nil }
    }
}
