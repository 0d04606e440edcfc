/// Where a test's members coordinate.
package enum StoreKind: String, CaseIterable, Sendable {
    case embedded
    case zooKeeper
    case etcd
    case consul

    /// Whether it has servers, that can fail.
    package var hasServers: Bool { self != .embedded }
    /// Its name for people.
    package var title: String {
        switch self {
        case .embedded: "embedded store"
        case .zooKeeper: "ZooKeeper"
        case .etcd: "etcd"
        case .consul: "Consul"
        }
    }
}

/// What of a member a fault hits.
package enum Victim: String, Sendable {
    case agent, guardProcess, postmaster
}

/// What a test's cluster is like.
package struct ClusterPlan: Sendable, Hashable {
    package var store: StoreKind
    package var members = 3
    /// The lease, in seconds.
    package var ttl = 4
    /// Servers of the store.
    package var ensemble = 1
    /// Whether the members are told of the ensemble's followers alone, so that the leader's freezing reaches them
    /// indirectly.
    package var usesFollowersOnly = true
    /// Whether every member and every server of the store has a network namespace of its own.
    package var hasNetwork = false
    /// Whether each member reaches the store's servers through proxies that can be cut, where there are no networks.
    package var hasStoreLinks = false
    /// The size of a disk that each member's data and state has to itself; nil: the machine's disk.
    package var diskBytes: UInt64?
    /// PostgreSQL's parameters besides the usual ones.
    package var parameters: [String: String] = [:]
    /// Whether the dynamic configuration begins with `failsafe_mode: true`.
    package var hasFailsafe = false
    /// Whether WAL is archived, by a command that hangs while the file `hang` is in the cluster's directory.
    package var archives = false
    /// `loop_wait` and `retry_timeout`, in seconds.
    package var loopWait = 1
    package var retryTimeout = 1
    /// Whether everything that may have a password has one: the store, the API.
    package var hasSecrets = false
    /// What the agents make files with.
    package var umask: UInt32?
    /// Whether replicas may ask for replication slots, as a stock Patroni does.
    package var usesSlots = true

    package init(_ store: StoreKind, ttl: Int = 4, ensemble: Int = 1) {
        self.store = store
        self.ttl = ttl
        self.ensemble = ensemble
    }
}
