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

    private final class Body: Sendable {
        let name: String
        let isInBackground: Bool
        let run: @Sendable () -> Void

        init(name: String, isInBackground: Bool, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.isInBackground = isInBackground
            self.run = run
        }
    }

    private static let backgroundNiceness: Int32 = 10

    /// Of nobody else than this thread, which is what Linux takes 0 for. Where that is forbidden, it runs like the others.
    private static func standBack() {
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, backgroundNiceness)
    }

    /// Starts a thread. Its name, at most 15 bytes, is what `top -H` shows. One in the background stands back where others want the processor.
    package static func start(
        _ name: String, inBackground isInBackground: Bool = false, _ body: @escaping @Sendable () -> Void
    ) throws(SystemError) -> Handle {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(Body(name: name, isInBackground: isInBackground, run: body)).toOpaque()
        let code = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                let body = Unmanaged<Body>.fromOpaque(context).takeRetainedValue()
                pthread_setname_np(pthread_self(), body.name)
                if body.isInBackground { Threads.standBack() }
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
