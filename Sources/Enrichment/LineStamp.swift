import Provenance

/// What one manifest adds to lines and to records, rendered once for each format and each attribution.
package final class LineStamp: Sendable {
    /// Nil for the one that stands for no manifest.
    package let manifest: Manifest?
    /// What a line holds that names this manifest.
    let values: ProvenanceValues<String>
    let spelled: Stamp.Spelled
    /// What goes into record headers, by the field's number; nil where there is nothing.
    package let recordValues: [[UInt8]?]
    /// What is added, by format and attribution. It lies in memory of its own, because handing out an array would cost each line a
    /// count of references.
    private nonisolated(unsafe) let additions: UnsafeMutableBufferPointer<UnsafeRawBufferPointer>

    package init(_ manifest: Manifest, _ stamp: Stamp) {
        self.manifest = manifest
        values = stamp.values
        spelled = Stamp.Spelled(stamp.values)
        recordValues = ProvenanceField.allCases.map { field in stamp.values[field].map(Escaping.percentEncoded) }
        additions = Self.render(
            suffix: stamp.logSuffix, members: [UInt8(ascii: ",")] + stamp.jsonMembers,
            pairs: [0x20] + stamp.logfmtPairs)
    }

    private init() {
        manifest = nil
        values = ProvenanceValues()
        spelled = Stamp.Spelled(ProvenanceValues())
        recordValues = ProvenanceField.allCases.map { _ in nil }
        additions = Self.render(suffix: [], members: [], pairs: [])
    }

    deinit {
        for addition in additions { addition.deallocate() }
        additions.deallocate()
    }

    /// For lines of which nothing is known: they say so.
    package static let none = LineStamp()

    private static func render(
        suffix: [UInt8], members: [UInt8], pairs: [UInt8]
    ) -> UnsafeMutableBufferPointer<UnsafeRawBufferPointer> {
        let all = UnsafeMutableBufferPointer<UnsafeRawBufferPointer>.allocate(
            capacity: LineFormat.allCases.count * attributions)
        for format in LineFormat.allCases {
            for attribution in Attribution.allCases {
                // Only what makes it weaker than usual is written into the text; the record header has the word always.
                let word = attribution < .inferred ? Array(attribution.rawValue.utf8) : nil
                let bytes =
                    switch format {
                    case .recommendation, .text: suffix + (word.map { ", attribution=".utf8 + $0 } ?? [])
                    case .json: members + (word.map { ",\"attribution\":\"".utf8 + $0 + "\"".utf8 } ?? [])
                    case .logfmt: pairs + (word.map { " attribution=".utf8 + $0 } ?? [])
                    }
                all.initializeElement(
                    at: place(format, attribution), to: UnsafeRawBufferPointer(copying: bytes))
            }
        }
        return all
    }

    private static let attributions = Attribution.exact.strength + 1

    private static func place(_ format: LineFormat, _ attribution: Attribution) -> Int {
        format.number * attributions + attribution.strength
    }

    /// What a line of `format` gets, for as long as this stamp is kept. A JSON object's begins with a comma.
    package func addition(_ format: LineFormat, _ attribution: Attribution) -> UnsafeRawBufferPointer {
        additions[Self.place(format, attribution)]
    }
}

/// A stamp that the attributor keeps until the next line: what is handed on of every line counts no reference.
struct HeldStamp {
    private let reference: Unmanaged<LineStamp>

    init(_ stamp: LineStamp) { reference = .passUnretained(stamp) }

    /// The one that is kept for ever.
    static var none: HeldStamp { HeldStamp(.none) }

    var stamp: LineStamp { reference.takeUnretainedValue() }

    @inline(__always)
    func addition(_ format: LineFormat, _ attribution: Attribution) -> UnsafeRawBufferPointer {
        reference._withUnsafeGuaranteedRef { $0.addition(format, attribution) }
    }

    static func === (left: HeldStamp, right: HeldStamp) -> Bool {
        left.reference.toOpaque() == right.reference.toOpaque()
    }
}

extension LineFormat {
    /// Its place among all formats.
    fileprivate var number: Int {
        switch self {
        case .recommendation: 0
        case .json: 1
        case .logfmt: 2
        case .text: 3
        }
    }
}
