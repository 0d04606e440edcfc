public import PluginInterfaces

/// The commands of the hooks which the runtime itself waits for, with the arguments that scripts expect.
///
/// Each is a command line split by `ShellWords`; its first word is a path relative to the working directory, or a name
/// in PATH.
public enum HookCommands {
    /// `postgresql.pre_promote`: no arguments added. Exit status 0 lets the promotion happen.
    public static func prePromote(_ line: String, deadline: Duration? = nil) throws(ShellWordsError) -> PluginCommand {
        try plain(line, deadline)
    }

    /// `postgresql.before_stop`: no arguments added; its result is ignored.
    public static func beforeStop(_ line: String, deadline: Duration? = nil) throws(ShellWordsError) -> PluginCommand {
        try plain(line, deadline)
    }

    /// `bootstrap.post_bootstrap` (or `post_init`): the superuser's connection string as the one argument more.
    ///
    /// - Parameters:
    ///   - connectionString: libpq's keyword/value form, without a password.
    ///   - passfile: Holds the entry for the local server; nil without a password.
    public static func postBootstrap(
        _ line: String, connectionString: String, passfile: String?, deadline: Duration? = nil
    ) throws(ShellWordsError) -> PluginCommand {
        var command = try plain(line, deadline)
        command.arguments.append(connectionString)
        // A new cluster has no synchronous standby yet: whoever waited for one would wait forever.
        command.environment["PGOPTIONS"] = "-c synchronous_commit=local -c statement_timeout=0"
        if let passfile { command.environment["PGPASSFILE"] = passfile }
        return command
    }

    private static func plain(_ line: String, _ deadline: Duration?) throws(ShellWordsError) -> PluginCommand {
        let (executable, arguments) = try ShellWords.command(line)
        return PluginCommand(executable, arguments, deadline: deadline)
    }
}
