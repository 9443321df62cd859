import CSystem
import Glibc
import Synchronization

/// Plain threads for work that waits for disks and computes: no pool that such work could starve.
package enum Threads {
    /// How many the machine runs at once.
    package static var processors: Int {
        max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    }

    /// Calls `body` once for each index below `count`, as many at a time as there are processors; returns when all are done.
    package static func forEach(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
        let work = Work(count: count, body: body)
        let helpers = min(count, processors) - 1
        var threads: [pthread_t] = []
        for _ in 0..<max(0, helpers) {
            var thread = pthread_t()
            let context = Unmanaged.passRetained(work).toOpaque()
            let code = pthread_create(&thread, nil, { Work.run($0) }, context)
            guard code == 0 else {
                // No thread to be had: those that run, this one among them, do all of the work.
                Unmanaged<Work>.fromOpaque(context).release()
                break
            }
            threads.append(thread)
        }
        work.takeAll()
        for thread in threads { pthread_join(thread, nil) }
    }

    private final class Work: Sendable {
        private let next = Atomic<Int>(0)
        private let count: Int
        private let body: @Sendable (Int) -> Void

        init(count: Int, body: @escaping @Sendable (Int) -> Void) {
            self.count = count
            self.body = body
        }

        func takeAll() {
            while true {
                let index = next.add(1, ordering: .relaxed).oldValue
                guard index < count else { return }
                body(index)
            }
        }

        static func run(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
            guard let context else { return nil }
            Unmanaged<Work>.fromOpaque(context).takeRetainedValue().takeAll()
            return nil
        }
    }
}

extension Threads {
    /// A thread of its own, until its body ends.
    package struct Handle: ~Copyable {
        fileprivate var thread: pthread_t

        /// Waits until the body has ended.
        package consuming func join() { pthread_join(thread, nil) }
    }

    /// How a thread stands to those that serve requests.
    package enum Manner: Sendable {
        case usual
        /// It works as much as they do, in short turns: whoever has something to answer need not wait for a long one to end.
        case brief
        /// It stands back where others want the processor, too.
        case standingBack
    }

    private final class Body: Sendable {
        let name: String
        let manner: Manner
        let run: @Sendable () -> Void

        init(name: String, manner: Manner, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.manner = manner
            self.run = run
        }
    }

    /// The shortest that Linux grants, in nanoseconds.
    private static let shortTurn: UInt64 = 100_000
    private static let backgroundNiceness: Int32 = 10
    private static let mostNice: Int32 = 19

    /// Of nobody else than this thread, which is what Linux takes 0 for, and of those that it starts. Where that is forbidden, or not known, it
    /// runs like the others.
    private static func take(_ manner: Manner) {
        let thread = __priority_which_t(PRIO_PROCESS.rawValue)
        let own = getpriority(thread, 0)
        switch manner {
        case .usual: break
        case .brief: _ = colophon_schedule(own, shortTurn)
        case .standingBack:
            let niceness = min(own + backgroundNiceness, mostNice)
            if colophon_schedule(niceness, shortTurn) != 0 { _ = setpriority(thread, 0, niceness) }
        }
    }

    /// Starts a thread. Its name, at most 15 bytes, is what `top -H` shows.
    package static func start(
        _ name: String, _ manner: Manner = .usual, _ body: @escaping @Sendable () -> Void
    ) throws(SystemError) -> Handle {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(Body(name: name, manner: manner, run: body)).toOpaque()
        let code = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                let body = Unmanaged<Body>.fromOpaque(context).takeRetainedValue()
                pthread_setname_np(pthread_self(), body.name)
                Threads.take(body.manner)
                body.run()
                return nil
            }, context)
        guard code == 0 else {
            Unmanaged<Body>.fromOpaque(context).release()
            throw SystemError("start", "a thread", code: code)
        }
        return Handle(thread: thread)
    }
}
