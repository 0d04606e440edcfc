public import ClusterModel

/// One holding of the leader entry by this member.
public struct Term: Hashable, Sendable {
    public var fence: Fence
    public var deadlines: LeaseDeadlines
    /// When the term began for us: entry ours and a first renewal proven.
    public var since: Instant
    /// The deadlines stand still: a stop is under way.
    public var isFrozen: Bool

    public init(fence: Fence, deadlines: LeaseDeadlines, since: Instant, isFrozen: Bool = false) {
        self.fence = fence
        self.deadlines = deadlines
        self.since = since
        self.isFrozen = isFrozen
    }
}

/// How we stand to the leader entry.
public enum LeasePhase: Hashable, Sendable {
    case none
    case acquiring(EffectID)
    /// The acquire's outcome is unknown: a resolving read decides.
    case unresolved
    /// The entry is ours; no renewal has been proven yet.
    case proving(Fence, since: Instant)
    case held(Term)
    /// The term is over: PostgreSQL is being silenced, then the entry is released.
    case ending(Term, reason: String)
    case releasing(Fence)
}

/// The session with the store.
public enum SessionPhase: Hashable, Sendable {
    case none(retryAt: Instant)
    case opening(EffectID, since: Instant)
    case open(SessionFacts)
}

/// What runs on our data directory, as far as it is known.
public enum ServerPhase: Hashable, Sendable {
    case unknown
    case down(DataDirectoryFacts)
    case up(isAdopted: Bool, since: Instant)
}

/// The long job that runs.
public struct RunningJob: Hashable, Sendable {
    public var id: EffectID
    public var job: Job
    public var since: Instant
    public var progress: JSONObject?
    public var isCancelling = false
}

/// The steps between holding the lease and being promoted.
public enum PromotionPhase: Hashable, Sendable {
    case none
    case hook(Fence)
    /// Marker on disk, intent in the store, guard armed: all three before the signal.
    case preparing(Fence, Timeline, marker: EffectID?, intent: EffectID?)
    case promoting(Fence, Timeline)
}

/// A race for the free leader entry, or the suspicion that it will be free soon.
public struct Race: Hashable, Sendable {
    /// When the holder was first suspected or the entry first seen free.
    public var since: Instant
    /// When the entry was first seen free; nil: only suspected.
    public var freeSince: Instant?
    /// When the peers were last asked.
    public var askedAt: Instant
    /// Why the holder is suspected.
    public var cause: String
    public var yieldingSince: Instant?
}

/// A planned change of leader, on the side of the leader that gives way.
public struct Handover: Hashable, Sendable {
    public enum Phase: Hashable, Sendable {
        /// Candidates are asked.
        case choosing(since: Instant)
        /// A checkpoint before the stop keeps the stop short.
        case checkpointing(EffectID, since: Instant)
        case stopping(since: Instant)
        /// Silent; the candidate is to have the shutdown checkpoint.
        case confirming(final: LSN, since: Instant, askedAt: Instant)
        case releasing
    }

    public var phase: Phase
    public var candidate: String?
    /// Every candidate that passed the check; the first to confirm will do when none was named.
    public var candidates: [String]
    /// Whether the agent leaves afterwards.
    public var isLeaving: Bool
    public var request: FailoverRequest?
}

/// An operator's request that waits for its end.
public struct PendingRequest: Hashable, Sendable {
    public var id: RequestID
    public var request: OperatorRequest
    public var deadline: Instant
    /// The leader when it was asked.
    public var leader: String?
    /// The commit of the request itself, while it runs.
    public var commit: EffectID?
    /// When the request was known to be in the store.
    public var writtenAt: Instant?
    /// The job that answers it.
    public var job: EffectID?
    public var document: JSONValue?
}

/// Who led last, as seen from here.
public struct LastHolder: Hashable, Sendable {
    public var name: String
    public var fence: Fence
    /// Its guard, as it last advertised; nil for other agents than ours.
    public var fenceState: FenceState?
    /// The cluster was paused when it was last seen to lead: what it does now is unfenced.
    public var wasPaused: Bool
}

/// Everything the machine knows. Rules are functions of it.
public struct World: Sendable {
    public var identity: MemberIdentity
    public var settings: MachineSettings
    public var now: Instant
    public var wall: WallTime
    public var random: UInt64 = 0

