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
