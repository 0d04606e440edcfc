import ChildProcesses
public import ConfigurationTree
import Logging
public import PluginInterfaces

/// Registers `bootstrap.method: initdb`, the default.
///
/// Its section, `bootstrap.initdb`, holds further long options of initdb:
/// ```yaml
/// initdb:
///   - encoding: UTF8
///   - data-checksums
/// ```
public struct InitDBBootstrapFactory: BootstrapFactory {
    public let name = "initdb"

    /// The agent gives the directory and the password itself; the others make no usable data directory.
    static let forbidden: Set<String> = ["pgdata", "nosync", "pwfile", "sync-only", "version"]

    public init() {}

    public func makeMethod(_ section: ConfigurationNode?) throws(ConfigurationComplaints) -> any BootstrapMethod {
        InitDBBootstrap(
            options: try CommandOptions(section, path: "bootstrap.initdb", tool: "initdb", forbidden: Self.forbidden))
    }
}

/// Makes the first data directory of a cluster with initdb.
struct InitDBBootstrap: BootstrapMethod {
    let options: CommandOptions

    func createDataDirectory(_ context: JobContext) async throws(PluginFailure) {
        let tail = LineTail()
        let progress = context.progress
        let logger = context.logger
        logger.info("initdb makes \(context.dataDirectory)")
        progress(JobProgress(step: "initdb"))
        let end = await context.run(command(context)) { line in
            tail.add(line)
            logger.debug("initdb: \(line)")
            if let step = Self.step(line) { progress(JobProgress(step: step)) }
        }
        guard end.isSuccess else {
            throw PluginFailure("initdb for \(context.dataDirectory) \(end.explanation)\(tail.suffix)")
        }
    }

    /// The agent's own options come last, for the last one of a name counts.
    func command(_ context: JobContext) -> PluginCommand {
        var arguments = options.arguments + ["--pgdata=\(context.dataDirectory)", "--username=\(context.superuser)"]
        if let file = context.superuserPasswordFile { arguments.append("--pwfile=\(file)") }
        return PluginCommand(context.binary("initdb"), arguments)
    }

    /// What initdb is doing, from a line like `running bootstrap script ... ok`; nil for its other prose.
    static func step(_ line: String) -> String? {
        guard let dots = line.firstIndex(of: "."), line[dots...].hasPrefix("... "), dots > line.startIndex else {
            return nil
        }
        var words = line[..<dots]
        while words.last == " " { words.removeLast() }
        return words.isEmpty ? nil : "initdb: \(words)"
    }
}
