import Provenance

/// What a line or a header block says, as text.
struct NamedFacts {
    let input: TracedInput
    var provenance = ProvenanceValues<String>()
    var attribution: String?
    var requestID: String?
    var variant: String?
    var time: Instant?
    var duration: Int64 = 0
    var reach: Int64 = 0
    var isRepeated = false
    var isUnproven = false
    /// What a person may wonder about when no manifest was found in it.
    var hint = ""

    init(_ facts: borrowing LineFacts, _ line: Span<UInt8>) {
        input = TracedInput(facts.format)
        for field in ProvenanceField.allCases { provenance[field] = facts.provenance[field]?.text(line) }
        attribution = facts.attribution?.text(line)
        requestID = facts.requestID?.text(line)
        variant = facts.variant?.text(line)
        time = facts.time
        duration = facts.duration
        reach = facts.reach
        isRepeated = facts.isRepeated
        isUnproven = facts.isUnproven
        if facts.provenance.isEmpty, facts.format == .recommendation || facts.format == .text,
            line.contains("manifest_sha256=")
        {
            hint = "; manifest_sha256= stands in it, but not where a server writes it: at the end, after \", <n> ms\""
        }
    }

    init(_ facts: HeaderFacts) {
        input = .headers
        provenance = facts.provenance
        attribution = facts.attribution
        requestID = facts.requestID
        isRepeated = facts.isRepeated
    }
}

extension Tracer {
    /// What stands where anybody may have written it counts no further than variant and time say the same.
    func answerUnproven(_ facts: NamedFacts) throws(ManifestIndexError) -> TraceAnswer {
        var claims = facts
        claims.isUnproven = false
        let claimed = try answer(claims)
        guard let time = facts.time else { return claimed.atMost(.unknown) }
        let byTime = try answerByTime(facts, time)
        guard case .found(let one, _, let sure, _) = claimed.outcome, case .found(let other, _, _, _) = byTime.outcome,
            one.manifest.digest == other.manifest.digest
        else {
            return TraceAnswer(
                input: facts.input,
                outcome: .unknown(
                    reason:
                        "what it says of its manifest stands where anybody may have written it, and its variant and time do not bear it out"
                ))
        }
        return byTime.atMost(sure)
    }
}
