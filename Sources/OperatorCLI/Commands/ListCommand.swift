public import ArgumentParser
import ClusterModel

/// `matriarch list`: the members, their roles and positions.
public struct ListCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Show the members of the cluster: who leads, who follows, and how far behind.",
        discussion: """
            Any member that answers serves; the table is the same from each.

            Fence tells what would stop the member's PostgreSQL if its agent died or hung: `guarded` (its guard \
            process), `adopted` (the guard watches a server that it did not start), `unfenced` (nothing, as in a \
            pause; empty for a member that is not Matriarch's or did not answer).

            Examples:
              matriarch list -c /etc/matriarch.yml
              matriarch list --url http://10.0.0.1:8008 -w 1
              matriarch list -c /etc/matriarch.yml --format json
            """)

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("The cluster's name; only to be sure that it is the right one.", valueName: "cluster"))
    var clusters: [String] = []

    @Option(name: .shortAndLong, help: "How to print: table, json, yaml or tsv.")
    var format = OutputFormat.table

    @Flag(name: .shortAndLong, help: "Show all columns: pending and scheduled restarts, tags, API address.")
    var extended = false

    @Flag(name: [.customShort("t"), .customLong("timestamp")], help: "Print the time above the table.")
    var timestamp = false

    @Option(name: [.customShort("w"), .customLong("watch")], help: "Print again every so many seconds, until Ctrl-C.")
    var watch: Double?

    @Flag(name: .customShort("W"), help: "Print again every 2 seconds.")
    var watchDefault = false

    public init() {}

    public func validate() throws {
        if let watch, watch <= 0 || watch > 86_400 { throw ValidationError("--watch takes seconds above 0") }
    }

    public mutating func run() async throws {
        let period = watch ?? (watchDefault ? 2 : nil)
        let options = self
        try await ClusterAccess.with(connection) { access in
            let environment = CommandEnvironment.current
            while true {
                var text: String
                do {
                    let report = try await access.fullReport()
                    try options.checkName(report)
                    text = options.text(report, environment)
                } catch let failure as CommandFailure where period != nil && failure.status == 1 {
                    // Somebody who watches wants to see the members come back.
                    text = "\(failure)\n"
                }
                if let period {
                    environment.write((environment.isTerminal ? "\u{1B}[H\u{1B}[2J" : "") + text)
                    try await environment.sleep(.seconds(period))
                } else {
                    environment.write(text)
                    return
                }
            }
        }
    }

    private func checkName(_ report: ClusterReport) throws {
        for name in clusters where report.scope != nil && report.scope != name {
            throw CommandFailure("the cluster reached is '\(report.scope ?? "")', not '\(name)'")
        }
    }

    private func text(_ report: ClusterReport, _ environment: CommandEnvironment) -> String {
        var text = ""
        let isTable = format == .table || format == .pretty
        if timestamp { text += environment.now().iso8601(fractionDigits: 0, separator: " ", zone: "Z") + "\n" }
        text += MemberListing.listing(report, extended: extended, isTable: isTable)
            .text(format, width: environment.width())
        if isTable { text += MemberListing.remarks(report) }
        return text
    }
}

/// The listing of members, shared by the commands that show it before they ask.
enum MemberListing {
    static func table(_ report: ClusterReport) -> String {
        listing(report, extended: false, isTable: true).text(.table, width: CommandEnvironment.current.width())
            + remarks(report)
    }

