import Provenance

/// From a request id to its manifest: by the record of its exchange, or by what a minted one carries.
extension Tracer {
    /// A line of `time` belongs only to an exchange of that time: ids may be used again.
    func answer(
        requestID id: String, input: TracedInput, time: Instant? = nil, duration: Int64 = 0
    ) throws(ManifestIndexError) -> TraceAnswer {
        func unknown(_ reason: String) -> TraceAnswer { TraceAnswer(input: input, outcome: .unknown(reason: reason)) }
        if let kept {
            let all = kept.exchanges(of: id)
            let those = all.filter { one in time.map { one.record.contains($0, reach: skew + duration) } ?? true }
            if let answer = try answer(those, id, input) { return answer }
        }
        guard let minted = MintedRequestID(id) else {
            let hint =
                kept.map(\.isEmpty) ?? true
                ? "; `colophon serve --exchanges-bytes 1GiB` keeps records of exchanges from then on"
                : "; the oldest records make room for new ones (exchanges.bytes)"
            return unknown(
                "the request id \(id) was not minted with a manifest in it, and no record of its exchange is kept\(hint)"
            )
        }
        let found = try traced(.digest(minted.manifest))
        guard let traced = found.first else {
            return unknown(
                "no manifest in \(index.place) begins with \(minted.manifest.digits), as the request id \(id) does")
        }
        guard found.count == 1 else {
            return TraceAnswer(
                input: input, outcome: ambiguous("several manifests begin with \(minted.manifest.digits)", found))
        }
        if let time, time.microseconds < minted.time.microseconds - skew - duration {
            return unknown("the line is of \(time), and the request id \(id) was minted only at \(minted.time)")
        }
        let answered = max(min(minted.time.advanced(by: duration), clock()), time ?? minted.time, minted.time)
        let sure = try sureness(of: traced.indexed, at: minted.time, until: answered)
        return TraceAnswer(
            input: input,
            outcome: .found(
                checked(traced), .requestID, sure,
                note: isAhead(answered, skew) ? Self.aheadNote : Self.admissionNote(sure)))
    }

    /// How surely a manifest answered what was admitted at `time` and answered by `end`; the id does not say for which variant.
    private func sureness(
        of manifest: IndexedManifest, at time: Instant, until end: Instant
    ) throws(ManifestIndexError) -> Attribution {
        var sure: Attribution?
        for variant in try index.variants() {
            guard let (live, interval) = try index.live(variant: variant, at: time),
                live.manifest.digest == manifest.manifest.digest
            else { continue }
            let admitted = try sureness(interval, at: time, reach: skew)
            // A clock that is ahead tells nothing of when it was.
            let answered = isAhead(end, skew) ? .mixed : try sureness(interval, at: end, reach: skew)
            sure = min(sure ?? .inferred, admitted, answered)
        }
        // Where it was ever live, but for nobody then, it was so near an activation that nobody can tell.
        if let sure { return sure }
        return try index.intervals(of: manifest, limit: 1).isEmpty ? .inferred : .mixed
    }

    private static func admissionNote(_ sure: Attribution) -> String {
        switch sure {
        case .exact, .inferred: "it was the active manifest when the request was admitted"
        case .mixed:
            "it was active when the request was admitted, but another one before it was answered, or shortly before or after"
        case .unknown:
            "it was active when the request was admitted, but its pointer named something else, to which the server may have gone over"
        }
    }

    /// What the records of a request id say; nil when there are none.
    func answer(
        _ exchanges: [KeptExchange], _ id: String, _ input: TracedInput
    ) throws(ManifestIndexError) -> TraceAnswer? {
        guard let last = exchanges.last else { return nil }
        func unknown(_ reason: String) -> TraceAnswer { TraceAnswer(input: input, outcome: .unknown(reason: reason)) }
        guard let prefix = last.record.manifest, exchanges.allSatisfy({ $0.record.manifest == prefix }) else {
            return exchanges.count == 1
                ? unknown("the proxy could not tell which manifest answered the request \(id) at \(last.record.end)")
                : unknown(
                    "\(exchanges.count) exchanges had the request id \(id), and not all of them the same manifest: \(Self.list(exchanges))"
                )
        }
        let found = try traced(.digest(prefix))
        guard found.count == 1, let traced = found.first else {
            return unknown(
                "the record of the request \(id) says \(prefix.digits), with which \(found.isEmpty ? "no manifest" : "more than one manifest") in \(index.place) begins"
            )
        }
        var sure = exchanges.reduce(Attribution.exact) { min($0, $1.record.attribution) }
        if let minted = MintedRequestID(id), !minted.manifest.matches(traced.manifest.digest) {
            sure = min(sure, .mixed)
        }
        let variant = last.variant.isEmpty || last.variant == "default" ? "" : ", variant \(last.variant)"
        return TraceAnswer(
            input: input,
            outcome: .found(
                checked(traced), .exchange, sure,
                note: "the proxy's record of \(last.record.end): status \(last.status)\(variant)"))
    }

    private static func list(_ exchanges: [KeptExchange]) -> String {
        exchanges.suffix(5).map { "\($0.record.end) \($0.record.manifest?.digits ?? "unknown")" }.joined(
            separator: ", ")
    }
}
