import ClusterModel

/// How a coordination store keeps time, as far as a member can tell.
package enum StoreModel: Hashable, Sendable {
    /// Expires exactly at the lifetime, counted from the last touch.
    case plain
    /// ZooKeeper: expiry is rounded up to the server's ticks. The session's own heartbeats touch it as well. Members that
    /// hang on a follower reach the leader's table late: what a proof shows is the one two before it.
    case zooKeeper(tick: Duration)
    /// etcd: a lease lives on keepalives alone; a new raft leader begins it anew.
    case etcd
    /// Consul: invalidation comes somewhere between the lifetime and twice it, and a lock of an invalidated session is
    /// not to be had before the lock delay is over.
    case consul(lockDelay: Duration)

    /// Whether the client library keeps the session without being asked.
    var beatsByItself: Bool {
        switch self {
        case .plain, .zooKeeper: true
        case .etcd, .consul: false
        }
    }

    /// When a session that was last touched at an instant is ended.
    func expiry(touched: Instant, lifetime: Duration, draw: UInt64) -> Instant {
        switch self {
        case .plain, .etcd: return touched + lifetime
        case .zooKeeper(let tick):
            let nanoseconds = max(1, tick.nanosecondsClamped)
            let due = touched + lifetime
            return Instant(nanoseconds: (due.nanoseconds / nanoseconds + 1) * nanoseconds)
        case .consul:
            return touched + lifetime + .nanoseconds(Int64(draw % UInt64(max(1, lifetime.nanosecondsClamped))))
        }
    }

    /// Whether a write is told to those who watch. ZooKeeper's members watch the keys that decisions hang on, and who is a
    /// member; the others hear of everything under the cluster's prefix.
    func tells(_ write: ClusterWrite) -> Bool {
        guard case .zooKeeper = self else { return true }
        switch write {
        case .putStatus, .putHistory, .putPromotions, .putFailsafe, .putEra: return false
        case .putMember(_, let exists): return !exists
        default: return true
        }
    }

    package var name: String {
        switch self {
        case .plain: "embedded"
        case .zooKeeper: "zookeeper"
        case .etcd: "etcd"
        case .consul: "consul"
        }
    }
}
