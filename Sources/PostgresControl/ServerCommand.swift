public import ClusterModel

/// What is to be started: the arguments and environment of `postgres`.
public struct ServerCommand: Hashable, Sendable {
    public var executable: String
    public var arguments: [String]
    /// Added to the environment; nil removes a variable.
    public var environment: [String: String]
    public var workingDirectory: String
    /// Where the server's standard output and error go; nil: where the agent's go.
    public var logFile: String?

    public init(
        executable: String, arguments: [String], environment: [String: String] = [:], workingDirectory: String,
        logFile: String? = nil
    ) {
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.logFile = logFile
    }

    /// The command that starts the server of a layout.
    ///
    /// The controlled parameters go onto the command line, so that `ALTER SYSTEM` cannot override them. For a server
    /// that will begin in recovery, `control` raises the ones that a standby may not undercut.
    public static func start(
        _ layout: PostgresLayout, scope: ListeningScope = .configured, asStandby: Bool, control: ControlData?
    ) -> ServerCommand {
        var settings: [ServerSetting] = []
        switch scope {
        case .configured:
            settings.append(ServerSetting("listen_addresses", layout.listenAddresses))
        case .privateSocket(let directory):
            settings.append(ServerSetting("listen_addresses", ""))
            settings.append(ServerSetting("unix_socket_directories", directory))
            settings.append(ServerSetting("unix_socket_permissions", "0700"))
        }
        settings.append(ServerSetting("port", String(layout.port)))
        settings.append(ServerSetting("cluster_name", layout.clusterName))
        settings += controlled(layout, asStandby: asStandby, control: control)
        var environment: [String: String] = [:]
        if let name = layout.kerberosServiceName { environment["PGKRBSRVNAME"] = name }
        return ServerCommand(
            executable: layout.programPath("postgres") ?? layout.program("postgres"),
            arguments: ["-D", layout.dataDirectory, "--config-file=\(layout.mainConfigFile)"]
                + settings.map { "--\($0.name)=\($0.value)" },
            environment: environment, workingDirectory: layout.dataDirectory)
    }

    /// The controlled parameters as they are to be in force.
    static func controlled(_ layout: PostgresLayout, asStandby: Bool, control: ControlData?) -> [ServerSetting] {
        layout.controlledParameters.compactMap { setting in
            // Not on the command line: a change of it needs no restart.
            if setting.name.hasPrefix("wal_keep_") { return nil }
            if asStandby, let floor = control?.settings[setting.name], let value = Int64(setting.value), value < floor {
                return ServerSetting(setting.name, String(floor))
            }
            return setting
        }
    }

    /// Recovers a crashed data directory alone and stops: for pg_rewind, which needs a clean shutdown.
    /// The archiver is told to keep everything and archive nothing.
    public static func crashRecovery(_ layout: PostgresLayout) -> ServerCommand {
        ServerCommand(
            executable: layout.programPath("postgres") ?? layout.program("postgres"),
            arguments: [
                "--single", "-D", layout.dataDirectory, "-c", "config_file=\(layout.mainConfigFile)", "-c",
                "archive_mode=on", "-c", "archive_command=false", "-c", "synchronous_standby_names=", "template1",
            ], workingDirectory: layout.dataDirectory)
    }
}
