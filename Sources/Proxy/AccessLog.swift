import Provenance
import Runtime

/// The wall time's date and second as text, `2026-11-21T14:58:26.`, made once a second: that text is made on the heap.
struct SecondText {
    private(set) var bytes = InlineArray<20, UInt8>(repeating: 0x30)
    private var second = Int64.min

    static let count = 20

    @inline(__always)
    mutating func update(_ wall: Int64) {
        let now = wall >= 0 ? wall / 1_000_000 : 0
        guard now != second else { return }
        second = now
        let text = Instant(microseconds: now * 1_000_000).description.utf8
        for (index, byte) in text.prefix(19).enumerated() { bytes[index] = byte }
        bytes[19] = 0x2E
    }
}

/// One line for each exchange, gathered and written in large pieces. No query, no body, no field but the request id stands in it.
struct AccessLog: ~Copyable {
    private let descriptor: Int32
    private let buffer: UnsafeMutableRawBufferPointer
    private var count = 0
    /// Whether the last byte in the file is in the middle of a line.
    private var isTorn = false
    private var time = SecondText()

    private static let capacity = 64 << 10
    /// More than any line.
    private static let longest = 1024

    init(descriptor: Int32) {
        self.descriptor = descriptor
        buffer = .allocate(byteCount: Self.capacity, alignment: 16)
    }

    deinit { buffer.deallocate() }

    var isEmpty: Bool { count == 0 }
    /// Whether there is no room for another line.
    var isFull: Bool { count > Self.capacity - Self.longest }

    /// Writes what was gathered, and keeps what could not be written. Returns how many lines are lost: those for which there is no
    /// room any more.
    mutating func flush() -> Int {
        guard count > 0, let base = buffer.baseAddress else { return 0 }
        let written = max(0, LogFile.append(UnsafeRawBufferPointer(rebasing: buffer[..<count]), to: descriptor))
        if written > 0 {
            isTorn = buffer[written - 1] != 0x0A
            count -= written
            base.copyMemory(from: base + written, byteCount: count)
        }
        guard isFull else { return 0 }
        let lost = buffer[..<count].reduce(0) { $0 + ($1 == 0x0A ? 1 : 0) }
        count = 0
        // The rest of a line that is half written is lost: the next one begins on a line of its own.
        if isTorn { write(byte: 0x0A) }
        isTorn = false
        return lost
    }

    mutating func write(wall: Int64) {
        time.update(wall)
        for index in 0..<SecondText.count { write(byte: time.bytes[index]) }
        let milliseconds = Int(wall / 1000 % 1000)
        write(byte: UInt8(0x30 + milliseconds / 100))
        write(byte: UInt8(0x30 + milliseconds / 10 % 10))
        write(byte: UInt8(0x30 + milliseconds % 10))
        write(byte: 0x5A)
    }

    mutating func write(byte: UInt8) {
        guard count < buffer.count else { return }
        buffer[count] = byte
        count &+= 1
    }

    mutating func write(_ bytes: UnsafeRawPointer, count length: Int) {
        guard let base = buffer.baseAddress, length <= buffer.count &- count else { return }
        (base + count).copyMemory(from: bytes, byteCount: length)
        count &+= length
    }

    mutating func write(_ text: StaticString) { write(UnsafeRawPointer(text.utf8Start), count: text.utf8CodeUnitCount) }

    mutating func write(number: Int) {
        var divisor = 1
        while number / divisor >= 10 { divisor &*= 10 }
        while divisor > 0 {
            write(byte: UInt8(truncatingIfNeeded: 0x30 &+ number / divisor % 10))
            divisor /= 10
        }
    }
}

extension BufferPool {
    // What is noted of an exchange at the front of its client's buffer.

    /// The method and path, for the log.
    static let lineOffset = idCapacity
    static let lineCapacity = 244
    /// The beginning of the digest of the manifest that was stamped.
    static let suffixOffset = lineOffset + lineCapacity
    static let suffixCount = 12
    static let notesCount = suffixOffset + suffixCount
}

