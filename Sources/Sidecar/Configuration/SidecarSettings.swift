import Manifests
import Provenance
import Proxy
import Runtime

/// Everything that `colophon serve` can be told (DESIGN 8), with its defaults.
package struct SidecarSettings: Sendable {
    package enum Artifacts: String, Sendable, CaseIterable {
        case ifPresent = "if-present"
        case required
        case off

        /// Whether something that was fine by `other` may not be by this.
        func asksMore(than other: Artifacts) -> Bool {
            switch (other, self) {
            case (.off, .ifPresent), (.off, .required), (.ifPresent, .required): true
            default: false
            }
        }
    }

    /// How long after an activation the model server may still answer with the manifest before.
    package enum Settle: Sendable, Equatable {
        case after(microseconds: Int64)
        case upstreamRestart

        /// How long that may be where nobody sees the model server's connections, in microseconds.
        package var longest: Int64 {
            switch self {
            case .after(let microseconds): microseconds
            case .upstreamRestart: .max
            }
        }
    }

    /// A value for each variant, or one for all under the name that stands for all.
    package typealias Map = [(variant: String, value: String)]

    package static let onlyVariant = "default"

    package var listen = ["127.0.0.1:8080"]
    package var upstream: Map = [(onlyVariant, "127.0.0.1:8082")]
    package var manifest: Map = [(onlyVariant, "artifacts/model_manifest.json")]
    package var dataDirectory: String?
    package var instance = "default"
    /// Nil for one per core.
    package var workers: Int?
    package var verify = Verification.strict
    package var artifacts = Artifacts.ifPresent
    package var artifactsRoot: String?
    package var manifestOptional = false
    package var poll: Int64 = 2_000_000
    package var headers = StampHeaders()
    package var commitLength = Stamp.commitLength
    package var attribution = ProxySettings.AttributionSource.pointer
    package var settle = Settle.after(microseconds: 30_000_000)
    package var routeHeader = ""
    package var routeDefault = ""
    package var trustsMintedIDs = false
    /// How much of records of exchanges is kept on disk; 0 for none.
    package var exchangeBytes = 0
    /// Of all workers together. Nil for 10,000, or as many as the system allows.
    package var connections: Int?
    package var limits = ProxySettings.Limits()
    package var timeouts = ProxySettings.Timeouts()
    package var drain: Int64 = 30_000_000
    package var adminListen = "127.0.0.1:9464"
    package var adminToken = ""
    package var logFormat = EventLog.Format.text
    /// Nil for none.
    package var accessLog: String?
    package var logLevel = EventLog.Level.info
    package var lines = LineSettings()

    package init() {}

    /// Whether lines are taken over HTTP.
    var takesPostedLines: Bool {
        lines.http && adminListen != "off" && lines.destination(otherwise: .off) != .off
    }

    /// The variants, in the order in which they were named.
    var variants: [String] {
        var names: [String] = []
        for name in (upstream + manifest).map(\.variant)
        where name != Self.onlyVariant && !names.contains(where: { $0.hasSameBytes(as: name) }) {
            names.append(name)
        }
        return names.isEmpty ? [Self.onlyVariant] : names
    }

    func value(of variant: String, in map: Map) -> String? {
        (map.first { $0.variant.hasSameBytes(as: variant) } ?? map.first { $0.variant == Self.onlyVariant })?.value
    }
}
