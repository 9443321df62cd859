import Enrichment
import Provenance
import Runtime
import Synchronization

/// What happens, one line for each event on standard error. Not for requests: those are counted.
package final class EventLog: Sendable {
    package enum Format: String, Sendable, CaseIterable {
        case text
        case json
    }

    package enum Level: String, Sendable, CaseIterable {
        case debug
        case info
        case warn
        case error

        private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }

        func includes(_ other: Level) -> Bool { other.rank >= rank }
    }

    private let format: Format
    private let level: Mutex<Level>
    private let turn = Mutex<Void>(())

    package init(format: Format, level: Level) {
        self.format = format
        self.level = Mutex(level)
    }

    /// Logs from now on what is at least as grave.
    func set(_ level: Level) { self.level.withLock { $0 = level } }

    package func write(_ level: Level, _ event: String, _ facts: [(name: String, value: JSON)]) {
        guard self.level.withLock({ $0.includes(level) }) else { return }
        let time = Clock.now().description
        let line: [UInt8]
        switch format {
        case .json:
            var object = JSONObject([
                .init("time", .string(time)), .init("level", .string(level.rawValue)), .init("event", .string(event)),
            ])
            for fact in facts { object.append(fact.name, fact.value) }
            line = JSONWriter.compact.bytes(.object(object))
        case .text:
            let pairs = facts.map { fact in Array("\(fact.name)=".utf8) + Self.text(fact.value) }
            line = Array("\(time) \(level.rawValue) \(event)".utf8) + pairs.flatMap { [0x20] + $0 }
        }
        // One call for a line, so that lines of several processes do not mix; in turn, so that ours do not.
        let text = String(decoding: line, as: UTF8.self)
        turn.withLock { _ in complain(text) }
    }

    package func write(_ news: LineNews) {
        write(news.level == .warn ? .warn : .info, news.event, news.facts)
    }

    private static func text(_ value: JSON) -> [UInt8] {
        if case .string(let text) = value { return Escaping.logfmt(text) }
        return JSONWriter.compact.bytes(value)
    }
}
