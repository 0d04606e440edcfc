import ClusterModel
import PluginInterfaces
import Synchronization
import Testing

/// A store that the cases are run on: a fresh cluster root, reachable by as many clients as a case wants.
struct StoreUnderTest: Sendable {
    /// A new client of the same root: its own connection, and at most one session.
    var makeStore: @Sendable () async throws -> any CoordinationStore
    /// The lifetime that the cases ask for.
    var lifetime: Duration
    /// How long after the last promised instant an expired session's entries may still be there.
    var expiryLateness: Duration
    /// How long a change may take to be signalled.
    var signalLateness: Duration
    /// Whether a session ends unless it is renewed; otherwise the client library keeps it alive by itself.
    var endsWithoutRenewal: Bool
}

/// One case, named for the test's output.
struct StoreCase: Sendable, CustomTestStringConvertible {
    var name: String
    var run: @Sendable (StoreUnderTest) async throws -> Void

    var testDescription: String { name }
}

/// A client as a member is one: a store and its session.
struct StoreClient: Sendable {
    let name: String
    let store: any CoordinationStore
    let session: any StoreSession

    static let limit = Duration.seconds(10)

    static func open(
        _ name: String, on test: StoreUnderTest, resume: [UInt8]? = nil
    ) async throws -> StoreClient {
        let store = try await test.makeStore()
        let request = SessionRequest(lifetime: test.lifetime, name: name, resume: resume)
        return StoreClient(name: name, store: store, session: try await store.openSession(request, within: limit))
    }

    func commit(if compares: [StoreCompare] = [], _ writes: StoreWrite...) async -> CommitOutcome {
        await store.commit(
            StoreTransaction(id: TransactionID(nextNumber()), compares: compares, writes: writes), within: Self.limit)
    }

    func acquireLeader() async -> CommitOutcome {
        await commit(if: [.absent("leader")], .create("leader", Array(name.utf8), .session(session.id)))
    }

    func read(_ keys: KeySelection = .all) async throws -> StoreSnapshot {
        try await store.read(keys, .linearizable, within: Self.limit)
    }

    /// Renews until a renewal proves something: the first ones of some stores prove nothing yet.
    func proveLease(holding: Bool) async throws -> (sent: Instant, notExpiredBefore: Instant) {
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
    func vanish() async {
        await session.close(abandon: true)
        await store.close()
    }

    func close() async {
        await session.close(abandon: false)
        await store.close()
    }
}

private let transactionNumbers = Atomic<UInt64>(1 << 40)

func nextNumber() -> UInt64 { transactionNumbers.wrappingAdd(1, ordering: .relaxed).newValue }

struct CaseFailure: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }
}

extension CommitOutcome {
    var isCommitted: Bool {
        if case .committed = self { return true }
        return false
    }

    var isRefused: Bool {
        if case .refused = self { return true }
        return false
    }

    /// The version that the commit gave to an entry.
    func version(_ key: StoreKey) throws -> EntryVersion {
        guard case .committed(_, let versions) = self, let version = versions[key] else {
            throw CaseFailure("no version of \(key) in \(self)")
        }
        return version
    }
}

extension StoreSnapshot {
    func text(_ key: StoreKey) -> String? { self[key].map { String(decoding: $0.value, as: UTF8.self) } }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Waits for a condition; false when it did not come true in time.
func eventually(
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
final class SignalLog: Sendable {
    private final class Sink: Sendable {
        let entries = Mutex<[(at: Instant, signal: StoreSignal)]>([])
    }

    private let sink = Sink()
    private let task: Task<Void, Never>

    init(_ store: any CoordinationStore) {
        let stream = store.signals()
        task = Task { [sink] in
            for await signal in stream { sink.entries.withLock { $0.append((SystemClock.now(), signal)) } }
        }
    }

    deinit {
        task.cancel()
    }

    var count: Int { sink.entries.withLock { $0.count } }

    /// When the first signal since the given count came which fulfils the condition; nil when none came in time.
    func first(
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
    var isNews: Bool {
        switch self {
        case .changed, .connected: true
        case .disconnected, .sessionLost: false
        }
    }
}
