import Runtime

/// Lines to a descriptor, in the order in which they came: a file, or standard output.
package final class StreamSink: RecordSink {
    private let number: Int32
    private let name: String
    private let definitions: Definitions
    /// The instance's, with which every origin begins.
    private let identity: String
    private let isPipe: Bool
    private var buffer: [UInt8] = []
    private var tokens: [UInt] = []
    private(set) var problem: String?
    let failureEvent = "output-failed"
    let recoveryEvent = "output-works"
    /// Nobody reads it, or it cannot be written to: whoever asked for it is gone, or must do something first.
    var isBroken: Bool { problem != nil }

    /// No write of so many bytes waits on a pipe that says that it can be written to.
    private static let pipePiece = 4096
    private static let capacity = 256 << 10
    /// After a failed sync nothing is written before.
    private var retryAt: Int64?
    private var pause = usualPause
    private static let usualPause: Int64 = 1_000_000
    private static let longestPause: Int64 = 300_000_000

    private let clock: () -> Int64
    /// Waits until the disk has what was written.
    private let sync: (Int32, String) throws(SystemError) -> Void

    package init(
        _ number: Int32, _ name: String, _ definitions: Definitions, identity: String,
        clock: @escaping () -> Int64 = Clock.monotonic,
        sync: @escaping (Int32, String) throws(SystemError) -> Void = RawFile.sync
    ) {
        self.clock = clock
        self.sync = sync
        self.identity = identity
        self.number = number
        self.name = name
        self.definitions = definitions
        isPipe = !((try? RawFile.status(of: number, name))?.isRegular ?? false)
    }

    var descriptor: Int32 { -1 }
    var blockedOn: Int32 { isPipe && !buffer.isEmpty ? number : -1 }

    func send(_ record: LineRecord, token: UInt) -> Sending {
        guard buffer.count < Self.capacity, retryAt.map({ clock() >= $0 }) ?? true else { return .later }
        buffer.append(contentsOf: record.value)
        buffer.append(0x0A)
        tokens.append(token)
        return .sent
    }

    func takeEvents(_ body: (_ token: UInt, _ outcome: Arrival) -> Void) -> Bool {
        guard !tokens.isEmpty else { return false }
        var written = 0
        while written < buffer.count {
            if isPipe, !Pipes.isWritable(number) { break }
            let end = isPipe ? min(buffer.count, written + Self.pipePiece) : buffer.count
            let waiting = buffer
            do throws(SystemError) {
                written += try Pipes.writeSome(number, waiting.span.bytes.extracting(written..<end), name)
            } catch {
                problem = error.description
                break
            }
        }
        buffer.removeFirst(written)
        // A line whose end is not written yet has not arrived, nor has any before it that went with it.
        guard buffer.isEmpty else { return false }
        if !isPipe {
            do throws(SystemError) { try sync(number, name) } catch {
                problem = error.description
                // What is written again takes room each time.
                retryAt = clock() + pause
                pause = min(2 * pause, Self.longestPause)
                // The kernel tells of it once, and the next sync would succeed without them: all of them are written again.
                return true
            }
        }
        problem = nil
        (retryAt, pause) = (nil, Self.usualPause)
        for token in tokens { body(token, .arrived) }
        tokens.removeAll(keepingCapacity: true)
        return false
    }

    func restart() {
        buffer.removeAll(keepingCapacity: true)
        tokens.removeAll(keepingCapacity: true)
    }

    func close() {}

    func begin(_ limits: LinePipeline.TopicLimits) {}

    func originText(_ record: LineRecord) -> String {
        "\(identity)/\(String(decoding: definitions.sourceName(record.source), as: UTF8.self)):\(record.position)"
    }
}