    // The store.
    public var session: SessionPhase = .none(retryAt: .distantPast)
    public var hasSavedSession = false
    public var view: ClusterView?
    public var lastLockedView: ClusterView?
    public var lastHolder: LastHolder?
    public var storeLastSeen: WallTime?
    public var storeLastSeenAt: Instant = .distantPast
    /// Why the store does not answer; nil: it does.
    public var storeTrouble: String?
    public var readInFlight: EffectID?
    public var readWanted = true
    public var nextReadAt: Instant = .distantPast
    /// When the last answer to a read came, of whatever scope; and the last one that became the view.
    public var glimpsedAt: Instant = .distantPast
    public var viewSeenAt: Instant = .distantPast
    /// A peer said that something of it is different: its entry is read then, for no signal tells of that.
    public var membersReadAt: Instant?
    /// Since when no change of the store would be told to us; nil: it would.
    public var storeSilentSince: Instant?
    /// When the read in flight was begun.
    public var readSentAt: Instant = .distantPast
    public var cachedConfiguration: JSONObject?
    /// Views asked for before this are not believed: something of ours about the lease was settled since.
    public var viewsCountFrom: Instant = .distantPast
    /// The outcome of something of ours is unknown: the next read goes through the session, and until it has answered
    /// nothing about the lease is begun.
    public var needsResolving = false
    /// That read, while it runs.
    public var resolvingRead: EffectID?
    /// Whether this instance has seen a leader or a registered cluster.
    public var hasSeenCluster = false
    /// The lifetime that the session was opened with.
    public var sessionLifetime: Duration?

    // Another store.
    /// Counts the stores that this instance has lived on: signals of an earlier one are no news.
    public var storeNumber = 0
    /// What was asked up to this effect was asked of an earlier store.
    public var storeSince: UInt64 = 0
    /// The migration that this member knows the other store of.
    public var prepared: String?
    /// That store, in words.
    public var preparedStore: String?
    /// The configuration names the store that was prepared: any migration's going there is followed.
    public var isPreparedConfigured = false
    /// The store that was prepared has been looked at, and the cluster is not there.
    public var isElsewhereFree = false
    /// The migration that brought the cluster to the present store.
    public var movedTo: String?
    /// The store has been left for one that this member was not told of.
    public var movedAway: MigrationMark?
    public var migration: StoreMigration?
    /// The old store's content as it was copied.
    public var copied: ClusterView?
    public var otherReadInFlight: EffectID?
    public var nextOtherReadAt: Instant = .distantPast

    // The lease.
    public var lease: LeasePhase = .none
    public var renewInFlight: EffectID?
    public var renewSentAt: Instant = .distantPast
    /// The holding that the renewal in flight is for; nil: the session alone, or an entry whose number is not known yet.
    public var renewalFence: Fence?
    /// Whether the renewal in flight claims the leader entry.
    public var isRenewalHolding = false
    /// Something said that the session, not only a holding, may be gone: it is asked for once nothing is held.
    public var doubtsSession = false
    /// No acquire and no release before this: the last one was not even sent.
    public var nextLeaseTryAt: Instant = .distantPast
    /// How PostgreSQL is stopped at the end of the term.
    public var endingMode: StopMode = .immediate
    public var nextRenewAt: Instant = .distantPast
    /// The newest proof while the term has not begun.
    public var earlyProof: LeaseDeadlines?
    public var endedTerms: Set<Fence> = []
    public var sitOutUntil: Instant = .distantPast

    // The failsafe.
    public var failsafe = FailsafeState()
    /// What we granted to another.
    public var grant = GrantRecord()
    /// Until when what was granted to others than its holder lasts.
    public var otherGrantsUntil: Instant = .distantPast
    /// Since when it is known that an earlier instance's grants are not.
    public var grantsLostSince: Instant?
    public var pendingGrants: [EffectID: PendingGrant] = [:]
    /// Since when nobody leads and a list that is out of force does not name us.
    public var unlistedSince: Instant?
    /// The newest term heard of.
    public var newestFence = Fence.none
    /// The store was found set back or emptied, and what it has lost is not written again yet.
    public var storeReturn: StoreReturn?
    /// The last leader did not list this member when the store went back: an older list says nothing.
    public var unlisted: UnlistedMember?
    /// The era that an acquisition of ours was to begin; it may have begun without anybody's knowing.
    public var triedEra: UInt32 = 0
    /// A view that was lower than the one before, to be confirmed.
    public var lowerRevision: StoreRevision?

