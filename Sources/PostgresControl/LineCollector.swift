import Synchronization

/// Keeps the last lines that a program printed, from whatever thread they come.
final class LineCollector: Sendable {
    private let kept = Mutex<[String]>([])
    private let limit: Int

    init(limit: Int = 500) {
        self.limit = limit
    }

    func append(_ line: String) {
        kept.withLock { lines in
            lines.append(line)
            if lines.count > limit { lines.removeFirst(lines.count - limit) }
        }
    }

    var lines: [String] { kept.withLock { $0 } }

    /// The last few lines in one, for a message.
    var ending: String { lines.suffix(5).joined(separator: "; ") }
}
