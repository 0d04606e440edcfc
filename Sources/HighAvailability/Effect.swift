public import ClusterModel

/// Where a peer is asked.
public struct PeerAddress: Hashable, Sendable {
    public var name: String
    public var apiURL: String

    public init(name: String, apiURL: String) {
        self.name = name
        self.apiURL = apiURL
    }
}

/// How PostgreSQL is stopped.
public enum StopMode: String, Hashable, Sendable {
    /// SIGINT: sessions are ended, a shutdown checkpoint is written.
    case fast
    /// SIGQUIT: at once; crash recovery follows.
    case immediate
}

/// As what PostgreSQL is started.
public enum StartRole: Hashable, Sendable {
    /// As the primary of this term, crash recovery included.
    case primary(Fence)
    /// As a standby of this upstream; nil: of nobody for now.
    case standby(UpstreamTarget?)
}

/// The member to stream from.
public struct UpstreamTarget: Hashable, Sendable {
    public var name: String
    public var connURL: String
    /// The term in which the upstream was chosen, when it is the leader.
    public var fence: Fence?

    public init(name: String, connURL: String, fence: Fence? = nil) {
        self.name = name
        self.connURL = connURL
        self.fence = fence
    }
}

/// The one long job a member may have at a time.
public enum Job: Hashable, Sendable {
    /// Makes the first data directory: method, roles, scripts; ends with PostgreSQL stopped cleanly.
    case bootstrap
    /// Copies a member's data beside what is there, and swaps it in.
    case clone(UpstreamTarget, reason: String)
    case start(StartRole)
    case stop(StopMode)
    /// The hook before a promotion.
    case prePromote
    /// The guard promotes, from one timeline to another: the numbers between are left out, for other promotions may have
    /// used them. Ends when writes are possible.
    case promote(Fence, from: Timeline, to: Timeline)
    case rewind(UpstreamTarget)
    /// Changes the upstream of the running standby by reload.
    case follow(UpstreamTarget?)
    /// Stops and starts in the same role.
    case restart(StartRole)

    /// In words, for people.
    public var name: String {
        switch self {
        case .bootstrap: "bootstrap"
        case .clone(let source, _): "clone from \(source.name)"
        case .start(.primary): "start as primary"
        case .start(.standby): "start as standby"
        case .stop(let mode): "stop (\(mode.rawValue))"
        case .prePromote: "pre_promote"
        case .promote: "promote"
        case .rewind(let source): "rewind to \(source.name)"
        case .follow(let upstream): "follow \(upstream?.name ?? "nobody")"
        case .restart: "restart"
        }
    }

    /// The word that the contract uses in `<task> already in progress`.
    public var isDataCopy: Bool {
        switch self {
        case .clone, .rewind, .bootstrap: true
        default: false
        }
    }
}

/// How much of the store is read.
public enum ReadScope: Hashable, Sendable {
    /// The whole cluster, linearizably.
    case cluster
    /// The whole cluster through our session, after an unknown outcome: it is settled by then.
    case resolving
    /// Whether the few entries of which every change matters are still those of the view, which was read at this
    /// revision. No news shows only that no signal was lost, so it may come from any server that is as new as the view.
    case glimpse(since: StoreRevision)
}

/// What the guard is told about what it guards.
public enum GuardPosture: String, Hashable, Sendable {
    case replica
    case primary
    /// Its deadline comes from the members' grants, not from the store.
    case failsafe
    /// Deadlines stand still: a stop is under way.
    case stopping
    /// Suspended: nothing is enforced.
    case paused
    case resumed
}

/// Something to be done outside of the machine. Effects of one reaction are begun in their order.
public enum Effect: Hashable, Sendable {
    case openSession(EffectID, lifetime: Duration, resume: Bool)
    /// Ends the session; abandoned, its entries live on until expiry or a successor.
    case closeSession(abandon: Bool)
    /// Looks into the store; a glimpse is answered with `glimpse`, the other scopes with `view`.
    case read(EffectID, ReadScope)
    case commit(EffectID, ClusterChange)
    case renew(EffectID, holding: Bool, within: Duration)
    case release(EffectID)
    case other(OtherStoreEffect)
    /// Moves the guard's deadline; answered with `guardArmed` the first time in a term.
    case arm(Fence, LeaseDeadlines)
    /// The same, where the holding that PostgreSQL runs under goes on under another number: in another store.
    case succeed(Fence, LeaseDeadlines)
    /// The term is over: the guard accepts no more of it.
    case endTerm
    case posture(GuardPosture)
    /// Stops the server now, whatever job runs; the answer is that it is down.
    case stopServer(StopMode)
    case startJob(EffectID, Job)
    case cancelJob(EffectID)
    /// Looks at PostgreSQL once.
    case sample
    /// Asks these peers once each.
    case queryPeers([PeerAddress], within: Duration)
    /// Keeps one connection to each of these peers.
    case watchPeers([PeerAddress])
    case persistMarker(EffectID, PromotionMarker)
    /// Replaces the record of grants on disk; answered with `persisted` once it is durable.
    case persistGrant(EffectID, GrantRecord)
    /// Asks each of these for its grant, all at once; each ends with one `grantAnswered`. A withdrawal's are not waited for.
    case requestGrants(EffectID, [PeerAddress], GrantRequest, within: Duration)
    /// What the leader that asked for a grant is told.
    case answerGrant(RequestID, GrantAnswer)
    case checkpoint(EffectID)
    /// Reads the history file of the running server's timeline.
    case readHistory(EffectID)
    case callback(CallbackAction, MemberRole, Fence?)
    case answer(RequestID, OperatorAnswer)
    case probeDuplicate(apiURL: String)
    /// The agent ends with this status.
    case exit(Int32, String)
}

/// The five occasions that scripts are told of.
public enum CallbackAction: String, Hashable, Sendable {
    case onStart = "on_start"
    case onStop = "on_stop"
    case onRestart = "on_restart"
    case onReload = "on_reload"
    case onRoleChange = "on_role_change"
}

/// What the machine answers to one event.
public struct Reaction: Sendable {
    public var effects: [Effect] = []
    public var decisions: [Decision] = []
    /// When the machine wants a `wake` at the latest.
    public var wakeAt: Instant = .distantFuture

    public init() {}
}
