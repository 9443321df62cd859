import Provenance

/// Why nobody can say which manifest a line came from.
package enum UnknownReason: Int, Sendable, CaseIterable {
    /// What it says of where it came from cannot all be true, or stands where anybody may have written it and is not what time says.
    case contradictory
    /// It names a manifest that the ledger does not have, or not with these values.
    case notInLedger
    /// What it names several manifests have.
    case ambiguous
    /// It has a time that was not understood.
    case unreadTime
    case ledgerFailed
    /// Its variant never had an activation; or it names none, and there are several.
    case variantUnknown
    /// It is older than the first activation of its variant.
    case beforeActivation
    /// It is of a time that has not come yet.
    case future
    /// Another sidecar on the same ledger has activated something else for the same variant.
    case otherSidecar
    /// It is of a time in which nobody knows what the pointer named.
    case doubted
    /// The line itself, or whoever handed it on, says that it is not known.
    case saidSo
    /// The response that it tells of had no stamp, or one that said so.
    case response

    /// What metrics call it.
    package var name: String {
        switch self {
        case .contradictory: "contradictory"
        case .notInLedger: "not_in_ledger"
        case .ambiguous: "ambiguous"
        case .unreadTime: "unread_time"
        case .ledgerFailed: "ledger_failed"
        case .variantUnknown: "variant_unknown"
        case .beforeActivation: "before_activation"
        case .future: "future"
        case .otherSidecar: "other_sidecar"
        case .doubted: "doubted"
        case .saidSo: "said_so"
        case .response: "response"
        }
    }

    /// What people are told, behind a number of lines.
    package var text: String {
        switch self {
        case .contradictory: "whose words on their manifest are not whole, or contradict each other"
        case .notInLedger: "of manifests that the ledger does not have"
        case .ambiguous: "that name what several manifests have"
        case .unreadTime: "with a time that was not understood"
        case .ledgerFailed: "while the ledger could not be asked"
        case .variantUnknown: "of a variant that never had an activation, or of none where there are several"
        case .beforeActivation: "older than the first activation of their variant"
        case .future: "of a time that has not come"
        case .otherSidecar: "of a variant for which another sidecar has activated something else"
        case .doubted: "of a time in which nobody knows what the pointer named"
        case .saidSo: "that say so themselves"
        case .response: "of responses that had no stamp, or said so"
        }
    }
}

extension LineAttributor {
    func unknown(_ reason: UnknownReason, isKept: Bool = false) -> Verdict {
        self.reason = reason
        return Verdict(stamp: .none, attribution: .unknown, isKept: isKept)
    }
}

/// How many lines were unknown for each reason.
package struct UnknownCounters: Sendable {
    private var counts = InlineArray<12, UInt64>(repeating: 0)

    package subscript(reason: UnknownReason) -> UInt64 { counts[reason.rawValue] }

    mutating func count(_ reason: UnknownReason) { counts[reason.rawValue] &+= 1 }

    /// Those that there were, most of them first.
    package var some: [(reason: UnknownReason, count: UInt64)] {
        UnknownReason.allCases.map { ($0, self[$0]) }.filter { $0.1 > 0 }.sorted { $0.1 > $1.1 }
    }
}
