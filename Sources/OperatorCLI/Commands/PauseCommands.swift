public import ArgumentParser
import ClusterModel

/// `matriarch pause`: hands over to the operator's hands.
public struct PauseCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "pause",
        abstract: "Stop managing: no failover, nothing is started or stopped, until `resume`.",
        discussion: """
            For work on PostgreSQL by hand. While paused nothing fences the primary (the members are shown as \
            `unfenced`): what you do is your responsibility.
            """)

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("The cluster's name; may be left out.", valueName: "cluster"))
    var cluster: String?

    @Flag(help: "Wait until every member has noticed.")
    var wait = false

    public init() {}

    public mutating func run() async throws {
        try await PauseSwitch.set(true, connection, cluster: cluster, wait: wait)
    }
}

/// `matriarch resume`: takes the cluster back into management.
public struct ResumeCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "resume", abstract: "Manage the cluster again after `pause`.")

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("The cluster's name; may be left out.", valueName: "cluster"))
    var cluster: String?

    @Flag(help: "Wait until every member has noticed.")
    var wait = false

    public init() {}

    public mutating func run() async throws {
        try await PauseSwitch.set(false, connection, cluster: cluster, wait: wait)
    }
}

enum PauseSwitch {
    static func set(_ paused: Bool, _ connection: ConnectionOptions, cluster: String?, wait: Bool) async throws {
        try await ClusterAccess.with(connection) { access in
            let environment = CommandEnvironment.current
            let report = try await access.report()
            try report.check(cluster)
            if report.isPaused == paused {
                throw CommandFailure("the cluster is \(paused ? "paused already" : "not paused")")
            }
            let answer = try await access.first(
                "PATCH", of: report.leaderFirst, path: "/config", body: ["pause": paused ? true : .null])
            guard answer.status == 200 else {
                throw CommandFailure("\(answer.message) (HTTP status \(answer.status))")
            }
            let result = "Success: cluster management is \(paused ? "paused" : "resumed")"
            guard wait else { return environment.writeLine(result) }
            let loopWait = answer.json?["loop_wait"]?.lenientInteger ?? 10
            try await waitFor(paused, access, seconds: min(3600, max(1, loopWait)) + 1)
            environment.writeLine(result)
        }
    }

    private static func waitFor(_ paused: Bool, _ access: ClusterAccess, seconds: Int64) async throws {
        let environment = CommandEnvironment.current
        environment.writeLine("Waiting until all members have noticed")
        var late: [String] = []
        // Four looks a second, so that the wait is counted in looks and needs no clock.
        for _ in 0..<(seconds * 4) {
            if let report = try? await access.fullReport() {
                late = report.members.filter { ($0.status?["pause"]?.bool ?? false) != paused }.map(\.name)
                if late.isEmpty { return }
            }
            try await environment.sleep(.milliseconds(250))
        }
        throw CommandFailure(
            "it is written, but not noticed within \(seconds) s by: \(late.joined(separator: ", "))")
    }
}
