public import ClusterModel
public import PluginInterfaces
import Synchronization
public import Testing

/// A store that the cases are run on: a fresh cluster root, reachable by as many clients as a case wants.
public struct StoreUnderTest: Sendable {
    /// A new client of the same root: its own connection, and at most one session.
    public var makeStore: @Sendable () async throws -> any CoordinationStore
    /// The lifetime that the cases ask for.
    public var lifetime: Duration
    /// How long after the last promised instant an expired session's entries may still be there.
    public var expiryLateness: Duration
    /// How long a change may take to be signalled.
    public var signalLateness: Duration
    /// Whether a session ends unless it is renewed; otherwise the client library keeps it alive by itself.
    public var endsWithoutRenewal: Bool
    /// Stands between the server and the clients of `makeStoreBehindProxy`; needed by `StoreCases.behindProxy`.
    public var proxy: FaultProxy?
    /// A new client of the same root that reaches the server through `proxy` alone.
    public var makeStoreBehindProxy: (@Sendable () async throws -> any CoordinationStore)?
    /// Ends the server without a word and starts it again with its data; returns when it serves. Needed by
    /// `StoreCases.restarts`.
    public var restartServer: (@Sendable () async throws -> Void)?

    public init(
        makeStore: @escaping @Sendable () async throws -> any CoordinationStore, lifetime: Duration,
        expiryLateness: Duration, signalLateness: Duration, endsWithoutRenewal: Bool, proxy: FaultProxy? = nil,
        makeStoreBehindProxy: (@Sendable () async throws -> any CoordinationStore)? = nil,
        restartServer: (@Sendable () async throws -> Void)? = nil
    ) {
        self.makeStore = makeStore
        self.lifetime = lifetime
        self.expiryLateness = expiryLateness
        self.signalLateness = signalLateness
        self.endsWithoutRenewal = endsWithoutRenewal
        self.proxy = proxy
        self.makeStoreBehindProxy = makeStoreBehindProxy
        self.restartServer = restartServer
    }

    /// A capability that a case needs; a case that is run without it fails, for it would show nothing.
    func require<Value>(_ capability: Value?, _ name: String) throws -> Value {
        guard let capability else {
            throw CaseFailure("this case needs StoreUnderTest.\(name): give it, or leave the case's list out")
        }
        return capability
    }
}

/// One case, named for the test's output.
public struct StoreCase: Sendable, CustomTestStringConvertible {
    public var name: String
    public var run: @Sendable (StoreUnderTest) async throws -> Void

    public init(name: String, run: @escaping @Sendable (StoreUnderTest) async throws -> Void) {
        self.name = name
        self.run = run
    }

    public var testDescription: String { name }
}

/// A client as a member is one: a store and its session.
public struct StoreClient: Sendable {
    public let name: String
    public let store: any CoordinationStore
    public let session: any StoreSession

    /// How long a call may take where a case does not say otherwise.
    public static let limit = Duration.seconds(10)

    public init(name: String, store: any CoordinationStore, session: any StoreSession) {
        self.name = name
        self.store = store
        self.session = session
    }

    /// A new client with a session of its own, or one that takes up a saved session.
    public static func open(
        _ name: String, on test: StoreUnderTest, resume: [UInt8]? = nil, behindProxy: Bool = false
    ) async throws -> StoreClient {
        let make = behindProxy ? try test.require(test.makeStoreBehindProxy, "makeStoreBehindProxy") : test.makeStore
        let store = try await make()
        let request = SessionRequest(lifetime: test.lifetime, name: name, resume: resume)
        return StoreClient(name: name, store: store, session: try await store.openSession(request, within: limit))
    }

    /// Commits writes under compares.
    public func commit(if compares: [StoreCompare] = [], _ writes: StoreWrite...) async -> CommitOutcome {
        await store.commit(
            StoreTransaction(id: TransactionID(nextNumber()), compares: compares, writes: writes), within: Self.limit)
    }

    /// Creates the leader entry if there is none.
    public func acquireLeader() async -> CommitOutcome {
        await commit(if: [.absent("leader")], .create("leader", Array(name.utf8), .session(session.id)))
    }

