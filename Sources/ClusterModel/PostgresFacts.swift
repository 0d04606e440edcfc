/// What `pg_control` says; read by the agent without a running server.
public struct ControlData: Hashable, Sendable {
    public enum State: String, Hashable, Sendable {
        case startingUp = "starting up"
        case shutDown = "shut down"
        case shutDownInRecovery = "shut down in recovery"
        case shuttingDown = "shutting down"
        case inCrashRecovery = "in crash recovery"
        case inArchiveRecovery = "in archive recovery"
        case inProduction = "in production"
        case unrecognized = "unrecognized"
    }

    public var systemIdentifier: String
    public var state: State
    public var timeline: Timeline
    public var checkpoint: LSN
    public var minimumRecoveryEnd: LSN
    public var minimumRecoveryTimeline: Timeline
    /// Whether page checksums are on.
    public var hasChecksums: Bool
    public var walLogHints: Bool
    /// Settings that a standby may not undercut: `max_connections` and the like, by their setting's name.
    public var settings: [String: Int64]

    public init(
        systemIdentifier: String, state: State, timeline: Timeline, checkpoint: LSN, minimumRecoveryEnd: LSN = .zero,
        minimumRecoveryTimeline: Timeline = Timeline(0), hasChecksums: Bool = false, walLogHints: Bool = false,
        settings: [String: Int64] = [:]
    ) {
        self.systemIdentifier = systemIdentifier
        self.state = state
        self.timeline = timeline
        self.checkpoint = checkpoint
        self.minimumRecoveryEnd = minimumRecoveryEnd
        self.minimumRecoveryTimeline = minimumRecoveryTimeline
        self.hasChecksums = hasChecksums
        self.walLogHints = walLogHints
        self.settings = settings
    }
}

/// One look at a running PostgreSQL over SQL.
public struct PostgresSample: Hashable, Sendable {
    /// One row of `pg_stat_replication`.
    public struct Sender: Hashable, Sendable {
        public var applicationName: String
        public var user: String
        public var clientAddress: String?
        public var state: String
        public var syncState: String
        public var syncPriority: Int
        public var sentLSN: LSN?
        public var flushLSN: LSN?
        public var replayLSN: LSN?

        public init(
            applicationName: String, user: String = "", clientAddress: String? = nil, state: String = "streaming",
            syncState: String = "async", syncPriority: Int = 0, sentLSN: LSN? = nil, flushLSN: LSN? = nil,
            replayLSN: LSN? = nil
        ) {
            self.applicationName = applicationName
            self.user = user
            self.clientAddress = clientAddress
            self.state = state
            self.syncState = syncState
            self.syncPriority = syncPriority
            self.sentLSN = sentLSN
            self.flushLSN = flushLSN
            self.replayLSN = replayLSN
        }
    }

    /// The live WAL receiver.
    public struct Receiver: Hashable, Sendable {
        public var status: String
        public var receivedTimeline: Timeline
        public var host: String?
        public var port: Int?
        public var slotName: String?
        public var latestEndLSN: LSN?

        public init(
            status: String, receivedTimeline: Timeline, host: String? = nil, port: Int? = nil, slotName: String? = nil,
            latestEndLSN: LSN? = nil
        ) {
            self.status = status
            self.receivedTimeline = receivedTimeline
            self.host = host
            self.port = port
            self.slotName = slotName
            self.latestEndLSN = latestEndLSN
        }
    }

    /// Just before the query was sent.
    public var takenAt: Instant
    public var isInRecovery: Bool
    public var serverVersion: Int
    public var postmasterStartTime: String
    public var systemIdentifier: String?
    /// Primary: the flush position. Standby: nil.
    public var writeLSN: LSN?
    /// Standby: what was received and flushed.
    public var receiveLSN: LSN?
    /// Standby: what was replayed.
    public var replayLSN: LSN?
    public var replayTimestamp: String?
    public var isReplayPaused: Bool
    public var timeline: Timeline
    public var receiver: Receiver?
    public var senders: [Sender]
    public var hasRestoreCommand: Bool
    public var pendingRestart: JSONObject?

    public init(takenAt: Instant, isInRecovery: Bool, serverVersion: Int, timeline: Timeline) {
        self.takenAt = takenAt
        self.isInRecovery = isInRecovery
        self.serverVersion = serverVersion
        self.postmasterStartTime = ""
        self.isReplayPaused = false
        self.timeline = timeline
        self.senders = []
        self.hasRestoreCommand = false
    }

    /// The position to judge by: what is written on a primary, the further of received and replayed on a standby.
    public var position: LSN {
        if !isInRecovery { return writeLSN ?? .zero }
        return max(receiveLSN ?? .zero, replayLSN ?? .zero)
    }

    public var replicationState: ReplicationState? {
        guard isInRecovery else { return nil }
        if receiver?.status == "streaming" { return .streaming }
        return hasRestoreCommand ? .inArchiveRecovery : nil
    }
}

/// What one peer said of itself over its REST API or its status stream.
public struct PeerStatus: Hashable, Sendable {
    public var name: String
    /// Just before it was asked, or when its word arrived on the stream.
    public var askedAt: Instant
    public var state: MemberState
    public var role: MemberRole?
    public var isInRecovery: Bool?
    public var timeline: Timeline?
    /// nil: its PostgreSQL does not answer.
    public var position: LSN?
    public var tags: Tags
    public var watchdogFailed: Bool
    public var isPaused: Bool
    /// Ours: whether a guard enforces its lease.
    public var fenceState: FenceState?
    /// Ours: the peer says that no process of its PostgreSQL can acknowledge any more.
    public var isSilent: Bool
    /// Ours: the newest term that the peer has heard of.
    public var newestFence: Fence?
    /// Ours: whom the peer leaves the lead to in failsafe mode.
    public var grantedTo: String?
    /// How long each of its grants to that member lasts.
    public var grantLasts: Duration?
    /// Ours: a leader's list of the failsafe, by its version in the store as text.
    public var failsafeList: String?
    public var systemIdentifier: String?

    public init(name: String, askedAt: Instant, state: MemberState = .unknown) {
        self.name = name
        self.askedAt = askedAt
        self.state = state
        self.tags = Tags()
        self.watchdogFailed = false
        self.isPaused = false
        self.isSilent = false
    }
}