    static func listing(_ report: ClusterReport, extended: Bool, isTable: Bool) -> Listing {
        let members = report.members
        let hosts = members.compactMap(\.host)
        let showsPort = members.contains { ($0.port ?? 5432) != 5432 } || Set(hosts).count < hosts.count
        func isWanted(_ key: String) -> Bool { extended || members.contains { $0.entry[key] != nil } }
        var columns: [(Listing.Column, (ClusterReport.Member) -> JSONValue)] = [
            (.init(name: "Cluster", isTabular: false), { _ in .string(report.scope ?? "") }),
            (.init(name: "Member"), { .string($0.name) }),
            (
                .init(name: "Host", expendable: 1),
                { member in
                    guard let host = member.host else { return .null }
                    return .string(showsPort ? "\(host):\(member.port ?? 5432)" : host)
                }
            ),
            (.init(name: "Role"), { .string(title($0.role)) }),
            (.init(name: "State"), { .string($0.state) }),
            (.init(name: "TL", alignment: .right), { $0.timeline.map { .integer(Int64($0)) } ?? .null }),
            (.init(name: "Receive LSN", alignment: .right, expendable: 4), { position($0, "receive_lsn") }),
            (.init(name: "Receive Lag", title: "Lag", alignment: .right, expendable: 2), { lag($0, "receive_lag") }),
            (.init(name: "Replay LSN", alignment: .right, expendable: 3), { position($0, "replay_lsn") }),
            (.init(name: "Replay Lag", title: "Lag", alignment: .right), { lag($0, "replay_lag") }),
            (.init(name: "Fence"), { $0.fence.map(JSONValue.string) ?? .null }),
        ]
        if isWanted("pending_restart") {
            columns.append(
                (.init(name: "Pending restart"), { $0.entry["pending_restart"]?.bool == true ? "*" : .null }))
            columns.append(
                (
                    .init(name: "Pending restart reason"),
                    { member in
                        let reasons = (member.entry["pending_restart_reason"]?.object?.members ?? []).map {
                            name, value in
                            "\(name): \(plain(value["old_value"]))->\(plain(value["new_value"]))"
                        }
                        let text = reasons.joined(separator: ", ")
                        return isTable && text.count > 50 ? "[hidden - too long]" : .string(text)
                    }
                ))
        }
        if isWanted("scheduled_restart") {
            columns.append(
                (
                    .init(name: "Scheduled restart"),
                    { member in
                        guard let restart = member.entry["scheduled_restart"] else { return .null }
                        let version = restart["postgres_version"].map { " if version < \(plain($0))" } ?? ""
                        return .string(plain(restart["schedule"]) + version)
                    }
                ))
        }
        if extended || members.contains(where: { !($0.entry["tags"]?.object?.isEmpty ?? true) }) {
            columns.append(
                (
                    .init(name: "Tags"),
                    { member in
                        guard let tags = member.entry["tags"]?.object, !tags.isEmpty else { return .null }
                        if !isTable { return .object(tags) }
                        return .string(tags.members.map { "\($0.key): \(plain($0.value))" }.joined(separator: ", "))
                    }
                ))
        }
        if extended { columns.append((.init(name: "API"), { $0.base.map(JSONValue.string) ?? .null })) }
        let identifier = report.systemIdentifier ?? (report.leader == nil ? "no leader" : "unknown")
        return Listing(
            heading: "Cluster: \(report.scope ?? "?") (\(identifier))", columns: columns.map(\.0),
            rows: members.map { member in columns.map { $0.1(member) } })
    }

    /// What holds for the whole cluster, below the table.
    static func remarks(_ report: ClusterReport) -> String {
        var text = ""
        if report.isPaused { text += " Maintenance mode: on\n" }
        if report.isFailsafeActive { text += " Failsafe mode: active (without the store; the table is as last seen)\n" }
        if let switchover = report.scheduledSwitchover {
            text += " Switchover scheduled at: \(plain(switchover["at"]))\n"
            if let from = switchover["from"] { text += "                    from: \(plain(from))\n" }
            if let to = switchover["to"] { text += "                      to: \(plain(to))\n" }
        }
        return text
    }

    /// `standby_leader` as `Standby Leader`.
    static func title(_ role: String) -> String {
        role.split(separator: "_").map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined(separator: " ")
    }

    private static func plain(_ value: JSONValue?) -> String { value.map { $0.string ?? $0.serialized() } ?? "" }

    /// The pair of keys that a member has: those before 4.1 give only `lsn` and `lag`, which are the receiver's when
    /// it streams, else the replay's.
    private static func key(_ key: String, of member: ClusterReport.Member) -> String {
        if member.entry["receive_lsn"] != nil || member.entry["replay_lsn"] != nil { return key }
        let isReceiver = key.hasPrefix("receive")
        guard isReceiver == (member.state == "streaming") else { return key }
        return key.hasSuffix("lsn") ? "lsn" : "lag"
    }

    private static func position(_ member: ClusterReport.Member, _ name: String) -> JSONValue {
        if member.isLeader { return .null }
        return member.entry[key(name, of: member)] ?? .null
    }

    private static func lag(_ member: ClusterReport.Member, _ name: String) -> JSONValue {
        guard !member.isLeader, let bytes = member.entry[key(name, of: member)]?.lenientInteger else { return .null }
        // Whole MiB, rounded: the contract with what reads this table.
        return .integer((bytes + (1 << 19)) >> 20)
    }
}
