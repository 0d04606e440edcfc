public import ArgumentParser
import ClusterModel

/// Roles by which members are chosen.
public enum RoleChoice: String, CaseIterable, ExpressibleByArgument, Sendable {
    case leader, primary
    case standbyLeader = "standby-leader"
    case replica, standby, any

    func includes(_ member: ClusterReport.Member) -> Bool {
        switch self {
        case .leader: member.isLeader
        case .primary: member.role == "leader"
        case .standbyLeader: member.role == "standby_leader"
        case .replica, .standby: !member.isLeader
        case .any: true
        }
    }
}

/// `matriarch restart`: restarts PostgreSQL, not the agents.
public struct RestartCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "restart",
        abstract: "Restart PostgreSQL on members, now or at a time.",
        discussion: """
            The leader keeps its leadership while it restarts. Without names: every member (of --role).

            Examples:
              matriarch restart -c /etc/matriarch.yml pg2
              matriarch restart -c /etc/matriarch.yml --pending --force
              matriarch restart -c /etc/matriarch.yml --role replica --scheduled 2026-01-31T03:00
            """)

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("Members; all when none is named.", valueName: "member"))
    var members: [String] = []

    @Option(name: .shortAndLong, help: "Only members of this role: leader, replica, any ...")
    var role = RoleChoice.any

    @Flag(help: "Only one of them, whichever.")
    var any = false

    @Option(help: "When: an ISO 8601 time (without zone: local time), or now.")
    var scheduled: String?

    @Option(name: .customLong("pg-version"), help: "Only where PostgreSQL's version is lower, such as 15.9.")
    var version: String?

    @Flag(help: "Only where a restart is pending.")
    var pending = false

    @Option(help: "Give up after so many seconds; on the leader a failover may follow.")
    var timeout: String?

    @Flag(help: "Do not ask; a restart that is scheduled already is replaced.")
    var force = false

    public init() {}

    public mutating func run() async throws {
        let options = self
        try await ClusterAccess.with(connection) { try await options.run($0) }
    }

    private func run(_ access: ClusterAccess) async throws {
        let environment = CommandEnvironment.current
        let report = try await access.fullReport()
        var chosen = try report.selected(members).filter(role.includes)
        if pending { chosen = chosen.filter { $0.entry["pending_restart"]?.bool == true } }
        guard !chosen.isEmpty else { throw CommandFailure("no member fits") }
        if any, let one = chosen.randomElement() { chosen = [one] }
        var time = scheduled
        if !force {
            environment.write(MemberListing.table(report))
            if time == nil { time = try Prompt.text("When (such as 2026-01-31T10:00)", default: "now") }
        }
        let at = try time.flatMap { try ScheduleTime.parse($0) }
        if report.isPaused, at != nil {
            throw CommandFailure("a restart cannot be scheduled while the cluster is paused")
        }
        if !force {
            let when = at.map { " at \($0)" } ?? " now"
            try Prompt.confirm("Restart PostgreSQL on \(chosen.map(\.name).joined(separator: ", "))\(when)?")
        }
        var body = JSONObject()
        if let at { body["schedule"] = .string(at) }
        if let version { body["postgres_version"] = .string(version) }
        if pending { body["restart_pending"] = true }
        if let timeout { body["timeout"] = Int64(timeout).map(JSONValue.integer) ?? .string(timeout) }
        let replaces = force && at != nil
        let document = JSONValue.object(body)
        try await MemberAction.each(chosen, access) { base in
            if replaces {
                _ = await access.api.call(
                    "DELETE", base: base, path: "/restart", body: nil, within: ClusterAccess.patience)
            }
            return await access.api.call(
                "POST", base: base, path: "/restart", body: document, within: MemberAction.patience)
        } words: { answer in
            switch answer.status {
            case 200: (true, "restarted")
            case 202: (true, "restart scheduled at \(at ?? "?")")
            case 409: (false, "a restart is scheduled already (--force replaces it)")
            default: (false, "restart failed: \(answer.message)")
            }
        }
    }
}

