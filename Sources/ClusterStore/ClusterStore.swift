public import ClusterModel
public import PluginInterfaces
import Synchronization

/// The cluster on a coordination store: keys become the model, semantic changes become transactions.
///
/// ```swift
/// let cluster = ClusterStore(store: store)
/// let view = try await cluster.read(.linearizable, within: .seconds(2))
/// if view.leader == nil {
///     let outcome = await cluster.commit(
///         ClusterChange(if: [.leaderAbsent, .syncVersion(view.syncVersion)], [.acquireLeader]),
///         as: "pg1", session: session, within: .seconds(2))
/// }
/// ```
public struct ClusterStore: Sendable {
    public let store: any CoordinationStore
    private let lastUnknown = LastUnknown()
    private let known: KnownEra

    public init(store: any CoordinationStore, era: UInt32 = 0) {
        self.store = store
        known = KnownEra(era)
    }

    /// The site's era, as far as it was seen: rises when a store was restored or exchanged for another.
    public var era: UInt32 { known.era.load(ordering: .relaxed) }

    /// How often a read that was no consistent cut is repeated before it counts as failed.
    static let cutAttempts = 5

    /// The whole cluster as it was at one revision.
    public func read(_ consistency: StoreConsistency, within limit: Duration) async throws(StoreError) -> ClusterView {
        try await cut(within: limit) { (remaining) async throws(StoreError) in
            try await store.read(.all, consistency, within: remaining)
        }
    }

    /// Whether what a member acts upon at once is still as a view of that revision showed it: a few keys instead of all.
    ///
    /// Not linearizable: any server that is as new as the view may answer. For seeing that a signal was lost, no more.
    public func glimpse(
        since revision: StoreRevision, within limit: Duration
    ) async throws(StoreError) -> ClusterGlimpse {
        // The site's era hides the store's own, by which it could tell what is newer.
        let consistency: StoreConsistency = revision.era == era && era > 0 ? .linearizable : .atLeast(revision)
        let snapshot = try await store.read(.keys(ClusterKey.glimpsed), consistency, within: limit)
        return ClusterCodec.view(of: snapshot, era: era).glimpse
    }

    /// Makes a change. `name` is ours: the value of the leader entry, taken or compared.
    ///
    /// After `.unknown` the change is never tried again as it is: `resolve` it first.
    public func commit(
        _ change: ClusterChange, as name: String, session: (any StoreSession)?, within limit: Duration
    ) async -> ChangeOutcome {
        let transaction: StoreTransaction
        do {
            transaction = try ClusterCodec.transaction(
                for: change, id: Self.nextTransaction(), name: name, session: session?.id, limits: store.limits)
        } catch {
            return .notSent(error.description)
        }
        switch await store.commit(transaction, within: limit) {
        case .committed(let revision, _): return .committed(ClusterCodec.revision(revision, era: era))
        case .refused(let compare): return .refused(compare?.explanation ?? "the store refused the transaction")
        case .notSent(let error): return .notSent(error.description)
        case .unknown(let error):
            lastUnknown.id.withLock { $0 = transaction.id }
            return .unknown(error.description)
        }
    }

    /// Gives up the leader entry through the session that owns it. Never repeated: an unknown outcome is resolved.
    public func releaseLeader(_ session: any StoreSession, within limit: Duration) async -> ChangeOutcome {
        switch await session.releaseLeader(within: limit) {
        case .committed(let revision, _): return .committed(ClusterCodec.revision(revision, era: era))
        case .refused(let compare): return .refused(compare?.explanation ?? "the store refused the release")
        case .notSent(let error): return .notSent(error.description)
        case .unknown(let error):
            lastUnknown.id.withLock { $0 = Self.nextTransaction() }
            return .unknown(error.description)
        }
    }

    /// Reads the cluster after an unknown outcome, in such a way that the change cannot take effect any more once this
    /// has returned. What the view then shows is what became of it.
    public func resolve(
        session: (any StoreSession)?, within limit: Duration
    ) async throws(StoreError) -> ClusterView {
        guard let session else { return try await read(.linearizable, within: limit) }
        let id = lastUnknown.id.withLock { $0 } ?? Self.nextTransaction()
        let view = try await cut(within: limit) { (remaining) async throws(StoreError) in
            try await session.resolve(id, .all, within: remaining)
        }
        lastUnknown.id.withLock { if $0 == id { $0 = nil } }
        return view
    }

    /// A transaction's name that was not used in this process before.
    public static func nextTransaction() -> TransactionID {
        TransactionID(transactionNumber.wrappingAdd(1, ordering: .relaxed).newValue)
    }

    private func cut(
        within limit: Duration, _ read: (Duration) async throws(StoreError) -> StoreSnapshot
    ) async throws(StoreError) -> ClusterView {
        let deadline = SystemClock.now() + limit
        for _ in 0..<Self.cutAttempts {
            let remaining = deadline - SystemClock.now()
            guard remaining > .zero else { break }
            let snapshot = try await read(remaining)
            if snapshot.isCut {
                if let stored = ClusterCodec.storedEra(in: snapshot) { known.era.max(stored, ordering: .relaxed) }
                return ClusterCodec.view(of: snapshot, era: era)
            }
        }
        throw StoreError(
            .timedOut, "the cluster kept changing while it was read: no consistent view of it within \(limit)")
    }

    /// The highest era seen; shared by the copies of one `ClusterStore`.
    private final class KnownEra: Sendable {
        let era: Atomic<UInt32>

        init(_ era: UInt32) {
            self.era = Atomic(era)
        }
    }

    /// Which transaction's outcome was last unknown; shared by the copies of one `ClusterStore`.
    private final class LastUnknown: Sendable {
        let id = Mutex<TransactionID?>(nil)
    }
}

private let transactionNumber = Atomic<UInt64>(0)

extension StoreCompare {
    /// In words, why a transaction was refused.
    var explanation: String {
        switch self {
        case .absent(let key): "\(key) exists"
        case .version(let key, _): "\(key) has changed since it was read"
        case .owner(let key, _): "\(key) is not held by our session"
        case .value(let key, _): "\(key) has another value"
        }
    }
}
