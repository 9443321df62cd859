/// A zone in which times are read that name none: UTC, or a fixed distance from it.
package struct TimeZone: Sendable, Hashable {
    private let secondsEast: Int64

    package static let utc = TimeZone(secondsEast: 0)

    private init(secondsEast: Int64) { self.secondsEast = secondsEast }

    /// Reads `UTC`, `Z`, `+02:00`, `-0530`; nil for anything else, zones with names among it: their clocks repeat an hour each
    /// year, in which nobody could tell which manifest was live.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        if text == "UTC" || text == "Z" {
            self = .utc
            return
        }
        let digits = bytes.dropFirst().filter { $0 != UInt8(ascii: ":") }.map { Int64($0) - 0x30 }
        guard bytes.count == 5 || bytes.count == 6 && bytes[3] == UInt8(ascii: ":"), digits.count == 4,
            bytes[0] == UInt8(ascii: "+") || bytes[0] == UInt8(ascii: "-"), digits.allSatisfy({ (0...9).contains($0) })
        else { return nil }
        let hours = digits[0] * 10 + digits[1]
        let minutes = digits[2] * 10 + digits[3]
        guard hours < 24, minutes < 60 else { return nil }
        secondsEast = (bytes[0] == UInt8(ascii: "-") ? -1 : 1) * (hours * 3600 + minutes * 60)
    }

    /// The moment at which clocks of this zone show what clocks in UTC show at `time`.
    package func instant(ofLocal time: Instant) -> Instant { time.advanced(by: -secondsEast * 1_000_000) }
}