/// `matriarch reload`: the agents read their configuration again.
public struct ReloadCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "reload",
        abstract: "Let members read their configuration again.",
        discussion: """
            The same as SIGHUP to the agents. A configuration with errors changes nothing; the member's log says \
            what is wrong with it, as `matriarch validate FILE` does beforehand.
            """)

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("Members; all when none is named.", valueName: "member"))
    var members: [String] = []

    @Option(name: .shortAndLong, help: "Only members of this role: leader, replica, any ...")
    var role = RoleChoice.any

    @Flag(help: "Do not ask.")
    var force = false

    public init() {}

    public mutating func run() async throws {
        let options = self
        try await ClusterAccess.with(connection) { access in
            let report = try await access.fullReport()
            let chosen = try report.selected(options.members).filter(options.role.includes)
            guard !chosen.isEmpty else { throw CommandFailure("no member fits") }
            if !options.force {
                CommandEnvironment.current.write(MemberListing.table(report))
                try Prompt.confirm("Reload \(chosen.map(\.name).joined(separator: ", "))?")
            }
            try await MemberAction.each(chosen, access) { base in
                await access.api.call("POST", base: base, path: "/reload", body: nil, within: ClusterAccess.patience)
            } words: { answer in
                switch answer.status {
                case 200: (true, "no changes to apply")
                case 202: (true, "reload requested")
                default: (false, "reload failed: \(answer.message)")
                }
            }
        }
    }
}

/// `matriarch reinit`: throws a replica's data away and clones it anew.
public struct ReinitCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "reinit",
        abstract: "Clone replicas anew, in place of the data they have.",
        discussion: """
            For a replica that cannot follow any more. Refused on the leader, and while there is no leader.

            Example:
              matriarch reinit -c /etc/matriarch.yml pg3
            """)

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("The replicas; at least one.", valueName: "member"))
    var members: [String] = []

    @Flag(help: "Do not ask; a job that runs there is cancelled.")
    var force = false

    @Flag(help: "Copy from the leader, not from a replica or a backup.")
    var fromLeader = false

    @Flag(help: "Wait until the replicas are made.")
    var wait = false

    public init() {}

    public mutating func run() async throws {
        let options = self
        try await ClusterAccess.with(connection) { try await options.run($0) }
    }

    private func run(_ access: ClusterAccess) async throws {
        let environment = CommandEnvironment.current
        let report = try await access.fullReport()
        let names =
            members.first == report.scope && report.member(members.first ?? "") == nil
            ? Array(members.dropFirst()) : members
        guard !names.isEmpty else { throw CommandFailure("name the replicas to clone anew", status: 2) }
        let chosen = try report.selected(names)
        if let leader = chosen.first(where: \.isLeader) {
            throw CommandFailure("'\(leader.name)' leads the cluster; only replicas can be cloned anew")
        }
        if !force {
            environment.write(MemberListing.table(report))
            try Prompt.confirm("Throw the data of \(chosen.map(\.name).joined(separator: ", ")) away and clone anew?")
        }
        let body: JSONValue = ["force": .bool(force), "from_leader": .bool(fromLeader)]
        try await MemberAction.each(chosen, access) { base in
            await access.api.call("POST", base: base, path: "/reinitialize", body: body, within: ClusterAccess.patience)
        } words: { answer in
            if answer.status < 400 { return (true, "is being cloned anew") }
            let hint = answer.body.trimmed.hasSuffix("already in progress") ? " (--force cancels that)" : ""
            return (false, "reinitialize failed: \(answer.message)\(hint)")
        }
        guard wait else { return }
        for member in chosen {
            guard let base = member.base else { continue }
            environment.writeLine("Waiting for \(member.name)")
            while true {
                try await environment.sleep(.seconds(2))
                let outcome = await access.api.call(
                    "GET", base: base, path: "/patroni", body: nil, within: ClusterAccess.patience)
                if let state = outcome.answer?.json?["state"]?.string, state != MemberState.creatingReplica.rawValue {
                    environment.writeLine("\(member.name): \(state)")
                    break
                }
            }
        }
    }
}

/// One request to each of several members, with a line for each.
enum MemberAction {
    /// A restart waits for PostgreSQL, crash recovery included.
    static let patience = Duration.seconds(600)

    /// Prints what became of each; fails if one failed.
    static func each(
        _ members: [ClusterReport.Member], _ access: ClusterAccess,
        _ request: @escaping @Sendable (String) async -> APIOutcome, words: (APIAnswer) -> (Bool, String)
    ) async throws {
        let environment = CommandEnvironment.current
        let outcomes = await access.each(members.map(\.base), request)
        var failed: [String] = []
        for (member, outcome) in zip(members, outcomes) {
            let (isGood, text): (Bool, String) =
                switch outcome {
                case .answer(let answer)?: words(answer)
                case .unreachable(let why)?: (false, "did not answer: \(why)")
                case nil: (false, "has published no API address")
                }
            environment.writeLine("\(isGood ? "Success" : "Failed"): \(member.name): \(text)")
            if !isGood { failed.append(member.name) }
        }
        if !failed.isEmpty { throw CommandFailure("failed for: \(failed.joined(separator: ", "))") }
    }
}
