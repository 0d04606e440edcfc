/// Lists written as one text, as environment variables and old configurations have them.
public enum ListText {
    // By scalar, not by character: a combining mark behind a quote or comma must not hide it.
    private typealias Scalars = Substring.UnicodeScalarView

    /// The elements of `a,b`, `'a','b'`, `[a, b]` or `["a", 'b']`; nil when a quote is left open.
    ///
    /// A comma inside quotes or brackets separates nothing, so that `[::1]:2181,[::2]:2181` is two addresses. An
    /// empty element (two commas in a row, one at the end) is skipped.
    public static func elements(_ text: some StringProtocol) -> [String]? {
        var body = trimmed(Substring(text).unicodeScalars)
        if body.first == "[", body.last == "]", closesAtEnd(body) { body = body.dropFirst().dropLast() }
        var elements: [String] = []
        var start = body.startIndex
        var quote: Unicode.Scalar?
        var depth = 0
        // Whether anything but blanks has come since the last comma.
        var hasBegun = false
        var index = body.startIndex
        func finish(_ end: Scalars.Index) -> Bool {
            let current = trimmed(body[start..<end])
            if current.isEmpty { return true }
            guard let element = unquoted(current) else { return false }
            elements.append(element)
            return true
        }
        while index < body.endIndex {
            let scalar = body[index]
            if let open = quote {
                if open == "\"", scalar == "\\" {
                    index = body.index(after: index)
                    if index == body.endIndex { return nil }
                } else if scalar == open {
                    let next = body.index(after: index)
                    if open == "'", next < body.endIndex, body[next] == "'" {
                        index = next
                    } else {
                        quote = nil
                    }
                }
            } else if scalar == "'" || scalar == "\"", !hasBegun {
                quote = scalar
            } else if scalar == "[" {
                depth += 1
            } else if scalar == "]" {
                depth -= 1
            } else if scalar == ",", depth <= 0 {
                guard finish(index) else { return nil }
                start = body.index(after: index)
                hasBegun = false
                index = start
                continue
            }
            if quote == nil, !isBlank(scalar) { hasBegun = true }
            index = body.index(after: index)
        }
        guard quote == nil, finish(body.endIndex) else { return nil }
        return elements
    }

    /// Whether the first bracket is closed by the last character and by none before.
    private static func closesAtEnd(_ text: Scalars) -> Bool {
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

    private static func unquoted(_ text: Scalars) -> String? {
        guard let quote = text.first, quote == "'" || quote == "\"" else { return String(text) }
        guard text.index(after: text.startIndex) < text.endIndex, text.last == quote else { return nil }
        let inner = text.dropFirst().dropLast()
        var result = String.UnicodeScalarView()
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
        return String(result)
    }

    private static func isBlank(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isWhitespace }

    private static func trimmed(_ text: Scalars) -> Scalars {
        guard let first = text.firstIndex(where: { !isBlank($0) }), let last = text.lastIndex(where: { !isBlank($0) })
        else { return text[text.startIndex..<text.startIndex] }
        return text[first...last]
    }
}
