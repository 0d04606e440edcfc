public import ClusterModel
public import ConfigurationTree

/// The cluster's dynamic configuration, the store's `config` key, checked.
public struct DynamicSettings: Sendable, Equatable {
    /// How far synchronous replication is managed.
    public enum SynchronousMode: Sendable, Equatable { case off, on, quorum }

    /// As asked for; see `timing(allPeersOurs:)` for what holds.
    public var ttl = 30
    /// As asked for, seconds.
    public var loopWait = 10
    /// As asked for, seconds.
    public var retryTimeout = 10
    /// Bytes behind the leader's last position with which a member may still be elected.
    public var maximumLagOnFailover: Int64 = 1_048_576
    /// Zero or less: no limit.
    public var maximumLagOnSyncnode: Int64 = -1
    public var checksTimeline = false
    /// 0: no limit.
    public var maximumTimelinesHistory = 0
    public var primaryStartTimeout: Duration = .seconds(300)
    public var primaryStopTimeout: Duration = .zero
    public var primaryRaceBackoff: Duration = .zero
    public var synchronousMode = SynchronousMode.off
    public var synchronousModeStrict = false
    public var synchronousNodeCount = 1
    public var failsafeMode = false
    public var pause = false
    public var memberSlotsTTL: Duration = .seconds(30 * 60)
    /// Permanent slots by name, as written.
    public var slots = JSONObject()
    /// Matchers of slots to leave alone, as written.
    public var ignoreSlots: [JSONValue] = []
    public var standbyCluster: StandbyClusterSettings?
    /// What stands before a key in complaints: empty, or `bootstrap.dcs`.
    public var pathPrefix = ""
    /// The document with its places, for complaints and for `postgresql`.
    public var node = ConfigurationNode(.map([]), at: SourceMark(source: "built-in defaults"))
    public var usesSlots = true
    /// The whole document, unknown keys and all, as it stands in the store.
    public var document = JSONObject()

    public init() {}

    /// `postgresql` of the document; nil when absent.
    public var postgresqlNode: ConfigurationNode? { node["postgresql"] }

    /// A standby cluster that has somewhere to stream or restore from.
    public var isStandbyCluster: Bool { standbyCluster?.isActive ?? false }
}

/// `standby_cluster`: the remote cluster this one follows.
public struct StandbyClusterSettings: Sendable, Equatable {
    public var host: String?
    public var port: String?
    public var primarySlotName: String?
    public var createReplicaMethods: [String]?
    public var restoreCommand: String?
    public var archiveCleanupCommand: String?
    public var recoveryMinApplyDelay: String?

    public init() {}

    /// Whether host, port or restore command is there; a section without them is disregarded.
    public var isActive: Bool {
        [host, port, restoreCommand].contains { !($0 ?? "").isEmpty }
    }
}
