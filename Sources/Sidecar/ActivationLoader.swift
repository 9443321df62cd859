import Ledger
import Manifests
import Provenance
import Proxy
import Runtime
import Synchronization

/// Brings what the pointers name to life (DESIGN 4.4): read, check, hash, record, and then swap one table for another. What fails
/// at any step changes nothing but what is said of it.
///
/// Used by one thread at a time: by the one that starts the sidecar, then by the loader's own. Others read `states`.
final class ActivationLoader: @unchecked Sendable {
    /// What asked for a manifest, as the ledger and the log have it.
    enum Cause: String, Sendable, CaseIterable {
        case start
        case pointer
        case signal
        /// `POST /v1/reload`
        case reload
        /// `POST /v1/activations`
        case api
    }

    /// What a pointer led to when it was last looked at.
    enum Pointed: Sendable, Equatable {
        case manifest(Digest)
        case unreadable
    }

    private(set) var settings: SidecarSettings
    let ledger: Ledger
    let log: EventLog
    let cache = HashCache()
    var watches: [PointerWatch]
    /// When each pointer was last seen to name what is active, or what was looked at then.
    var lookedAt: [Instant]
    /// Notes of until when pointers were watched: by this sidecar, and by the last one of this instance.
    let watchedDirectory: String
    var watchedNotes: [OwnNote?]
    /// Whether the last of them could not be written.
    var notesFail = false
    var hasTidiedNotes = false
    /// How often in a row a doubt could not be written to the ledger.
    var doubtFailures = 0
    /// Until when the ledger is waited for in this turn, by all that wait for it; nil while nobody had to.
    var ledgerDeadline: Int64?
    var lastSerial: UInt64 = 0
    var board: StampBoard?
    var known: [StampTable.Known] = []
    /// What `known` was made of, by the ledger's record: manifests do not change.
    var knownByRecord: [Int64: StampTable.Known] = [:]
    var knownRevision: Int64 = -1
    /// The ledger's revision tells only of what others wrote.
    var hasAdded = false
    var watch: FileWatch?
    let shared: Mutex<[State]>
    /// `attribution.settle`, for those who ask from other threads.
    private let settle: Mutex<SidecarSettings.Settle>
    private let activations = Mutex<[Cause: Int]>([:])
    let confirmed = Atomic<Int>(0)
    private let failures = Atomic<Int>(0)
    let isStopping = Atomic<Bool>(false)
    let orders = Mutex(Orders())
    /// Whether the first manifests are looked at: until then nothing is known, and nothing served.
    private let hasLoaded = Atomic<Bool>(false)
    var hasLooked: Bool { hasLoaded.load(ordering: .acquiring) }
    /// Those whose artifacts are to be looked at once more.
    var rechecked: Set<Int> = []
    let wake: Wake
    /// Readable once `run` has ended.
    let ended: Wake

    /// What other threads have asked for and the loader's own has not done yet.
    struct Orders {
        var settings: SidecarSettings?
        var activations: [ActivationOrder] = []
        /// The one that is being carried out.
        var current: ActivationOrder?
        /// Who asked that the pointers be looked at; nil when nobody did.
        var cause: Cause?
        var actor: String?
        /// Those who want to know what came of it, and those of whom that is being found out.
        var whenLooked: [Reloader.WhenLooked] = []
        var looking: [Reloader.WhenLooked] = []
        /// Nobody will take anything any more.
        var hasEnded = false
    }

    init(_ settings: SidecarSettings, ledger: Ledger, log: EventLog, dataDirectory: String) throws(SystemError) {
        watchedDirectory = Ledger.watchDirectory(in: dataDirectory, of: settings.instance)
        try Files.makeDirectory(watchedDirectory)
        ledger.watchedHere = settings.variants
        self.settings = settings
        self.ledger = ledger
        self.log = log
        wake = try Wake()
        ended = try Wake()
        settle = Mutex(settings.settle)
        let states = settings.variants.map { variant in
            State(variant: variant, path: settings.value(of: variant, in: settings.manifest) ?? "")
        }
        watches = states.map { PointerWatch($0.path) }
        lookedAt = states.map { _ in Clock.now() }
        watchedNotes = states.map { _ in nil }
        shared = Mutex(states)
    }

