import Provenance

/// Leads a line, a header block or a name back to its manifest.
///
/// It remembers the manifests that it found, so that a file of lines costs one look-up for each manifest in it.
package final class Tracer {
    let index: any ManifestIndex
    private let verify: ((IndexedManifest) -> [CheckedFile])?
    private let isFile: (String) -> Bool
    /// Records of exchanges, where any are kept.
    let kept: (any KeptExchanges)?
    private var remembered: [Digest: TracedManifest] = [:]
    private var found: [ManifestKey: [TracedManifest]] = [:]
    private var revision: Int64 = -1
    private var lastRecalled: (hex: [UInt8], traced: TracedManifest)?
    /// What was live the last time that a variant was asked for: lines come in order of time.
    private var lastLive: (variant: String, traced: TracedManifest, interval: LiveInterval)?
    /// When anything was live for a variant for the first time, the last time that it was asked for.
    private var lastFirst: (variant: String, time: Instant?)?

    /// What time it is: of what lies ahead nobody knows anything.
    let clock: () -> Instant
    /// How far the clocks of those who log may differ (`attribution.skew`), in microseconds.
    let skew: Int64 = 1_000_000
    /// How long after an activation the model server may still have spoken with the manifest before (`attribution.settle`), in microseconds.
    let settle: Int64
    package static let usualSettle: Int64 = 30_000_000

    private static let mostRemembered = 4096
    private static let mostCandidates = 20
    static let mostIntervals = 20

    /// With `verify`, answers tell the state of every file on the disk; `isFile` is asked about names that nobody knows.
    package init(
        _ index: any ManifestIndex, verify: ((IndexedManifest) -> [CheckedFile])?,
        kept: (any KeptExchanges)? = nil, settle: Int64 = usualSettle,
        clock: @escaping () -> Instant = { Instant(microseconds: .max) },
        isFile: @escaping (String) -> Bool = { _ in false }
    ) {
        self.clock = clock
        self.kept = kept
        self.settle = settle
        self.index = index
        self.verify = verify
        self.isFile = isFile
    }

    // MARK: - Lines

    /// Appends the JSON answer of a line that names a manifest which is remembered, and whose other fields agree with it.
    /// False when it is not that simple, and nothing was written.
    package func answerFast(_ line: Span<UInt8>, number: Int, to output: inout [UInt8]) -> Bool {
        let facts = LineReader.read(line)
        guard !facts.isRepeated, !facts.isUnproven, let named = facts.namedDigest, let traced = recall(line, named),
            verify == nil || traced.files != nil, traced.manifest.isDigestVerified,
            facts.agrees(with: traced.spelled, line),
            facts.requestIDAgrees(with: named, line),
            let attribution = Self.stated(facts.attribution, line)
        else { return false }
        TraceJSON.writeFound(
            TracedInput(facts.format), traced, .manifestField, attribution, note: Self.note(attribution), line: number,
            to: &output)
        return true
    }

    /// The remembered manifest whose digest stands at `range`. Lines that name one manifest come in runs.
    private func recall(_ line: Span<UInt8>, _ range: Range<Int>) -> TracedManifest? {
        if let last = lastRecalled, line.hasBytes(last.hex, in: range) { return last.traced }
        guard let digest = Digest(hex: line, in: range), let traced = remembered[digest] else { return nil }
        lastRecalled = (line.array(range), traced)
        return traced
    }

    /// What the line itself says of how sure it is; nil when that leaves it unknown.
    private static func stated(_ span: FieldSpan?, _ line: Span<UInt8>) -> Attribution? {
        guard let span else { return .exact }
        let word = Attribution(rawValue: span.text(line))
        return word == .unknown ? nil : word
    }

    /// Whether a line that begins like JSON is a log line that says something.
    package func isLogLine(_ line: Span<UInt8>) -> Bool {
        let facts = LineReader.read(line)
        return facts.format == .json && !(facts.provenance.isEmpty && facts.requestID == nil && facts.time == nil)
    }

    /// The answer of a line, without its line end.
    package func answer(_ line: Span<UInt8>) throws(ManifestIndexError) -> TraceAnswer {
        if Self.isName(line) { return try answer(name: line.text(0..<line.count)) }
        let facts = LineReader.read(line)
        let saysNothing = facts.provenance.isEmpty && facts.requestID == nil && facts.time == nil
        let named = NamedFacts(facts, line)
        let result = try answer(named)
        guard saysNothing, facts.format == .text || facts.cannotBeAddedTo else { return result }
        // A version may hold anything, spaces and colons too: when the text is nothing else, it may be one.
        let asName = try answer(name: line.text(0..<line.count))
        if case .unknown = asName.outcome {} else { return asName }
        return Self.brokenJSON(line).map { TraceAnswer(input: .json, outcome: .unknown(reason: $0)) } ?? result
    }

    /// Whether a line is one word, and so a name of something.
    private static func isName(_ line: Span<UInt8>) -> Bool {
        guard line.count <= 256, line.count > 0 else { return false }
        for index in 0..<line.count {
            switch line[index] {
            case 0...0x20, UInt8(ascii: ","), UInt8(ascii: "="), UInt8(ascii: "{"), UInt8(ascii: "["),
                UInt8(ascii: "\""):
                return false
            default: continue
            }
        }
        return true
    }

    private static func brokenJSON(_ line: Span<UInt8>) -> String? {
        guard line.count > 0, line[0] == UInt8(ascii: "{") || line[0] == UInt8(ascii: "[") else { return nil }
        do throws(JSONError) {
            _ = try JSONParser.parse(line)
            return nil
        } catch {
            return "the line begins like JSON and is none: column \(error.column): \(error.problem)"
        }
    }

    package func answer(headers facts: HeaderFacts) throws(ManifestIndexError) -> TraceAnswer {
        try answer(NamedFacts(facts))
    }

    // MARK: - What a line or a header block says

    func answer(_ facts: NamedFacts) throws(ManifestIndexError) -> TraceAnswer {
        func unknown(_ reason: String) -> TraceAnswer {
            TraceAnswer(input: facts.input, outcome: .unknown(reason: reason))
        }
        if facts.isRepeated {
            return unknown(
                "a provenance field stands twice, is no text, or has no whole stamp around it, so it says nothing")
        }
        if facts.isUnproven { return try answerUnproven(facts) }
        if !facts.provenance.isEmpty { return try answerNamed(facts) }
        if let id = facts.requestID {
            if facts.attribution == Attribution.unknown.rawValue {
                return unknown("the sidecar itself could not tell which manifest it was, and wrote unknown")
            }
            let byID = try answer(
                requestID: id, input: facts.input, time: facts.time, duration: facts.duration
            ).atMost(facts.attribution.flatMap(Attribution.init))
            // One that was minted names a manifest, known or not: then time is no better.
            if byID.isKnown || facts.time == nil || MintedRequestID(id) != nil { return byID }
        }
        guard let time = facts.time else {
            return unknown(
                facts.input == .headers
                    ? "the headers bear no stamp, and no request id that Colophon minted: was the server asked past the proxy?"
                    : "it names no manifest, no request id that Colophon minted, and no time\(facts.hint)")
        }
        return try answerByTime(facts, time)
    }

    private func answerNamed(_ facts: NamedFacts) throws(ManifestIndexError) -> TraceAnswer {
        func answer(_ outcome: TraceAnswer.Outcome) -> TraceAnswer { TraceAnswer(input: facts.input, outcome: outcome) }
        let (key, foundBy, what) = Self.key(facts.provenance)
        var found: [TracedManifest] = []
        if let key { found = try traced(key) }
        guard !found.isEmpty else { return answer(.unknown(reason: "\(what) is not in \(index.place)")) }
        var agreeing = found.filter { $0.disagreement(with: facts.provenance) == nil }
        if found.count > Self.mostCandidates, let key { agreeing = try allAgreeing(key, facts.provenance) }
        if agreeing.isEmpty, let only = found.first, let problem = only.disagreement(with: facts.provenance) {
            return answer(
                .unknown(reason: "contradiction in the \(facts.input.rawValue): \(what) is named, but \(problem)"))
        }
        guard agreeing.count == 1, let traced = agreeing.first else {
            return answer(ambiguous("\(what) is that of several manifests", agreeing))
        }
        let (attribution, note) = attribution(facts, traced, foundBy)
        return answer(.found(checked(traced), foundBy, attribution, note: note))
    }

    private static func key(_ named: ProvenanceValues<String>) -> (key: ManifestKey?, by: FoundBy, what: String) {
        let (key, names, isOwnName) = named.manifestKey
        let by: FoundBy = isOwnName ? (named.manifestSHA256 == nil ? .versionField : .manifestField) : .otherFields
        return (key, by, names)
    }

    /// How many manifests of one version or commit are compared with what else a line says.
    private static let mostCompared = 10_000

    /// Of the many manifests that `key` names, those that agree with the other fields: at least two when that is not
    /// sure, because there are too many to compare.
    private func allAgreeing(
        _ key: ManifestKey, _ named: ProvenanceValues<String>
    ) throws(ManifestIndexError) -> [TracedManifest] {
        let all = try index.find(key, limit: Self.mostCompared + 1)
        var agreeing: [TracedManifest] = []
        for indexed in all {
            let traced = try traced(indexed)
            if traced.disagreement(with: named) == nil { agreeing.append(traced) }
            if agreeing.count > Self.mostCandidates { break }
        }
        if all.count > Self.mostCompared, agreeing.count < 2 { return try self.traced(key) }
        return agreeing
    }

    /// How sure the answer is: never surer than what was found, than the sidecar was, or than the request id allows.
    private func attribution(
        _ facts: NamedFacts, _ traced: TracedManifest, _ foundBy: FoundBy
    ) -> (Attribution, note: String?) {
        var sure = foundBy == .otherFields ? Attribution.inferred : .exact
        var note = foundBy == .otherFields ? "it names neither manifest nor version" : nil
        if let digest = facts.provenance.manifestSHA256, digest.utf8.count < 12 {
            sure = .inferred
            note = "fewer than 12 digits of the digest are there"
        }
        if let id = facts.requestID.flatMap(MintedRequestID.init), !id.manifest.matches(traced.manifest.digest) {
            sure = min(sure, .mixed)
            note = "its request was admitted under another manifest, \(id.manifest.digits)"
        }
        if !traced.manifest.isDigestVerified, sure == .exact {
            sure = .inferred
            note = Self.undeclaredNote
        }
        guard let word = facts.attribution else { return (sure, note) }
        guard let stated = Attribution(rawValue: word) else {
            return (.unknown, "its attribution is \"\(word)\", which is no word of ours")
        }
        return stated < sure ? (stated, Self.note(stated)) : (sure, note)
    }

    /// What a weaker word than exact in a line means.
    private static func note(_ stated: Attribution) -> String? {
        switch stated {
        case .exact: nil
        case .inferred: "it was the active manifest when the answer came"
        case .mixed: "another manifest was activated about then, so it may have been that one"
        case .unknown: "the sidecar could not tell whether this manifest was still the one"
        }
    }

    private static func note(_ doubt: DoubtedTime) -> String {
        let end = doubt.until.map { "until \($0)" } ?? "on"
        return "from \(doubt.from) \(end) nobody could tell whether this manifest was still the one: \(doubt.reason)"
    }

    func answerByTime(_ facts: NamedFacts, _ time: Instant) throws(ManifestIndexError) -> TraceAnswer {
        let variant = try index.servingVariant(for: facts.variant) ?? facts.variant ?? "default"
        let named = facts.variant.map { "the variant \($0)" } ?? "the variant \(variant), as it names none,"
        guard let (traced, interval) = try live(variant: variant, at: time) else {
            return TraceAnswer(
                input: facts.input,
                outcome: .unknown(
                    reason:
                        "it names no manifest, and \(index.place) has no activation of \(named) at \(time)\(facts.hint)"
                ))
        }
        if facts.attribution == Attribution.unknown.rawValue {
            return TraceAnswer(
                input: facts.input,
                outcome: .unknown(reason: "it says itself that nobody could tell which manifest it came from"))
        }
        let stated = facts.attribution.flatMap(Attribution.init) ?? .inferred
        let reach = skew + facts.reach
        let attribution = min(stated, try sureness(interval, at: time, reach: reach))
        let doubt = attribution == .unknown ? interval.doubts.first { $0.contains(time, reach: reach) } : nil
        let why = isAhead(time, reach) ? Self.aheadNote : doubt.map(Self.note) ?? Self.note(attribution)
        return TraceAnswer(
            input: facts.input,
            outcome: .found(
                checked(traced), .variantAndTime, attribution, note: why.map { $0 + facts.hint })
        )
    }

    /// Whether nobody can know yet what is live then.
    func isAhead(_ time: Instant, _ reach: Int64) -> Bool {
        time.microseconds.subtractingReportingOverflow(reach).partialValue > clock().microseconds
    }

    static let aheadNote =
        "its time lies ahead of this machine's clock, and what is active then nobody knows yet: see that the clocks agree"

    /// How surely what was live at `time` answered then: after an activation the model server may still have spoken with the manifest before,
    /// and clocks differ.
    func sureness(_ interval: LiveInterval, at time: Instant, reach: Int64) throws(ManifestIndexError) -> Attribution {
        if isAhead(time, reach) { return .unknown }
        let isFirst = try firstLive(interval.variant) == interval.from
        return interval.sureness(
            at: time, reach: reach, settledAt: isFirst ? interval.from : interval.from.advanced(by: settle),
            doubts: interval.doubts, settledAfter: { ($0.until ?? time).advanced(by: settle) })
    }

    private func firstLive(_ variant: String) throws(ManifestIndexError) -> Instant? {
        if let lastFirst, lastFirst.variant.hasSameBytes(as: variant) { return lastFirst.time }
        let first = try index.firstLive(variant: variant)
        lastFirst = (variant, first)
        return first
    }

    private func live(variant: String, at time: Instant) throws(ManifestIndexError) -> (TracedManifest, LiveInterval)? {
        if let last = lastLive, last.variant.hasSameBytes(as: variant), last.interval.from <= time,
            let until = last.interval.until, time < until
        {
            return (last.traced, last.interval)
        }
        guard let (indexed, interval) = try index.live(variant: variant, at: time) else { return nil }
        let traced = try traced(indexed)
        lastLive = (variant, traced, interval)
        return (traced, interval)
    }

    // MARK: - Names

    private func answer(name: String) throws(ManifestIndexError) -> TraceAnswer {
        if MintedRequestID(name) != nil || Self.isULID(name) { return try answer(requestID: name, input: .name) }
        let prefix = HexPrefix(name)
        if let prefix, prefix.whole != nil, let traced = try traced(.digest(prefix)).first {
            return found(traced, .digest)
        }
        var all: [(TracedManifest, FoundBy)] = []
        func add(_ key: ManifestKey, _ by: FoundBy) throws(ManifestIndexError) {
            for traced in try traced(key) where !all.contains(where: { $0.0.manifest.digest == traced.manifest.digest })
            {
                all.append((traced, by))
            }
        }
        try add(.version(name), .version)
        if let prefix {
            try add(.digest(prefix), .digestPrefix)
            try add(.commit(prefix.digits), .commit)
            try add(.dataset(prefix), .dataset)
            try add(.artifact(prefix), .artifact)
        }
        try add(.dataVersion(name), .dataVersion)
        // What is no hash is a commit only as a whole.
        if prefix == nil { try add(.commitName(name), .commit) }
        guard let first = all.first else {
            // Request ids that clients choose look like anything.
            if let kept, let answer = try answer(kept.exchanges(of: name), name, .name) { return answer }
            return TraceAnswer(input: .name, outcome: .unknown(reason: notFound(name)))
        }
        if all.count == 1 { return found(first.0, first.1) }
        let ways = Set(all.map(\.1.rawValue)).sorted().joined(separator: ", ")
        return TraceAnswer(
            input: .name, outcome: ambiguous("\(name) leads to several manifests (by \(ways))", all.map(\.0)))
    }

    private func notFound(_ name: String) -> String {
        let isShortHex = name.utf8.count < HexPrefix.shortest && HexPrefix(name + "000000") != nil
        let hint =
            isShortHex
            ? "; give at least \(HexPrefix.shortest) digits of a digest or commit"
            : isFile(name) ? "; it is a file: `colophon trace - < FILE` traces its lines" : ""
        let ids = kept == nil ? "" : ", nor a request id of which a record is kept (exchanges.bytes)"
        return "\"\(name)\" is no version, digest, commit, data version or hash in \(index.place)\(ids)\(hint)"
    }

    private static func isULID(_ name: String) -> Bool { ULID.time(Array(name.utf8)) != nil }

    private func found(_ traced: TracedManifest, _ by: FoundBy) -> TraceAnswer {
        let isVerified = traced.manifest.isDigestVerified
        return TraceAnswer(
            input: .name,
            outcome: .found(
                checked(traced), by, isVerified ? .exact : .inferred, note: isVerified ? nil : Self.undeclaredNote))
    }

    private static let undeclaredNote = "the manifest declares another digest than it has"

    func ambiguous(_ what: String, _ candidates: [TracedManifest]) -> TraceAnswer.Outcome {
        .ambiguous(
            what: what, candidates: Array(candidates.prefix(Self.mostCandidates)),
            hasMore: candidates.count > Self.mostCandidates)
    }

    // MARK: - The index

    /// Forgets what was remembered if the index changed since: called between pieces of a long input.
    package func refresh() throws(ManifestIndexError) {
        let current = try index.revision()
        guard current != revision else { return }
        revision = current
        remembered.removeAll(keepingCapacity: true)
        found.removeAll(keepingCapacity: true)
        lastRecalled = nil
        lastLive = nil
        lastFirst = nil
    }

    func traced(_ key: ManifestKey) throws(ManifestIndexError) -> [TracedManifest] {
        if let known = found[key] { return known }
        let result = try lookedUp(key)
        if found.count >= Self.mostRemembered { found.removeAll(keepingCapacity: true) }
        found[key] = result
        return result
    }

    private func lookedUp(_ key: ManifestKey) throws(ManifestIndexError) -> [TracedManifest] {
        var result: [TracedManifest] = []
        for indexed in try index.find(key, limit: Self.mostCandidates + 1) { result.append(try traced(indexed)) }
        return result
    }

    func traced(_ indexed: IndexedManifest) throws(ManifestIndexError) -> TracedManifest {
        if let known = remembered[indexed.manifest.digest] { return known }
        let traced = TracedManifest(
            indexed, intervals: try index.intervals(of: indexed, limit: Self.mostIntervals), files: nil)
        remember(traced)
        return traced
    }

    private func remember(_ traced: TracedManifest) {
        if remembered.count >= Self.mostRemembered { remembered.removeAll(keepingCapacity: true) }
        remembered[traced.manifest.digest] = traced
    }

    /// The manifest with the state of its files, if that was asked for. Only what is answered is hashed, and once: not the
    /// candidates that it was chosen from.
    func checked(_ traced: TracedManifest) -> TracedManifest {
        guard let verify else { return traced }
        if let known = remembered[traced.manifest.digest], known.files != nil { return known }
        let checked = TracedManifest(traced.indexed, intervals: traced.intervals, files: verify(traced.indexed))
        remember(checked)
        lastRecalled = nil
        return checked
    }
}