    // The guard.
    public var isGuardReady = false
    public var isAdopting = false
    public var armedTerm: Fence?
    /// Since when the term that is held has been without an armed guard; nil: it has one, or none is held.
    public var unarmedSince: Instant?
    public var isSilent = false
    public var posture: GuardPosture?
    /// Not before, after the guard refused a posture.
    public var nextPostureAt: Instant = .distantPast

    // PostgreSQL.
    public var server: ServerPhase = .unknown
    /// What pg_control said before the server started, until a sample of the running server says it.
    public var controlBeforeStart: ControlData?
    /// Whether this server may acknowledge writes, as far as we let it.
    public var mayAcknowledge = false
    public var sample: PostgresSample?
    public var sampleInFlight = false
    /// Looks taken before this instant show a server that has changed since.
    public var samplesCountFrom: Instant = .distantPast
    public var nextSampleAt: Instant = .distantPast
    public var failedSamples = 0
    /// The running server may have been told to promote: that it is still in recovery says nothing about the next moment.
    public var isPromoteSignalled = false
    /// The marker's promotion may have been signalled, by us or by an earlier instance.
    public var isMarkerUsed = true
    /// The running server was told to stop: that it is down is no crash.
    public var isStopAsked = false
    /// When this server crashed as a primary, of late.
    public var crashes: [Instant] = []
    public var lastExit: String?
    public var lastStopMode: StopMode?
    public var lastStopAt: Instant = .distantPast
    public var marker: PromotionMarker?
    /// The leader's term that the data was rewound to, or found to be the past of.
    public var rewoundTo: Fence?
    /// The leader's term that the running data was found not to be the past of.
    public var divergedFrom: Fence?
    /// Since when the running standby has no live receiver; nil: it streams.
    public var notStreamingSince: Instant?
    /// When the present leader's term was first seen.
    public var leaderSince: Instant = .distantPast
    /// What the running standby was told to follow; nil when not known.
    public var upstream: UpstreamTarget??
    public var job: RunningJob?
    public var jobFailures = 0
    public var lastJobFailure: String?
    public var nextJobAt: Instant = .distantPast
    public var publishedRole: MemberRole = .uninitialized
    public var stateAfterFailure: MemberState?
    public var crashedSince: Instant?
    public var checkpointPending = false
    public var checkpointInFlight: EffectID?
    public var historyInFlight: EffectID?
    public var nextHistoryAt: Instant = .distantPast
    public var localHistory: TimelineHistory?
    /// The data has to be copied anew, and why.
    public var needsClone: String?
    /// The running server is to be stopped for it.
    public var stopForClone = false
    /// How often PostgreSQL came up as a standby and ended by itself since it last streamed.
    public var standbyExits = 0
    /// `needsClone` comes of them alone: without a leader the data may be the best that is left.
    public var clonesForExits = false
    /// So many of them are taken for data that cannot be replayed; more after each copy that did not help.
    public var exitsBeforeClone = World.fewestExitsBeforeClone
    static let fewestExitsBeforeClone = 4
    public var bootstrapVersion: EntryVersion?
    /// We created `initialize`; its version is taken from the next view.
    public var isAwaitingBootstrapVersion = false
    /// The agent ends with this once the failed bootstrap is taken back in the store.
    public var exitAfterAbandon: String?
    public var bootstrapped: ControlData?
    public var callbackRole: MemberRole?

    // Moves.
    public var promotion: PromotionPhase = .none
    /// Since when the promotion has been in its phase.
    public var promotionSince: Instant = .distantPast
    /// PostgreSQL was stopped to hand over: it is started again even in pause.
    public var isStoppedForHandover = false
    public var race: Race?
    public var handover: Handover?
    public var pending: [PendingRequest] = []
    /// Asked while the view was older than our own last change: judged with the next one.
    public var deferred: [PendingRequest] = []
    public var scheduledRestart: RestartRequest?
    public var scheduledRestartStart: String?
    public var isStopping = false
    public var stopAskedAt: Instant = .distantFuture
    /// Since when nothing runs here any more that was asked to stop.
    public var settlingSince: Instant?
    public var isLeaving = false
    public var hasProbedDuplicate = false
    public var isProbingDuplicate = false
    public var isDuplicate = false
    public var wasPaused = false
    /// A holder was paused when it lost its entry: nobody races until it is known not to be writable.
    public var unfencedHolder: String?

