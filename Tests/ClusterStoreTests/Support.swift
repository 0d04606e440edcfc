import ClusterModel
import PluginInterfaces
import Synchronization

let session = SessionID("s1")
let anyVersion = EntryVersion(created: 5, number: 2)
let wideLimits = StoreLimits(
    bytesPerValue: 1_000_000, bytesPerTransaction: 1_000_000, operationsPerTransaction: 100,
    versionsIncludeCreation: true)

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

func snapshot(_ entries: [(String, [UInt8])], revision: UInt64 = 9, isCut: Bool = true) -> StoreSnapshot {
    StoreSnapshot(
        revision: StoreRevision(number: revision),
        entries: entries.map {
            StoreEntry(
                key: $0.0, value: $0.1, version: anyVersion, created: 5,
                owner: $0.0 == "leader" || $0.0.hasPrefix("members/") ? session : nil)
        }, isCut: isCut, requestedAt: Instant(nanoseconds: 77))
}

func snapshot(_ entries: (String, String)...) -> StoreSnapshot {
    snapshot(entries.map { ($0.0, bytes($0.1)) })
}

/// A store that answers as it was told to.
final class ScriptedStore: CoordinationStore {
    let limits = wideLimits
    let reads: Mutex<[Result<StoreSnapshot, StoreError>]>
    let outcome: CommitOutcome
    let committed = Mutex<[StoreTransaction]>([])

    init(reads: [Result<StoreSnapshot, StoreError>] = [], outcome: CommitOutcome = .refused(nil)) {
        self.reads = Mutex(reads)
        self.outcome = outcome
    }

    func read(
        _ keys: KeySelection, _ consistency: StoreConsistency, within: Duration
    ) async throws(StoreError) -> StoreSnapshot {
        let next = reads.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        guard let next else { throw StoreError(.unreachable, "the script has ended") }
        return try next.get()
    }

    func commit(_ transaction: StoreTransaction, within: Duration) async -> CommitOutcome {
        committed.withLock { $0.append(transaction) }
        return outcome
    }

    func signals() -> AsyncStream<StoreSignal> { AsyncStream { $0.finish() } }

    func openSession(_ request: SessionRequest, within: Duration) async throws(StoreError) -> any StoreSession {
        ScriptedSession(store: self)
    }

    func close() async {}
}

struct ScriptedSession: StoreSession {
    let id = session
    let granted = Duration.seconds(30)
    let renewalInterval = Duration.seconds(7)
    let isResumed = false
    let resumption: [UInt8]? = nil
    let store: ScriptedStore

    func renew(holding: Bool, within: Duration) async -> RenewOutcome { .gone("scripted") }

    func resolve(_ id: TransactionID, _ keys: KeySelection, within: Duration) async throws(StoreError)
        -> StoreSnapshot
    {
        try await store.read(keys, .linearizable, within: within)
    }

    func releaseLeader(within: Duration) async -> CommitOutcome { store.outcome }
    func close(abandon: Bool) async {}
}
