public import ArgumentParser
import ClusterModel

/// `matriarch switchover`: hands the leadership over while everything is well.
public struct SwitchoverCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "switchover",
        abstract: "Hand the leadership to another member, now or at a time.",
        discussion: """
            The leader stops cleanly, the candidate takes over once it has everything, and the old leader follows \
            it. Nothing is lost. Asks for what is not given, and whether you mean it, unless --force.

            Examples:
              matriarch switchover -c /etc/matriarch.yml
              matriarch switchover -c /etc/matriarch.yml --candidate pg2 --force
              matriarch switchover -c /etc/matriarch.yml --scheduled 2026-01-31T03:00 --force
            """)

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("The cluster's name; may be left out.", valueName: "cluster"))
    var cluster: String?

    @Option(
        name: [.customLong("leader"), .customLong("primary"), .customLong("master")],
        help: "The member that leads now; refused if it does not.")
    var leader: String?

    @Option(help: "The member that shall lead; without it the best one does.")
    var candidate: String?

    @Option(help: "When: an ISO 8601 time (without zone: local time), or now.")
    var scheduled: String?

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
        guard let current = report.leader?.name else {
            throw CommandFailure("there is no leader to take over from; see `matriarch failover`")
        }
        let leader = try force ? (self.leader ?? current) : (self.leader ?? Prompt.text("Leader", default: current))
        guard leader == current else {
            throw CommandFailure("'\(leader)' does not lead the cluster '\(report.scope ?? "?")'; '\(current)' does")
        }
        let others = report.members.map(\.name).filter { $0 != leader }
        guard !others.isEmpty else { throw CommandFailure("there is no other member to switch over to") }
        var candidate = self.candidate
        if candidate == nil, !force {
            let answer = try Prompt.text("Candidate (\(others.joined(separator: ", ")))", default: "any")
            candidate = answer == "any" && !others.contains("any") ? nil : answer
        }
        if let candidate {
            if candidate == leader { throw CommandFailure("'\(candidate)' leads already") }
            guard others.contains(candidate) else {
                throw CommandFailure(
                    "the cluster '\(report.scope ?? "?")' has no member '\(candidate)'; there are "
                        + others.joined(separator: ", "))
            }
        }
        var time = scheduled
        if time == nil, !force { time = try Prompt.text("When (such as 2026-01-31T10:00)", default: "now") }
        let at = try time.flatMap { try ScheduleTime.parse($0) }
        if report.isPaused, at != nil {
            throw CommandFailure("a switchover cannot be scheduled while the cluster is paused")
        }
        if !force {
            let who = candidate.map { "'\($0)'" } ?? "any other member"
            let when = at.map { " at \($0)" } ?? " now"
            try Prompt.confirm("Switch over from '\(leader)' to \(who)\(when)?")
        }
        var body: JSONObject = ["leader": .string(leader)]
        if let candidate { body["candidate"] = .string(candidate) }
        if let at { body["scheduled_at"] = .string(at) }
        let answer = try await access.first(
            "POST", of: report.askedFirst(leader, candidate), path: "/switchover", body: .object(body),
            within: LeadershipChange.patience)
        try await LeadershipChange.show(answer, access)
    }
}

/// What switchover and failover have in common.
enum LeadershipChange {
    /// The member that was asked polls for 2 x max(10, loop_wait) seconds before it says that it does not know.
    static let patience = Duration.seconds(150)

    static func show(_ answer: APIAnswer, _ access: ClusterAccess) async throws {
        let environment = CommandEnvironment.current
        guard answer.status == 200 || answer.status == 202 else {
            throw CommandFailure("\(answer.message) (HTTP status \(answer.status))")
        }
        environment.writeLine(answer.message)
        // The change is done; that the members cannot be asked just now is no failure of it.
        if let after = try? await access.fullReport() { environment.write(MemberListing.table(after)) }
    }
}

extension ClusterReport {
    /// The leader, then the candidate, then everybody else: any member takes such a request.
    func askedFirst(_ leader: String?, _ candidate: String?) -> [Member] {
        let names = [leader, candidate].compactMap { $0 }
        return names.compactMap(member) + members.filter { !names.contains($0.name) }
    }
}
