import Glibc

/// What /proc tells of one process.
struct ProcessFacts: Hashable {
    var state: Character
    var parent: Int32
    /// In clock ticks after boot: with the number it names a process for good.
    var startTicks: UInt64

    /// Reads a process; nil when it is gone.
    static func read(_ processID: Int32) -> ProcessFacts? {
        guard let text = try? Files.readText("/proc/\(processID)/stat") else { return nil }
        return ProcessFacts(stat: text)
    }

    /// Reads the line; the program's name stands in parentheses and may hold anything.
    init?(stat text: String) {
        guard let close = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 19, let state = fields[0].first, let parent = Int32(fields[1]),
            let ticks = UInt64(fields[19])
        else { return nil }
        self.state = state
        self.parent = parent
        self.startTicks = ticks
    }

    /// Whether it runs no more, though its parent may not have collected it yet.
    var isDead: Bool { state == "Z" || state == "X" }

    /// When it started, in seconds since 1970.
    var startTime: Int64? {
        guard let text = try? Files.readText("/proc/stat") else { return nil }
        for line in text.split(separator: "\n") where line.hasPrefix("btime ") {
            guard let boot = Int64(line.dropFirst(6).trimmed) else { return nil }
            return boot + Int64(clamping: startTicks) / Int64(max(1, sysconf(Int32(_SC_CLK_TCK))))
        }
        return nil
    }
}
