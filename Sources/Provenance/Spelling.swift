/// Guesses at what was meant.
package enum Spelling {
    /// The word that is nearest to `word`, if one is near.
    package static func nearest(to word: String, among known: [String]) -> String? {
        let ranked = known.map { ($0, distance(word, $0)) }
        guard let best = ranked.min(by: { $0.1 < $1.1 }), best.1 <= max(2, word.utf8.count / 3) else { return nil }
        return best.0
    }

    /// How many letters must be changed, added or removed.
    private static func distance(_ left: String, _ right: String) -> Int {
        let columns = Array(right.utf8.prefix(64))
        var row = Array(0...columns.count)
        for (index, letter) in left.utf8.prefix(64).enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for (column, other) in columns.enumerated() {
                let cost = letter == other ? diagonal : diagonal + 1
                diagonal = row[column + 1]
                row[column + 1] = min(cost, row[column] + 1, diagonal + 1)
            }
        }
        return row[columns.count]
    }
}
