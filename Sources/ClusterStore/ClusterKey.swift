public import PluginInterfaces

/// The keys of a cluster below its root, as the contract with Patroni names them.
public enum ClusterKey {
    public static let initialize: StoreKey = "initialize"
    public static let configuration: StoreKey = "config"
    public static let leader: StoreKey = "leader"
    public static let status: StoreKey = "status"
    /// The form of `status` that members below 2.1 write: a plain position.
    public static let legacyStatus: StoreKey = "optime/leader"
    public static let failover: StoreKey = "failover"
    public static let sync: StoreKey = "sync"
    public static let history: StoreKey = "history"
    public static let failsafe: StoreKey = "failsafe"
    /// Ours, ignored by other programs: which term was about to make which timeline.
    public static let promotions: StoreKey = "promotions"
    /// Ours, ignored by other programs: a number that rises whenever the keys were restored into a store or moved to
    /// another one, whose own numbers begin anew. With it fencing numbers only grow.
    public static let era: StoreKey = "era"
    /// Ours, ignored by other programs: whether the cluster moves to another store, or came from one.
    public static let migration: StoreKey = "migration"
    /// What a copy for another store consists of.
    static let copied: [StoreKey] = [initialize, configuration, status, history, promotions, sync, era, migration]
    /// What a glimpse reads.
    static let glimpsed: [StoreKey] = [leader, failover, configuration, era]
    static let memberPrefix = "members/"

    public static func member(_ name: String) -> StoreKey { memberPrefix + name }

    /// The member that a key belongs to; nil for any other key, and for anything nested deeper.
    public static func memberName(of key: StoreKey) -> String? {
        guard key.hasPrefix(memberPrefix) else { return nil }
        let name = key.dropFirst(memberPrefix.count)
        return name.isEmpty || name.utf8.contains(UInt8(ascii: "/")) ? nil : String(name)
    }
}
