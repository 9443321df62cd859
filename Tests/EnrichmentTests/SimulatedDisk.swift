import Enrichment
import Glibc
import Runtime
import TestSupport

/// A disk that fails by lot: writes that run full, syncs that fail, processes that are killed and machines that lose power.
final class SimulatedDisk: SpoolStorage {
    private final class File {
        /// What a process sees.
        var bytes: [UInt8] = []
        /// What a power cut leaves for sure.
        var synced: [UInt8] = []
    }

    var chance: Chance
    /// In percent.
    var writeFaults = 0
    var syncFaults = 0
    /// Whether a power cut may change bytes that were not synced, beside leaving some out.
    var spoilsTails = true
    private var files: [String: File] = [:]
    /// The names that a power cut leaves for sure.
    private var syncedNames: [String: File] = [:]
    private var open: [Int32: File] = [:]
    private var lastNumber: Int32 = 10

    init(seed: UInt64) { chance = Chance(seed: seed) }

    /// After so many changes the machine stands still, in the midst of whatever it does: all that comes then fails.
    var changesLeft: Int?

    private func change() throws(SystemError) {
        guard let left = changesLeft else { return }
        guard left > 0 else { throw fault(EIO) }
        changesLeft = left - 1
    }

    /// How many bytes all files take.
    var total: Int { files.values.reduce(0) { $0 + $1.bytes.count } }

    private func fault(_ code: Int32) -> SystemError { SystemError("write", "the simulated disk", code: code) }

    func names() throws(SystemError) -> [String] { files.keys.sorted() }

    func create(_ name: String) throws(SystemError) -> Int32 {
        try change()
        guard !chance.percent(writeFaults) else { throw fault(ENOSPC) }
        guard files[name] == nil else { throw fault(EEXIST) }
        files[name] = File()
        return try open(name)
    }

    func open(_ name: String) throws(SystemError) -> Int32 {
        guard let file = files[name] else { throw fault(ENOENT) }
        lastNumber += 1
        open[lastNumber] = file
        return lastNumber
    }

    private func file(_ number: Int32) throws(SystemError) -> File {
        guard let file = open[number] else { throw fault(EBADF) }
        return file
    }

    func size(of number: Int32) throws(SystemError) -> Int { try file(number).bytes.count }

    func read(
        _ number: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(SystemError) -> Int {
        let bytes = try file(number).bytes
        guard offset < bytes.count else { return 0 }
        let count = min(buffer.count, bytes.count - offset)
        buffer.copyBytes(from: bytes[offset..<offset + count])
        return count
    }

    func write(_ number: Int32, at offset: Int, _ bytes: UnsafeRawBufferPointer) throws(SystemError) {
        let file = try file(number)
        try change()
        let isFull = chance.percent(writeFaults)
        let part = isFull ? chance.draw(bytes.count) : bytes.count
        if file.bytes.count < offset + part {
            file.bytes += Array(repeating: 0, count: offset + part - file.bytes.count)
        }
        file.bytes.replaceSubrange(offset..<offset + part, with: bytes[..<part])
        if isFull { throw fault(ENOSPC) }
    }

    func sync(_ number: Int32) throws(SystemError) {
        let file = try file(number)
        try change()
        // Nobody knows what a failed sync has written.
        guard !chance.percent(syncFaults) else { throw fault(EIO) }
        file.synced = file.bytes
    }

    func truncate(_ number: Int32, to size: Int) throws(SystemError) {
        let file = try file(number)
        try change()
        if file.bytes.count > size { file.bytes.removeLast(file.bytes.count - size) }
    }

    func close(_ number: Int32) { open[number] = nil }

    func remove(_ name: String) throws(SystemError) {
        try change()
        files[name] = nil
    }

    func rename(_ name: String, to new: String) throws(SystemError) {
        try change()
        files[new] = files[name]
        files[name] = nil
    }

    func syncNames() throws(SystemError) {
        try change()
        guard !chance.percent(syncFaults) else { throw fault(EIO) }
        syncedNames = files
    }

    var openCount: Int { open.count }

    // MARK: - Disasters

    /// The process is gone; what it wrote is there.
    func kill() { open.removeAll() }

    /// The machine is gone. What was not synced may be there in part, or torn.
    func cutPower() {
        open.removeAll()
        for (name, file) in syncedNames where files[name] == nil && chance.percent(50) { files[name] = file }
        for (name, file) in files {
            if syncedNames[name] == nil, chance.percent(50) {
                files[name] = nil
                continue
            }
            var left = file.synced
            overwrite(&left, with: file.bytes)
            if file.bytes.count > left.count {
                let extra = chance.draw(file.bytes.count - left.count + 1)
                var tail = Array(file.bytes[left.count..<left.count + extra])
                if !tail.isEmpty, spoilsTails, chance.percent(50) { tail[chance.draw(tail.count)] ^= 0x55 }
                left += tail
            } else if chance.percent(50) {
                left.removeLast(left.count - file.bytes.count)
            }
            file.bytes = left
            file.synced = left
        }
        syncedNames = files
    }

    /// Of what was written over older bytes and not synced, some sectors are there, and others are as they were.
    private func overwrite(_ old: inout [UInt8], with new: [UInt8]) {
        let share = [0, 50, 90, 100][chance.draw(4)]
        for start in stride(from: 0, to: min(old.count, new.count), by: Self.sector) {
            let part = start..<min(start + Self.sector, old.count, new.count)
            guard old[part] != new[part], chance.percent(share) else { continue }
            old.replaceSubrange(part, with: new[part])
        }
    }

    private static let sector = 512

    /// Changes one byte of a file.
    func damage(_ name: String, at offset: Int) {
        guard let file = files[name], offset < file.bytes.count else { return }
        file.bytes[offset] ^= 0xFF
    }

    /// Makes a part of a file zeros, as a disk may that has lost it.
    func clear(_ name: String, _ range: Range<Int>) {
        files[name]?.bytes.replaceSubrange(range, with: repeatElement(0, count: range.count))
    }

    /// Puts `bytes` at the beginning of a file.
    func write(_ bytes: [UInt8], to number: Int32) throws(SystemError) {
        try file(number).bytes.replaceSubrange(0..<0, with: bytes)
    }

    func contents(_ name: String) -> [UInt8]? { files[name]?.bytes }
}
