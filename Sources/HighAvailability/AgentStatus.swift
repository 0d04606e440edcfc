public import ClusterModel

/// What an agent says of itself: made by the state machine, published by the runtime, served by the REST API without I/O.
public struct AgentStatus: Sendable {
    public var name: String
    public var scope: String
    public var state: MemberState
    /// The role as the agent knows it (`sample` may know better).
    public var role: MemberRole
    /// The last look at PostgreSQL; nil when it does not answer now.
    public var sample: PostgresSample?
    /// The last view of the store and when it was asked for.
    public var view: ClusterView?
    public var storeLastSeen: WallTime?
    /// Since when no change of the store would be told to the agent; nil: it would, and the view is as good as new.
    public var storeSilentSince: Instant?
    /// While now is before this instant the leader entry is provably ours.
    public var leaderUntil: Instant?
    /// The term we hold, or held last.
    public var term: Fence?
    public var isPaused: Bool
    /// The lead goes on without the store: ours by the others' grants, or another's by ours.
    public var isFailsafeActive = false
    /// The list of the failsafe that our lead goes by, as a version of the store's; nil: we do not lead.
    public var failsafeList: EntryVersion?
    /// The grant by which this member leaves the lead to another in failsafe mode.
    public var grant: GrantRecord?
    /// `failsafe_mode` is on.
    public var isFailsafeOn = false
    /// The timeline of the data, running or not.
    public var timeline: Timeline?
    /// The newest term heard of.
    public var newestFence = Fence.none
    public var ttl: Duration
    public var loopWait: Duration
    public var maximumLagOnFailover: UInt64
    public var tags: Tags
    public var systemIdentifier: String?
    public var pendingRestart: JSONObject?
    public var scheduledRestart: JSONObject?
    public var fenceState: FenceState
    /// No process of our PostgreSQL can acknowledge a write any more.
    public var isSilent: Bool
    /// The long job that runs, in words (`cloning from pg1`), with its progress.
    public var job: String?
    public var progress: JSONObject?
    /// The next time the state machine wants to be woken; liveness is judged by it.
    public var nextRunBy: Instant
    /// Oldest first, bounded.
    public var decisions: [Decision]
    /// Whether the leader's checkpoint after its promotion is still to be done.
    public var checkpointAfterPromotePending: Bool
    public var storeMigration = StoreMigrationStatus()

    public init(name: String, scope: String) {
        self.name = name
        self.scope = scope
        self.state = .unknown
        self.role = .uninitialized
        self.isPaused = false
        self.ttl = .seconds(30)
        self.loopWait = .seconds(10)
        self.maximumLagOnFailover = 1_048_576
        self.tags = Tags()
        self.fenceState = .unfenced
        self.isSilent = false
        self.nextRunBy = .distantPast
        self.decisions = []
        self.checkpointAfterPromotePending = false
    }
}
