/// Lists written as one text, as environment variables and old configurations have them.
public enum ListText {
    /// The elements of `a,b`, `'a','b'`, `[a, b]` or `["a", 'b']`; nil when a quote is left open.
    ///
    /// A comma inside quotes or brackets separates nothing, so that `[::1]:2181,[::2]:2181` is two addresses. An
    /// empty element (two commas in a row, one at the end) is skipped.
    public static func elements(_ text: some StringProtocol) -> [String]? {
        var body = trimmed(text[...])
        if body.first == "[", body.last == "]", closesAtEnd(body) { body = body.dropFirst().dropLast() }
        var elements: [String] = []
        var current = Substring()
        var start = body.startIndex
        var quote: Character?
        var depth = 0
        var index = body.startIndex
        func finish(_ end: Substring.Index) -> Bool {
            current = trimmed(body[start..<end])
            if current.isEmpty { return true }
            guard let element = unquoted(current) else { return false }
            elements.append(element)
            return true
        }
        while index < body.endIndex {
            let character = body[index]
            if let open = quote {
                if open == "\"", character == "\\" {
                    index = body.index(after: index)
                    if index == body.endIndex { return nil }
                } else if character == open {
                    quote = nil
                }
            } else if character == "'" || character == "\"", trimmed(body[start..<index]).isEmpty {
                quote = character
            } else if character == "[" {
                depth += 1
            } else if character == "]" {
                depth -= 1
            } else if character == ",", depth <= 0 {
                guard finish(index) else { return nil }
                start = body.index(after: index)
            }
            index = body.index(after: index)
        }
        guard quote == nil, finish(body.endIndex) else { return nil }
        return elements
    }

    /// Whether the first bracket is closed by the last character and by none before.
    private static func closesAtEnd(_ text: Substring) -> Bool {
        var depth = 0
        for index in text.indices {
            if text[index] == "[" { depth += 1 }
            if text[index] == "]" {
                depth -= 1
                if depth == 0 { return text.index(after: index) == text.endIndex }
            }
        }
        return false
    }

    private static func unquoted(_ text: Substring) -> String? {
        guard let quote = text.first, quote == "'" || quote == "\"" else { return String(text) }
        guard text.count >= 2, text.last == quote else { return nil }
        let inner = text.dropFirst().dropLast()
        var result = ""
        var index = inner.startIndex
        while index < inner.endIndex {
            if quote == "'", inner[index] == "'" {
                // Two single quotes stand for one.
                index = inner.index(after: index)
                guard index < inner.endIndex, inner[index] == "'" else { return nil }
            } else if quote == "\"", inner[index] == "\\" {
                index = inner.index(after: index)
                guard index < inner.endIndex else { return nil }
            }
            result.append(inner[index])
            index = inner.index(after: index)
        }
        return result
    }

    private static func trimmed(_ text: some StringProtocol) -> Substring {
        var rest = Substring(text)
        while let first = rest.first, first.isWhitespace { rest.removeFirst() }
        while let last = rest.last, last.isWhitespace { rest.removeLast() }
        return rest
    }
}
