/// Why a command line cannot be split into words.
public struct ShellWordsError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Reason: Hashable, Sendable {
        case openQuote(Character)
        case trailingBackslash
        case empty
    }

    public var reason: Reason
    /// The 1-based character at which the trouble starts.
    public var position: Int

    public init(_ reason: Reason, position: Int) {
        self.reason = reason
        self.position = position
    }

    public var description: String {
        switch reason {
        case .openQuote(let quote): "the \(quote) at character \(position) is never closed"
        case .trailingBackslash: "it ends with a backslash that has nothing to escape"
        case .empty: "it has no words"
        }
    }
}

/// Splits command lines as a POSIX shell does, without running any of its expansions.
///
/// The rules are those of Python's `shlex.split`, with which the same configuration was split before: blanks separate;
/// single quotes keep all; in double quotes a backslash escapes only `"` and itself; elsewhere it escapes any character.
/// `#`, `$`, `;` and the like mean nothing special.
public enum ShellWords {
    /// The words; none for a line of blanks.
    public static func split(_ line: String) throws(ShellWordsError) -> [String] {
        var words: [String] = []
        var word: String?
        var quote: (mark: Unicode.Scalar, position: Int)?
        var isEscaped = false
        var position = 0
        // By scalar, not by character: a combining mark behind a quote must not hide it.
        for scalar in line.unicodeScalars {
            position += 1
            if isEscaped {
                if quote != nil, scalar != "\"", scalar != "\\" { word = (word ?? "") + "\\" }
                word = (word ?? "") + String(scalar)
                isEscaped = false
            } else if let open = quote {
                if scalar == open.mark {
                    quote = nil
                } else if scalar == "\\", open.mark == "\"" {
                    isEscaped = true
                } else {
                    word = (word ?? "") + String(scalar)
                }
            } else {
                switch scalar {
                case " ", "\t", "\r", "\n":
                    if let done = word { words.append(done) }
                    word = nil
                case "'", "\"":
                    quote = (scalar, position)
                    word = word ?? ""
                case "\\":
                    isEscaped = true
                    word = word ?? ""
                default:
                    word = (word ?? "") + String(scalar)
                }
            }
        }
        if isEscaped { throw ShellWordsError(.trailingBackslash, position: position) }
        if let quote { throw ShellWordsError(.openQuote(Character(quote.mark)), position: quote.position) }
        if let word { words.append(word) }
        return words
    }

    /// The words of a command: at least one.
    public static func command(_ line: String) throws(ShellWordsError) -> (executable: String, arguments: [String]) {
        let words = try split(line)
        guard let executable = words.first else { throw ShellWordsError(.empty, position: 1) }
        return (executable, Array(words.dropFirst()))
    }
}
