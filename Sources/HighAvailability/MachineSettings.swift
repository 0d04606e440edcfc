public import ClusterModel

/// Who this member is; fixed for an agent's life.
public struct MemberIdentity: Hashable, Sendable {
    public var name: String
    public var scope: String
    public var connURL: String
    public var apiURL: String
    public var proxyURL: String?
    /// Tells this instance of the agent from any other.
    public var nonce: UInt64

    public init(
        name: String, scope: String, connURL: String, apiURL: String, proxyURL: String? = nil, nonce: UInt64 = 0
    ) {
        self.name = name
        self.scope = scope
        self.connURL = connURL
        self.apiURL = apiURL
        self.proxyURL = proxyURL
        self.nonce = nonce
    }
}

/// The checked settings that decisions depend on; the runtime makes them from the configuration, local and dynamic.
public struct MachineSettings: Hashable, Sendable {
    public var ttl: Duration
    public var loopWait: Duration
    public var retryTimeout: Duration
    /// Bytes behind the last published position that a candidate may be.
    public var maximumLagOnFailover: UInt64
    public var checkTimeline: Bool
    /// Rows kept in the history; 0 keeps all.
    public var maxTimelinesHistory: Int
    /// How long a crashed primary may take to come back before it gives way.
    public var primaryStartTimeout: Duration
    public var tags: Tags
    /// The dynamic configuration a new cluster begins with; nil: this member never bootstraps.
    public var bootstrapConfiguration: JSONObject?
    public var hasPrePromote: Bool
    /// Whether pg_rewind is wanted (its preconditions are checked where it runs).
    public var usesRewind: Bool
    /// How the fence is configured (`off` only for tests and demonstrations of what it prevents).
    public var requiresGuard: Bool

    public init(
        ttl: Duration = .seconds(30), loopWait: Duration = .seconds(10), retryTimeout: Duration = .seconds(10),
        maximumLagOnFailover: UInt64 = 1_048_576, checkTimeline: Bool = false, maxTimelinesHistory: Int = 0,
        primaryStartTimeout: Duration = .seconds(300), tags: Tags = Tags(), bootstrapConfiguration: JSONObject? = nil,
        hasPrePromote: Bool = false, usesRewind: Bool = true, requiresGuard: Bool = true
    ) {
        self.ttl = ttl
        self.loopWait = loopWait
        self.retryTimeout = retryTimeout
        self.maximumLagOnFailover = maximumLagOnFailover
        self.checkTimeline = checkTimeline
        self.maxTimelinesHistory = maxTimelinesHistory
        self.primaryStartTimeout = primaryStartTimeout
        self.tags = tags
        self.bootstrapConfiguration = bootstrapConfiguration
        self.hasPrePromote = hasPrePromote
        self.usesRewind = usesRewind
        self.requiresGuard = requiresGuard
    }
}
