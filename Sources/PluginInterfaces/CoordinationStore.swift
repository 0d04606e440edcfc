public import ClusterModel
public import ConfigurationTree

/// A key of a cluster, relative to its root: `leader`, `members/pg1`.
public typealias StoreKey = String

/// Which entries to read.
public enum KeySelection: Hashable, Sendable {
    /// Every entry below the cluster's root.
    case all
    case keys([StoreKey])
}

/// How fresh a read must be.
public enum StoreConsistency: Hashable, Sendable {
    /// Reflects everything that was committed before the read was sent.
    case linearizable
    /// Not older than a revision seen before.
    case atLeast(StoreRevision)
}

/// What a store can hold and compare.
public struct StoreLimits: Hashable, Sendable {
    public var bytesPerValue: Int
    public var bytesPerTransaction: Int
    public var operationsPerTransaction: Int
    /// False when a version cannot tell an entry from its re-creation; releases then go through the session alone.
    public var versionsIncludeCreation: Bool

    public init(
        bytesPerValue: Int, bytesPerTransaction: Int, operationsPerTransaction: Int, versionsIncludeCreation: Bool
    ) {
        self.bytesPerValue = bytesPerValue
        self.bytesPerTransaction = bytesPerTransaction
        self.operationsPerTransaction = operationsPerTransaction
        self.versionsIncludeCreation = versionsIncludeCreation
    }
}

/// One entry as the store holds it.
public struct StoreEntry: Hashable, Sendable {
    public var key: StoreKey
    public var value: [UInt8]
    public var version: EntryVersion
    /// The store's number of the entry's creation: the fence number of the leader entry.
    public var created: UInt64
    public var owner: SessionID?

    public init(key: StoreKey, value: [UInt8], version: EntryVersion, created: UInt64, owner: SessionID?) {
        self.key = key
        self.value = value
        self.version = version
        self.created = created
        self.owner = owner
    }
}

/// The answer to a read.
public struct StoreSnapshot: Hashable, Sendable {
    public var revision: StoreRevision
    public var entries: [StoreEntry]
    /// Whether the entries are as they were together at one revision.
    public var isCut: Bool
    /// Just before the read was sent.
    public var requestedAt: Instant

    public init(revision: StoreRevision, entries: [StoreEntry], isCut: Bool, requestedAt: Instant) {
        self.revision = revision
        self.entries = entries
        self.isCut = isCut
        self.requestedAt = requestedAt
    }

    public subscript(key: StoreKey) -> StoreEntry? { entries.first { $0.key == key } }
}

/// A condition of a transaction.
public enum StoreCompare: Hashable, Sendable {
    case absent(StoreKey)
    case version(StoreKey, EntryVersion)
    case owner(StoreKey, SessionID)
    case value(StoreKey, [UInt8])
}

/// How long an entry lives.
public enum StoreLifetime: Hashable, Sendable {
    case permanent
    /// As long as the session does.
    case session(SessionID)
}

/// One write of a transaction.
public enum StoreWrite: Hashable, Sendable {
    /// Refuses the transaction when the entry exists.
    case create(StoreKey, [UInt8], StoreLifetime)
    /// Writes the entry, creating it when it is absent.
    case put(StoreKey, [UInt8], StoreLifetime)
    /// Deletes the entry; no error when it is absent.
    case delete(StoreKey)
}

/// Names one transaction for its resolution; unique within the process.
public struct TransactionID: Hashable, Sendable {
    public var number: UInt64

    public init(_ number: UInt64) {
        self.number = number
    }
}

/// Writes which take effect together, if all compares hold.
public struct StoreTransaction: Hashable, Sendable {
    public var id: TransactionID
    public var compares: [StoreCompare]
    public var writes: [StoreWrite]

    public init(id: TransactionID, compares: [StoreCompare], writes: [StoreWrite]) {
        self.id = id
        self.compares = compares
        self.writes = writes
    }
}

/// How a transaction ended.
public enum CommitOutcome: Hashable, Sendable {
    case committed(StoreRevision, [StoreKey: EntryVersion])
    /// The store was reached and said no; the compare that failed, when the store tells.
    case refused(StoreCompare?)
    /// Certainly without effect.
    case notSent(StoreError)
    /// May have happened, or may still.
    case unknown(StoreError)
}

/// What a store's watch says: that something changed, never what. Readers look for themselves.
public enum StoreSignal: Hashable, Sendable {
    /// Something below the cluster's root may have changed, up to this revision when it is known.
    case changed(StoreRevision?)
    /// The connection is up (again); everything must be read anew.
    case connected
    /// No server is reachable now. The session may live on: the deadline decides.
    case disconnected(String)
    /// The store says that the session is gone.
    case sessionLost
}

/// What is asked of a session.
public struct SessionRequest: Hashable, Sendable {
    /// The lifetime wanted; the store may grant another.
    public var lifetime: Duration
    /// The member's name, for stores that show it.
    public var name: String
    /// A session saved by an earlier instance (opaque to everybody but the plugin); nil opens a new one.
    public var resume: [UInt8]?

