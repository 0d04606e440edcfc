public import ClusterModel

/// What is done at the store that the cluster may move to, beside the one that it lives on.
///
/// While a migration runs the holder has a session, a copy of the cluster's keys and the leader entry there too; everybody
/// else only looks now and then.
public enum OtherStoreEffect: Hashable, Sendable {
    case openSession(EffectID, lifetime: Duration)
    case closeSession(abandon: Bool)
    /// Reads all of it, through the session if there is one: what it shows of our own changes is settled.
    case read(EffectID)
    case commit(EffectID, ClusterChange)
    case renew(EffectID, holding: Bool, within: Duration)
    /// From now on it is the store. With `keepingSession` its session is ours already; otherwise one is opened next, resumed
    /// where an earlier instance left one. Of the store before nothing is needed any more: its session ends.
    case adopt(String, keepingSession: Bool)
}

/// What came of it.
public enum OtherStoreEvent: Hashable, Sendable {
    case sessionOpened(EffectID, SessionFacts)
    case sessionFailed(EffectID, String)
    case sessionLost(String)
    case view(EffectID, ClusterView)
    case viewFailed(EffectID, String)
    case committed(EffectID, ChangeOutcome)
    case renewed(EffectID, RenewalOutcome)
}

/// What an agent knows of a migration from before: its own record of it, beside the data directory.
public struct MigrationRecord: Hashable, Sendable {
    /// The migration that the other store was made ready for.
    public var id: String
    /// The old store was seen to be left: the one that this instance lives on is the new one.
    public var isOver: Bool
    /// The configuration names the new store already: whichever migration went there, this member is to follow it.
    public var isConfigured: Bool

    public init(id: String, isOver: Bool, isConfigured: Bool = false) {
        self.id = id
        self.isOver = isOver
        self.isConfigured = isConfigured
    }
}

/// A migration on its way, on the holder's side.
public struct StoreMigration: Hashable, Sendable {
    public enum Phase: Hashable, Sendable {
        /// The key in the old store: written, then seen.
        case announcing(EffectID?)
        /// A session with the new store; nil: between two tries.
        case opening(EffectID?)
        /// What the new store holds; nil: asked again in a moment.
        case looking(EffectID?)
        case copying(EffectID)
        /// Finding our entry in the new store.
        case claiming(EffectID?)
        /// Both entries are ours; the new one is to last at least as long as what the guard has been told.
        case aligning
        case cutting(EffectID)
        /// Whether the cut-over took effect is not known: a resolving read decides.
        case unresolved
        /// It did not, and must not any more: the key that it compares is taken away.
        case revoking(EffectID?)
    }

    public var id: String
    public var since: Instant
    /// Taken back when it is not done by then.
    public var deadline: Instant
    public var request: RequestID?
    public var phase: Phase
    /// Since when it has been in its phase.
    public var phaseSince: Instant
    /// Of the key in the old store.
    public var version: EntryVersion?
    public var session: SessionFacts?
    /// The new store as it was last seen; with our entry in it once that is found.
    public var view: ClusterView?
    /// Our holding there.
    public var fence: Fence?
    /// What the newest proof there gives.
    public var deadlines: LeaseDeadlines?
    public var renewInFlight: EffectID?
    public var renewSentAt: Instant = .distantPast
    public var nextRenewAt: Instant = .distantPast
    public var nextTryAt: Instant = .distantPast
    /// What the old store's newest proof gives, where the guard was told less.
    public var heldBack: LeaseDeadlines?
    public var failure: String?
    /// Why the session with the new store is gone; nil: it is not, as far as is known.
    public var sessionLost: String?

    public init(id: String, since: Instant, deadline: Instant, request: RequestID?, announcing: EffectID) {
        self.id = id
        self.since = since
        self.deadline = deadline
        self.request = request
        self.phase = .announcing(announcing)
        self.phaseSince = since
    }

    /// The cut-over was sent and may have taken effect: only what both stores allow is allowed.
    public var isCutting: Bool {
        switch phase {
        case .cutting, .unresolved, .revoking: true
        case .announcing, .opening, .looking, .copying, .claiming, .aligning: false
        }
    }

    /// For people and for the command that watches.
    public var step: String {
        switch phase {
        case .announcing: "announcing"
        case .opening: "connecting"
        case .looking: "checking"
        case .copying: "copying"
        case .claiming: "claiming"
        case .aligning: "aligning"
        case .cutting: "cutting over"
        case .unresolved: "finding out"
        case .revoking: "taking back"
        }
    }
}

/// What an agent says of a migration to another store.
public struct StoreMigrationStatus: Hashable, Sendable {
    /// The migration that this member knows the other store of.
    public var prepared: String?
    /// The migration that brought the cluster to the store that this member lives on.
    public var movedTo: String?
    /// The migration that this member carries out, and the step that it is at.
    public var running: String?
    public var step: String?
    /// The cluster has moved to a store that this member was not told of.
    public var movedAway: String?

    public init(
        prepared: String? = nil, movedTo: String? = nil, running: String? = nil, step: String? = nil,
        movedAway: String? = nil
    ) {
        self.prepared = prepared
        self.movedTo = movedTo
        self.running = running
        self.step = step
        self.movedAway = movedAway
    }
}

extension LeaseDeadlines {
    /// What both allow.
    static func both(_ one: LeaseDeadlines, _ other: LeaseDeadlines) -> LeaseDeadlines {
        var result = one
        result.finish = min(one.finish, other.finish)
        result.quit = min(one.quit, other.quit)
        result.kill = min(one.kill, other.kill)
        result.end = min(one.end, other.end)
        return result
    }

    /// Whether nothing of the other comes later than its counterpart here.
    func covers(_ other: LeaseDeadlines) -> Bool {
        finish >= other.finish && quit >= other.quit && kill >= other.kill && end >= other.end
    }
}
