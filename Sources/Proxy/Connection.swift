import HTTP
import Provenance
import Runtime

/// One end of an exchange: the connection of a client, or one to an upstream. A plain value in a table, found by its slot.
///
/// Bytes that were read from it stand in its buffer; bytes that wait to be written to it stand in the buffer of the other end,
/// which reads no more until they are gone.
struct Connection {
    enum Role: UInt8 {
        case free
        case client
        case upstream
    }

    enum Phase: UInt8 {
        // Of a client:
        /// A request's head is awaited.
        case requestHead
        /// The request is on its way, and more of it is to come.
        case requestBody
        /// The request is complete; its response is on its way.
        case response
        /// A response of our own is being written.
        case ownResponse
        /// All is written; what still comes is thrown away until the client closes.
        case lingering

        // Of an upstream:
        /// Kept for the next request.
        case idle
        case responseHead
        case responseBody
        /// The whole response is read, and not yet all of it written to the client.
        case responseWritten

        // Of both, after 101:
        case tunnel
    }

    struct Flags: OptionSet {
        let rawValue: UInt32

        init(rawValue: UInt32) { self.rawValue = rawValue }

        /// There may be something to read.
        static let readable = Flags(rawValue: 1 << 0)
        /// The other side has closed, at least its direction.
        static let hangup = Flags(rawValue: 1 << 1)
        /// Its end was read.
        static let ended = Flags(rawValue: 1 << 2)
        /// To be closed after this exchange.
        static let closing = Flags(rawValue: 1 << 3)

        // Of a client's exchange:
        static let isHEAD = Flags(rawValue: 1 << 4)
        static let isHTTP10 = Flags(rawValue: 1 << 5)
        static let wantsUpgrade = Flags(rawValue: 1 << 6)
        static let isIdempotent = Flags(rawValue: 1 << 7)
        /// All that was read of the request still stands in the buffer.
        static let isReplayable = Flags(rawValue: 1 << 8)
        /// The head of the final response was sent.
        static let hasResponse = Flags(rawValue: 1 << 9)
        /// It is being served by a loop further up the stack.
        static let isAdvancing = Flags(rawValue: 1 << 10)
        /// A response ends with the connection.
        static let endsByClosing = Flags(rawValue: 1 << 11)
        static let keepsAliveInHTTP10 = Flags(rawValue: 1 << 17)
        /// An empty line before its request line was ignored.
        static let hasSkippedLine = Flags(rawValue: 1 << 19)
        /// It waits for 100 before it sends the body.
        static let awaitsContinue = Flags(rawValue: 1 << 20)

        // Of an upstream:
        static let isConnecting = Flags(rawValue: 1 << 12)
        /// It served an exchange before this one.
        static let isReused = Flags(rawValue: 1 << 13)
        /// The kernel has taken bytes of this exchange's request.
        static let hasTaken = Flags(rawValue: 1 << 14)
        /// Bytes of a response have come.
        static let hasAnswered = Flags(rawValue: 1 << 15)
        /// It takes no more of the request; its response may still come.
        static let refusesBytes = Flags(rawValue: 1 << 16)
        /// The client gets the payload of chunks without their framing.
        static let unwrapsChunks = Flags(rawValue: 1 << 18)
    }

    /// How the end of what is being read is found.
    enum Body {
        case done
        case length(Int)
        case chunked
        case trailers
        case untilClose

        @inline(__always)
        var isDone: Bool { if case .done = self { true } else { false } }
    }

    var descriptor: Int32 = -1
    var generation: UInt32 = 0
    var role = Role.free
    var phase = Phase.requestHead
    var variant: UInt8 = 0
    /// The variant that has answered.
    var answered: UInt8 = 0
    var upstream: UInt8 = 0
    /// How many addresses of the upstream were tried, from the first one on.
    var attempt: UInt8 = 0
    var firstAddress: UInt8 = 0
    var idCount: UInt8 = 0
    var flags: Flags = []
    var peer = Connection.nobody
    /// The neighbours in the list of idle connections, or of free slots.
    var next = Connection.nobody
    var previous = Connection.nobody

    var buffer: UnsafeMutableRawPointer?
    /// What is read and not yet passed on, counted from the data of the buffer.
    var start = 0
    var end = 0
    /// How far a head, or a trailer section, was looked at, counted from `start`.
    var scanned = 0
    var body = Body.done
    var chunks = ChunkedBody()

    /// What waits to be written to this connection.
    var pending: UnsafeRawPointer?
    var pendingCount = 0

    /// Where the request that is on its way stands in the buffer.
    var requestStart = 0
    var requestCount = 0
    /// The activation that was the last one when the request was admitted.
    var serial: UInt64 = 0
    /// When it went idle, or when its exchange began.
    var since: Int64 = 0
    /// When what was read of the request was first sent up; 0 before. In monotonic microseconds.
    var sentUpAt: Int64 = 0
    /// And the last byte, as far as it has been.
    var sentLastAt: Int64 = 0
    var isInFlight = false
    var status = 0
    /// Bytes of a response's body, for the log.
    var sent = 0
    /// What the response was stamped with; nil when it was not.
    var claim: Attribution?
    var isStamped = false
    /// Whether a record of this exchange was handed over.
    var isRecorded = false
    var lineCount: UInt8 = 0
    /// What is kept of an exchange for its log line; nil where none is made.
    var note: UnsafeMutablePointer<ExchangeNote>?
    var peerName = PeerName()

    static let nobody = UInt32.max
}

/// Buffers for what is read: taken when there is something to read, given back when a connection idles.
///
/// Before the data there is room for notes of the exchange, and for a head to grow into.
struct BufferPool: ~Copyable {
    /// So that a buffer with a small head in it touches one page of memory.
    static let dataOffset = 2048
    static let dataCount = 64 << 10
    /// The request id of the exchange stands at the front.
    static let idCapacity = 128
    /// How much a head may grow.
    static let room = dataOffset - notesCount
    private static let size = dataOffset + dataCount

    private var free: [UnsafeMutableRawPointer] = []
    /// The fewest that were free since the last look: so many are not needed.
    private var leastFree = 0
    private(set) var inUse = 0

    init(limit: Int) { free.reserveCapacity(limit) }

    deinit { for buffer in free { buffer.deallocate() } }

    @inline(__always)
    mutating func take() -> UnsafeMutableRawPointer {
        inUse &+= 1
        if let buffer = free.popLast() {
            if free.count < leastFree { leastFree = free.count }
            return buffer
        }
        return .allocate(byteCount: Self.size, alignment: 4096)
    }

    @inline(__always)
    mutating func give(_ buffer: UnsafeMutableRawPointer) {
        inUse &-= 1
        free.append(buffer)
    }

    /// Gives half of those that nobody needed since the last look back to the system.
    mutating func trim() {
        for _ in 0..<(leastFree + 1) / 2 { free.removeLast().deallocate() }
        leastFree = free.count
    }
}