    /// A linearizable read.
    public func read(_ keys: KeySelection = .all) async throws -> StoreSnapshot {
        try await store.read(keys, .linearizable, within: Self.limit)
    }

    /// Renews until a renewal proves something: the first ones of some stores prove nothing yet.
    public func proveLease(holding: Bool) async throws -> (sent: Instant, notExpiredBefore: Instant) {
        for _ in 0..<20 {
            switch await session.renew(holding: holding, within: Self.limit) {
            case .proven(let sent, let notExpiredBefore): return (sent, notExpiredBefore)
            case .unknown: try await Task.sleep(for: .milliseconds(20))
            case .gone(let why): throw CaseFailure("the session is gone: \(why)")
            }
        }
        throw CaseFailure("no renewal proved anything")
    }

    /// Ends as a killed process does: nothing is told to the store.
    public func vanish() async {
        await session.close(abandon: true)
        await store.close()
    }

    /// Ends as an orderly process does: the session with all that hangs on it ends at once.
    public func close() async {
        await session.close(abandon: false)
        await store.close()
    }
}

private let transactionNumbers = Atomic<UInt64>(1 << 40)

/// A number that no other case of this process has: for transactions, names, roots.
public func nextNumber() -> UInt64 { transactionNumbers.wrappingAdd(1, ordering: .relaxed).newValue }

/// What a case could not go on without.
public struct CaseFailure: Error, CustomStringConvertible {
    public var description: String

    public init(_ description: String) {
        self.description = description
    }
}

extension CommitOutcome {
    /// Whether the store said yes.
    public var isCommitted: Bool {
        if case .committed = self { return true }
        return false
    }

    /// Whether the store said no.
    public var isRefused: Bool {
        if case .refused = self { return true }
        return false
    }

    /// The version that the commit gave to an entry.
    public func version(_ key: StoreKey) throws -> EntryVersion {
        guard case .committed(_, let versions) = self, let version = versions[key] else {
            throw CaseFailure("no version of \(key) in \(self)")
        }
        return version
    }
}

extension StoreSnapshot {
    /// An entry's value as text; nil when there is none.
    public func text(_ key: StoreKey) -> String? { self[key].map { String(decoding: $0.value, as: UTF8.self) } }
}

/// A text as a value.
public func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Waits for a condition; false when it did not come true in time.
public func eventually(
    within limit: Duration, _ condition: () async throws -> Bool
) async rethrows -> Bool {
    let deadline = SystemClock.now() + limit
    while true {
        if try await condition() { return true }
        if SystemClock.now() >= deadline { return false }
        do { try await Task.sleep(for: .milliseconds(5)) } catch { return false }
    }
}

/// Collects a store's signals.
public final class SignalLog: Sendable {
    private final class Sink: Sendable {
        let entries = Mutex<[(at: Instant, signal: StoreSignal)]>([])
    }

    private let sink = Sink()
    private let task: Task<Void, Never>

    /// Reads the store's signals from now on; a store has one reader only.
    public init(_ store: any CoordinationStore) {
        let stream = store.signals()
        task = Task { [sink] in
            for await signal in stream { sink.entries.withLock { $0.append((SystemClock.now(), signal)) } }
        }
    }

    deinit {
        task.cancel()
    }

    /// How many signals came so far.
    public var count: Int { sink.entries.withLock { $0.count } }

    /// When the first signal since the given count came which fulfils the condition; nil when none came in time.
    public func first(
        after count: Int, within limit: Duration, _ condition: @Sendable (StoreSignal) -> Bool
    ) async -> Instant? {
        var found: Instant?
        _ = await eventually(within: limit) {
            found = sink.entries.withLock { entries in entries.dropFirst(count).first { condition($0.signal) }?.at }
            return found != nil
        }
        return found
    }
}

extension StoreSignal {
    /// What makes a reader look again.
    public var isNews: Bool {
        switch self {
        case .changed, .connected: true
        case .disconnected, .sessionLost: false
        }
    }
}