    // Peers.
    public var peers: [String: PeerStatus] = [:]
    public var silentPeers: [String: String] = [:]
    /// When the silent were last found silent.
    public var silentSince: [String: Instant] = [:]
    /// What peers told of their grants, by who granted.
    public var heardGrants: [String: HeardGrant] = [:]
    /// When one of those was last asked whether its grant still holds.
    public var grantorAskedAt: Instant = .distantPast
    public var watched: [PeerAddress] = []
    /// The view that they were taken from.
    public var peersOfViewAt: Instant = .distantPast
    /// When a leader that we do not stream from was last asked for its position.
    public var leaderAskedAt: Instant = .distantPast

    // Publication.
    public var publishedMember: Member?
    public var publishInFlight: EffectID?
    /// Not before, after a write that failed.
    public var nextPublishAt: Instant = .distantPast
    /// Not before, for a mere position.
    public var nextPositionAt: Instant = .distantPast
    public var statusInFlight: EffectID?
    public var nextStatusAt: Instant = .distantPast
    public var commits: [EffectID: String] = [:]
    public var nextUpkeepAt: Instant = .distantPast
    /// Upkeep needs a view asked for since then: our last change of the records is not in an older one.
    public var upkeepFrom: Instant = .distantPast

    public init(identity: MemberIdentity, settings: MachineSettings, at moment: Moment) {
        self.identity = identity
        self.settings = settings
        self.now = moment.now
        self.wall = moment.wall
        self.storeSilentSince = moment.now
    }
}

extension World {
    public var me: String { identity.name }

    public var sessionFacts: SessionFacts? {
        if case .open(let facts) = session { return facts }
        return nil
    }

    /// The term that we hold and may act in.
    public var term: Term? {
        if case .held(let term) = lease { return term }
        return nil
    }

    /// Whether the view's leader entry is ours: name and session.
    public var isLeaderEntryOurs: Bool {
        guard let leader = view?.leader, let facts = sessionFacts else { return false }
        return leader.name == me && leader.session == facts.id
    }

    public var isPaused: Bool {
        if let view, view.configuration != nil { return view.isPaused }
        guard let cachedConfiguration else { return false }
        var view = ClusterView(revision: StoreRevision(number: 0), requestedAt: now)
        view.configuration = cachedConfiguration
        return view.isPaused
    }

    public var isServerUp: Bool {
        if case .up = server { return true }
        return false
    }

    public var dataDirectory: DataDirectoryFacts? {
        if case .down(let facts) = server { return facts }
        return nil
    }

    /// What pg_control says while nothing runs.
    public var control: ControlData? {
        if case .down(.initialized(let control)) = server { return control }
        return nil
    }

    /// The timeline of the data, running or not; nil when neither the server nor `pg_control` told it yet.
    public var dataTimeline: Timeline? {
        sample?.timeline ?? (control ?? controlBeforeStart).map(timeline(of:))
    }

    public var isRunningStandby: Bool { isServerUp && sample?.isInRecovery == true && !mayAcknowledge }
    public var isRunningPrimary: Bool { isServerUp && sample?.isInRecovery == false }

    public var systemIdentifier: String? { sample?.systemIdentifier ?? control?.systemIdentifier }

    /// The other members, of the view with a leader too: a dead leader's entry vanishes together with its lease.
    public var otherMembers: [Member] {
        var result = view?.members.filter { $0.name != me } ?? []
        for member in lastLockedView?.members ?? [] where member.name != me {
            if !result.contains(where: { $0.name == member.name }) { result.append(member) }
        }
        return result
    }

    public var peerAddresses: [PeerAddress] {
        otherMembers.compactMap { member in member.apiURL.map { PeerAddress(name: member.name, apiURL: $0) } }
            .sorted { $0.name < $1.name }
    }

    /// The leader's PostgreSQL as somebody to stream from; nil while it is not known.
    public var leaderTarget: UpstreamTarget? {
        guard let leader = view?.leader, leader.name != me else { return nil }
        let member = view?.member(leader.name) ?? lastLockedView?.member(leader.name)
        guard let url = member?.connURL else { return nil }
        return UpstreamTarget(name: leader.name, connURL: url, fence: leader.fence)
    }

