/// How surely it is known which manifest an answer came from. Never claim more than is known.
public enum Attribution: String, Sendable, CaseIterable, Comparable {
    /// Nothing is known, or what is known contradicts itself.
    case unknown
    /// An activation happened meanwhile: it was this manifest or its neighbour.
    case mixed
    /// The active manifest at that time.
    case inferred
    /// The answer itself names its manifest, and the ledger knows it.
    case exact

    /// How much is claimed, from 0.
    @inlinable @inline(__always)
    public var strength: Int {
        switch self {
        case .unknown: 0
        case .mixed: 1
        case .inferred: 2
        case .exact: 3
        }
    }

    /// The word that claims less.
    @inlinable @inline(__always)
    public func weaker(_ other: Attribution) -> Attribution { other.strength < strength ? other : self }

    /// What `strength` says; unknown for anything else.
    @inlinable @inline(__always)
    public init(strength: Int) {
        self =
            switch strength {
            case 1: .mixed
            case 2: .inferred
            case 3: .exact
            default: .unknown
            }
    }

    @inlinable @inline(__always)
    public static func < (left: Attribution, right: Attribution) -> Bool { left.strength < right.strength }
}
