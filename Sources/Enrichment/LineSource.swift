import Provenance

/// Where lines come from. One thread uses it.
package protocol LineSource: AnyObject {
    /// What it is called in messages and in origins: `stdin`, `file`.
    var name: StaticString { get }
    /// What to wait for, besides time; those that only bring lines are left out while there is no room for any.
    func descriptors(_ intake: LineIntake) -> [Int32]
    /// Whether it has lines that it could not hand on for want of room.
    var isHeldUp: Bool { get }
    /// How many things went wrong that a user should be told of at the end.
    var troubles: Int { get }
    /// Whether nothing more will ever come.
    var isAtEnd: Bool { get }
    /// Hands on what there is, for as long as `intake` has room.
    func pull(_ intake: LineIntake)
    /// What it asked to be told of is now true: everything that it handed on so far is on the disk.
    func spooled()
    /// Everything that it handed on so far survives this process.
    func written()
    /// Whether somebody waits for the disk to have what it handed on.
    var wantsSync: Bool { get }
    /// The end has come: what was begun is handed on, and whoever waits is told.
    func stop(_ intake: LineIntake)
    /// When it wants to be asked again although nothing has come, on the monotonic clock; nil for never.
    var wakeAt: Int64? { get }
    /// Says up to where it has handed on its lines, for each of its owners.
    func report(_ positions: inout [Int64])
    /// Up to these positions its lines have arrived.
    func settle(_ positions: [Int64])
    /// Its own counters, by name.
    var figures: [(name: String, value: Int)] { get }
    /// Adds the files that it follows.
    func addFiles(to figures: inout LineStatus.Figures)
    /// What it has to say about itself since it was last asked.
    func takeNews() -> [LineNews]
}

extension LineSource {
    package var wakeAt: Int64? { nil }
    package var wantsSync: Bool { false }
    package func stop(_ intake: LineIntake) {}
    package var isHeldUp: Bool { false }
    package var troubles: Int { 0 }
    package func written() {}
    package func addFiles(to figures: inout LineStatus.Figures) {}
    package var figures: [(name: String, value: Int)] { [] }
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