    /// Whom this member should stream from: the member its tags name, else the leader.
    public var wantedUpstream: UpstreamTarget? {
        if settings.tags.isNoStream { return nil }
        if let name = settings.tags.replicateFrom, name != me, let member = view?.member(name),
            let url = member.connURL, member.state == .running
        {
            return UpstreamTarget(name: name, connURL: url, fence: view?.leader?.fence)
        }
        return leaderTarget
    }

    /// Our position, to be compared with others'.
    public var position: LSN? { isServerUp ? sample?.position : nil }

    /// The leader's timeline as it says itself, from its peer connection or its member entry.
    public var leaderTimeline: Timeline? {
        guard let leader = view?.leader else { return nil }
        if let peer = peers[leader.name], peer.role == .primary, peer.askedAt >= leaderSince,
            let timeline = peer.timeline
        {
            return timeline
        }
        if let member = view?.member(leader.name), member.role == .primary { return member.timeline }
        return nil
    }

    /// Whether the holder before had a guard that silenced it before its lease could pass.
    public var wasHolderGuarded: Bool {
        guard let lastHolder else { return false }
        return lastHolder.fenceState == .guarded && !lastHolder.wasPaused
    }

    /// Where a timeline ended according to the cluster's history.
    public func end(of timeline: Timeline) -> LSN? {
        view?.history?.rows.last { $0.timeline == timeline }?.switchLSN
    }

    /// The timeline that the data is on. Until its first checkpoint after a promotion `pg_control` names the one before;
    /// a standby's may be beyond that of its last restartpoint.
    public func timeline(of control: ControlData) -> Timeline {
        switch control.state {
        case .inProduction, .shuttingDown, .inCrashRecovery:
            guard let marker, marker.timeline > control.timeline else { return control.timeline }
            return marker.timeline
        case .shutDownInRecovery, .inArchiveRecovery:
            return max(control.timeline, control.minimumRecoveryTimeline)
        case .startingUp, .shutDown, .unrecognized:
            return control.timeline
        }
    }

    /// Whether a timeline was made beside the leader's line: the complete history of the leader's timeline goes back beyond
    /// it and does not name it. No WAL of it can be streamed from the leader.
    public func isOrphan(_ timeline: Timeline) -> Bool {
        guard let view, let history = view.history, let theirs = leaderTimeline, timeline < theirs,
            view.currentTimeline == theirs, let oldest = history.rows.first, timeline > oldest.timeline
        else { return false }
        return !history.rows.contains { $0.timeline == timeline }
    }

    /// Whether the view is newer than what we settled about the lease.
    public var isViewFresh: Bool {
        guard let view else { return false }
        // A lower revision, seen once: until it is seen again or is not, the store may have been set back.
        return view.requestedAt >= viewsCountFrom && !needsResolving && lowerRevision == nil
    }

    /// Whether the history that the running standby has of its own timeline contradicts the cluster's.
    public var isHistoryDifferent: Bool {
        guard let view, let sample, let localHistory, localHistory.currentTimeline == sample.timeline,
            let history = view.history, view.currentTimeline == leaderTimeline
        else { return false }
        return localHistory.rows.contains { row in
            history.rows.contains { $0.timeline == row.timeline && $0.switchLSN != row.switchLSN }
        }
    }

    /// Whether our marker names a timeline that another term made too: data that looks right and is not.
    ///
    /// An intent is no making: it counts once the history names its member, or while that very term leads.
    public func isTwin(on timeline: Timeline) -> Bool {
        guard let view, let marker, marker.timeline <= timeline else { return false }
        if let theirs = leaderTimeline {
            // Each timeline of the leader's line was made in a later term than the one before it.
            let isBeside = view.promotions.records.contains { number, record in
                number > marker.timeline && number <= theirs && record.fence < marker.fence
            }
            if isBeside { return true }
        }
        guard let record = view.promotions.records[marker.timeline], record.fence != marker.fence else { return false }
        if record.fence == view.leader?.fence { return true }
        guard let row = view.history?.rows.last(where: { $0.timeline < marker.timeline }) else { return true }
        return row.newLeader == record.leader
    }
}
