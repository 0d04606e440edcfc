public import ArgumentParser
public import PluginInterfaces

/// The operator's commands, and how a program made of commands is run.
public enum CommandLineTool {
    /// All commands of this module, in the order of the help.
    public static let operatorCommands: [any ParsableCommand.Type] = [
        ListCommand.self, ExplainCommand.self, HistoryCommand.self, SwitchoverCommand.self, FailoverCommand.self,
        PauseCommand.self, ResumeCommand.self, RestartCommand.self, ReloadCommand.self, ReinitCommand.self,
        ShowConfigCommand.self, EditConfigCommand.self, StoreCommand.self, ValidateCommand.self, DoctorCommand.self,
        VersionCommand.self,
    ]

    /// Runs a program whose commands know these plugins; see `run(_:arguments:)`.
    public static func run(
        _ root: any ParsableCommand.Type, arguments: [String], plugins: PluginRegistry
    ) async -> Int32 {
        await CommandEnvironment.$current.withValue(.live(plugins: plugins)) {
            await run(root, arguments: arguments)
        }
    }

    /// Runs a program: 0 it did what was asked (help included), 1 it did not work or was refused, 2 it was used
    /// wrongly. A command that ends by `ExitCode` has its own way.
    public static func run(_ root: any ParsableCommand.Type, arguments: [String]) async -> Int32 {
        let environment = CommandEnvironment.current
        do {
            var command = try root.parseAsRoot(rearranged(arguments))
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return 0
        } catch let failure as CommandFailure {
            environment.complain("error: \(failure)")
            return failure.status
        } catch is CancellationError {
            return 130
        } catch {
            let code = root.exitCode(for: error)
            let text = root.fullMessage(for: error)
            if code.isSuccess {
                if !text.isEmpty { environment.write(text + "\n") }
                return 0
            }
            if !text.isEmpty {
                environment.complain(text.hasPrefix("Error: ") ? "error: " + text.dropFirst(7) : text)
            }
            return code == .validationFailure ? 2 : code.rawValue
        }
    }

    /// patronictl takes `-c FILE` and `-k` before the command as well; so do we, by moving them behind it.
    static func rearranged(_ arguments: [String]) -> [String] {
        var moved: [String] = []
        var rest = arguments[...]
        while let first = rest.first {
            if ["-c", "--config", "--config-file", "--url"].contains(first), rest.count >= 2 {
                moved += rest.prefix(2)
                rest = rest.dropFirst(2)
            } else if ["-k", "--insecure"].contains(first)
                || ["--config=", "--config-file=", "--url="].contains(where: first.hasPrefix)
            {
                moved.append(first)
                rest = rest.dropFirst()
            } else {
                break
            }
        }
        guard !moved.isEmpty, let command = rest.first, !command.hasPrefix("-") else { return arguments }
        return [command] + moved + rest.dropFirst()
    }
}
