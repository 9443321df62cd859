import Admin
import Provenance
import Runtime
import Synchronization

/// What happens before anything is served: the admin listener answers, and the first manifests are looked at, which may take its time.
extension Sidecar {
    /// Nil where there is no admin listener.
    borrowing func startAdmin(
        _ server: AdminServer, _ answers: AdminAnswers, _ probes: AdminAnswers
    ) throws(SidecarError) -> ThreadBox? {
        guard let admin else { return nil }
        // Not waited for: one may be looking through a large ledger, and changes nothing.
        for (name, one) in [("answers", answers), ("probes", probes)] {
            _ = try Self.system { () throws(SystemError) in try Threads.start(name, .standingBack) { one.run() } }
        }
        log.write(
            .info, "starting",
            [
                ("admin", .string(admin.name)),
                ("effect", .string("the manifests are read, and their artifacts checked")),
            ])
        return ThreadBox(
            try Self.system { () throws(SystemError) in
                try Threads.start("admin", .standingBack) { admin.withListener { server.run(on: $0) } }
            })
    }

    private final class FirstLook: Sendable {
        let outcome = Mutex<Result<Void, SidecarError>?>(nil)
        let isDone: Wake

        init() throws(SystemError) { isDone = try Wake() }
    }

    /// Looks at the pointers for the first time. Answers who asked for a reload meanwhile; nil when it was told to end. Where it ends here,
    /// whoever waits for an order is told.
    borrowing func loadFirst(orEnd end: () -> Void) throws(SidecarError) -> [String?]? {
        let look = try Self.system { () throws(SystemError) in try FirstLook() }
        let loader = loader
        _ = try Self.system { () throws(SystemError) in
            try Threads.start("first-load", .brief) {
                let outcome: Result<Void, SidecarError>
                do throws(SidecarError) { outcome = .success(try loader.loadFirst()) } catch {
                    outcome = .failure(error)
                }
                look.outcome.withLock { $0 = outcome }
                look.isDone.signal()
            }
        }
        var hangups: [String?] = []
        while true {
            _ = Readiness.wait([look.isDone.number, signals.number], milliseconds: -1)
            while let signal = signals.next() {
                switch signal {
                case .hangup(let sender): if hangups.isEmpty { hangups.append(sender) }
                case .terminate:
                    log.write(.info, "stop", [("effect", .string("it had not begun to serve"))])
                    loader.refuseRest()
                    end()
                    return nil
                }
            }
            guard let outcome = look.outcome.withLock({ $0 }) else { continue }
            do throws(SidecarError) { try outcome.get() } catch {
                loader.refuseRest()
                end()
                throw error
            }
            return hangups
        }
    }
}
