public import ArgumentParser
import ClusterModel
import HighAvailability

/// `matriarch version`: this program's version, and the members' when a cluster is named.
public struct VersionCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "version",
        abstract: "Show this program's version; with -c or --url those of the members and their PostgreSQL too.")

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("Members; all when none is named.", valueName: "member"))
    var members: [String] = []

    public init() {}

    /// The line that `matriarch --version` prints as well.
    public static var line: String { "matriarch \(matriarchVersion) (a peer of Patroni \(advertisedVersion))" }

    public mutating func run() async throws {
        let environment = CommandEnvironment.current
        environment.writeLine(Self.line)
        guard connection.isGiven || !members.isEmpty else { return }
        let names = members
        try await ClusterAccess.with(connection) { access in
            let report = try await access.fullReport()
            for member in try report.selected(names) {
                guard let status = member.status else {
                    environment.writeLine("\(member.name): did not answer")
                    continue
                }
                let agent =
                    status["x_matriarch"]?["version"]?.string.map { "Matriarch \($0)" }
                    ?? "Patroni \(status["patroni"]?["version"]?.string ?? "?")"
                let server = status["server_version"]?.lenientInteger.map { ", PostgreSQL \(Self.server($0))" } ?? ""
                environment.writeLine("\(member.name): \(agent)\(server)")
            }
        }
    }

    /// 160004 as 16.4.
    static func server(_ number: Int64) -> String {
        number >= 100_000
            ? "\(number / 10_000).\(number % 10_000)" : "\(number / 10_000).\(number / 100 % 100).\(number % 100)"
    }
}
