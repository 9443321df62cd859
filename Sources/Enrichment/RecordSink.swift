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

    /// Nothing more is sent for now. `positions` says up to where the lines of each owner were sent.
    func endTurn(now: Int64, _ positions: () -> [Int64])

    /// When it wants that again, on the monotonic clock; nil for never.
    var wakeAt: Int64? { get }

    /// Whether nothing is left to be said about positions.
    var isSettled: Bool { get }

    /// Whether somebody may still read records, though it is closed: a client that did not end in time.
    var mayStillRead: Bool { get }

    /// What the client behind it tells of itself; nil where there is none, or it has not yet.
    var figures: ClientFigures? { get }

    /// How often something went wrong, by its name.
    var errors: [(name: String, count: UInt64)] { get }

    /// Whether it must end, because somebody else does its work.
    var isOver: Bool { get }
}

extension RecordSink {
    func endTurn(now: Int64, _ positions: () -> [Int64]) {}
    var wakeAt: Int64? { nil }
    var isSettled: Bool { true }
    var isOver: Bool { false }
    var figures: ClientFigures? { nil }
    var errors: [(name: String, count: UInt64)] { [] }
    var mayStillRead: Bool { false }
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
    /// It, or another one that went with it, is at fault; perhaps only for its time.
    case refused(reason: String, isOfTime: Bool)
}
