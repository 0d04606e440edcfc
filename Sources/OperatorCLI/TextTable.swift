/// A table for a terminal, in the frame that patronictl draws.
struct TextTable: Sendable {
    enum Alignment: Sendable { case left, right }

    struct Column: Sendable {
        var title: String
        var alignment = Alignment.left
        /// Columns with a number are left out when the table is too wide, the highest number first.
        var expendable: Int?

        init(_ title: String, _ alignment: Alignment = .left, expendable: Int? = nil) {
            self.title = title
            self.alignment = alignment
            self.expendable = expendable
        }
    }

    /// Written into the upper border.
    var heading: String?
    var columns: [Column]
    var rows: [[String]]

    /// The lines of the table, within the width if that is possible: columns give way, then cells are wrapped.
    func lines(width limit: Int?) -> [String] {
        var table = self
        if let limit {
            while table.naturalWidth > limit {
                let candidates = table.columns.indices.filter { table.columns[$0].expendable != nil }
                guard
                    let victim = candidates.max(by: {
                        (table.columns[$0].expendable ?? 0, $0) < (table.columns[$1].expendable ?? 0, $1)
                    })
                else { break }
                table.columns.remove(at: victim)
                for row in table.rows.indices { table.rows[row].remove(at: victim) }
            }
        }
        return table.framed(within: limit)
    }

    private var naturalWidths: [Int] {
        columns.indices.map { column in
            ([columns[column].title] + rows.map { $0[column] }).map { Self.width(of: $0) }.max() ?? 0
        }
    }

    private var naturalWidth: Int { naturalWidths.reduce(1) { $0 + $1 + 3 } }

    private func framed(within limit: Int?) -> [String] {
        var widths = naturalWidths
        if let limit {
            // The widest column gives until the table fits, or nothing can be given any more.
            while widths.reduce(1, { $0 + $1 + 3 }) > limit,
                let widest = widths.indices.max(by: { widths[$0] < widths[$1] }), widths[widest] > 8
            {
                widths[widest] -= 1
            }
        }
        let border = "+" + widths.map { String(repeating: "-", count: $0 + 2) }.joined(separator: "+") + "+"
        var top = border
        if let heading {
            let text = "+ \(heading) "
            if text.count < border.count { top = text + border.dropFirst(text.count) } else { top = text + "-+" }
        }
        var lines = [top]
        lines += wrapped(columns.map(\.title), widths)
        lines.append(border)
        for row in rows { lines += wrapped(row, widths) }
        lines.append(border)
        return lines
    }

    private func wrapped(_ cells: [String], _ widths: [Int]) -> [String] {
        let pieces = zip(cells, widths).map { Self.wrap($0, to: $1) }
        let height = pieces.map(\.count).max() ?? 1
        return (0..<height).map { line in
            let texts = pieces.indices.map { column in
                let text = line < pieces[column].count ? pieces[column][line] : ""
                let space = String(repeating: " ", count: max(0, widths[column] - Self.width(of: text)))
                return columns[column].alignment == .left ? text + space : space + text
            }
            return "| " + texts.joined(separator: " | ") + " |"
        }
    }

    static func width(of text: String) -> Int { text.count }

    /// Breaks a text at spaces, or within a word that is too long.
    static func wrap(_ text: String, to width: Int) -> [String] {
        guard text.count > width, width > 0 else { return [text] }
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            var word = word[...]
            if !line.isEmpty, line.count + 1 + word.count <= width {
                line += " " + word
                continue
            }
            if !line.isEmpty { lines.append(line) }
            while word.count > width {
                lines.append(String(word.prefix(width)))
                word = word.dropFirst(width)
            }
            line = String(word)
        }
        if !line.isEmpty { lines.append(line) }
        return lines.isEmpty ? [""] : lines
    }
}
