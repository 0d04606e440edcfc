public import ArgumentParser
import ClusterModel

/// `matriarch failover`: gives the leadership to a member whether there is a leader or not.
public struct FailoverCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "failover",
        abstract: "Make a member the leader, whether or not there is a healthy leader now.",
        discussion: """
            For when the cluster has no leader, or the leader is beyond help. Writes that did not reach the \
            candidate are lost. While the leader is well, `matriarch switchover` is the better command.

            Example:
              matriarch failover -c /etc/matriarch.yml --candidate pg2
            """)

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("The cluster's name; may be left out.", valueName: "cluster"))
    var cluster: String?

    @Option(help: "The member that shall lead.")
    var candidate: String?

    @Flag(help: "Do not ask.")
    var force = false

    public init() {}

    public mutating func run() async throws {
        let options = self
        try await ClusterAccess.with(connection) { try await options.run($0) }
    }

    private func run(_ access: ClusterAccess) async throws {
        let environment = CommandEnvironment.current
        let report = try await access.fullReport()
        try report.check(cluster)
        if !force { environment.write(MemberListing.table(report)) }
        let others = report.members.filter { !$0.isLeader }.map(\.name)
        guard let candidate = try self.candidate ?? (force ? nil : ask(others)) else {
            throw CommandFailure(
                "failover needs a candidate: --candidate NAME, one of \(others.joined(separator: ", "))", status: 2)
        }
        if report.leader?.name == candidate { throw CommandFailure("'\(candidate)' leads already") }
        guard others.contains(candidate) else {
            throw CommandFailure(
                "the cluster '\(report.scope ?? "?")' has no member '\(candidate)'; there are "
                    + others.joined(separator: ", "))
        }
        if !force {
            let current = report.leader.map { ", taking it from '\($0.name)'" } ?? ""
            try Prompt.confirm("Make '\(candidate)' the leader\(current)? Writes it has not received are lost.")
        }
        let answer = try await access.first(
            "POST", of: report.askedFirst(report.leader?.name, candidate), path: "/failover",
            body: ["candidate": .string(candidate)], within: LeadershipChange.patience)
        try await LeadershipChange.show(answer, access)
    }

    private func ask(_ others: [String]) throws -> String? {
        let answer = try Prompt.text("Candidate (\(others.joined(separator: ", ")))", default: "none")
        return answer == "none" && !others.contains("none") ? nil : answer
    }
}
