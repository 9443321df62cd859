import Enrichment
import Provenance

/// What is done with log lines (DESIGN 6): where they come from, what is added, where they go.
package struct LineSettings: Sendable {
    package enum Destination: Sendable, Equatable {
        /// Kafka where brokers are named.
        case auto
        case kafka
        case standardOutput
        case file(String)
        case off
    }

    /// When lines are made of exchanges.
    package enum OfExchanges: String, Sendable, CaseIterable {
        /// Where no file, socket or topic brings them.
        case auto
        case on = "true"
        case off = "false"
    }

    package var ofExchanges = OfExchanges.auto
    package var pathPrefix = "/recommend/"
    package var pathSuffix = ""
    package var resultBytes = 4 << 10
    package var variantHeader = "X-Model-Variant"
    package var bucketHeader = "X-Bucket"
    package var files: [String] = []
    package var unix: [(path: String, isDatagram: Bool)] = []
    package var http = true
    /// Another topic that lines come from; empty for none.
    package var fromTopic = ""
    package var fromGroup = "colophon"
    package var enriching = LineEnricher.Settings()
    package var attributing = LineAttributor.Settings()
    package var intake = LineIntake.Settings()
    package var to = Destination.auto
    package var kafka = KafkaSettings()
    package var spool = SpoolSettings()
    package var fsyncMilliseconds = 50
    package var deadLetterBytes = 256 << 20

    package init() {}

    /// Whether the proxy makes lines of exchanges.
    var makesLines: Bool {
        guard destination(otherwise: .off) != .off else { return false }
        return ofExchanges == .on || ofExchanges == .auto && files.isEmpty && unix.isEmpty && fromTopic.isEmpty
    }

    /// Where lines go, once nothing is left to be decided.
    package func destination(otherwise: Destination) -> Destination {
        to == .auto ? (kafka.brokers.isEmpty ? otherwise : .kafka) : to
    }
}
