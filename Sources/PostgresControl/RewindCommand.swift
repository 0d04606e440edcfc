public import ClusterModel
public import PluginInterfaces

/// Builds the `pg_rewind` command, after its preconditions.
public enum RewindCommand {
    /// Why pg_rewind cannot work here; nil when it can.
    public static func obstacle(_ layout: PostgresLayout, control: ControlData) -> String? {
        if !layout.usePgRewind { return "postgresql.use_pg_rewind is off" }
        if !control.hasChecksums, !control.walLogHints {
            return "neither data checksums nor wal_log_hints were on"
        }
        if control.state == .unrecognized { return "the control file's state is not known" }
        if layout.programPath("pg_rewind") == nil { return "\(layout.program("pg_rewind")) is not there" }
        return nil
    }

    /// Whether the agent must recover a crashed data directory itself before (`ServerCommand.crashRecovery`): pg_rewind
    /// does it alone, but before version 15 it finds no configuration outside the data directory.
    public static func needsOwnRecovery(_ layout: PostgresLayout, majorVersion: Int, control: ControlData) -> Bool {
        if control.state == .shutDown || control.state == .shutDownInRecovery { return false }
        return majorVersion < 15
            && (layout.configDirectory != layout.dataDirectory || layout.configBaseName != "postgresql")
    }

    /// Whether pg_rewind can fetch missing WAL by the target's own `restore_command`: the command must be in the
    /// configuration that pg_rewind finds, which before version 15 is the data directory's own.
    public static func canRestoreWAL(_ layout: PostgresLayout, majorVersion: Int, restoreCommand: String?) -> Bool {
        guard let restoreCommand, !restoreCommand.isEmpty else { return false }
        if majorVersion >= 15 { return true }
        return layout.configDirectory == layout.dataDirectory && layout.configBaseName == "postgresql"
    }

    /// The command. Passwords come from the layout's passfile. No deadline: a half-done rewind must not be interrupted
    /// lightly; the caller sets one if it wants to.
    public static func build(
        _ layout: PostgresLayout, source: ServerEndpoint, majorVersion: Int, restoreCommand: String?,
        extraOptions: [String] = []
    ) -> PluginCommand {
        let target = ConnectionTarget(
            endpoint: source, database: layout.database, login: layout.rewindLogin,
            applicationName: "Matriarch \(layout.memberName) rewind")
        var arguments = [
            "-D", layout.dataDirectory, "--source-server",
            target.connectionString(passfile: layout.rewindLogin.password == nil ? nil : layout.passfile),
        ]
        if canRestoreWAL(layout, majorVersion: majorVersion, restoreCommand: restoreCommand) {
            arguments.append("--restore-target-wal")
        }
        if majorVersion >= 15 { arguments.append("--config-file=\(layout.mainConfigFile)") }
        return PluginCommand(
            layout.program("pg_rewind"), arguments + extraOptions,
            environment: ["PGPASSFILE": layout.passfile, "LC_ALL": "C", "PGOPTIONS": "-c statement_timeout=0"])
    }
}
