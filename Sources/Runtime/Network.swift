/// What the data plane needs of the world: descriptors that become ready, bytes in and out, and the time.
///
/// The one seam between the machines that speak HTTP and the kernel. `EpollNetwork` is the real one; simulations have
/// another, with clocks that jump and connections that break at every byte.
package protocol Network: ~Copyable {
    /// Waits until something is ready, or `milliseconds` have passed (-1: for ever). Returns how many events there are.
    mutating func wait(milliseconds: Int32) -> Int
    func event(_ index: Int) -> NetworkEvent

    /// Microseconds that never go back.
    func monotonic() -> Int64
    /// Microseconds since 1970, which may jump.
    func wallTime() -> Int64

    /// Takes a connection from a listener; a negative error number when there is none.
    mutating func accept(_ listener: Int32, from peer: inout PeerName) -> Int32
    /// Begins to connect; a negative error number when that fails at once.
    mutating func connect(to address: SocketAddress) -> Int32
    /// Asks for events of a descriptor, once for as long as it is open, each under `token`: when it becomes ready anew.
    mutating func watch(_ descriptor: Int32, token: UInt64) -> Bool
    /// Why connecting failed; 0 when it did not.
    func failure(of descriptor: Int32) -> Int32
    /// Whether a connection that nobody uses is still open, as far as one can know.
    func isQuietAndOpen(_ descriptor: Int32) -> Bool

    /// Reads what there is: how many bytes, 0 at the end, or a negative error number.
    mutating func receive(_ descriptor: Int32, into bytes: UnsafeMutableRawPointer, count: Int) -> Int
    /// Writes what fits: how many bytes, or a negative error number.
    mutating func send(_ descriptor: Int32, _ bytes: UnsafeRawPointer, count: Int) -> Int
    /// Says at once that what has come has come: whoever sends in small pieces may be waiting for that with the next one (Nagle's algorithm), and
    /// the kernel keeps it back for some 40 ms where nothing is sent.
    mutating func acknowledge(_ descriptor: Int32)
    /// Says that nothing more will be sent.
    mutating func finishSending(_ descriptor: Int32)
    mutating func close(_ descriptor: Int32)
    /// Closes so that the other side knows that something went wrong.
    mutating func reset(_ descriptor: Int32)
    /// Reads away a signal to wake up.
    mutating func clearWake(_ descriptor: Int32)
    /// Stops listening.
    mutating func closeListener(_ listener: Int32)
}

/// One descriptor that became ready.
package struct NetworkEvent: Sendable {
    package let token: UInt64
    package let isReadable: Bool
    package let isWritable: Bool
    /// The other side sends no more, or both sides are closed: what can be read must be read to its end.
    package let isHangup: Bool
    /// Both directions are gone.
    package let isBroken: Bool

    package init(token: UInt64, isReadable: Bool, isWritable: Bool, isHangup: Bool, isBroken: Bool) {
        self.token = token
        self.isReadable = isReadable
        self.isWritable = isWritable
        self.isHangup = isHangup
        self.isBroken = isBroken
    }
}

/// The error numbers that the callers of a network tell apart.
package enum NetworkError {
    package static let wouldBlock = -11
    package static let refused: Int32 = 111
}

/// The address of a client as text, in place.
package struct PeerName: Sendable {
    package static let capacity = 46
    package var bytes = InlineArray<46, UInt8>(repeating: 0)
    package var count: UInt8 = 0

    package init() {}

    /// Takes over the text, as much as fits.
    package init(_ text: StaticString) {
        for index in 0..<min(text.utf8CodeUnitCount, Self.capacity) { bytes[index] = text.utf8Start[index] }
        count = UInt8(min(text.utf8CodeUnitCount, Self.capacity))
    }
}
