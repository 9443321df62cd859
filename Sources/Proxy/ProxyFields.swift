import HTTP
import Provenance

/// The names that the proxy looks for besides those of the wire.
extension ProxySettings {
    private var stampNames: [(name: String, field: FieldName)] {
        let names = [headers.version, headers.commit, headers.data, headers.manifest, headers.attribution]
        return names.compactMap { name in name.map { ($0, FieldName.stamp) } }
    }

    /// The four names and the fifth are ours, also where another name was configured or they are switched off.
    /// Names that only we may use: those of the stamp, as configured and as usual.
    package static func isOwn(_ name: String, _ headers: StampHeaders) -> Bool {
        let usual = StampHeaders()
        return [headers, usual].contains { set in
            [set.version, set.commit, set.data, set.manifest, set.attribution].contains {
                $0.map { $0.lowercased().hasSameBytes(as: name.lowercased()) } ?? false
            }
        }
    }

    private var ownNames: [(name: String, field: FieldName)] {
        let usual = StampHeaders()
        let names = [usual.version, usual.commit, usual.data, usual.manifest, usual.attribution]
        return stampNames + names.compactMap { name in name.map { ($0, FieldName.stamp) } }
    }

    var requestNames: FieldNames {
        FieldNames(
            [
                ("x-request-id", .requestID), ("traceparent", .traceparent), ("x-forwarded-for", .forwardedFor),
                ("x-forwarded-proto", .forwardedProto), (routeHeader, .route),
            ] + ownNames, foldsUnderscores: true)
    }

    /// Whether the header in which the upstream says what answered has one of our names.
    var answeredByIsOurs: Bool {
        switch attribution {
        case .pointer: false
        case .header(let name), .variantHeader(let name):
            ownNames.contains { $0.name.lowercased().hasSameBytes(as: name.lowercased()) }
        }
    }

    var responseNames: FieldNames {
        // What the upstream names is read before it is removed, even under one of our own names.
        let answeredBy: [(name: String, field: FieldName)]
        switch attribution {
        case .pointer: answeredBy = []
        case .header(let name), .variantHeader(let name): answeredBy = [(name, .answeredBy)]
        }
        let ofLines: [(name: String, field: FieldName)] =
            lines.map {
                [
                    ($0.variantHeader, .lineVariant), ($0.bucketHeader, .lineBucket), ("content-type", .contentType),
                    ("content-encoding", .contentEncoding),
                ]
            } ?? []
        return FieldNames(answeredBy + [("x-request-id", .requestID)] + ownNames + ofLines)
    }
}
