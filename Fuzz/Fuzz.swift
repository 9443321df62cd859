import Provenance

/// Feeds one input to every parser, and checks what must hold of each whatever the bytes are. A failed check stops the
/// run, and the fuzzer keeps the input that did it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    fuzzJSON(bytes)
    fuzzLine(bytes)
    fuzzHeaders(bytes)
    fuzzManifest(bytes)
    fuzzHTTP(bytes)
    return 0
}

private func fuzzJSON(_ bytes: [UInt8]) {
    let skips: Bool
    do throws(JSONError) {
        try JSONSyntax.check(bytes.span)
        skips = true
    } catch {
        precondition(error.offset <= bytes.count && error.line > 0 && error.column > 0)
        skips = false
    }
    guard let value = try? JSONParser.parse(bytes) else { return }
    precondition(skips, "what is read can be skipped")
    for writer in [JSONWriter.compact, .pretty, .canonical, PythonLayout.all[0].writer] {
        let written = writer.bytes(value)
        guard let again = try? JSONParser.parse(written) else { preconditionFailure("what was written can be read") }
        precondition(writer.bytes(again) == written, "and is written alike")
    }
    precondition(JSONWriter.compact.bytes(value).count <= 6 * bytes.count + 2)
}

private func fuzzLine(_ bytes: [UInt8]) {
    let facts = LineReader.read(bytes.span)
    for field in ProvenanceField.allCases {
        guard let span = facts.provenance[field] else { continue }
        precondition(span.range.lowerBound >= 0 && span.range.upperBound <= bytes.count)
        _ = span.text(bytes.span)
    }
    for span in [facts.attribution, facts.requestID, facts.variant] { _ = span?.text(bytes.span) }
    precondition(facts.duration >= 0)
    if let time = facts.time { precondition(Instant(time.description) == time, "a time comes back as it was") }
}

private func fuzzHeaders(_ bytes: [UInt8]) {
    var facts = HeaderFacts()
    for line in bytes.split(separator: 0x0A) {
        let line = Array(line)
        let isField = HeaderFacts.looksLikeField(line.span)
        guard let field = HeaderFacts.field(line.span) else {
            precondition(!isField, "what looks like a field is one")
            continue
        }
        facts.take(name: field.name, value: field.value)
    }
}

private func fuzzManifest(_ bytes: [UInt8]) {
    // Any function of the bytes will do for a hash here; the digests are not looked at.
    let hashing: Hashing = { bytes in
        var state: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { state = (state ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        let words = (0..<4).flatMap { index in
            withUnsafeBytes(of: (state &+ UInt64(index)).bigEndian) { Array($0) }
        }
        guard let digest = Digest(bytes: words) else { preconditionFailure("four words are 32 bytes") }
        return digest
    }
    guard let manifest = try? Manifest.parse(bytes, verification: .off, hashing: hashing) else { return }
    precondition(!manifest.version.isEmpty && !manifest.version.utf8.contains(UInt8(ascii: "/")))
    guard let stamp = try? Stamp(manifest) else { return }
    precondition(stamp.logSuffix.allSatisfy { $0 >= 0x20 && $0 < 0x7F })
    let line =
        Array("2025-03-04T18:21:03Z,1,recommendation request /r/1, status 200, result: a, 42 ms".utf8) + stamp.logSuffix
    let facts = LineReader.read(line.span)
    for field in ProvenanceField.allCases {
        let read = facts.provenance[field].map { Array($0.text(line.span).utf8) }
        precondition(read == stamp.values[field].map { Array($0.utf8) }, "what was stamped is read back")
    }
}
