import CSystem
import Glibc
import Synchronization

/// A ring of bytes between one thread that writes and one that reads, without locks, in a file that is mapped: what was handed over is
/// still there when the process is killed. Mapped twice in a row, so that nothing in it is ever in two pieces.
package final class HandoverRing: @unchecked Sendable {
    /// Part of the name of everything that passes through it: new whenever the file is.
    package let generation: String
    package let capacity: Int
    private let base: UnsafeMutableRawPointer
    private let data: UnsafeMutableRawPointer
    /// How many bytes of an earlier process could not be believed.
    package private(set) var discarded = 0
    /// How many bytes were ever read, and written.
    private let read: UnsafeMutablePointer<Atomic<UInt64>>
    private let written: UnsafeMutablePointer<Atomic<UInt64>>

    private static let headSize = 4096
    private static let magic: UInt64 = 0x32_6E_69_72_6C_6F_63  // "colrin2", little endian

    /// A ring that nobody else can see, and that ends with the process.
    package convenience init(capacity: Int) throws(SystemError) {
        let number = memfd_create("ring", 1 /* MFD_CLOEXEC */)
        guard number >= 0 else { throw SystemError("make", "a ring in memory") }
        defer { RawFile.close(number) }
        try self.init(number, "a ring in memory", capacity) { () throws(SystemError) in "" }
    }

    /// Opens the ring at `path`, with what is still in it, or makes it. `capacity` is a power of two, and a multiple of a page.
    package convenience init(
        _ path: String, capacity: Int, newGeneration: () throws(SystemError) -> String
    ) throws(SystemError) {
        let number = try RawFile.open(path, .createIfMissing)
        defer { RawFile.close(number) }
        try self.init(number, path, capacity, newGeneration)
    }

    private init(
        _ number: Int32, _ path: String, _ capacity: Int, _ newGeneration: () throws(SystemError) -> String
    ) throws(SystemError) {
        let size = Self.headSize + capacity
        let isNew = try RawFile.size(of: number, path) != size
        if isNew {
            try RawFile.truncate(number, to: 0, path)
            // All of it now: a disk that is full later must not kill whoever writes here.
            let code = posix_fallocate(number, 0, size)
            guard code == 0 else { throw SystemError("make room for", path, code: code) }
        }
        let base = try Self.map(number, capacity, path)
        let isOurs = !isNew && base.load(as: UInt64.self) == Self.magic
        if isOurs {
            generation = String(decoding: UnsafeRawBufferPointer(start: base + 16, count: 26), as: UTF8.self)
        } else {
            // Entries of another make, which cannot be read.
            if !isNew, base.load(as: UInt64.self) != 0 {
                let left =
                    base.load(fromByteOffset: 192, as: UInt64.self) &- base.load(fromByteOffset: 128, as: UInt64.self)
                discarded = left <= UInt64(capacity) ? Int(left) : capacity
            }
            do { generation = try newGeneration() } catch {
                munmap(base, Self.headSize + 2 * capacity)
                throw error
            }
            for (offset, byte) in generation.utf8.prefix(26).enumerated() {
                base.storeBytes(of: byte, toByteOffset: 16 + offset, as: UInt8.self)
            }
            base.storeBytes(of: 0, toByteOffset: 128, as: UInt64.self)
            base.storeBytes(of: 0, toByteOffset: 192, as: UInt64.self)
            base.storeBytes(of: Self.magic, as: UInt64.self)
        }
        self.base = base
        self.capacity = capacity
        data = base + Self.headSize
        read = (base + 128).bindMemory(to: Atomic<UInt64>.self, capacity: 1)
        written = (base + 192).bindMemory(to: Atomic<UInt64>.self, capacity: 1)
        if written.pointee.load(ordering: .relaxed) &- read.pointee.load(ordering: .relaxed) > UInt64(capacity) {
            // Nobody wrote that: nothing in it can be believed.
            discarded = capacity
            read.pointee.store(written.pointee.load(ordering: .relaxed), ordering: .relaxed)
        }
    }

    deinit { munmap(base, Self.headSize + 2 * capacity) }

    private static func map(
        _ number: Int32, _ capacity: Int, _ path: String
    ) throws(SystemError) -> UnsafeMutableRawPointer {
        let whole = headSize + 2 * capacity
        guard let base = mmap(nil, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), base != MAP_FAILED else {
            throw SystemError("map", path)
        }
        let access = PROT_READ | PROT_WRITE
        let flags = MAP_SHARED | MAP_FIXED
        guard mmap(base, headSize + capacity, access, flags, number, 0) != MAP_FAILED,
            mmap(base + headSize + capacity, capacity, access, flags, number, headSize) != MAP_FAILED
        else {
            let error = SystemError("map", path)
            munmap(base, whole)
            throw error
        }
        return base
    }

    // MARK: - The one who writes

    /// Where `count` bytes can be written; nil when there is no room for them.
    @inline(__always)
    package func reserve(_ count: Int) -> UnsafeMutableRawPointer? {
        let tail = written.pointee.load(ordering: .relaxed)
        let used = tail &- read.pointee.load(ordering: .acquiring)
        guard capacity &- Int(used) >= count else { return nil }
        return data + Int(tail & UInt64(capacity &- 1))
    }

    /// The place of what is written next among all that ever was.
    @inline(__always)
    package var position: UInt64 { written.pointee.load(ordering: .relaxed) }

    /// Hands over the first `count` bytes of what was reserved. Who waits for it is not woken by that.
    @inline(__always)
    package func commit(_ count: Int) {
        let tail = written.pointee.load(ordering: .relaxed)
        precondition(count <= capacity, "an entry is larger than the ring")
        written.pointee.store(tail &+ UInt64(count), ordering: .releasing)
    }

    /// Whether so much waits to be read that whoever reads should begin.
    @inline(__always)
    package var isFilling: Bool {
        written.pointee.load(ordering: .relaxed) &- read.pointee.load(ordering: .relaxed) > UInt64(capacity / 2)
    }

    // MARK: - The one who reads

    /// What was handed over and not taken yet, and its place among all that ever was.
    package var waiting: (bytes: UnsafeRawBufferPointer, position: UInt64) {
        let head = read.pointee.load(ordering: .relaxed)
        let count = Int(written.pointee.load(ordering: .acquiring) &- head)
        return (UnsafeRawBufferPointer(start: data + Int(head & UInt64(capacity &- 1)), count: count), head)
    }

    /// The first `count` bytes are taken.
    package func take(_ count: Int) {
        read.pointee.store(read.pointee.load(ordering: .relaxed) &+ UInt64(count), ordering: .releasing)
    }
}

/// What a worker hands over of an exchange: 40 bytes, then the request id, then the line; a multiple of eight bytes in all.
package enum HandoverEntry {
    package static let headSize = 40
    package static let prefixCount = 12

    // Offsets: the whole length, the attribution's strength, whether a manifest was stamped, the id's length, the line's length,
    // the beginning of the manifest's digest in hexadecimal digits; a mark; when it was handed over, by the clock that only goes forward.
    package static let lengthOffset = 0
    package static let strengthOffset = 4
    package static let hasManifestOffset = 5
    package static let idCountOffset = 6
    package static let lineCountOffset = 8
    package static let prefixOffset = 12
    package static let markOffset = 24
    package static let timeOffset = 32

    /// What stands in an entry at this place, and in nothing that a crash left there.
    package static func mark(_ position: UInt64) -> UInt64 { position ^ 0x636F_6C6F_7068_6F6E }

    package static func size(idCount: Int, lineCount: Int) -> Int { (headSize + idCount + lineCount + 7) & ~7 }
}
