import Kafka
import Provenance
import Runtime

/// Publishes records to one topic.
package final class KafkaSink: RecordSink {
    private let settings: KafkaSettings
    private var properties: KafkaProperties
    private let definitions: Definitions
    /// The instance's identity and a slash: how every origin begins.
    private let originPrefix: [UInt8]
    private let headers: [RecordHeader]
    private var producer: KafkaProducer?
    let wake: Wake
    /// Where the values of headers are put together that no manifest has ready.
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 1024, alignment: 8)
    /// What the brokers or the client last complained of; nil since a record has arrived.
    package private(set) var problem: String?
    /// What the client told of itself the last time.
    private(set) var figures: ClientFigures?
    private(set) var errors: [(name: String, count: UInt64)] = []
    /// What made the client useless, until another one is made.
    private(set) var fatal: KafkaError?

    package init(
        _ settings: KafkaSettings, _ properties: KafkaProperties, _ definitions: Definitions, instance: String
    ) throws(SystemError) {
        self.settings = settings
        self.properties = properties
        self.definitions = definitions
        originPrefix = Array((instance + "/").utf8)
        headers = settings.headers
        wake = try Wake()
    }

    deinit { scratch.deallocate() }

    var descriptor: Int32 { wake.number }
    let isBroken = false
    let blockedOn: Int32 = -1
    let failureEvent = "kafka-failed"
    let recoveryEvent = "kafka-reached"
    private var hasBegun = false

    func begin(_ limits: LinePipeline.TopicLimits) {
        hasBegun = true
        if let bytes = limits.batchBytes { limitBatches(to: bytes) }
    }

    /// A topic may take less at once than the client would send: then a whole batch would be refused.
    private func limitBatches(to bytes: Int) {
        guard bytes < 1 << 20, properties["batch.size"] == nil else { return }
        properties["message.max.bytes"] = String(max(1000, bytes))
        properties["batch.size"] = String(max(1, bytes / 2))
    }

    /// Hands a record to the client, which reads its bytes until it tells what came of them.
    func send(_ record: LineRecord, token: UInt) -> Sending {
        guard let producer = ready() else { return .later }
        producer.begin(value: record.value, key: record.key, milliseconds: record.milliseconds, token: token)
        var used = 0
        for header in headers { add(header, record, producer, &used) }
        if settings.cloudEvents { addCloudEvent(record, producer, &used) }
        if record.carriedCount > 0 { record.forEachCarried { producer.add(header: $0, $1) } }
        switch producer.produce() {
        case .taken: return .sent
        case .full: return .later
        case .refused(let code):
            if KafkaError.refusesRecord(code) { return .refused(reason: Self.words(code)) }
            note(KafkaError.reason(code), code)
            return .later
        }
    }

    /// The client, made when it is first needed; nil while it cannot be, or nothing is to be sent yet.
    func ready() -> KafkaProducer? {
        if let producer { return producer }
        guard hasBegun else { return nil }
        do throws(KafkaError) {
            let made = try KafkaProducer(properties, topic: settings.topic, wake: wake.number)
            producer = made
            return made
        } catch {
            note(error.reason, error.code)
            return nil
        }
    }

    private static func words(_ code: Int32) -> String { KafkaError.words(KafkaError.reason(code), code) }

    private func note(_ reason: String, _ code: Int32) { problem = KafkaError.words(reason, code) }

    private func count(_ name: String) {
        guard let index = errors.firstIndex(where: { $0.name == name }) else {
            errors.append((name, 1))
            return
        }
        errors[index].count += 1
    }

    /// Tells what came of records. True when the client is beyond use, and nothing that is on its way will be told of.
    func takeEvents(_ body: (_ token: UInt, _ outcome: Arrival) -> Void) -> Bool {
        wake.clear()
        guard let producer else { return false }
        var isFatal = false
        producer.takeEvents(milliseconds: 0) { event in
            switch event {
            case .delivered(let token, let code):
                if code == 0 {
                    problem = nil
                    body(token, .arrived)
                } else {
                    if !KafkaError.isOfGivenUpClient(code) {
                        note(KafkaError.reason(code), code)
                    }
                    count(KafkaError.name(code))
                    let isRefused = KafkaError.refusesRecord(code)
                    body(
                        token,
                        isRefused
                            ? .refused(reason: Self.words(code), isOfTime: KafkaError.refusesTime(code)) : .failed)
                }
            case .statistics(let text): if let told = ClientFigures(text) { figures = told.after(figures) }
            case .failed(let error):
                count(error.name)
                // That nobody is there is less than why.
                if problem == nil || !error.isGeneral { note(error.reason, error.code) }
                if error.isFatal {
                    isFatal = true
                    fatal = error
                }
            }
        }
        return isFatal
    }

    func close() {
        producer = nil
        hasBegun = false
    }

    /// Gives the client up; another one is made when there is something to send.
    func restart() {
        producer = nil
        fatal = nil
    }

    // MARK: - Headers

    private func add(_ header: RecordHeader, _ record: LineRecord, _ producer: KafkaProducer, _ used: inout Int) {
        switch header {
        case .modelVersion: addStamp("model_version", .modelVersion, record, producer)
        case .manifestSHA256: addStamp("manifest_sha256", .manifestSHA256, record, producer)
        case .pipelineCommit: addStamp("pipeline_commit", .pipelineCommit, record, producer)
        case .pipelineBranch: addStamp("pipeline_branch", .pipelineBranch, record, producer)
        case .dataVersion: addStamp("data_version", .dataVersion, record, producer)
        case .attribution:
            let word = record.attribution.word
            producer.add(
                header: "attribution", UnsafeRawBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount))
        case .origin: producer.add(header: "origin", origin(record, &used))
        case .requestID: if let id = record.requestID { producer.add(header: "request_id", id) }
        case .lineTime:
            guard record.lineTime != LineRecord.noTime else { return }
            producer.add(header: "line_time", text(Instant(microseconds: record.lineTime).description, &used))
        }
    }

    private func addStamp(
        _ name: StaticString, _ field: ProvenanceField, _ record: LineRecord, _ producer: KafkaProducer
    ) {
        if let value = definitions.stampValue(record.stamp, field) { producer.add(header: name, value) }
    }

    /// `<instance>/<source>:<position>`
    private func origin(_ record: LineRecord, _ used: inout Int) -> UnsafeRawBufferPointer {
        let start = used
        originPrefix.withUnsafeBytes { append($0, &used) }
        append(definitions.sourceName(record.source), &used)
        put(UInt8(ascii: ":"), &used)
        var digits = InlineArray<20, UInt8>(repeating: 0)
        var count = 0
        var rest = UInt64(bitPattern: record.position)
        repeat {
            digits[count] = UInt8(rest % 10) + 0x30
            rest /= 10
            count += 1
        } while rest > 0
        while count > 0 {
            count -= 1
            put(digits[count], &used)
        }
        return UnsafeRawBufferPointer(rebasing: scratch[start..<used])
    }

    private func append(_ bytes: UnsafeRawBufferPointer, _ used: inout Int) {
        let count = min(bytes.count, scratch.count - used - 32)
        guard count > 0 else { return }
        UnsafeMutableRawBufferPointer(rebasing: scratch[used..<used + count])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        used += count
    }

    private func put(_ byte: UInt8, _ used: inout Int) {
        scratch[used] = byte
        used += 1
    }

    private func text(_ text: String, _ used: inout Int) -> UnsafeRawBufferPointer {
        let start = used
        Array(text.utf8).withUnsafeBytes { append($0, &used) }
        return UnsafeRawBufferPointer(rebasing: scratch[start..<used])
    }

    /// The binary binding of CloudEvents 1.0: attributes as headers, the line as data.
    private func addCloudEvent(_ record: LineRecord, _ producer: KafkaProducer, _ used: inout Int) {
        producer.add(header: "ce_specversion", text("1.0", &used))
        producer.add(header: "ce_type", text("colophon.line", &used))
        producer.add(header: "ce_id", origin(record, &used))
        let start = used
        Array("/colophon/".utf8).withUnsafeBytes { append($0, &used) }
        originPrefix.dropLast().withUnsafeBytes { append($0, &used) }
        producer.add(header: "ce_source", UnsafeRawBufferPointer(rebasing: scratch[start..<used]))
        let time = record.lineTime == LineRecord.noTime ? record.milliseconds * 1000 : record.lineTime
        producer.add(header: "ce_time", text(Instant(microseconds: time).description, &used))
        let isJSON = record.value.first == UInt8(ascii: "{")
        producer.add(
            header: "content-type", text(isJSON ? "application/json" : "text/plain; charset=utf-8", &used))
    }

    func originText(_ record: LineRecord) -> String {
        var used = 0
        return String(decoding: origin(record, &used), as: UTF8.self)
    }
}

extension Attribution {
    var word: StaticString {
        switch self {
        case .unknown: "unknown"
        case .mixed: "mixed"
        case .inferred: "inferred"
        case .exact: "exact"
        }
    }
}
