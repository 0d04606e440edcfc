/// Cuts a stream of bytes into lines of bounded length.
///
/// A line ends with a line feed, a carriage return (programs that show their progress on one line) or both. Bytes that
/// are no UTF-8 become U+FFFD; what is beyond the limit of a line is dropped up to its end and told by an ellipsis.
struct LineSplitter {
    static let defaultLimit = 16_384

    private let limit: Int
    private var line: [UInt8] = []
    private var isCut = false
    private var endedWithReturn = false

    init(limit: Int = LineSplitter.defaultLimit) {
        self.limit = max(limit, 1)
    }

    /// The lines that these bytes complete.
    mutating func lines(adding bytes: some Sequence<UInt8>) -> [String] {
        var lines: [String] = []
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\n"):
                // The second half of a CR LF ends nothing more.
                if !endedWithReturn { lines.append(take()) }
                endedWithReturn = false
            case UInt8(ascii: "\r"):
                lines.append(take())
                endedWithReturn = true
            default:
                endedWithReturn = false
                if line.count < limit { line.append(byte) } else { isCut = true }
            }
        }
        return lines
    }

    /// What is left when the stream has ended without a line end; nil when nothing is.
    mutating func rest() -> String? {
        line.isEmpty && !isCut ? nil : take()
    }

    private mutating func take() -> String {
        if isCut {
            // A character split by the limit would read as damage.
            while let last = line.last, last & 0xC0 == 0x80 { line.removeLast() }
            if let last = line.last, last >= 0xC0 { line.removeLast() }
        }
        var text = String(decoding: line, as: UTF8.self)
        if isCut { text += "…" }
        line.removeAll(keepingCapacity: true)
        isCut = false
        return text
    }
}
