import ArgumentParser
import Glibc
import HighAvailability
import OperatorCLI
public import PluginInterfaces

/// What every executable calls: ours, and a third party's with plugins of its own.
///
/// ```swift
/// @main struct Main {
///     static func main() async {
///         await MatriarchMain.run { registry in
///             BuiltInPlugins.register(in: &registry)
///             registry.register(MyStoreFactory())
///         }
///     }
/// }
/// ```
public enum MatriarchMain {
    public static func run(plugins: @Sendable (inout PluginRegistry) -> Void) async {
        var registry = PluginRegistry()
        plugins(&registry)
        Plugins.registry = registry
        let status = await CommandLineTool.run(
            RootCommand.self, arguments: Array(CommandLine.arguments.dropFirst()), plugins: registry)
        exit(status)
    }
}

struct RootCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "matriarch",
        abstract: "A high-availability agent for PostgreSQL.",
        version: "matriarch \(matriarchVersion) (contract of Patroni \(advertisedVersion))",
        subcommands: [RunCommand.self] + CommandLineTool.operatorCommands)
}
