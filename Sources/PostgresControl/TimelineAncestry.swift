public import ClusterModel

/// Where each earlier timeline ended on the way to one timeline: the content of a `.history` file.
public struct TimelineAncestry: Hashable, Sendable {
    /// One earlier timeline.
    public struct Step: Hashable, Sendable {
        public var timeline: Timeline
        /// Where it ended and the next began.
        public var switchpoint: LSN
        public var reason: String

        public init(timeline: Timeline, switchpoint: LSN, reason: String = "") {
            self.timeline = timeline
            self.switchpoint = switchpoint
            self.reason = reason
        }
    }

    /// The timeline whose ancestors these are.
    public var timeline: Timeline
    public var steps: [Step]

    public init(timeline: Timeline, steps: [Step] = []) {
        self.timeline = timeline
        self.steps = steps
    }

    /// Reads the text of a history file. A line that cannot be read makes it nil: half a history decides nothing.
    public init?(timeline: Timeline, text: String) {
        var steps: [Step] = []
        for line in text.split(whereSeparator: { $0 == "\n" || $0 == "\r\n" }) {
            let line = line.trimmed
            if line.isEmpty || line.hasPrefix("#") { continue }
            let fields = line.split(maxSplits: 2, whereSeparator: { $0 == "\t" || $0 == " " })
            guard fields.count >= 2, let number = UInt32(fields[0]), number > 0, let lsn = LSN(text: fields[1]) else {
                return nil
            }
            let step = Step(
                timeline: Timeline(number), switchpoint: lsn,
                reason: fields.count > 2 ? String(fields[2].trimmed) : "")
            guard number < timeline.number, steps.last.map({ $0.timeline < step.timeline }) ?? true else { return nil }
            steps.append(step)
        }
        self.init(timeline: timeline, steps: steps)
    }

    /// Where the given timeline ended on this way; nil when it is no ancestor.
    public func switchpoint(of timeline: Timeline) -> LSN? {
        steps.first { $0.timeline == timeline }?.switchpoint
    }

    /// The name of a timeline's history file.
    public static func fileName(_ timeline: Timeline) -> String {
        let digits = String(timeline.number, radix: 16, uppercase: true)
        return String(repeating: "0", count: 8 - digits.count) + digits + ".history"
    }

    /// Reads a timeline's history from a data directory's own WAL, with the file's time (seconds since 1970).
    /// The first timeline has no file and no ancestors; for others nil means that the file is not there.
    public static func read(
        dataDirectory: String, timeline: Timeline
    ) throws(PostgresError) -> (ancestry: TimelineAncestry, written: Int64?)? {
        if timeline.number <= 1 { return (TimelineAncestry(timeline: timeline), nil) }
        let path = "\(dataDirectory)/pg_wal/\(fileName(timeline))"
        guard let text = try Files.readText(path) else { return nil }
        guard let ancestry = TimelineAncestry(timeline: timeline, text: text) else {
            throw PostgresError(.malformed, "\(path): no timeline history")
        }
        return (ancestry, Files.facts(path)?.modified)
    }
}
