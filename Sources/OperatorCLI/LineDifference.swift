/// The difference between two texts, line by line, as `diff -u` shows it without the file names.
enum LineDifference {
    /// Changed lines with three unchanged ones around them; empty when the texts are the same.
    static func unified(_ old: String, _ new: String, context: Int = 3) -> [String] {
        let old = lines(old)
        let new = lines(new)
        let edits = new.difference(from: old)
        if edits.isEmpty { return [] }
        var removed: Set<Int> = []
        var inserted: Set<Int> = []
        for edit in edits {
            switch edit {
            case .remove(let offset, _, _): removed.insert(offset)
            case .insert(let offset, _, _): inserted.insert(offset)
            }
        }
        // Both texts side by side: what goes stands before what comes.
        var lines: [(mark: Character, text: String)] = []
        var left = 0
        var right = 0
        while left < old.count || right < new.count {
            if left < old.count, removed.contains(left) {
                lines.append(("-", old[left]))
                left += 1
            } else if right < new.count, inserted.contains(right) {
                lines.append(("+", new[right]))
                right += 1
            } else {
                lines.append((" ", old[left]))
                left += 1
                right += 1
            }
        }
        var shown: Set<Int> = []
        for index in lines.indices where lines[index].mark != " " {
            for near in max(0, index - context)...min(lines.count - 1, index + context) { shown.insert(near) }
        }
        var output: [String] = []
        var last: Int?
        for index in lines.indices where shown.contains(index) {
            if let last, index > last + 1 { output.append("...") }
            output.append("\(lines[index].mark)\(lines[index].text)")
            last = index
        }
        return output
    }
    private static func lines(_ text: String) -> [String] {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        // The end of the last line is no line.
        if lines.last == "" { lines.removeLast() }
        return lines
    }
}
