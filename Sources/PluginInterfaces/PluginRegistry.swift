public import ConfigurationTree
public import Logging

/// What a plugin is given to start with.
public struct PluginContext: Sendable {
    /// `/<namespace>/<scope>/` with single slashes: the root of the cluster's keys.
    public var root: String
    public var memberName: String
    public var scope: String
    /// The agent's own directory (0700) for what must survive a restart.
    public var stateDirectory: String
    /// Seconds that one operation may be retried for.
    public var retryTimeout: Duration
    public var logger: Logger

    public init(
        root: String, memberName: String, scope: String, stateDirectory: String, retryTimeout: Duration, logger: Logger
    ) {
        self.root = root
        self.memberName = memberName
        self.scope = scope
        self.stateDirectory = stateDirectory
        self.retryTimeout = retryTimeout
        self.logger = logger
    }
}

/// Makes stores from the section of the configuration that the plugin owns.
public protocol StoreFactory: Sendable {
    /// The section's name: `zookeeper`.
    var section: String { get }
    /// Checks the section without side effects; warnings included.
    func check(_ section: ConfigurationNode) -> [ConfigurationComplaint]
    func makeStore(_ section: ConfigurationNode, _ context: PluginContext) throws(ConfigurationComplaints)
        -> any CoordinationStore
}

/// Makes a bootstrap method from its section (absent: its defaults).
public protocol BootstrapFactory: Sendable {
    var name: String { get }
    func makeMethod(_ section: ConfigurationNode?) throws(ConfigurationComplaints) -> any BootstrapMethod
}

/// Makes a replica creation method from its section (absent: its defaults).
public protocol ReplicaFactory: Sendable {
    var name: String { get }
    func makeMethod(_ section: ConfigurationNode?) throws(ConfigurationComplaints) -> any ReplicaCreationMethod
}

/// Makes a method for any section with a `command:` that no other plugin owns.
public protocol CommandFactory: Sendable {
    func makeBootstrapMethod(name: String, _ section: ConfigurationNode?) throws(ConfigurationComplaints)
        -> any BootstrapMethod
    func makeReplicaMethod(name: String, _ section: ConfigurationNode?) throws(ConfigurationComplaints)
        -> any ReplicaCreationMethod
}

/// Makes the callback handler from `postgresql.callbacks`; nil when the section has nothing for it.
public protocol CallbackFactory: Sendable {
    func makeHandler(_ section: ConfigurationNode?) throws(ConfigurationComplaints) -> (any CallbackHandler)?
}

/// The plugins an executable was built with. The configuration alone chooses among them.
public struct PluginRegistry: Sendable {
    public private(set) var stores: [any StoreFactory] = []
    public private(set) var bootstraps: [any BootstrapFactory] = []
    public private(set) var replicas: [any ReplicaFactory] = []
    public private(set) var commands: (any CommandFactory)?
    public private(set) var callbacks: [any CallbackFactory] = []

    public init() {}

    public mutating func register(_ factory: any StoreFactory) { stores.append(factory) }
    public mutating func register(_ factory: any BootstrapFactory) { bootstraps.append(factory) }
    public mutating func register(_ factory: any ReplicaFactory) { replicas.append(factory) }
    public mutating func register(_ factory: any CommandFactory) { commands = factory }
    public mutating func register(_ factory: any CallbackFactory) { callbacks.append(factory) }

    /// The store whose section has this name.
    public func store(section: String) -> (any StoreFactory)? { stores.last { $0.section == section } }
    public func bootstrap(name: String) -> (any BootstrapFactory)? { bootstraps.last { $0.name == name } }
    public func replica(name: String) -> (any ReplicaFactory)? { replicas.last { $0.name == name } }
}
