import Runtime

/// Where records go. One thread uses it.
protocol RecordSink: AnyObject {
    /// Becomes readable when there is something to take.
    var descriptor: Int32 { get }
    /// What must become writable before more can go out; -1 for none.
    var blockedOn: Int32 { get }
    /// What keeps records from arriving; nil while nothing does.
    var problem: String? { get }
    /// Whether nothing will ever arrive any more.
    var isBroken: Bool { get }
    /// What these are called in the log.
    var failureEvent: String { get }
    var recoveryEvent: String { get }

    /// What is known of where records go; nothing is sent before.
    func begin(_ limits: LinePipeline.TopicLimits)

    /// Hands a record over, whose bytes stay where they are until it is told what came of them.
    func send(_ record: LineRecord, token: UInt) -> Sending

    /// Tells what came of records. True when nothing that is on its way will be told of any more.
    func takeEvents(_ body: (_ token: UInt, _ outcome: Arrival) -> Void) -> Bool

    /// Begins anew, after `takeEvents` said so.
    func restart()

    /// Lets go of all records: nobody reads their bytes any more.
    func close()

    /// What a record's line is called everywhere.
    func originText(_ record: LineRecord) -> String
}

enum Sending {
    case sent
    /// Not now.
    case later
    /// Never: the record itself is at fault.
    case refused(reason: String)
}

enum Arrival {
    case arrived
    /// It may another time.
    case failed
    /// It, or another one that went with it, is at fault.
    case refused(reason: String)
}

/// Lines to a descriptor, in the order in which they came: a file, or standard output.
package final class StreamSink: RecordSink {
    private let number: Int32
    private let name: String
    private let definitions: Definitions
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

    package init(_ number: Int32, _ name: String, _ definitions: Definitions) {
        self.number = number
        self.name = name
        self.definitions = definitions
        isPipe = !((try? RawFile.status(of: number, name))?.isRegular ?? false)
    }

    var descriptor: Int32 { -1 }
    var blockedOn: Int32 { isPipe && !buffer.isEmpty ? number : -1 }

    func send(_ record: LineRecord, token: UInt) -> Sending {
        guard buffer.count < Self.capacity else { return .later }
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
            do throws(SystemError) {
                written += try Pipes.writeSome(number, buffer.span.bytes.extracting(written..<end), name)
            } catch {
                problem = error.description
                break
            }
        }
        buffer.removeFirst(written)
        // A line whose end is not written yet has not arrived, nor has any before it that went with it.
        guard buffer.isEmpty else { return false }
        if !isPipe {
            do throws(SystemError) { try RawFile.sync(number, name) } catch {
                problem = error.description
                return false
            }
        }
        problem = nil
        for token in tokens { body(token, .arrived) }
        tokens.removeAll(keepingCapacity: true)
        return false
    }

    func restart() {}
    func close() {}

    func begin(_ limits: LinePipeline.TopicLimits) {}

    func originText(_ record: LineRecord) -> String {
        String(decoding: definitions.sourceName(record.source), as: UTF8.self) + ":\(record.position)"
    }
}
