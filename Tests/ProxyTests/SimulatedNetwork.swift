import Runtime
import TestSupport

/// A network without a kernel: sockets are two queues of bytes, and what happens next is drawn by lot.
final class SimulatedWorld {
    /// One end of a connection, the one that the worker holds.
    final class Socket {
        let descriptor: Int32
        var token: UInt64?
        /// What the worker can read.
        var incoming: [UInt8] = []
        var incomingStart = 0
        var hasEnded = false
        var isBroken = false
        /// What the worker wrote, and when: at which offset, at which step.
        var outgoing: [UInt8] = []
        var writes: [(offset: Int, step: Int)] = []
        var room: Int
        var isConnecting = false
        /// The worker will send no more.
        var isFinished = false
        var isClosed = false
        var isReset = false
        /// Events that wait to be told.
        var readable = false
        var writable = false
        /// How many bytes the worker has read.
        var readCount = 0

        init(descriptor: Int32, room: Int) {
            self.descriptor = descriptor
            self.room = room
        }

        var unread: Int { incoming.count - incomingStart }
    }

    var chance: Chance
    var step = 0
    var clock: Int64 = 1_000_000_000
    var wall: Int64 = 1_700_000_000_000_000
    private(set) var sockets: [Int32: Socket] = [:]
    private var nextDescriptor: Int32 = 10
    /// Connections of clients that the worker has not taken yet.
    var backlog: [Socket] = []
    /// The sockets to upstreams, as they are opened.
    var onConnect: (Socket, SimulatedWorld) -> Bool = { _, _ in true }
    /// Something happens in the world; false when nothing could.
    var act: (SimulatedWorld) -> Bool = { _ in false }
    var events: [NetworkEvent] = []
    var isListening = true
    /// Largest chunk that a read returns; small ones cut everything into pieces.
    var readLimit = Int.max
    var problems: [String] = []

    init(seed: UInt64) { chance = Chance(seed: seed) }

    func draw(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &chance) }
    func percent(_ probability: Int) -> Bool { draw(100) < probability }

    func makeSocket(room: Int) -> Socket {
        let socket = Socket(descriptor: nextDescriptor, room: room)
        nextDescriptor += 1
        sockets[socket.descriptor] = socket
        return socket
    }

    func socket(_ descriptor: Int32) -> Socket {
        guard let socket = sockets[descriptor] else {
            problems.append("descriptor \(descriptor) is used after it was closed")
            return Socket(descriptor: descriptor, room: 0)
        }
        return socket
    }

    func forget(_ descriptor: Int32) { sockets[descriptor] = nil }

    /// What the far side does to a socket.
    func deliver(_ bytes: [UInt8], to socket: Socket) {
        socket.incoming += bytes
        socket.readable = true
    }

    func end(_ socket: Socket) {
        socket.hasEnded = true
        socket.readable = true
    }

    func breakDown(_ socket: Socket) {
        socket.isBroken = true
        socket.readable = true
    }

    func open(_ room: Int, of socket: Socket) {
        if socket.room == 0 { socket.writable = true }
        socket.room += room
    }

    /// Whether something waits to be told.
    var hasNews: Bool {
        !backlog.isEmpty && isListening
            || sockets.values.contains { $0.token != nil && !$0.isConnecting && ($0.readable || $0.writable) }
    }

    /// Tells the worker of what is ready, in any order, some of it only later, and now and then of what is not.
    func collect() {
        events = []
        if !backlog.isEmpty, isListening, percent(80) {
            events.append(
                NetworkEvent(
                    token: 0xFFFF_FF00, isReadable: true, isWritable: false, isHangup: false, isBroken: false))
        }
        for socket in sockets.values.sorted(by: { $0.descriptor < $1.descriptor }) {
            guard let token = socket.token, !socket.isConnecting || socket.writable || socket.isBroken else { continue }
            guard socket.readable || socket.writable || percent(1), percent(85) else { continue }
            events.append(
                NetworkEvent(
                    token: token, isReadable: socket.readable, isWritable: socket.writable,
                    isHangup: socket.hasEnded || socket.isBroken,
                    isBroken: socket.isBroken || socket.hasEnded && socket.isFinished))
            socket.readable = false
            socket.writable = false
        }
        events.shuffle(using: &chance)
    }
}

