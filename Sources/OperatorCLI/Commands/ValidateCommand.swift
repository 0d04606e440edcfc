public import ArgumentParser
import ConfigurationTree

/// `matriarch validate`: everything that is wrong with a configuration, at once.
public struct ValidateCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "validate",
        abstract: "Check an agent's configuration file; nothing is started or changed.",
        discussion: """
            Each complaint tells the file, line and column, the key, and what would be right. An unknown key is a \
            warning, for Patroni may know it. Environment variables (PATRONI_*, MATRIARCH_*) count, as they do for \
            the agent.

            Status: 0 usable (warnings may have been printed), 1 errors.
            """)

    @Argument(help: ArgumentHelp("The YAML file, or a directory of them.", valueName: "file"))
    var file: String

    @Flag(help: "Check this machine as well: free ports, PostgreSQL's programs, the data directory.")
    var host = false

    @Flag(help: "Warnings count as errors.")
    var strict = false

    public init() {}

    public mutating func run() async throws {
        let environment = CommandEnvironment.current
        guard environment.fileExists(file) else { throw CommandFailure("cannot read \(file): no such file") }
        let complaints = try environment.validate(file, host)
        for complaint in complaints { environment.writeLine("\(complaint.severity.rawValue): \(complaint)") }
        let errors = complaints.count { $0.severity == .error }
        let warnings = complaints.count - errors
        func counted(_ count: Int, _ word: String) -> String { "\(count) \(word)\(count == 1 ? "" : "s")" }
        if errors > 0 || strict && warnings > 0 {
            throw CommandFailure("\(file): \(counted(errors, "error")), \(counted(warnings, "warning"))")
        }
        environment.writeLine("\(file): usable" + (warnings > 0 ? ", \(counted(warnings, "warning"))" : ""))
    }
}
