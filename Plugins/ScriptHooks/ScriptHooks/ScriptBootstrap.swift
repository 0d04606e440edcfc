import ChildProcesses
import Logging
import PluginInterfaces

/// `bootstrap.method: NAME` with a `command:`: the command makes the first data directory, from a backup perhaps.
///
/// It gets `--scope=S --datadir=D` (not with `no_params`), then `--key=value` for every key of its section that means
/// nothing to the agent, in the configuration's order. Exit status 0 is success.
struct ScriptBootstrap: BootstrapMethod {
    static let reserved: Set<String> = [
        "command", "no_params", "keep_existing_recovery_conf", "recovery_conf", "scope", "datadir",
    ]

    let name: String
    let section: ScriptSection

    func createDataDirectory(_ context: JobContext) async throws(PluginFailure) {
        let tail = LineTail()
        context.logger.info("bootstrap method \(name): running \(section.executable)")
        context.progress(JobProgress(step: "running the bootstrap script of method \(name)"))
        let end = await context.run(command(context), ScriptOutput.reader(name, context.logger, tail))
        guard end.isSuccess else {
            throw PluginFailure("bootstrap method \(name): \(section.executable) \(end.explanation)\(tail.suffix)")
        }
    }

    func command(_ context: JobContext) -> PluginCommand {
        var arguments = section.words
        if !section.hasNoParameters {
            arguments += ["--scope=\(context.scope)", "--datadir=\(context.dataDirectory)"]
        }
        arguments += ScriptSection.arguments(section.pairs)
        return PluginCommand(section.executable, arguments)
    }
}
