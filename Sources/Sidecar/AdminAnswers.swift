import Admin
import Crypto
import Exchanges
import Ledger
import Provenance
import Runtime
import Synchronization
import Trace

/// Answers what the admin listener hands on, one question after the other, on a thread of its own: the ledger may take its time, and
/// neither probes nor the data plane wait for it.
final class AdminAnswers: Sendable {
    typealias Reply = @Sendable (AdminResponse) -> Void

    private struct Job: Sendable {
        let question: AdminQuestion
        let reply: Reply
    }

    private let dataDirectory: String
    private let report: StatusReport
    private let jobs = Mutex<[Job]>([])
    private let wake: Wake
    private let readiness = FreshEnough<(isReady: Bool, report: JSON)>()
    private let isStopping = Atomic<Bool>(false)

    /// How many questions may wait.
    private static let limit = 64

    init(_ dataDirectory: String, _ report: StatusReport) throws(SystemError) {
        self.dataDirectory = dataDirectory
        self.report = report
        wake = try Wake()
    }

    /// Any thread may call it.
    func take(_ question: AdminQuestion, _ reply: @escaping Reply) {
        let isTaken = jobs.withLock { jobs in
            guard jobs.count < Self.limit else { return false }
            jobs.append(Job(question: question, reply: reply))
            return true
        }
        guard isTaken else { return reply(Self.crowded) }
        wake.signal()
    }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        wake.signal()
    }

    func run() {
        var kept: Ledger?
        while !isStopping.load(ordering: .acquiring) {
            _ = Readiness.wait([wake.number], milliseconds: -1)
            wake.clear()
            while let job = jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) {
                answer(job.question, &kept, job.reply)
                if isStopping.load(ordering: .acquiring) { break }
            }
        }
    }

    private static let crowded = AdminResponse.problem(
        503, "too many questions wait already: ask again soon", fields: [("Retry-After", "1")])

    /// The ledger, opened once: opening it for each question costs more than most questions, and disturbs the workers (mappings come and go).
    /// It may have been put aside meanwhile, or another one in its place: then that one is asked.
    private func opened(_ kept: inout Ledger?) throws(LedgerError) -> Ledger {
        // Until the first look is over, nobody here knows what the pointers name.
        let watched = report.loader.hasLooked ? report.settings.variants : []
        if let kept, kept.isInPlace {
            kept.watchedHere = watched
            return kept
        }
        kept = nil
        let ledger = try Ledger.reading(dataDirectory, hashing: SHA256.hash)
        ledger.watchedHere = watched
        kept = ledger
        return ledger
    }

    private func answer(_ question: AdminQuestion, _ kept: inout Ledger?, _ reply: @escaping Reply) {
        switch question {
        case .readiness(let isBrief):
            let (isReady, full) = readiness.value { report.readiness() }
            let brief = JSON.object(JSONObject([.init("ready", .bool(isReady))]))
            reply(.json(isReady ? 200 : 503, isBrief ? brief : full))
        case .reload: reload(reply)
        case .activate(let manifest, let variant, let by, let isSettled):
            let variants = report.settings.variants
            guard let variant = variant ?? (variants.count == 1 ? variants[0] : nil) else {
                return reply(
                    .problem(
                        422,
                        "variant must say for which it is to be active: there are \(variants.joined(separator: ", "))"))
            }
            activate(manifest, variant, by: by, isSettled: isSettled, &kept, reply)
        case .manifests, .manifest, .difference, .trace, .history:
            do throws(LedgerError) {
                reply(try look(question, try opened(&kept)))
            } catch {
                // Whatever it was, the next question begins anew.
                kept = nil
                reply(Self.failure(error))
            }
        }
    }

    private static func failure(_ error: LedgerError) -> AdminResponse {
        .problem(503, error.description, fields: [("Retry-After", "5")])
    }

    // MARK: - Looking up

    private func look(_ question: AdminQuestion, _ ledger: Ledger) throws(LedgerError) -> AdminResponse {
        switch question {
        case .manifests(let words, let cursor, let limit):
            let page =
                words.isEmpty
                ? try ledger.list(after: cursor, limit: limit) : try ledger.search(words, after: cursor, limit: limit)
            return .json(200, Self.page("manifests", page.items.map(\.json), page.next))
        case .history(let variant, let time, let cursor, let limit):
            let page = try ledger.history(of: variant, at: time, after: cursor, limit: limit)
            return .json(200, Self.page("activations", page.items.map(\.json), page.next))
        case .manifest(let name):
            switch try find(name, ledger) {
            case .failure(let problem): return problem.response
            case .success(let manifest):
                return .json(
                    200, .object(manifest.document),
                    fields: [
                        ("ETag", "\"\(manifest.digest.hex)\""),
                        ("Content-Location", "/v1/manifests/\(manifest.digest.hex)"),
                    ])
            }
        case .difference(let before, let after): return try difference(before, after, ledger)
        case .trace(let text): return trace(text, ledger)
        case .readiness, .activate, .reload: preconditionFailure("answered elsewhere")
        }
    }

    private static func page(_ name: String, _ rows: [JSON], _ next: Int64?) -> JSON {
        .object(
            JSONObject([
                .init(name, .array(rows)), .init("next", next.map { JSON.integer($0) } ?? .null),
            ]))
    }

    private struct NotOne: Error {
        let response: AdminResponse
    }

    /// The one manifest of this name: a version, a digest, or the first digits of one.
    private func find(_ name: String, _ ledger: Ledger) throws(LedgerError) -> Result<Manifest, NotOne> {
        var records = try ledger.records(version: name, limit: Self.candidates)
        if let prefix = HexPrefix(name) {
            for found in try ledger.records(prefix, limit: Self.candidates) where !records.contains(found.record) {
                records.append(found.record)
            }
        }
        var manifests: [Manifest] = []
        for record in records { manifests.append(try ledger.manifest(record)) }
        if manifests.count == 1 { return .success(manifests[0]) }
        guard !manifests.isEmpty else {
            return .failure(
                NotOne(
                    response: .problem(
                        404,
                        "no manifest of the ledger is called \(name.onOneLine): name a version, a digest or at least \(HexPrefix.shortest) of its digits (/v1/manifests lists all; `colophon index add FILE` adds one that a training run wrote)"
                    )))
        }
        let candidates = manifests.map { manifest in
            JSON.object(
                JSONObject([
                    .init("manifest_sha256", .string(manifest.digest.hex)),
                    .init("model_version", .string(manifest.version)),
                ]))
        }
        return .failure(
            NotOne(
                response: .problem(
                    409, "several manifests are called \(name.onOneLine): name one by its digest",
                    more: [.init("candidates", .array(candidates))])))
    }

    private static let candidates = 10
    private static let answerLimit = 16 << 20

    private func difference(
        _ before: String, _ after: String, _ ledger: Ledger
    ) throws(LedgerError) -> AdminResponse {
        var both: [Manifest] = []
        for name in [before, after] {
            switch try find(name, ledger) {
            case .failure(let problem): return problem.response
            case .success(let manifest): both.append(manifest)
            }
        }
        let differences = ManifestDifference.between(both[0].document, both[1].document)
        return .json(
            200,
            .object(
                JSONObject([
                    .init("a", .string(both[0].digest.hex)), .init("b", .string(both[1].digest.hex)),
                    .init("differences", .array(differences.map(\.json))),
                ])), fields: [("ETag", "\"\(both[0].digest.hex)-\(both[1].digest.hex)\"")])
    }

    private func trace(_ text: String, _ ledger: Ledger) -> AdminResponse {
        let tracer = Tracer(
            LedgerIndex(ledger), verify: nil, kept: ExchangeFiles(dataDirectory: dataDirectory),
            settle: report.loader.settlePolicy.longest, clock: Clock.now)
        var session = TraceSession(tracer, style: .json)
        var answers: [UInt8] = []
        do throws(ManifestIndexError) {
            let bytes = Array(text.utf8)
            for line in bytes.split(separator: 0x0A, omittingEmptySubsequences: false) {
                try session.take(Array(line).span, to: &answers)
                guard answers.count <= Self.answerLimit else {
                    return .problem(
                        413, "the answers would have more than \(Self.answerLimit >> 20) MiB: send fewer lines at once")
                }
            }
            try session.finish(to: &answers)
        } catch { return .problem(503, error.description, fields: [("Retry-After", "5")]) }
        // Each answer is one line of JSON already.
        let list = answers.split(separator: 0x0A).joined(separator: Array(",\n".utf8))
        return AdminResponse(
            status: 200, contentType: "application/json",
            body: Array("{\"answers\":[".utf8) + list + Array("]}\n".utf8))
    }

    // MARK: - Changing

    /// Answered when the pointers have been looked at: then it is known what came of it.
    private func reload(_ reply: @escaping Reply) {
        report.reloader.reload(cause: .reload) { outcome, states in
            guard !states.isEmpty else {
                return reply(.problem(503, "the sidecar is ending: no pointer is looked at any more"))
            }
            let variants = JSONObject.Member(
                "variants",
                .array(
                    states.map { state in
                        .object(
                            JSONObject([
                                .init("variant", .string(state.variant)),
                                .init("model_version", .optional(state.manifest?.version)),
                                .init("current", .bool(state.isCurrent)), .init("problem", .optional(state.problem)),
                            ]))
                    }))
            switch outcome {
            case .loaded(let changed, let needRestart):
                let more: [JSONObject.Member] = [
                    .init("changed", .array(changed.map(JSON.string))),
                    .init("need_restart", .array(needRestart.map(JSON.string))), variants,
                ]
                let isOptional = self.report.settings.manifestOptional
                guard
                    let failed = states.first(where: { $0.problem != nil && !(isOptional && $0.manifest == nil) }),
                    let problem = failed.problem
                else {
                    return reply(.json(200, .object(JSONObject(more))))
                }
                reply(
                    .problem(
                        422,
                        "the configuration is loaded, and the pointer of \(failed.variant.onOneLine) cannot be followed: \(problem)",
                        more: more))
            case .refused(let problems):
                reply(
                    .problem(
                        422, "the configuration is as it was: \(problems.first ?? "it cannot be read")",
                        more: [.init("problems", .array(problems.map(JSON.string))), variants]))
            }
        }
    }

    private func activate(
        _ name: String, _ variant: String, by: String?, isSettled: Bool, _ kept: inout Ledger?,
        _ reply: @escaping Reply
    ) {
        let manifest: Manifest
        do throws(LedgerError) {
            switch try find(name, try opened(&kept)) {
            case .failure(let problem): return reply(problem.response)
            case .success(let found): manifest = found
            }
        } catch {
            kept = nil
            return reply(Self.failure(error))
        }
        let order = ActivationOrder(
            digest: manifest.digest, variant: variant, actor: by ?? "the API", isSettled: isSettled
        ) { outcome in
            switch outcome {
            case .activated(let entry, let isSettled): reply(Self.answer("activated", entry, isSettled: isSettled))
            case .confirmed(let entry): reply(Self.answer("confirmed", entry, isSettled: true))
            case .noSuchVariant(let known):
                reply(
                    .problem(
                        422, "there is no variant \(variant.onOneLine): there are \(known.joined(separator: ", "))"))
            case .refused(let reason, let isOfLedger):
                reply(
                    isOfLedger
                        ? .problem(503, reason, fields: [("Retry-After", "5")]) : .problem(422, reason))
            }
        }
        guard report.loader.take(order) else { return reply(Self.crowded) }
    }

    private static func answer(_ result: String, _ entry: HistoryEntry, isSettled: Bool) -> AdminResponse {
        .json(
            200,
            .object(
                JSONObject([
                    .init("result", .string(result)), .init("settled", .bool(isSettled)),
                    .init("activation", entry.json),
                ])))
    }
}
