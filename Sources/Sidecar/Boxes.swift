import Runtime

// What has one owner, for those who must share it or keep several of it.

/// A listener that is handed to a thread.
final class ListenerBox: @unchecked Sendable {
    private let listener: Listener
    let name: String

    init(_ listener: consuming Listener) {
        name = listener.name
        self.listener = listener
    }

    func withListener(_ body: (borrowing Listener) -> Void) { body(listener) }
}

/// A thread, to wait for.
final class ThreadBox {
    private var handle: Threads.Handle?

    init(_ handle: consuming Threads.Handle) { self.handle = consume handle }

    func join() { handle.take()?.join() }
}
