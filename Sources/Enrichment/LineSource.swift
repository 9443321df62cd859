import Provenance

/// Where lines come from. One thread uses it.
package protocol LineSource: AnyObject {
    /// What it is called in messages and in origins: `stdin`, `file`.
    var name: StaticString { get }
    /// What to wait for, besides time; none where it is full or at its end.
    var descriptors: [Int32] { get }
    /// Whether it can wait when there is no room. Those that cannot shed lines, and count them.
    var canWait: Bool { get }
    /// Whether nothing more will ever come.
    var isAtEnd: Bool { get }
    /// Hands on what there is, for as long as `intake` has room.
    func pull(_ intake: LineIntake)
    /// What it asked to be told of is now true: everything that it handed on so far is on the disk.
    func spooled()
    /// When it wants to be asked again although nothing has come, on the monotonic clock; nil for never.
    var wakeAt: Int64? { get }
    /// Says up to where it has handed on its lines, for each of its owners.
    func report(_ positions: inout [Int64])
    /// Up to these positions its lines have arrived.
    func settle(_ positions: [Int64])
    /// What it has to say about itself since it was last asked.
    func takeNews() -> [LineNews]
}

extension LineSource {
    package var canWait: Bool { true }
    package var wakeAt: Int64? { nil }
    package func spooled() {}
    package func report(_ positions: inout [Int64]) {}
    package func settle(_ positions: [Int64]) {}
    package func takeNews() -> [LineNews] { [] }
}

/// Something that people should know about lines.
package struct LineNews: Sendable {
    package enum Level: Sendable {
        case info
        case warn
    }

    package let level: Level
    package let event: String
    package let facts: [(name: String, value: JSON)]

    package init(_ level: Level, _ event: String, _ facts: [(name: String, value: JSON)]) {
        self.level = level
        self.event = event
        self.facts = facts
    }
}
