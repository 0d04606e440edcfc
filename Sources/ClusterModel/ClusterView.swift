/// Everything the store says of one cluster, as one consistent cut.
public struct ClusterView: Hashable, Sendable {
    /// The holder's entry.
    public struct Leader: Hashable, Sendable {
        public var name: String
        public var session: SessionID?
        public var version: EntryVersion
        /// The store's number of this holding; with the era the fence of the term.
        public var fence: Fence

        public init(name: String, session: SessionID?, version: EntryVersion, fence: Fence) {
            self.name = name
            self.session = session
            self.version = version
            self.fence = fence
        }
    }

    /// What `initialize` says.
    public enum Initialize: Hashable, Sendable {
        case absent
        /// A bootstrap runs, or died.
        case inProgress(EntryVersion)
        case identifier(String, EntryVersion)
        case invalid(EntryVersion)
    }

    public var revision: StoreRevision
    /// Just before the read was sent.
    public var requestedAt: Instant
    public var initialize: Initialize
    public var leader: Leader?
    public var members: [Member]
    public var memberVersions: [String: EntryVersion]
    /// The dynamic configuration; nil when absent or unreadable (then the last good one stays in force).
    public var configuration: JSONObject?
    public var configurationVersion: EntryVersion?
    public var failover: FailoverRequest?
    public var failoverVersion: EntryVersion?
    public var status: ClusterStatus?
    public var statusVersion: EntryVersion?
    public var sync: SyncState
    public var syncVersion: EntryVersion?
    public var history: TimelineHistory?
    public var historyVersion: EntryVersion?
    public var promotions: PromotionRecords
    public var promotionsVersion: EntryVersion?
    public var failsafe: [String: String]?
    public var failsafeVersion: EntryVersion?
    /// The number of the key `era` itself; `revision` and fences have the highest era known, which may be another.
    public var era: UInt32?
    public var eraVersion: EntryVersion?
    /// Whether the cluster moves to another store, or came from one.
    public var migration: MigrationMark?
    public var migrationVersion: EntryVersion?
    /// What could not be read, for the log: once per change, not once per read.
    public var problems: [String]

    public init(revision: StoreRevision, requestedAt: Instant) {
        self.revision = revision
        self.requestedAt = requestedAt
        self.initialize = .absent
        self.members = []
        self.memberVersions = [:]
        self.sync = SyncState()
        self.promotions = PromotionRecords()
        self.problems = []
    }

    /// What a glimpse of the same entries would show.
    public var glimpse: ClusterGlimpse {
        ClusterGlimpse(leader: leader, failoverVersion: failoverVersion, configurationVersion: configurationVersion)
    }

    public func member(_ name: String) -> Member? { members.first { $0.name == name } }

    /// The timeline that the cluster is on as far as the store tells: what the history's rows say, or the one that its last
    /// leader recorded as made.
    public var currentTimeline: Timeline? {
        guard let history else { return nil }
        let made = promotions.records.filter { $0.value.isMade }.keys.max() ?? history.currentTimeline
        return max(made, history.currentTimeline)
    }

    /// The leader's own member value, if it is there.
    public var leaderMember: Member? { leader.flatMap { member($0.name) } }

    public var systemIdentifier: String? {
        if case .identifier(let text, _) = initialize { return text }
        return nil
    }

    public var isPaused: Bool {
        switch configuration?["pause"] {
        case .bool(let value)?: value
        case .string(let text)?: ["true", "on", "yes", "1"].contains(text.lowercased())
        case .integer(let value)?: value != 0
        default: false
        }
    }
}

/// What tells whether a view is still true in what a member acts upon at once: who leads, whether an operator asked for
/// another leader, and whether the dynamic configuration (the pause is part of it) is another.
public struct ClusterGlimpse: Hashable, Sendable {
    public var leader: ClusterView.Leader?
    public var failoverVersion: EntryVersion?
    public var configurationVersion: EntryVersion?

    public init(
        leader: ClusterView.Leader?, failoverVersion: EntryVersion?, configurationVersion: EntryVersion?
    ) {
        self.leader = leader
        self.failoverVersion = failoverVersion
        self.configurationVersion = configurationVersion
    }
}