struct SimulatedNetwork: Network, ~Copyable {
    let world: SimulatedWorld

    mutating func wait(milliseconds: Int32) -> Int {
        world.step += 1
        world.clock += Int64(world.draw(200))
        world.wall += 200
        let acted = world.act(world)
        world.collect()
        if !acted, world.events.isEmpty, !world.hasNews {
            // Nothing can happen but that time passes; to the next deadline, or somewhere before it.
            let patience = milliseconds < 0 ? 1000 : Int64(milliseconds)
            world.clock += (world.percent(50) ? patience : Int64(world.draw(Int(patience) + 1))) * 1000
        }
        return world.events.count
    }

    func event(_ index: Int) -> NetworkEvent { world.events[index] }
    func monotonic() -> Int64 { world.clock }
    func wallTime() -> Int64 { world.wall }

    mutating func accept(_ listener: Int32, from peer: inout PeerName) -> Int32 {
        guard !world.backlog.isEmpty, world.isListening else { return Int32(NetworkError.wouldBlock) }
        peer = PeerName("192.0.2.7")
        return world.backlog.removeFirst().descriptor
    }

    mutating func connect(to address: SocketAddress) -> Int32 {
        let socket = world.makeSocket(room: 1 + world.draw(4000))
        guard world.onConnect(socket, world) else {
            world.forget(socket.descriptor)
            return -NetworkError.refused
        }
        return socket.descriptor
    }

    mutating func watch(_ descriptor: Int32, token: UInt64) -> Bool {
        let socket = world.socket(descriptor)
        socket.token = token
        socket.readable = true
        socket.writable = !socket.isConnecting
        return true
    }

    func failure(of descriptor: Int32) -> Int32 { world.socket(descriptor).isBroken ? NetworkError.refused : 0 }

    func isQuietAndOpen(_ descriptor: Int32) -> Bool {
        let socket = world.socket(descriptor)
        return socket.unread == 0 && !socket.hasEnded && !socket.isBroken
    }

    mutating func receive(_ descriptor: Int32, into bytes: UnsafeMutableRawPointer, count: Int) -> Int {
        let socket = world.socket(descriptor)
        if socket.unread == 0 {
            if socket.isBroken { return -104 }
            return socket.hasEnded ? 0 : NetworkError.wouldBlock
        }
        let taken = min(count, socket.unread)
        for offset in 0..<taken {
            bytes.storeBytes(of: socket.incoming[socket.incomingStart + offset], toByteOffset: offset, as: UInt8.self)
        }
        socket.incomingStart += taken
        socket.readCount += taken
        if socket.incomingStart == socket.incoming.count {
            socket.incoming = []
            socket.incomingStart = 0
        } else if taken < count {
            world.problems.append("the simulation left bytes behind a short read")
        }
        return taken
    }

    mutating func send(_ descriptor: Int32, _ bytes: UnsafeRawPointer, count: Int) -> Int {
        let socket = world.socket(descriptor)
        if socket.isClosed || socket.isFinished { world.problems.append("bytes are sent after the end") }
        if socket.isBroken { return -32 }
        if socket.isConnecting || socket.room == 0 { return NetworkError.wouldBlock }
        let taken = min(count, socket.room)
        socket.room -= taken
        socket.writes.append((socket.outgoing.count, world.step))
        socket.outgoing += UnsafeRawBufferPointer(start: bytes, count: taken)
        return taken
    }

    mutating func acknowledge(_ descriptor: Int32) {}

    mutating func finishSending(_ descriptor: Int32) { world.socket(descriptor).isFinished = true }

    mutating func close(_ descriptor: Int32) {
        world.socket(descriptor).isClosed = true
        world.forget(descriptor)
    }

    mutating func reset(_ descriptor: Int32) {
        world.socket(descriptor).isReset = true
        close(descriptor)
    }

    mutating func clearWake(_ descriptor: Int32) {}
    mutating func closeListener(_ listener: Int32) { world.isListening = false }
}