    var states: [State] { shared.withLock { $0 } }
    var settlePolicy: SidecarSettings.Settle { settle.withLock { $0 } }
    var activationsByCause: [Cause: Int] { activations.withLock { $0 } }
    var activationCount: Int { activations.withLock { $0.values.reduce(0, +) } }
    /// How often a pointer was found to name what was active already.
    var confirmations: Int { confirmed.load(ordering: .relaxed) }
    var failureCount: Int { failures.load(ordering: .relaxed) }

    // MARK: - Start

    /// Loads every variant's manifest before anything is served. Throws when one cannot be loaded and none is optional.
    func loadFirst() throws(SidecarError) {
        var isLoaded = false
        // Whoever gives up watches nothing from then on.
        defer {
            if !isLoaded { noteWatched(isLast: true) }
            hasLoaded.store(isLoaded, ordering: .releasing)
        }
        for index in states.indices {
            load(index, cause: .start)
            let state = states[index]
            if state.manifest == nil, let problem = state.problem, state.isNotRecorded {
                throw .notRecorded(reason: problem)
            }
            guard state.manifest != nil || settings.manifestOptional else {
                throw .noManifest(
                    variant: state.variant, path: state.path, reason: state.problem ?? "there is no manifest")
            }
        }
        isLoaded = true
    }

    /// The table of what is active now.
    func table() -> StampTable {
        loadKnown()
        return table(of: states)
    }

    private func table(of states: [State]) -> StampTable {
        let sources = states.map { state in
            StampTable.Source(
                stamp: state.stamp, serial: state.serial, isCurrent: state.isCurrent,
                ceiling: state.manifest.map(Self.ceiling) ?? .unknown, settledAt: state.settledAt,
                settlesByReconnecting: state.settlesByReconnecting)
        }
        return StampTable(variants: sources, known: known, headers: settings.headers)
    }

    /// What does not say its own digest rightly is never surely itself.
    static func ceiling(_ manifest: Manifest) -> Attribution { manifest.isDigestVerified ? .exact : .inferred }

    /// Publishes from now on to `board`.
    func attach(_ board: StampBoard) { self.board = board }

    // MARK: - Watching

