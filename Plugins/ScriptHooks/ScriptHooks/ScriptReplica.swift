import ChildProcesses
import Logging
import PluginInterfaces

/// A replica creation method that is a command: it copies a member or restores a backup.
///
/// It gets `--key=value` for every key of its section, then `--scope --role=replica --datadir --connstring` (empty
/// without a member to copy from; a key of the section with one of these names keeps its place and loses its value).
/// With `no_params` it gets the section's keys alone, without those that speak to the agent. Exit status 0 is success.
struct ScriptReplica: ReplicaCreationMethod {
    /// Keys for the agent. Commands see them unless they want no parameters: scripts have been declaring them for years.
    static let agentKeys: Set<String> = ["no_params", "no_leader", "keep_data"]

    let name: String
    let section: ScriptSection

    var worksWithoutUpstream: Bool { section.worksWithoutLeader }
    var keepsData: Bool { section.keepsData }

    func createReplica(_ context: JobContext) async throws(PluginFailure) {
        let tail = LineTail()
        context.logger.info("replica creation method \(name): running \(section.executable)")
        context.progress(JobProgress(step: "running replica creation method \(name)"))
        let end = await context.run(command(context), ScriptOutput.reader(name, context.logger, tail))
        guard end.isSuccess else {
            throw PluginFailure(
                "replica creation method \(name): \(section.executable) \(end.explanation)\(tail.suffix)")
        }
    }

    func command(_ context: JobContext) -> PluginCommand {
        var pairs = section.pairs
        if section.hasNoParameters {
            pairs.removeAll { Self.agentKeys.contains($0.key) }
        } else {
            let own = [
                ("scope", context.scope), ("role", "replica"), ("datadir", context.dataDirectory),
                ("connstring", context.upstream?.connectionString ?? ""),
            ]
            for (key, value) in own {
                if let index = pairs.firstIndex(where: { $0.key == key }) {
                    pairs[index].value = value
                } else {
                    pairs.append(ScriptSection.Pair(key: key, value: value))
                }
            }
        }
        var command = PluginCommand(section.executable, section.words + ScriptSection.arguments(pairs))
        if let passfile = context.upstream?.passfile { command.environment["PGPASSFILE"] = passfile }
        return command
    }
}
