import Provenance
import Runtime

/// What the proxy is told at its start and never changes.
package struct ProxySettings: Sendable {
    /// Where requests go; the addresses of one are tried in turn.
    package struct Upstream: Sendable {
        package let name: String
        package let addresses: [SocketAddress]
        /// What is written as Host for those who need none.
        let host: [UInt8]

        package init(name: String, addresses: [SocketAddress]) {
            self.name = name
            self.addresses = addresses
            let isNamed = addresses.first.map { !$0.isUnix } ?? false
            host = Array((isNamed ? addresses[0].text : "localhost").utf8)
        }
    }

    /// A named arm that serves traffic, and where.
    package struct Variant: Sendable {
        package let name: String
        /// The index of its upstream.
        package let upstream: Int

        package init(name: String, upstream: Int) {
            self.name = name
            self.upstream = upstream
        }
    }

    /// How it is known which manifest a response came from (`attribution.from`).
    package enum AttributionSource: Sendable {
        case pointer
        case header(String)
        case variantHeader(String)
    }

    /// Of which exchanges log lines are made, and what is in them (`recommendation.…`).
    package struct LineMaking: Sendable {
        /// What stands before and behind the user's id in a path.
        let prefix: [UInt8]
        let suffix: [UInt8]
        let resultBytes: Int
        let variantHeader: String
        let bucketHeader: String
        /// Where each worker hands them over, and how the one who takes them is woken.
        let rings: [HandoverRing]
        let tellReader: @Sendable () -> Void

        package init(
            prefix: String, suffix: String, resultBytes: Int, variantHeader: String, bucketHeader: String,
            rings: [HandoverRing], tellReader: @escaping @Sendable () -> Void
        ) {
            self.prefix = Array(prefix.utf8)
            self.suffix = Array(suffix.utf8)
            self.resultBytes = resultBytes
            self.variantHeader = variantHeader
            self.bucketHeader = bucketHeader
            self.rings = rings
            self.tellReader = tellReader
        }
    }

    /// Where each worker hands over what is known of its exchanges, and how the one who takes it is woken.
    package struct Recording: Sendable {
        let rings: [HandoverRing]
        let tellReader: @Sendable () -> Void

        package init(rings: [HandoverRing], tellReader: @escaping @Sendable () -> Void) {
            self.rings = rings
            self.tellReader = tellReader
        }
    }

    package struct Limits: Sendable {
        /// Client connections, of one worker.
        package var connections = 10_000
        package var headBytes = 32 << 10
        package var fields = 100

        package init() {}
    }

    /// In microseconds.
    package struct Timeouts: Sendable {
        package var connect: Int64 = 1_000_000
        package var requestHead: Int64 = 10_000_000
        package var requestBody: Int64 = 60_000_000
        package var responseHead: Int64 = 60_000_000
        package var streamIdle: Int64 = 600_000_000
        package var idle: Int64 = 75_000_000

        package init() {}
    }

    package var upstreams: [Upstream]
    package var variants: [Variant]
    /// The request header that picks the variant; empty for none.
    package var routeHeader = ""
    /// The variant of requests that name none.
    package var defaultVariant = 0
    package var headers = StampHeaders()
    package var attribution = AttributionSource.pointer
    package var trustsMintedIDs = false
    package var limits = Limits()
    package var timeouts = Timeouts()
    /// The descriptor that lines of the access log are written to.
    package var accessLog: Int32?

    /// Nil where exchanges make no log lines.
    package var lines: LineMaking?

    /// Nil where nobody asks for exchanges by their request ids.
    package var recording: Recording?

    package init(upstreams: [Upstream], variants: [Variant]) {
        self.upstreams = upstreams
        self.variants = variants
    }

    /// Whether the variant of a response is known before the upstream has spoken.
    /// A header of the request tells it only where it picks among upstreams.
    var variantIsKnown: Bool { variants.count == 1 || !routeHeader.isEmpty && upstreams.count == variants.count }

    /// The largest head that fits into a buffer with what is added to it.
    package static let largestHead = 60 << 10
}
