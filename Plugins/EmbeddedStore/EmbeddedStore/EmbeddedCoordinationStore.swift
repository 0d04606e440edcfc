import ClusterModel
public import Logging
public import PluginInterfaces

/// A coordination store in one SQLite file, shared by the processes of **one host**.
///
/// For the quick start, for tests and for demonstrations: three members on one machine need no store of their own.
/// It is no store for several hosts: the file must lie on a local disk that no other kernel (a virtual machine) shares,
/// and whoever loses that host loses the cluster.
///
/// - A transaction is a transaction of SQLite, so every read is a cut and linearizable, and `kill -9` of any process,
///   at any moment, harms nobody else.
/// - Leases are rows with an expiry on CLOCK_BOOTTIME, which all processes of the host share; a reboot ends them all.
///   Whoever looks first after an expiry removes what hung on it, and every process has a timer for that instant.
/// - Others' changes are noticed by inotify on the log file, and by a look each second.
/// - A process stopped (SIGSTOP) in the middle of a transaction keeps the file locked until it goes on or is killed.
///   That costs availability, never safety: the others' leases are not renewed meanwhile.
public final class EmbeddedCoordinationStore: CoordinationStore {
    private let engine: EmbeddedEngine

    /// The file is opened, and made if it is not there, by the first call; until that works calls say why not.
    public convenience init(path: String, root: String, pollInterval: Duration = .seconds(1), logger: Logger) {
        self.init(
            path: path, root: root, pollInterval: pollInterval, bootID: BootIdentity.current, logger: logger)
    }

    init(path: String, root: String, pollInterval: Duration, bootID: String, logger: Logger) {
        engine = EmbeddedEngine(
            file: EmbeddedFile(path: path), root: root, bootID: bootID, pollInterval: pollInterval, logger: logger)
        engine.start()
    }

    public var limits: StoreLimits {
        StoreLimits(
            bytesPerValue: 1_000_000, bytesPerTransaction: 4_000_000, operationsPerTransaction: 128,
            versionsIncludeCreation: true)
    }

    public func read(
        _ keys: KeySelection, _ consistency: StoreConsistency, within limit: Duration
    ) async throws(StoreError) -> StoreSnapshot {
        let requestedAt = SystemClock.now()
        let answer = await engine.perform("reading the cluster", within: limit) {
            (engine) throws(EmbeddedFailure) -> StoreSnapshot in
            try engine.read("reading the cluster") { (transaction) throws(SQLiteFailure) -> StoreSnapshot in
                StoreSnapshot(
                    revision: transaction.resulting, entries: try transaction.entries(keys), isCut: true,
                    requestedAt: requestedAt)
            }
        }
        switch answer {
        case .done(let snapshot):
            if case .atLeast(let revision) = consistency, snapshot.revision < revision {
                throw StoreError(
                    .malformed, "\(engine.file.path) is at revision \(snapshot.revision), before \(revision)")
            }
            return snapshot
        case .notSent(let error), .unknown(let error):
            throw error
        }
    }

    public func commit(_ transaction: StoreTransaction, within limit: Duration) async -> CommitOutcome {
        if let error = excess(of: transaction) { return .notSent(error) }
        return await engine.perform("a transaction", within: limit) {
            (engine) throws(EmbeddedFailure) -> CommitOutcome in
            try engine.write("a transaction", durable: true) { (open) throws(SQLiteFailure) -> CommitOutcome in
                if let refusal = try open.apply(transaction.compares, transaction.writes) { return .refused(refusal) }
                return .committed(open.resulting, try open.versions(after: transaction.writes))
            }
        }.outcome
    }

    private func excess(of transaction: StoreTransaction) -> StoreError? {
        let operations = transaction.compares.count + transaction.writes.count
        if operations > limits.operationsPerTransaction {
            return StoreError(.tooLarge, "\(operations) operations, over \(limits.operationsPerTransaction)")
        }
        var total = 0
        for write in transaction.writes {
            switch write {
            case .create(let key, let value, _), .put(let key, let value, _):
                if value.count > limits.bytesPerValue {
                    return StoreError(.tooLarge, "\(key): \(value.count) bytes, over \(limits.bytesPerValue)")
                }
                total += key.utf8.count + value.count
            case .delete: break
            }
        }
        if total > limits.bytesPerTransaction {
            return StoreError(.tooLarge, "a transaction of \(total) bytes, over \(limits.bytesPerTransaction)")
        }
        return nil
    }

    public func signals() -> AsyncStream<StoreSignal> { engine.signals() }

    public func openSession(
        _ request: SessionRequest, within limit: Duration
    ) async throws(StoreError) -> any StoreSession {
        try await EmbeddedSession.open(request, within: limit, on: engine)
    }

    public func findings(within: Duration) async -> [StoreFinding] {
        [
            StoreFinding(
                .warning, "the embedded store is a file of this host: no member of another host can join",
                remedy: "for production use ZooKeeper, etcd or Consul")
        ]
    }

    /// Sessions that are still open are left to expire, or to a successor that resumes them.
    public func close() async { await engine.stop() }
}
