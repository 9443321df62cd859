import Provenance
import Runtime

/// Finds which manifest a line came from, and how surely (DESIGN 6.1). What was found before is remembered, so that lines
/// cost no query each.
package final class LineAttributor {
    package struct Settings: Sendable {
        /// How far the clocks of those who log may differ, in microseconds.
        package var skew: Int64 = 1_000_000
        /// How long after an activation the model server may still speak with the manifest before.
        package var settle: Int64 = 0
        /// How many digits of a commit are written.
        package var commitLength = Stamp.commitLength

        package init() {}
    }

    /// What is said of one line.
    struct Verdict {
        var held: HeldStamp
        var attribution: Attribution
        /// The line says it by itself: nothing is added to it.
        var isKept = false

        init(_ held: HeldStamp, _ attribution: Attribution) { (self.held, self.attribution) = (held, attribution) }

        init(stamp: LineStamp, attribution: Attribution, isKept: Bool = false) {
            held = HeldStamp(stamp)
            self.attribution = attribution
            self.isKept = isKept
        }
    }

    /// A manifest's life in one variant, as far as it is known; or a time in which nothing was live.
    final class Live {
        let variant: String?
        /// The variant as lines spell it.
        let name: [UInt8]
        /// Nil where nothing was live.
        let stamp: LineStamp?
        let interval: LiveInterval
        /// Whether another manifest was live before.
        let hasPrevious: Bool
        var from: Instant { interval.from }
        var until: Instant? { interval.until }

        init(
            _ name: [UInt8], _ variant: String?, _ stamp: LineStamp?, _ interval: LiveInterval, hasPrevious: Bool
        ) {
            self.name = name
            self.variant = variant
            self.stamp = stamp
            self.interval = interval
            self.hasPrevious = hasPrevious
        }

        /// Of what nothing was live.
        convenience init(_ name: [UInt8], _ variant: String?, nothingUntil end: Instant?) {
            let interval = LiveInterval(variant: variant ?? "", from: Instant(microseconds: .min), until: end)
            self.init(name, variant, nil, interval, hasPrevious: false)
        }

        func contains(_ time: Instant) -> Bool { interval.contains(time) }
    }

    let index: any ManifestIndex
    let settings: Settings
    /// The proxy's own record of an exchange, by its request id.
    let records: (any ExchangeRecords)?
    /// With true, it looks at the pointers themselves.
    private let doubts: (Bool) -> Doubts
    private var doubtsNow = Doubts()
    /// When it was last refreshed: the time of lines that have none.
    private(set) var now = Clock.now()
    private var revision: Int64 = -1
    /// The index could not be asked the last time: it is not asked again with each line.
    private var isBlind = false
    private var stamps: [Digest: LineStamp] = [:]
    private var byName: [ByteKey: [LineStamp]] = [:]
    private var byPrefix: [HexPrefix: LineStamp?] = [:]
    private var lastNamed: (hex: [UInt8], stamp: LineStamp)?
    private var lastPrefix: (prefix: [UInt8], stamp: LineStamp)?
    /// What was live, by the variant as lines spell it, the last time that it was asked for.
    var lives: [Live] = []
    private var variants: [ByteKey: String?] = [:]
    /// All that ever had an activation.
    var knownVariants: [String]?
    /// Why the index could not be asked, the last time that it could not.
    package private(set) var problem: String?
    package private(set) var failures: UInt64 = 0
    /// Why the last verdict is `unknown`, where it is.
    var reason = UnknownReason.contradictory

    /// The life that the last line of a known variant and time fell into, spread out: a line like it, and most are, costs no look-up and
    /// touches nothing that is counted.
    private var latest = Latest()
    private var latestStamp = LineStamp.none
    private var latestHeld = HeldStamp.none
    /// Of the last line that was looked up: nobody else may still hold it.
    private var lookedUpStamp = LineStamp.none
    private let latestName = UnsafeMutableRawBufferPointer.allocate(byteCount: longestLatestName, alignment: 8)

    private struct Latest {
        /// Nothing, as it stands here, is within.
        var from: Int64 = .max
        var until: Int64 = .min
        var settledAt: Int64 = .max
        var nameCount = 0
    }

    private static let longestLatestName = 256
    private static let mostRemembered = 4096
    private static let mostLives = 64
    private static let mostCandidates = 20

    package init(
        _ index: any ManifestIndex, _ settings: Settings = Settings(), records: (any ExchangeRecords)? = nil,
        doubts: @escaping (Bool) -> Doubts = { _ in Doubts() }
    ) {
        self.doubts = doubts
        self.index = index
        self.settings = settings
        self.records = records
    }

    deinit { latestName.deallocate() }

    /// Forgets what was remembered if the index changed since: called between pieces of a long input. For lines that say themselves which
    /// manifest they came from, nobody looks at the pointers.
    package func refresh(saysItself: Bool = false) {
        now = Clock.now()
        let doubts = doubts(!saysItself)
        if doubts != doubtsNow {
            doubtsNow = doubts
            latest = Latest()
        }
        let current: Int64
        do { current = try index.revision() } catch {
            note(error)
            // What was live may not be any more, and nobody can be asked.
            lives.removeAll(keepingCapacity: true)
            latest = Latest()
            revision = -1
            isBlind = true
            return
        }
        isBlind = false
        guard current != revision else { return }
        revision = current
        byName.removeAll(keepingCapacity: true)
        byPrefix.removeAll(keepingCapacity: true)
        variants.removeAll(keepingCapacity: true)
        knownVariants = nil
        lives.removeAll(keepingCapacity: true)
        latest = Latest()
        lastNamed = nil
        lastPrefix = nil
    }

    private func note(_ error: ManifestIndexError) {
        problem = error.description
        failures += 1
    }

    /// What is known of `line`. Asking never fails: what cannot be found out is unknown.
    func verdict(_ line: Span<UInt8>, _ facts: borrowing LineFacts) -> Verdict {
        if facts.saysNothingElse, !facts.hasOtherTime, isWithinLatest(line, facts) {
            return Verdict(latestHeld, .inferred)
        }
        let verdict = lookedUp(line, facts)
        lookedUpStamp = verdict.held.stamp
        return verdict
    }

    private func lookedUp(_ line: Span<UInt8>, _ facts: borrowing LineFacts) -> Verdict {
        do throws(ManifestIndexError) {
            if facts.isRepeated { return unknown(.contradictory, isKept: true) }
            if facts.isUnproven { return try unproven(line, facts) }
            if facts.namesManifest { return try named(line, facts) }
            if let id = facts.requestID, let verdict = try byRequest(line, id, facts) { return verdict }
            return try byTime(line, facts)
        } catch {
            note(error)
            return unknown(.ledgerFailed, isKept: facts.namesManifest)
        }
    }

    private func byTime(_ line: Span<UInt8>, _ facts: borrowing LineFacts) throws(ManifestIndexError) -> Verdict {
        if facts.time == nil, facts.hasUnreadTime { return atMost(facts.attribution, line, unknown(.unreadTime)) }
        if isBlind { return atMost(facts.attribution, line, unknown(.ledgerFailed)) }
        let live = try live(line, facts)
        guard let stamp = live.stamp else {
            let reason: UnknownReason = live.variant == nil ? .variantUnknown : .beforeActivation
            return atMost(facts.attribution, line, unknown(reason))
        }
        let found = sureness(live, at: facts.time, reach: settings.skew + facts.reach)
        let attribution = facts.hasOtherTime ? min(found, .mixed) : found
        if attribution == .inferred { remember(live, stamp) }
        return atMost(facts.attribution, line, Verdict(stamp: stamp, attribution: attribution))
    }

    /// What stands where anybody may have written it can make the answer of variant and time weaker, and no other.
    private func unproven(_ line: Span<UInt8>, _ facts: borrowing LineFacts) throws(ManifestIndexError) -> Verdict {
        var verdict = try byTime(line, facts)
        let (byTime, isUnknown) = (reason, verdict.attribution == .unknown)
        var claimed: Verdict?
        if facts.namesManifest {
            claimed = try named(line, facts)
        } else if let id = facts.requestID {
            claimed = try byRequest(line, id, facts)
        }
        guard let claimed else { return verdict }
        if claimed.held.stamp.manifest?.digest != verdict.held.stamp.manifest?.digest {
            verdict = unknown(claimed.attribution == .unknown ? reason : .contradictory)
        }
        if isUnknown { reason = byTime }
        verdict.attribution = min(verdict.attribution, claimed.attribution)
        verdict.isKept = claimed.isKept
        return verdict
    }

    /// Whoever wrote a weaker word knew why.
    func atMost(_ word: FieldSpan?, _ line: Span<UInt8>, _ verdict: Verdict) -> Verdict {
        guard let word else { return verdict }
        var verdict = verdict
        let said = Attribution(rawValue: word.text(line)) ?? .unknown
        if said == .unknown, verdict.attribution > .unknown { reason = .saidSo }
        verdict.attribution = min(verdict.attribution, said)
        verdict.isKept = true
        return verdict
    }

    // MARK: - Lines that name their manifest

    private func named(
        _ line: Span<UInt8>, _ facts: borrowing LineFacts
    ) throws(ManifestIndexError) -> Verdict {
        if let last = lastNamed, let range = facts.namedDigest, line.hasBytes(last.hex, in: range),
            facts.agrees(with: last.stamp.spelled, line), facts.requestIDAgrees(with: range, line),
            facts.attribution == nil
        {
            return Verdict(stamp: last.stamp, attribution: .exact, isKept: true)
        }
        var values = ProvenanceValues<String>()
        for field in ProvenanceField.allCases { values[field] = facts.provenance[field]?.text(line) }
        let (key, names, isOwnName) = values.manifestKey
        reason = key == nil ? .contradictory : .notInLedger
        guard let key, let stamp = try onlyOne(key, names, values), let manifest = stamp.manifest else {
            return unknown(reason, isKept: true)
        }
        var attribution: Attribution = isOwnName && manifest.isDigestVerified ? .exact : .inferred
        if let digest = values.manifestSHA256 {
            if digest.utf8.count < 12 { attribution = min(attribution, .inferred) }
            if attribution == .exact, digest.utf8.count == 64 { lastNamed = (Array(digest.utf8), stamp) }
        }
        if let id = facts.requestID.flatMap({ MintedRequestID($0.text(line)) }), !id.manifest.matches(manifest.digest) {
            attribution = min(attribution, .mixed)
        }
        return atMost(facts.attribution, line, Verdict(stamp: stamp, attribution: attribution, isKept: true))
    }

    /// The one manifest that `key` leads to and that agrees with all of `values`.
    private func onlyOne(
        _ key: ManifestKey, _ names: String, _ values: ProvenanceValues<String>
    ) throws(ManifestIndexError) -> LineStamp? {
        let known: [LineStamp]
        if let remembered = byName[ByteKey(names)] {
            known = remembered
        } else {
            var found: [LineStamp] = []
            for indexed in try index.find(key, limit: Self.mostCandidates + 1) {
                if let stamp = stamp(indexed.manifest) { found.append(stamp) }
            }
            if byName.count >= Self.mostRemembered { byName.removeAll(keepingCapacity: true) }
            byName[ByteKey(names)] = found
            known = found
        }
        let agreeing = known.filter { stamp in
            stamp.manifest.map { values.disagreement(with: $0, stamped: stamp.values) == nil } ?? false
        }
        // Where there are more than were looked at, another one may agree as well.
        guard known.count <= Self.mostCandidates, agreeing.count <= 1 else {
            reason = .ambiguous
            return nil
        }
        return agreeing.first
    }

    private func stamp(_ manifest: Manifest) -> LineStamp? {
        if let known = stamps[manifest.digest] { return known }
        guard let stamp = try? Stamp(manifest, commitLength: settings.commitLength) else { return nil }
        let made = LineStamp(manifest, stamp)
        if stamps.count >= Self.mostRemembered { stamps.removeAll(keepingCapacity: true) }
        stamps[manifest.digest] = made
        return made
    }

    // MARK: - Prefixes

    /// The manifest whose digest begins like this, kept until the next line; nil where none is known, or several.
    func held(prefix: UnsafeRawBufferPointer) -> HeldStamp? {
        if let lastPrefix, Span(_unsafeBytes: prefix).hasBytes(lastPrefix.prefix, in: 0..<prefix.count) {
            return HeldStamp(lastPrefix.stamp)
        }
        guard let stamp = stamp(prefix: prefix) else { return nil }
        lastPrefix = (Array(prefix), stamp)
        return HeldStamp(stamp)
    }

    private func stamp(prefix: UnsafeRawBufferPointer) -> LineStamp? {
        reason = .notInLedger
        guard let digest = HexPrefix(String(decoding: prefix, as: UTF8.self)) else { return nil }
        do throws(ManifestIndexError) { return try byPrefix(digest) } catch {
            note(error)
            reason = .ledgerFailed
            return nil
        }
    }

    func byPrefix(_ prefix: HexPrefix) throws(ManifestIndexError) -> LineStamp? {
        if let known = byPrefix[prefix] { return known }
        let found = try index.find(.digest(prefix), limit: 2)
        let stamp = found.count == 1 ? stamp(found[0].manifest) : nil
        if byPrefix.count >= Self.mostRemembered { byPrefix.removeAll(keepingCapacity: true) }
        byPrefix[prefix] = .some(stamp)
        return stamp
    }

    // MARK: - Variant and time

    func live(_ line: Span<UInt8>, _ facts: borrowing LineFacts) throws(ManifestIndexError) -> Live {
        try live(line, facts, at: facts.time ?? Instant(microseconds: .max))
    }

    func live(
        _ line: Span<UInt8>, _ facts: borrowing LineFacts, at time: Instant
    ) throws(ManifestIndexError) -> Live {
        let range = facts.variant?.range ?? 0..<0
        for live in lives where live.contains(time) && line.hasBytes(live.name, in: range) { return live }
        return try lookedUp(facts.variant?.text(line), line.array(range), time)
    }

    func lookedUp(_ named: String?, _ name: [UInt8], _ time: Instant) throws(ManifestIndexError) -> Live {
        let found = try lookUp(named, name, time)
        if lives.count >= Self.mostLives { lives.removeLast() }
        lives.insert(found, at: 0)
        return found
    }

    /// What `sureness` says `inferred` of, by the same rules: within the life that came last, and not near either end of it.
    private func isWithinLatest(_ line: Span<UInt8>, _ facts: borrowing LineFacts) -> Bool {
        guard let time = facts.time?.microseconds, time >= latest.from, time < latest.until else { return false }
        let reach = settings.skew &+ facts.reach
        guard time &- latest.from > reach, time > latest.settledAt, latest.until &- time > reach,
            time &- now.microseconds <= reach
        else { return false }
        let name = UnsafeRawBufferPointer(start: latestName.baseAddress, count: latest.nameCount)
        return line.hasBytes(name, in: facts.variant?.range ?? 0..<0)
    }

    private func remember(_ live: Live, _ stamp: LineStamp) {
        // While nobody knows what a server speaks with, each line is looked at by itself.
        guard doubtsNow.settling.isEmpty, live.name.count <= Self.longestLatestName else { return }
        var from = live.from
        for doubt in doubts(live) {
            guard doubt.until != nil else { return }
            from = max(from, settledAt(doubt, live))
        }
        latest = Latest(
            from: from.microseconds,
            until: live.interval.doubtedFrom?.microseconds ?? .max,
            settledAt: settledAt(live).microseconds, nameCount: live.name.count)
        (latestStamp, latestHeld) = (stamp, HeldStamp(stamp))
        latestName.copyBytes(from: live.name)
    }

    private func lookUp(
        _ named: String?, _ name: [UInt8], _ time: Instant
    ) throws(ManifestIndexError) -> Live {
        let key = ByteKey(named ?? "")
        let variant: String?
        if let known = variants[key] {
            variant = known
        } else {
            variant = try index.servingVariant(for: named)
            if variants.count >= Self.mostRemembered { variants.removeAll(keepingCapacity: true) }
            variants[key] = .some(variant)
        }
        // Another spelling of a variant that was asked for already.
        if let variant,
            let same = lives.first(where: { $0.contains(time) && $0.variant?.hasSameBytes(as: variant) ?? false })
        {
            return Live(name, variant, same.stamp, same.interval, hasPrevious: same.hasPrevious)
        }
        guard let variant, let first = try index.firstLive(variant: variant) else {
            return Live(name, nil, nothingUntil: nil)
        }
        guard first <= time, let (indexed, interval) = try index.live(variant: variant, at: time) else {
            return Live(name, variant, nothingUntil: first)
        }
        return Live(name, variant, stamp(indexed.manifest), interval, hasPrevious: first < interval.from)
    }

    private func doubts(_ live: Live) -> [DoubtedTime] {
        guard let variant = live.variant, !doubtsNow.moved.isEmpty else { return live.interval.doubts }
        return live.interval.doubts + doubtsNow.times(of: variant)
    }

    /// A line near an activation may be of either side. What has no time is of now; what will be live then, nobody knows.
    func sureness(_ live: Live, at time: Instant?, reach: Int64) -> Attribution {
        if let time, time.microseconds &- now.microseconds > reach {
            reason = .future
            return .unknown
        }
        if live.until == nil, let variant = live.variant, let manifest = live.stamp?.manifest,
            doubtsNow.isOfAnother(variant, manifest.digest)
        {
            reason = .otherSidecar
            return .unknown
        }
        let doubts = doubts(live)
        let sure = live.interval.sureness(
            at: time ?? now, reach: reach, settledAt: settledAt(live), doubts: doubts,
            settledAfter: { settledAt($0, live) })
        if sure == .unknown { reason = .doubted }
        let isSettling =
            live.until == nil
            && doubtsNow.settling.contains { settling in live.variant.map(settling.hasSameBytes) ?? false }
        return isSettling ? min(sure, .mixed) : sure
    }

    /// After a doubt the server may still speak with what its pointer named meanwhile, as after an activation.
    private func settledAt(_ doubt: DoubtedTime, _ live: Live) -> Instant {
        guard let until = doubt.until else { return Instant(microseconds: .max) }
        let known = doubtsNow.settled.last { $0.from == live.from && live.variant.map($0.isOf) ?? false }
        if let known, known.at >= until { return known.at }
        return until.advanced(by: doubtsNow.settle)
    }

    /// Until when the model server may have spoken with the manifest before.
    private func settledAt(_ live: Live) -> Instant {
        guard live.hasPrevious else { return live.from }
        let known = doubtsNow.settled.last { settled in
            settled.from == live.from && live.variant.map(settled.isOf) ?? false
        }
        return known?.at ?? live.from.advanced(by: doubtsNow.settle)
    }
}