    /// Waits for changes and loads them, until `stop`.
    func run() {
        defer {
            refuseRest()
            noteWatched(isLast: true)
            writeDoubts()
            ended.signal()
        }
        do { watch = try FileWatch() } catch {
            // Looking from time to time is enough, only later.
            log.write(.warn, "watch-failed", [("reason", .string(error.description))])
        }
        writeDoubts()
        noteWatched()
        while !isStopping.load(ordering: .acquiring) {
            for pointer in watches { for directory in pointer.directories { watch?.add(directory) } }
            let isReady = Readiness.wait([wake.number, watch?.number ?? -1], milliseconds: Int32(settings.poll / 1000))
            if isReady[0] { wake.clear() }
            if isReady[1] { watch?.clear() }
            if isStopping.load(ordering: .acquiring) { return }
            ledgerDeadline = nil
            let orders = takeOrders()
            if isStopping.load(ordering: .acquiring) { return }
            for index in watches.indices {
                // What failed may succeed now: an artifact arrives late, a disk has room again.
                let hasChanged = look(index)
                let isUnsure = states[index].problem != nil || !states[index].isCurrent
                let isDue = hasChanged || states[index].overridden == nil && (orders.cause != nil || isUnsure)
                if isDue { load(index, cause: orders.cause ?? .pointer, by: orders.actor) }
            }
            for tell in takeLooking() { tell(states) }
            writeDoubts()
            noteWatched()
            // What others have added to the ledger since, an upstream may name.
            if loadKnown() { board?.publish(table()) }
            board?.reclaim()
        }
    }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        wake.signal()
    }

    /// Has the pointers looked at, by these settings. Any thread may ask.
    func reload(_ settings: SidecarSettings, cause: Cause, by actor: String?, whenLooked: Reloader.WhenLooked?) {
        let isTaken = orders.withLock { orders in
            guard !orders.hasEnded else { return false }
            orders.settings = settings
            orders.cause = cause
            orders.actor = actor
            if let whenLooked { orders.whenLooked.append(whenLooked) }
            return true
        }
        guard isTaken else {
            whenLooked?([])
            return
        }
        wake.signal()
    }

    private func takeOrders() -> Orders {
        let asked = orders.withLock { orders in
            let asked = orders
            orders.looking += orders.whenLooked
            (orders.settings, orders.cause, orders.actor, orders.whenLooked) = (nil, nil, nil, [])
            return asked
        }
        if let new = asked.settings { adopt(new) }
        // Those that come meanwhile wait for the next turn.
        for _ in asked.activations {
            guard !isStopping.load(ordering: .acquiring), let order = nextOrder() else { break }
            carryOut(order)
        }
        return asked
    }

    private func takeLooking() -> [Reloader.WhenLooked] {
        orders.withLock { orders in
            defer { orders.looking = [] }
            return orders.looking
        }
    }

    private func adopt(_ new: SidecarSettings) {
        if new.artifacts.asksMore(than: settings.artifacts) || new.artifactsRoot != settings.artifactsRoot {
            rechecked = Set(states.indices)
        }
        settings = new
        settle.withLock { $0 = new.settle }
        for (index, state) in states.enumerated() {
            let path = new.value(of: state.variant, in: new.manifest) ?? ""
            guard !path.hasSameBytes(as: state.path) else { continue }
            watches[index] = PointerWatch(path)
            shared.withLock {
                $0[index].path = path
                $0[index].hadPointer = false
            }
        }
    }

    // MARK: - Loading

    /// `actor` is who sent the signal that caused it.
    func load(_ index: Int, cause: Cause, by actor: String? = nil, attempt: Int = 1) {
        let state = states[index]
        let time = Clock.now()
        watches[index].remember()
        defer {
            if states[index].isCurrent { lookedAt[index] = max(lookedAt[index], time) }
            publishWatch(index)
        }
        do throws(LoadFailure) {
            guard let file = try follow(index) else { return }
            if state.manifest == nil, try keepsOverride(index, file) { return }
            change(index) { $0.overridden = nil }
            if file.manifest.digest == state.manifest?.digest {
                publishWatch(index)
                // By other rules than when it was activated.
                if try recheck(index, file), attempt < Self.mostAttempts {
                    return load(index, cause: cause, by: actor, attempt: attempt + 1)
                }
                confirm(index, file)
                return
            }
            let stamp = try makeStamp(file)
            // From here on it is known that the model server may have moved on; hashing artifacts may take its time.
            if state.manifest != nil { change(index) { $0.isCurrent = false } }
            let missing = try checkArtifacts(of: index, file)
            // What is recorded is what the pointer names now, not what it named before the hashing.
            if attempt < Self.mostAttempts, watches[index].hasMoved {
                return load(index, cause: cause, by: actor, attempt: attempt + 1)
            }
            let asker = cause == .signal ? actor : Paths.absolute(state.path)
            guard let recorded = try record(index, file, cause: cause, actor: asker) else {
                guard attempt < Self.mostAttempts else { throw Self.movesOn }
                return load(index, cause: cause, by: actor, attempt: attempt + 1)
            }
            activate(index, file, stamp, recorded, cause: cause)
            warn(of: file, missing: missing)
            // It moved on while it was recorded: that is seen now, and not only when somebody looks next.
            if watches[index].hasMoved, attempt < Self.mostAttempts {
                change(index) { $0.isCurrent = false }
                return load(index, cause: cause, by: actor, attempt: attempt + 1)
            }
        } catch {
            // What is only looked at again, by itself, is told of once; whoever asks is told each time.
            let isNews = state.problem.map { !$0.hasSameBytes(as: error.reason) } ?? true
            guard isNews || cause == .signal || cause == .reload else { return }
            failures.add(1, ordering: .relaxed)
            if cause == .start { beginDoubtAtStart(index) }
            change(index) {
                $0.isCurrent = false
                $0.problem = error.reason
                $0.isNotRecorded = error.isOfLedger
            }
            guard cause != .start || settings.manifestOptional else { return }
            log.write(
                .warn, "reload-failed",
                [
                    ("variant", .string(state.variant)), ("manifest", .string(state.path)),
                    ("still_active", .optional(state.manifest?.version)), ("reason", .string(error.reason)),
                ])
        }
    }

    static let movesOn = LoadFailure(
        "the pointer moved on while another process wrote to the ledger: ask again", isOfLedger: true)

    /// How often a pointer is read again that changes while it is read.
    private static let mostAttempts = 5

    struct LoadFailure: Error {
        let reason: String
        let isOfLedger: Bool
        /// Whether another process was writing to it.
        let isOfBusyLedger: Bool

        init(_ reason: String, isOfLedger: Bool = false, isOfBusyLedger: Bool = false) {
            self.reason = reason
            self.isOfLedger = isOfLedger
            self.isOfBusyLedger = isOfBusyLedger
        }
    }

    /// Reads what the pointer names. Nil where that is what it named when the API activated something else.
    private func follow(_ index: Int) throws(LoadFailure) -> ManifestFile? {
        let state = states[index]
        let file: ManifestFile
        do { file = try ManifestFile.load(state.path, verification: settings.verify) } catch {
            shared.withLock { $0[index].pointed = .unreadable }
            // As it was then.
            if state.overridden == .unreadable { return nil }
            throw LoadFailure(error.description)
        }
        // A directory names the newest of its manifests where it never had a pointer; a pointer that goes says nothing of which to take.
        let isOfPointer = Paths.name(of: file.path).hasSameBytes(as: ManifestFile.pointerName)
        if state.hadPointer, !isOfPointer, Files.isDirectory(state.path, writable: false) {
            throw LoadFailure(
                "\(Paths.join(state.path, ManifestFile.pointerName).onOneLine) is gone: put it back; the newest of the other manifests there is not taken in its place"
            )
        }
        if isOfPointer { shared.withLock { $0[index].hadPointer = true } }
        watches[index].remember(file.path)
        let pointed = Pointed.manifest(file.manifest.digest)
        shared.withLock { $0[index].pointed = pointed }
        guard state.overridden == pointed else { return file }
        // Meanwhile it was not to be read: then the model server may have gone its own way, and nobody knows which.
        if !state.isCurrent || isUnwatchedGap(index) {
            let problem = Self.unconfirmed(file.manifest, state.manifest)
            let isNews = state.problem.map { !$0.hasSameBytes(as: problem) } ?? true
            change(index) {
                $0.isCurrent = false
                $0.problem = problem
            }
            if isNews { logUnconfirmed(index) }
        }
        return nil
    }

    func makeStamp(_ file: ManifestFile) throws(LoadFailure) -> Stamp {
        do {
            return try Stamp(file.manifest, headers: settings.headers, commitLength: settings.commitLength)
        } catch { throw LoadFailure("\(file.path.onOneLine): \(error)") }
    }

    /// An order says by itself how long it is to settle, and is held until the pointer names something else.
    func activate(
        _ index: Int, _ file: ManifestFile, _ stamp: Stamp, _ recorded: Recorded, cause: Cause,
        ordered: SidecarSettings.Settle? = nil
    ) {
        lastSerial += 1
        let serial = lastSerial
        let before = states[index].manifest
        let settle = settings.settle
        change(index) { state in
            state.manifest = file.manifest
            state.file = file.path.isEmpty ? nil : file.path
            state.activeSince = recorded.since
            state.isCurrent = true
            state.problem = nil
            state.isNotRecorded = false
            state.serial = serial
            state.stamp = stamp
            if let ordered {
                state.overridden = state.pointed == .manifest(file.manifest.digest) ? nil : state.pointed
                // Nobody knows since when the model server answers with it, be it the first one or not.
                return state.settle(ordered)
            }
            // Before the first one there was no model of another manifest that could still answer.
            guard !recorded.isFirst || recorded.wasDoubted else { return }
            let elapsed = Clock.now().microseconds - recorded.since.microseconds
            let isLongSince = recorded.isKnown && !recorded.wasDoubted
            state.settle(settle, alreadyMicroseconds: isLongSince ? max(0, elapsed) : 0)
        }
        // What was active when the last sidecar ended is no activation.
        if !recorded.isKnown { activations.withLock { $0[cause, default: 0] += 1 } }
        let facts: [(name: String, value: JSON)] = [
            ("variant", .string(states[index].variant)), ("model_version", .string(file.manifest.version)),
            ("manifest_sha256", .string(file.manifest.digest.hex)),
            ("previous", .optional(before?.version)), ("cause", .string(cause.rawValue)),
            ("rollback", .bool(recorded.isRollback)),
            ("file", .optional(states[index].file)),
            ("left_out", .array(stamp.leftOut.map { .string("\($0.name)") })),
        ]
        if recorded.isKnown {
            log.write(.info, "manifest-resumed", facts)
        } else {
            log.write(.info, "activation", facts)
        }
    }

    func change(_ index: Int, _ body: (inout State) -> Void) {
        loadKnown()
        shared.withLock { states in
            let wasCurrent = states[index].isCurrent
            body(&states[index])
            states[index].noteDoubt(from: wasCurrent, lookedAt: lookedAt[index], now: Clock.now())
            // Nobody is told of what responses do not bear yet.
            if let board { board.publish(table(of: states)) }
        }
    }
}
