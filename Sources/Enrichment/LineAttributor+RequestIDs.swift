import Provenance

/// Lines that bear a request id: the proxy's record of the exchange says what answered it, and a minted id what was active when it came.
extension LineAttributor {
    /// Nil when the id leads nowhere, and time may tell.
    func byRequest(
        _ line: Span<UInt8>, _ id: FieldSpan, _ facts: borrowing LineFacts
    ) throws(ManifestIndexError) -> Verdict? {
        let minted = id.range.count == MintedRequestID.length ? MintedRequestID(id.text(line)) : nil
        if let record = records?.record(of: line.extracting(id.range)),
            let verdict = try byRecord(record, minted, line, facts)
        {
            return verdict
        }
        guard let minted else { return nil }
        guard let stamp = try byPrefix(minted.manifest) else { return unknown(.notInLedger) }
        // It tells of a time before the request came: then one of the two is not what it seems.
        if let time = facts.time,
            time.microseconds < minted.time.microseconds - settings.skew - facts.reach
        {
            return unknown(.contradictory)
        }
        return atMost(
            facts.attribution, line,
            Verdict(stamp: stamp, attribution: try admitted(stamp, at: minted.time, line, facts)))
    }

    /// What was not sure of the response then is not surer of its line. An id does not say for which variant its request was admitted; the
    /// line may say that its answer came when another manifest was active.
    private func admitted(
        _ stamp: LineStamp, at time: Instant, _ line: Span<UInt8>, _ facts: borrowing LineFacts
    ) throws(ManifestIndexError) -> Attribution {
        // Whatever it says of how long it took: a line that is there was answered by now.
        let answered = max(min(time.advanced(by: facts.duration), now), facts.time ?? time, time)
        // A clock that is ahead tells nothing of when it was.
        let isAhead = answered.microseconds &- now.microseconds > settings.skew
        func sure(_ live: Live) -> Attribution {
            let admitted = sureness(live, at: time, reach: settings.skew)
            if answered == time { return admitted }
            return min(admitted, isAhead ? .mixed : sureness(live, at: answered, reach: settings.skew))
        }
        let own = try live(line, facts, at: time)
        if facts.variant != nil, own.stamp === stamp { return sure(own) }
        var least: Attribution?
        for variant in try allVariants() {
            let one = try live(variant, Array(variant.utf8), at: time)
            guard one.stamp === stamp else { continue }
            least = min(least ?? .inferred, sure(one))
        }
        if let least { return least }
        // Where it was ever live, but for nobody then, it was so near an activation that nobody can tell.
        let found = try stamp.manifest.map { manifest throws(ManifestIndexError) in
            try index.find(.digest(HexPrefix(whole: manifest.digest)), limit: 1)
        }
        guard let indexed = found?.first else { return .mixed }
        return try index.intervals(of: indexed, limit: 1).isEmpty ? .inferred : .mixed
    }

    private func allVariants() throws(ManifestIndexError) -> [String] {
        if let known = knownVariants { return known }
        let found = try index.variants()
        knownVariants = found
        return found
    }

    private func live(
        _ named: String, _ name: [UInt8], at time: Instant
    ) throws(ManifestIndexError) -> Live {
        for live in lives where live.contains(time) && live.name == name { return live }
        return try lookedUp(named, name, time)
    }

    /// By what the proxy recorded. Ids that clients choose may be used again, and a record tells of exchanges that have ended only: such a
    /// line must lie within them, or time must say the same. Nil when the line belongs to none of them.
    private func byRecord(
        _ record: ExchangeRecord, _ minted: MintedRequestID?, _ line: Span<UInt8>, _ facts: borrowing LineFacts
    ) throws(ManifestIndexError) -> Verdict? {
        let reach = settings.skew + facts.duration
        if minted == nil, let time = facts.time, !record.contains(time, reach: reach) { return nil }
        guard let prefix = record.manifest else { return unknown(.response) }
        guard let stamp = try byPrefix(prefix) else { return unknown(.notInLedger) }
        if record.attribution == .unknown { reason = .response }
        var attribution = facts.hasLooseTime && minted == nil ? min(record.attribution, .mixed) : record.attribution
        if let minted {
            // What was active at admission, and what answered.
            if let digest = stamp.manifest?.digest, !minted.manifest.matches(digest) {
                attribution = min(attribution, .mixed)
            }
        } else if facts.time.map({ !record.contains($0) }) ?? true, try live(line, facts).stamp !== stamp {
            attribution = min(attribution, .mixed)
        }
        return atMost(facts.attribution, line, Verdict(stamp: stamp, attribution: attribution))
    }
}
