import Manifests
import Provenance
import Runtime
import Sidecar
import Trace

extension Command {
    static let trace = Command(
        path: ["trace"], summary: "Lead a log line, response headers, a request id or a digest back to its manifest",
        operands: "INPUT", operandCount: 1...1,
        options: [
            Option(name: "verify", help: "hash every file that the manifest names, and tell its state"),
            .json, .dataDirectory, .configuration, .manifests,
            Option(
                name: "manifest", value: "FILE", help: "look in this manifest alone, and take it for the active one"),
            .artifactsRoot,
        ],
        details: """
            INPUT is a log line (recommendation, JSON, logfmt, text), the headers of a response (as curl -sD- prints them,
            or from a HAR file), a request id, a digest or the first digits of one, a version, a commit, a data version, the
            hash of an artifact or dataset; or - for standard input: one answer for each line or header block, in order.

            How sure an answer is: exact (it names its manifest, and that is known), inferred (what was active then), mixed
            (another one was activated about then), unknown. Exit code 4 when anything is unknown or ambiguous; else 1 when --verify
            finds a file that is not what its manifest says.
            """,
        examples: [
            (
                "colophon trace '2025-03-04T18:21:03Z,39157,recommendation request …, 42 ms, manifest_sha256=51ac…'",
                "a line"
            ),
            ("curl -sD- http://127.0.0.1:8080/recommend/39157 | colophon trace -", "the answer of a server"),
            ("colophon trace 51ac09 --verify", "a digest's first digits, and whether its files are still the same"),
            ("colophon trace - --json < recommendations.log", "a whole file, for machines"),
        ],
        run: runTrace)

    private static func runTrace(_ arguments: Arguments) throws(CommandError) -> ExitCode {
        if arguments.operands[0].allSatisfy(\.isWhitespace) { throw nothingToTrace(arguments) }
        let index = try Lookup.index(arguments)
        let root = try arguments.artifactsRoot()
        var areFilesFine = true
        let verify: ((IndexedManifest) -> [CheckedFile])? =
            arguments.has("verify")
            ? { indexed in
                let files = ArtifactCheck(artifactsRoot: root, manifestPath: indexed.file)
                    .run(indexed.manifest, includingDataset: true, showsProgress: true)
                if !files.allSatisfy(\.state.isOK) { areFilesFine = false }
                return files
            } : nil
        let settle = try arguments.namedConfiguration()?.settings.settle.longest ?? Tracer.usualSettle
        let tracer = Tracer(
            index, verify: verify, kept: try Lookup.exchanges(arguments), settle: settle, clock: Clock.now
        ) { name in ((try? FileStatus.of(name)) ?? nil)?.isRegular == true }
        let input = arguments.operands[0]
        let isStream = input == "-"
        let isNumbered = isStream || input.utf8.contains(0x0A)
        var session = TraceSession(tracer, style: arguments.wantsJSON ? .json : .text(numbered: isNumbered))
        let output = Output()
        do throws(TraceInputError) {
            if isStream {
                try traceStandardInput(&session, output)
            } else {
                try traceText(input, &session, output)
            }
        } catch {
            // What was answered before is still right.
            try? output.flush()
            throw CommandError(.failed, error.description)
        }
        if session.answers == 0 { throw nothingToTrace(arguments) }
        if session.unknowns > 0 { return .notFound }
        return areFilesFine ? .fine : .failed
    }

    private static func nothingToTrace(_ arguments: Arguments) -> CommandError {
        arguments.usage("there is nothing to trace: the input is empty")
    }

    private static func traceText(
        _ text: String, _ session: inout TraceSession, _ output: Output
    ) throws(TraceInputError) {
        var lines = LineSplitter()
        let bytes = Array(text.utf8)
        try lines.take(bytes.span, &session, output)
        try lines.finish(&session, output)
    }

    private static func traceStandardInput(_ session: inout TraceSession, _ output: Output) throws(TraceInputError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: LineSplitter.chunk, alignment: 4096)
        defer { buffer.deallocate() }
        var lines = LineSplitter()
        while true {
            let count: Int
            do { count = try Input.read(into: buffer) } catch { throw TraceInputError(error.description) }
            if count == 0 { break }
            do { try session.refresh() } catch { throw TraceInputError(error.description) }
            try lines.take(Span(_unsafeBytes: UnsafeRawBufferPointer(rebasing: buffer[..<count])), &session, output)
            // Somebody may be waiting for the answers to what was read so far.
            if count < LineSplitter.chunk { try lines.flush(output) }
        }
        try lines.finish(&session, output)
    }
}

/// Tracing stopped: the input, the output or the index failed.
private struct TraceInputError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Cuts input into lines and hands them to a session; keeps only the line that has not ended yet.
private struct LineSplitter {
    static let chunk = 256 << 10
    /// The longest line that is kept.
    private static let longest = 16 << 20

    private var carried: [UInt8] = []
    private var isOverlong = false

    mutating func take(_ bytes: Span<UInt8>, _ session: inout TraceSession, _ output: Output) throws(TraceInputError) {
        var start = 0
        while let end = bytes.firstIndex(of: 0x0A, in: start..<bytes.count) {
            try takeLine(bytes.extracting(start..<end), &session, output)
            start = end + 1
        }
        carry(bytes.extracting(start..<bytes.count))
    }

    private mutating func carry(_ rest: Span<UInt8>) {
        if isOverlong || rest.isEmpty { return }
        if carried.count + rest.count > Self.longest {
            carried.removeAll()
            isOverlong = true
        } else {
            carried += rest.array(0..<rest.count)
        }
    }

    private mutating func takeLine(
        _ line: Span<UInt8>, _ session: inout TraceSession, _ output: Output
    ) throws(TraceInputError) {
        var failure: TraceInputError?
        do throws(SystemError) {
            if isOverlong {
                try output.append { session.takeOverlong(limit: Self.longest, to: &$0) }
                isOverlong = false
                return
            }
            if !carried.isEmpty {
                carry(line)
                let whole = carried
                carried.removeAll(keepingCapacity: true)
                try output.append { failure = Self.hand(whole.span, &session, &$0) }
            } else {
                try output.append { failure = Self.hand(line, &session, &$0) }
            }
        } catch {
            throw TraceInputError(error.description)
        }
        if let failure { throw failure }
    }

    private static func hand(
        _ line: Span<UInt8>, _ session: inout TraceSession, _ output: inout [UInt8]
    ) -> TraceInputError? {
        do throws(ManifestIndexError) {
            try session.take(line, to: &output)
            return nil
        } catch {
            return TraceInputError(error.description)
        }
    }

    mutating func finish(_ session: inout TraceSession, _ output: Output) throws(TraceInputError) {
        if !carried.isEmpty || isOverlong {
            let empty: [UInt8] = []
            try takeLine(empty.span, &session, output)
        }
        var failure: TraceInputError?
        do throws(SystemError) {
            try output.append { bytes in
                do throws(ManifestIndexError) { try session.finish(to: &bytes) } catch {
                    failure = TraceInputError(error.description)
                }
            }
        } catch {
            throw TraceInputError(error.description)
        }
        if let failure { throw failure }
        try flush(output)
    }

    func flush(_ output: Output) throws(TraceInputError) {
        do { try output.flush() } catch { throw TraceInputError(error.description) }
    }
}
