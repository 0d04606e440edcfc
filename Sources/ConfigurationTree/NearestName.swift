/// Finds the name a person most likely meant.
public enum NearestName {
    /// The candidate nearest to a misspelt name; nil when none is near enough to be worth suggesting.
    ///
    /// Near enough is one edit for short names, up to a third of the name for longer ones; differences in case and
    /// between `-` and `_` count for nothing.
    public static func of(_ name: String, among candidates: some Sequence<String>) -> String? {
        let wanted = normalized(name)
        let limit = max(1, wanted.count / 3)
        var best: (name: String, distance: Int)?
        for candidate in candidates {
            let other = normalized(candidate)
            guard abs(other.count - wanted.count) <= limit else { continue }
            let found = distance(wanted, other)
            if found <= limit, best.map({ found < $0.distance }) ?? true { best = (candidate, found) }
        }
        return best?.name
    }

    private static func normalized(_ name: String) -> [UInt8] {
        name.prefix(64).lowercased().utf8.map { $0 == UInt8(ascii: "-") ? UInt8(ascii: "_") : $0 }
    }

    /// Edits between two texts: insertions, deletions, replacements and swaps of neighbours.
    static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        if left.isEmpty || right.isEmpty { return max(left.count, right.count) }
        var beforeLast = [Int](repeating: 0, count: right.count + 1)
        var last = Array(0...right.count)
        for i in 1...left.count {
            var row = [i] + [Int](repeating: 0, count: right.count)
            for j in 1...right.count {
                let cost = left[i - 1] == right[j - 1] ? 0 : 1
                row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
                if i > 1, j > 1, left[i - 1] == right[j - 2], left[i - 2] == right[j - 1] {
                    row[j] = min(row[j], beforeLast[j - 2] + 1)
                }
            }
            (beforeLast, last) = (last, row)
        }
        return last[right.count]
    }
}
