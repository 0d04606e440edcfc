public import ClusterModel
public import ConfigurationTree

/// What holds on this member: the local settings and the cluster's dynamic configuration by their precedence.
public struct EffectiveConfiguration: Sendable, Equatable {
    /// The local settings, untouched.
    public var local: Settings
    /// The dynamic configuration, as asked for.
    public var dynamic: DynamicSettings
    /// Corrected where it had to be.
    public var timing: Timing
    /// `postgresql` with local over dynamic; its `parameters` are without the controlled ones.
    public var postgresql: PostgresSettings
    /// The parameters which only the dynamic configuration may set, with their values.
    public var controlled: ControlledParameters
    public var standbyCluster: StandbyClusterSettings?

    public init(
        local: Settings, dynamic: DynamicSettings, timing: Timing, postgresql: PostgresSettings,
        controlled: ControlledParameters, standbyCluster: StandbyClusterSettings?
    ) {
        self.local = local
        self.dynamic = dynamic
        self.timing = timing
        self.postgresql = postgresql
        self.controlled = controlled
        self.standbyCluster = standbyCluster
    }
}

/// PostgreSQL's parameters under the agent's control, checked, with defaults where nothing (good) was given.
public struct ControlledParameters: Sendable, Equatable {
    /// For the postmaster's command line as well as the file, in a fixed order: `listen_addresses`, `port`,
    /// `cluster_name`, `wal_level`, ...
    public var commandLine: ParameterList
    /// `wal_keep_size` in megabytes; in the file alone.
    public var walKeepSizeMegabytes: Int

    public init(commandLine: ParameterList, walKeepSizeMegabytes: Int) {
        self.commandLine = commandLine
        self.walKeepSizeMegabytes = walKeepSizeMegabytes
    }

    /// `wal_keep_size`, or `wal_keep_segments` before PostgreSQL 13.
    public func walKeep(majorVersion: Int) -> PostgresParameter {
        majorVersion >= 13
            ? PostgresParameter(name: "wal_keep_size", value: "\(walKeepSizeMegabytes)MB")
            : PostgresParameter(name: "wal_keep_segments", value: "\((walKeepSizeMegabytes + 15) / 16)")
    }
}
