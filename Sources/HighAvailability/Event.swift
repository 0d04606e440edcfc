public import ClusterModel

/// Names one effect; every effect that has one ends with exactly one event.
public struct EffectID: Hashable, Sendable {
    public var number: UInt64

    public init(_ number: UInt64) {
        self.number = number
    }
}

/// Names one operator's request until it is answered.
public struct RequestID: Hashable, Sendable {
    public var number: UInt64

    public init(_ number: UInt64) {
        self.number = number
    }
}

/// The time of an event and a random draw: the machine reads no clock and throws no dice.
public struct Moment: Hashable, Sendable {
    public var now: Instant
    public var wall: WallTime
    public var random: UInt64

    public init(now: Instant, wall: WallTime, random: UInt64 = 0) {
        self.now = now
        self.wall = wall
        self.random = random
    }
}

/// What is known of the session with the store.
public struct SessionFacts: Hashable, Sendable {
    public var id: SessionID
    public var granted: Duration
    public var renewalInterval: Duration
    public var isResumed: Bool
    /// The session ends unless it is renewed even while nothing is led.
    public var needsIdleRenewal: Bool
    /// How many renewals before the newest the one was sent that its deadlines are reckoned from.
    public var intervalsBehind: Int

    public init(
        id: SessionID, granted: Duration, renewalInterval: Duration, isResumed: Bool, needsIdleRenewal: Bool = false,
        intervalsBehind: Int = 0
    ) {
        self.needsIdleRenewal = needsIdleRenewal
        self.intervalsBehind = intervalsBehind
        self.id = id
        self.granted = granted
        self.renewalInterval = renewalInterval
        self.isResumed = isResumed
    }
}

/// What a renewal brought; see the store protocol.
public enum RenewalOutcome: Hashable, Sendable {
    case proven(sent: Instant, notExpiredBefore: Instant)
    case gone(String)
    case unknown(String)
}

/// What is in the data directory.
public enum DataDirectoryFacts: Hashable, Sendable {
    /// Not there, or empty.
    case empty
    case initialized(ControlData)
    /// Something is there that cannot be used, and why. Never touched.
    case unusable(String)
}

/// What runs on the data directory.
public enum ServerFacts: Hashable, Sendable {
    case running(pid: Int32, isAdopted: Bool)
    /// Nothing runs; `isSilent` when no child of it is left either.
    case down(DataDirectoryFacts, exit: String?)
}

/// A promotion that this data directory went through, kept beside it, to tell timeline twins apart.
public struct PromotionMarker: Hashable, Sendable {
    public var timeline: Timeline
    public var fence: Fence

    public init(timeline: Timeline, fence: Fence) {
        self.timeline = timeline
        self.fence = fence
    }
}

/// What the runtime found when this instance began.
public struct InstanceStart: Hashable, Sendable {
    public var server: ServerFacts
    public var marker: PromotionMarker?
    /// The dynamic configuration last seen, from the data directory's cache.
    public var cachedConfiguration: JSONObject?
    /// Whether a session of an earlier instance was saved under this boot.
    public var hasSavedSession: Bool
    /// What an earlier instance granted; nil only where nothing can have been (tests).
    public var grants: GrantFile?
    /// What was recorded of a migration to another store.
    public var migration: MigrationRecord?

    public init(
        server: ServerFacts, marker: PromotionMarker? = nil, cachedConfiguration: JSONObject? = nil,
        hasSavedSession: Bool = false, grants: GrantFile? = nil, migration: MigrationRecord? = nil
    ) {
        self.grants = grants
        self.migration = migration
        self.server = server
        self.marker = marker
        self.cachedConfiguration = cachedConfiguration
        self.hasSavedSession = hasSavedSession
    }
}

/// How a job ended.
public enum JobEnd: Hashable, Sendable {
    case done
    /// A data directory exists now (bootstrap, clone, rewind).
    case made(ControlData)
    case failed(String)
    case cancelled
    /// Only for a rewind: it cannot be done, the data must be copied anew.
    case needsClone(String)
}

/// Everything that can happen to a member.
public indirect enum Event: Hashable, Sendable {
    /// The instant asked for by the last reaction has come.
    case wake
    case started(InstanceStart)
    case settings(MachineSettings)

    case sessionOpened(EffectID, SessionFacts)
    case sessionFailed(EffectID, String)
    case sessionLost(String)
    case storeChanged
    case storeConnected
    case storeDisconnected(String)
    case view(EffectID, ClusterView)
    /// The answer to a glimpse: it changes nothing but what is known of the entries that it names.
    case glimpse(EffectID, ClusterGlimpse)
    case viewFailed(EffectID, String)
    case committed(EffectID, ChangeOutcome)
    case renewed(EffectID, RenewalOutcome)
    case released(EffectID, ChangeOutcome)

    /// A guard is connected and ready to start or watch a server.
    /// `isPaused`: an earlier instance left it suspended; `armed`: the term whose deadline it enforces already;
    /// `isPromoting`: it has given the promote signal to the server that runs.
    case guardReady(isAdopting: Bool, isPaused: Bool = false, armed: Fence? = nil, isPromoting: Bool = false)
    /// The guard did not take a posture, and why.
    case postureRefused(GuardPosture, String)
    case guardArmed(Fence)
    /// The guard did not take a deadline, and why. `armed`: the term whose deadline it enforces all the same.
    case guardRefused(String, armed: Fence?)
    /// The guard stops PostgreSQL by itself.
    case guardStopping(String)
    /// No process of our PostgreSQL is left.
    case guardSilent
    case guardLost(String)

    case server(ServerFacts)
    case sample(PostgresSample)
    case sampleFailed(String)
    case peer(PeerStatus)
    case peerSilent(String, String)
    case jobProgress(EffectID, JSONObject)
    case jobEnded(EffectID, JobEnd)
    case persisted(EffectID, succeeded: Bool)
    case checkpointed(EffectID, succeeded: Bool)
    case duplicateProbed(isAlive: Bool)
    /// The history of the running server's timeline, from its own files.
    case localHistory(EffectID, TimelineHistory?)

    /// A leader that has lost the store asks for our grant; answered by `answerGrant`.
    case grantAsked(RequestID, GrantRequest)
    /// What a member answered to ours.
    case grantAnswered(EffectID, String, GrantAnswer)

    /// What came of something at the other store.
    case other(OtherStoreEvent)
    /// Something was told by a store, the first or a later one that this instance lives on; see `World.storeNumber`.
    case from(store: Int, Event)
    /// The other store of this migration can be reached from here; nil: of none any more.
    case prepared(String?, store: String?)

    case asked(RequestID, OperatorRequest)
    /// SIGTERM or SIGINT: hand over what is led, stop, leave.
    case stopAsked
}
