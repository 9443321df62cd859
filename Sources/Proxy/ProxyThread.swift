import Runtime

/// One worker on the kernel's network, on a thread of its own.
package enum ProxyThread {
    /// Opens what the worker needs, so that a failure is known before anything is served; then starts its thread.
    package static func start(
        number: Int, settings: ProxySettings, board: StampBoard, counters: WorkerCounters, control: WorkerControl,
        listeners: [(descriptor: Int32, isShared: Bool)], wake: Wake, tellSupervisor: @escaping @Sendable () -> Void,
        onEnd: @escaping @Sendable () -> Void
    ) throws(SystemError) -> Threads.Handle {
        var network = try EpollNetwork()
        for (index, listener) in listeners.enumerated() {
            try network.watchListener(
                listener.descriptor, token: Worker<EpollNetwork>.firstListenerToken + UInt64(index),
                isShared: listener.isShared)
        }
        try network.watchListener(wake.number, token: Worker<EpollNetwork>.wakeToken, isShared: false)
        let seed = try Entropy.words()
        let parts = Parts(network: network)
        let described = listeners.map { Worker<EpollNetwork>.Listening(descriptor: $0.descriptor) }
        return try Threads.start("worker \(number)") {
            guard let network = parts.take() else { return onEnd() }
            var worker = Worker<EpollNetwork>(
                net: network, settings: settings, number: number, board: board, counters: counters, control: control,
                listeners: described, wakeDescriptor: wake.number, seed: seed, tellSupervisor: tellSupervisor)
            worker.run()
            onEnd()
        }
    }

    /// Hands the network over to the thread.
    private final class Parts: @unchecked Sendable {
        private var network: EpollNetwork?

        init(network: consuming EpollNetwork) { self.network = consume network }

        func take() -> EpollNetwork? { network.take() }
    }
}
