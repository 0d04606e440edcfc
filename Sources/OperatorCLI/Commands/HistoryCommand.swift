public import ArgumentParser
import ClusterModel

/// `matriarch history`: where each timeline ended, and who led the next.
public struct HistoryCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "Show every change of leadership: timeline, position, reason, time, new leader.",
        discussion: """
            A row says that the timeline TL ended at LSN, and who led the one after it. For why a change happened, \
            see `matriarch explain`.
            """)

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("The cluster's name; may be left out.", valueName: "cluster"))
    var cluster: String?

    @Option(name: .shortAndLong, help: "How to print: table, json, yaml or tsv.")
    var format = OutputFormat.table

    public init() {}

    public mutating func run() async throws {
        let options = self
        try await ClusterAccess.with(connection) { access in
            let report = try await access.report()
            try report.check(options.cluster)
            let answer = try await access.first("GET", of: report.leaderFirst, path: "/history")
            guard answer.status == 200, let rows = answer.json?.array else {
                throw CommandFailure("the history could not be read: \(answer.message)")
            }
            let listing = Listing(
                heading: "Cluster: \(report.scope ?? "?")",
                columns: [
                    .init(name: "TL", alignment: .right), .init(name: "LSN", alignment: .right),
                    .init(name: "Reason"), .init(name: "Timestamp", expendable: 1), .init(name: "New Leader"),
                ],
                rows: rows.compactMap { row in
                    guard let values = row.array else { return nil }
                    return (0..<5).map { $0 < values.count ? values[$0] : .null }
                })
            let environment = CommandEnvironment.current
            environment.write(listing.text(options.format, width: environment.width()))
        }
    }
}

extension ClusterReport {
    /// Refuses to go on in another cluster than the one that a person names.
    func check(_ name: String?) throws {
        if let name, let scope, scope != name {
            throw CommandFailure("the cluster reached is '\(scope)', not '\(name)'")
        }
    }

    /// The members that a person names, the cluster's own name before them allowed, as patronictl has it.
    func selected(_ names: [String]) throws -> [Member] {
        var names = names
        if let first = names.first, first == scope, member(first) == nil { names.removeFirst() }
        if names.isEmpty { return members }
        return try names.map { name in
            guard let member = member(name) else {
                throw CommandFailure(
                    "the cluster '\(scope ?? "?")' has no member '\(name)'; it has "
                        + members.map(\.name).joined(separator: ", "))
            }
            return member
        }
    }
}
