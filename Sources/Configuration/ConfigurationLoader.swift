public import ClusterModel
public import ConfigurationTree

/// Reads, merges and checks the configuration. Blocking file reads: not for the cooperative pool.
public enum ConfigurationLoader {
    /// What a loading brought.
    public typealias Loaded = (
        settings: Settings?, complaints: [ConfigurationComplaint], consumedEnvironment: Set<String>
    )
    public typealias LoadedForOperator = (
        settings: OperatorSettings?, complaints: [ConfigurationComplaint], consumedEnvironment: Set<String>
    )
}
