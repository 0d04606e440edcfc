public import ArgumentParser
import ClusterModel
import PluginInterfaces

/// `matriarch doctor`: everything about a host that an agent on it would suffer from.
public struct DoctorCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check this host for an agent: configuration, programs, files, guard, ports, clock, store, lease.",
        discussion: """
            Run it as the account that runs the agent, before the agent is started or beside one that runs. It changes \
            nothing, but it does try: a guard is run for a moment with nothing to guard, and a session is opened in \
            the store and ended at once.

            Each finding is ok, a warning (it works, and not as well as it could) or an error, with what to do about \
            it.

            Status: 0 no errors, 1 errors.

            Example: sudo -u postgres matriarch doctor /etc/matriarch/pg1.yml
            """)

    @Argument(
        help: ArgumentHelp(
            "The agent's YAML file, or a directory of them.",
            discussion: "Without it: MATRIARCH_CONFIG_FILE, then PATRONICTL_CONFIG_FILE.", valueName: "file"))
    var file: String?

    @Option(name: .shortAndLong, help: "How to print: table, json, yaml or tsv.") var format = OutputFormat.table

    @Option(help: ArgumentHelp("How long the store may take, in seconds.", valueName: "s")) var timeout = 10

    @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Leave out what is as it should be.")
    var isQuiet = false

    public init() {}

    public func validate() throws {
        if timeout < 1 || timeout > 3600 { throw ValidationError("--timeout: 1 to 3600 seconds") }
    }

    public mutating func run() async throws {
        let environment = CommandEnvironment.current
        func variable(_ name: String) -> String? { environment.variable(name).flatMap { $0.isEmpty ? nil : $0 } }
        guard let path = file ?? variable("MATRIARCH_CONFIG_FILE") ?? variable("PATRONICTL_CONFIG_FILE") else {
            throw CommandFailure("no configuration is named: give an agent's file", status: 2)
        }
        guard environment.fileExists(path) else { throw CommandFailure("cannot read \(path): no such file") }
        let found = DoctorRules.judge(try await environment.examine(path, .seconds(timeout)))
        let shown = found.filter { !isQuiet || $0.grade != .fine }
        switch format {
        case .table, .pretty:
            for finding in shown { environment.write(Self.lines(finding, width: environment.width())) }
        default:
            environment.write(Self.listing(shown).text(format, width: nil))
        }
        let errors = found.count { $0.grade == .error }
        let warnings = found.count { $0.grade == .warning }
        let summary =
            "\(path): \(errors) error\(errors == 1 ? "" : "s"), \(warnings) warning\(warnings == 1 ? "" : "s")"
        if errors > 0 { throw CommandFailure(summary) }
        if format == .table || format == .pretty { environment.writeLine(summary) }
    }

    /// `warning  guard          the guard works, but ...`, wrapped, with the remedy below.
    private static func lines(_ finding: DoctorFinding, width: Int?) -> String {
        func padded(_ text: String, _ count: Int) -> String {
            text + String(repeating: " ", count: max(0, count - text.count))
        }
        let head = padded(finding.grade.word, 9) + padded(finding.area.rawValue, 15)
        let indent = String(repeating: " ", count: head.count)
        let room = max(30, (width ?? 100_000) - head.count)
        var text = ""
        for (index, line) in TextTable.wrap(finding.text, to: room).enumerated() {
            text += (index == 0 ? head : indent) + line + "\n"
        }
        if let remedy = finding.remedy {
            for (index, line) in TextTable.wrap(remedy, to: room - 3).enumerated() {
                text += indent + (index == 0 ? "-> " : "   ") + line + "\n"
            }
        }
        return text
    }

    private static func listing(_ findings: [DoctorFinding]) -> Listing {
        Listing(
            columns: ["grade", "area", "finding", "remedy"].map { Listing.Column(name: $0) },
            rows: findings.map { finding in
                [
                    .string(finding.grade.word), .string(finding.area.rawValue), .string(finding.text),
                    finding.remedy.map { .string($0) } ?? .null,
                ]
            })
    }
}