    public init(lifetime: Duration, name: String, resume: [UInt8]? = nil) {
        self.lifetime = lifetime
        self.name = name
        self.resume = resume
    }
}

/// What a renewal proved.
public enum RenewOutcome: Hashable, Sendable {
    /// The store's majority took part in a renewal of which the deciding request was sent at `sent`; no other can hold
    /// the leader entry before `notExpiredBefore` (E in the safety rules).
    case proven(sent: Instant, notExpiredBefore: Instant)
    /// The session is gone, or the leader entry is not ours any more.
    case gone(String)
    /// No answer in time, or one that proves nothing yet (a first proof through a follower).
    case unknown(StoreError)
}

/// A session with a store: what the leader and member entries hang on.
public protocol StoreSession: Sendable {
    var id: SessionID { get }
    /// The lifetime that the store granted: every deadline is reckoned from this, not from what was asked.
    var granted: Duration { get }
    /// How often to renew for the deadlines to hold, given the store's rules.
    var renewalInterval: Duration { get }
    /// Whether the session ends unless it is renewed even while nothing is led. False where the client's own heartbeats
    /// keep it (ZooKeeper's pings).
    var needsIdleRenewal: Bool { get }
    /// How many renewals before the newest the one was sent that the proven expiry is reckoned from: 0 unless the store
    /// cannot do better. Renewals are then sent more often, so that two may still fail.
    var intervalsBehind: Int { get }
    /// Whether `open` took up the session asked to be resumed.
    var isResumed: Bool { get }
    /// What a later instance needs to resume this session; nil when the store cannot. Secret: file mode 0600.
    var resumption: [UInt8]? { get }
    /// Renews by proof: only answers in which the store's majority took part count, from the instant they were sent.
    /// `holding` tells that the leader entry is ours (the proof then checks it as well). Without it a heartbeat will do
    /// where that is cheaper: what is answered then is the expiry that the last proof gave.
    func renew(holding: Bool, within: Duration) async -> RenewOutcome
    /// Reads after an unknown outcome so that the transaction can no longer take effect later.
    func resolve(_ id: TransactionID, _ keys: KeySelection, within: Duration) async throws(StoreError) -> StoreSnapshot
    /// Gives up the leader entry once, through this session only; every other entry of ours may go with it.
    /// The outcome may be unknown: nothing is resent.
    func releaseLeader(within: Duration) async -> CommitOutcome
    /// Ends the session (its entries vanish) or, abandoned, leaves it to a successor or to expiry.
    func close(abandon: Bool) async
}

extension StoreSession {
    public var needsIdleRenewal: Bool { false }
    public var intervalsBehind: Int { 0 }
}

/// What a running store did with its section of the configuration when that was read again.
public enum StoreReconfiguration: Sendable {
    /// The section is in force. Warnings name what else was changed and needs a restart of the agent.
    case taken([ConfigurationComplaint])
    /// The store takes over no changes while it runs; the agent says so where there are any.
    case unsupported
    /// The section cannot be used, for these reasons; nothing has changed.
    case refused([ConfigurationComplaint])
}

/// A store that coordinates a cluster: small values, transactions, sessions, watches.
///
/// A plugin keeps these rules, which the conformance suite tests:
/// 1. `commit` is atomic. An outcome of which the plugin is not certain is `unknown`, never an error that sounds final.
/// 2. Nothing is ever resent after an unknown outcome.
/// 3. A snapshot never goes back in time: what is below the highest revision seen is dropped and another server asked.
/// 4. A signal is a hint; losing one may delay but never mislead, for readers look again after `connected`.
/// 5. Every call ends within its deadline. While there is no connection calls end at once, nothing is queued.
public protocol CoordinationStore: Sendable {
    var limits: StoreLimits { get }
    func read(_ keys: KeySelection, _ consistency: StoreConsistency, within: Duration) async throws(StoreError)
        -> StoreSnapshot
    func commit(_ transaction: StoreTransaction, within: Duration) async -> CommitOutcome
    /// One consumer; coalescing: a burst of changes may arrive as one signal.
    func signals() -> AsyncStream<StoreSignal>
    func openSession(_ request: SessionRequest, within: Duration) async throws(StoreError) -> any StoreSession
    /// Takes over its section, read again by a reload, without losing a session: other servers, timeouts; files that the
    /// section names (certificates, keys, tokens) are read again even if the section is the same.
    func reconfigure(_ section: ConfigurationNode) async -> StoreReconfiguration
    /// Looks at the servers for an operator: which of them answer, their releases, what is known to be wrong with those.
    /// Changes nothing. Never called by the agent.
    func findings(within: Duration) async -> [StoreFinding]
    /// Frees everything; further calls end with `.closed`. Sessions that are still open are abandoned, never ended: what
    /// hangs on them may still be relied on. Only `StoreSession.close(abandon: false)` ends one.
    func close() async
}

extension CoordinationStore {
    public func reconfigure(_ section: ConfigurationNode) async -> StoreReconfiguration { .unsupported }
    public func findings(within: Duration) async -> [StoreFinding] { [] }
}
