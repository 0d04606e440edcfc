/// Every complaint that one reading produced, thrown together so that a person sees them all at once.
public struct ConfigurationComplaints: Error, Hashable, Sendable, CustomStringConvertible {
    public var complaints: [ConfigurationComplaint]

    public init(_ complaints: [ConfigurationComplaint]) {
        self.complaints = complaints
    }

    public init(_ one: ConfigurationComplaint) {
        self.complaints = [one]
    }

    public var errors: [ConfigurationComplaint] { complaints.filter { $0.severity == .error } }
    public var warnings: [ConfigurationComplaint] { complaints.filter { $0.severity == .warning } }

    /// One complaint a line.
    public var description: String { complaints.map(\.description).joined(separator: "\n") }
}

extension Sequence<ConfigurationComplaint> {
    /// Whether one of them keeps the agent from starting.
    public var containsError: Bool { contains { $0.severity == .error } }

    /// In the order a person reads a file: by source in order of appearance, then line and column.
    public func inReadingOrder() -> [ConfigurationComplaint] {
        let all = Array(self)
        var rank: [String: Int] = [:]
        for complaint in all where rank[complaint.mark.source] == nil { rank[complaint.mark.source] = rank.count }
        return all.enumerated().sorted { left, right in
            let a = (rank[left.element.mark.source] ?? 0, left.element.mark.line, left.element.mark.column, left.offset)
            let b = (
                rank[right.element.mark.source] ?? 0, right.element.mark.line, right.element.mark.column, right.offset
            )
            return a < b
        }.map(\.element)
    }
}