extension Worker where Net: ~Copyable {
    /// Keeps what the log will say of a request: its head will be gone by then.
    mutating func noteLine(_ client: End, _ head: UnsafeRawPointer, method: Int, target: Int, end: Int) {
        client.pointee.lineCount = 0
        guard hasAccessLog, let buffer = client.pointee.buffer else { return }
        let line = buffer + BufferPool.lineOffset
        let methodCount = min(method, 32)
        line.copyMemory(from: head, byteCount: methodCount)
        line.storeBytes(of: 0x20, toByteOffset: methodCount, as: UInt8.self)
        var index = methodCount + 1
        var source = target
        while source < end, index < BufferPool.lineCapacity {
            let byte = head.load(fromByteOffset: source, as: UInt8.self)
            // Queries may hold what nobody should log.
            if byte == 0x3F { break }
            // What could end the quotes, or the line, is written as a dot.
            line.storeBytes(
                of: byte == 0x22 || byte == 0x5C || byte >= 0x7F ? 0x2E : byte, toByteOffset: index, as: UInt8.self)
            index &+= 1
            source &+= 1
        }
        client.pointee.lineCount = UInt8(index)
    }

    mutating func flushLog() {
        let lost = accessLog.flush()
        guard lost > 0 else { return }
        counters.add(.lostLogLines, lost)
        tellSupervisor()
    }

    /// How an exchange ended, as the log says it.
    enum Ending {
        case whole
        case fault(Fault.Side)
        case cutByUpstream
        case cutByClient

        var word: StaticString {
            switch self {
            case .whole: "ok"
            case .fault(let side): side.name
            case .cutByUpstream: "cut-by-upstream"
            case .cutByClient: "cut-by-client"
            }
        }
    }

    /// In logfmt, with the names that a trace reads.
    mutating func log(_ client: End, status: Int, _ ending: Ending) {
        leave(client)
        guard hasAccessLog, let buffer = client.pointee.buffer else { return }
        if accessLog.isFull { flushLog() }
        accessLog.write("time=")
        accessLog.write(wall: wall)
        accessLog.write(" client=")
        let count = Int(client.pointee.peerName.count)
        withUnsafeBytes(of: &client.pointee.peerName.bytes) { bytes in
            if let base = bytes.baseAddress { accessLog.write(base, count: count) }
        }
        accessLog.write(" request=\"")
        accessLog.write(buffer + BufferPool.lineOffset, count: Int(client.pointee.lineCount))
        accessLog.write("\" status=")
        accessLog.write(number: status)
        accessLog.write(" bytes=")
        accessLog.write(number: client.pointee.sent)
        accessLog.write(" us=")
        accessLog.write(number: Int(max(0, now &- client.pointee.since)))
        if client.pointee.idCount > 0 {
            accessLog.write(" request_id=")
            accessLog.write(buffer, count: Int(client.pointee.idCount))
        }
        if let claim = client.pointee.claim {
            if client.pointee.isStamped {
                accessLog.write(" manifest_sha256=")
                accessLog.write(buffer + BufferPool.suffixOffset, count: BufferPool.suffixCount)
            }
            accessLog.write(" attribution=")
            writeClaim(claim)
        } else {
            // No model has spoken: nobody is to infer one from the time.
            accessLog.write(" attribution=unknown")
        }
        accessLog.write(" ended=")
        accessLog.write(ending.word)
        accessLog.write(byte: 0x0A)
    }

    private mutating func writeClaim(_ claim: Attribution) {
        switch claim {
        case .unknown: accessLog.write("unknown")
        case .mixed: accessLog.write("mixed")
        case .inferred: accessLog.write("inferred")
        case .exact: accessLog.write("exact")
        }
    }

    /// Notes what a response was stamped with.
    @inline(__always)
    func noteStamp(_ client: End, _ row: UnsafePointer<StampRow>?, _ claim: Attribution) {
        client.pointee.claim = claim
        client.pointee.isStamped = row != nil
        client.pointee.isRecorded = false
        guard hasAccessLog || client.pointee.note != nil || records != nil, let row, let buffer = client.pointee.buffer
        else { return }
        for index in 0..<BufferPool.suffixCount {
            buffer.storeBytes(
                of: row.pointee.idSuffix[index], toByteOffset: BufferPool.suffixOffset + index, as: UInt8.self)
        }
    }
}
