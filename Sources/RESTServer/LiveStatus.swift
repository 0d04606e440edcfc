import ClusterModel
import HighAvailability

/// What an agent's status means at one instant: the values that health checks, documents and metrics share.
struct LiveStatus {
    var status: AgentStatus
    var now: Instant
    /// The store's view, while it can be relied on: it is young, or the store would have told of changes. After that it
    /// counts for a third of `ttl`, for a store that fell silent is noticed after two thirds.
    var view: ClusterView?
    var mode: ClusterMode
    var state: MemberState
    var role: MemberRole
    /// The leader entry is provably ours.
    var holdsLease: Bool
    var isSyncStandby: Bool
    var isQuorumStandby: Bool

    init(_ status: AgentStatus, now: Instant) {
        self.status = status
        self.now = now
        self.view = status.view.flatMap { view in
            // While the leader goes on by the members' grants, what was last seen of the cluster is what is.
            guard let silence = status.storeSilentSince, !status.isFailsafeActive else { return view }
            return now < max(view.requestedAt + status.ttl, silence + status.ttl / 3) ? view : nil
        }
        // The kind of cluster outlives the view that told it.
        self.mode = ClusterMode(view: status.view)
        let sample = status.sample
        self.state = status.state == .running && sample == nil ? .unknown : status.state
        if let sample {
            if sample.isInRecovery {
                self.role = self.mode.isStandbyCluster ? status.role : .replica
            } else {
                self.role = .primary
            }
        } else {
            self.role = status.role
        }
        self.holdsLease = status.leaderUntil.map { now < $0 } ?? false
        let name = status.name.lowercased()
        let isNamed =
            sample?.isInRecovery == true && self.mode.isSynchronous
            && self.view?.sync.standbys.contains { $0.lowercased() == name } ?? false
        self.isSyncStandby = isNamed && !self.mode.isQuorum
        self.isQuorumStandby = isNamed && self.mode.isQuorum
    }

    var sample: PostgresSample? { status.sample }

    /// No leader, or nobody knows.
    var isUnlocked: Bool { view?.leader == nil }

    var replicationState: ReplicationState? { sample?.replicationState }

    /// Received by the standby, or what comes next to it.
    var receivedPosition: LSN { sample.flatMap { $0.receiveLSN ?? $0.replayLSN } ?? .zero }
    var replayedPosition: LSN { sample?.replayLSN ?? .zero }

    /// The furthest position the leader is known to have reached.
    var knownLeaderPosition: LSN {
        max(view?.status?.optime ?? .zero, sample?.receiver?.latestEndLSN ?? .zero)
    }

    var pendingRestart: JSONObject? { status.pendingRestart ?? sample?.pendingRestart }
}
