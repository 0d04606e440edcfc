public import ConfigurationTree
public import PluginInterfaces

/// Makes bootstrap and replica creation methods from sections with a `command:`.
public struct ScriptCommandFactory: CommandFactory {
    public init() {}

    /// `bootstrap.<name>`; the command must be there.
    public func makeBootstrapMethod(name: String, _ section: ConfigurationNode?) throws(ConfigurationComplaints)
        -> any BootstrapMethod
    {
        ScriptBootstrap(
            name: name,
            section: try ScriptSection(
                section, path: "bootstrap.\(name)", defaultCommand: nil, ignored: ScriptBootstrap.reserved))
    }

    /// `postgresql.<name>`; without a `command:` the method's name is the command.
    public func makeReplicaMethod(name: String, _ section: ConfigurationNode?) throws(ConfigurationComplaints)
        -> any ReplicaCreationMethod
    {
        ScriptReplica(
            name: name,
            section: try ScriptSection(section, path: "postgresql.\(name)", defaultCommand: name, ignored: []))
    }
}
