import Synchronization

/// The last lines of a program's output, kept for the message that tells why it failed.
public final class LineTail: Sendable {
    private let limit: Int
    private let lines = Mutex<[String]>([])

    /// Keeps at most so many lines.
    public init(limit: Int = 10) {
        self.limit = max(limit, 1)
    }

    public func add(_ line: String) {
        if line.allSatisfy(\.isWhitespace) { return }
        lines.withLock { lines in
            if lines.count == limit { lines.removeFirst() }
            lines.append(line)
        }
    }

    /// The lines, oldest first.
    public var all: [String] { lines.withLock { $0 } }

    /// `": "` and the lines, to be put behind a sentence; empty when there was no output.
    public var suffix: String {
        let lines = all
        return lines.isEmpty ? "" : ": " + lines.joined(separator: " | ")
    }
}
