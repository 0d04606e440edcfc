import CSQLite
import ClusterModel
import Dispatch
import Glibc
import Logging
import PluginInterfaces
import Synchronization

/// The store's file, its connection and its timers, all on one serial queue of their own.
///
/// Sound as `Sendable`: everything mutable here, the SQLite handle first, is touched on `queue` only; what is not
/// (the mailbox) has its own lock.
final class EmbeddedEngine: @unchecked Sendable {
    let file: EmbeddedFile
    private let root: String
    private let bootID: String
    private let pollInterval: Duration
    private let logger: Logger
    private let queue = DispatchQueue(label: "matriarch.embedded-store")
    private let mailbox = Mutex(SignalMailbox())

    private var connection: SQLiteConnection?
    /// The file that was opened first. Another one in its place is another store: leases given in this one live on.
    private var identity: EmbeddedFile.Identity?
    private var isDurable = true
    private var tokens: EmbeddedTransaction.Tokens = [:]
    /// Our sessions whose loss is to be signalled.
    private var watched: Set<SessionID> = []
    private var highest: StoreRevision?
    /// What the store's state was last told as: nil before the first attempt, empty when all is well.
    private var trouble: String?
    private var watch: FileWatch?
    private var expiry: BootTimer?
    private var tick: (any DispatchSourceTimer)?
    /// What the file was at the last look, by SQLite's own count of others' commits; nil: look at everything.
    private var lookedAt: Int64?
    private var nextExpiry: Instant?
    private var isClosed = false

    /// How long to wait before trying again when another process has the lock.
    private static let busyPause = DispatchTimeInterval.milliseconds(2)
    /// A look that finds the store busy gives up after so many tries; the next tick looks again.
    private static let busyLooks = 100

    init(file: EmbeddedFile, root: String, bootID: String, pollInterval: Duration, logger: Logger) {
        self.file = file
        self.root = root.hasSuffix("/") ? root : root + "/"
        self.bootID = bootID
        self.pollInterval = pollInterval
        self.logger = logger
    }

    deinit {
        tick?.cancel()
        mailbox.withLock { $0 }.close()
    }

    /// Begins to watch the file.
    func start() {
        queue.async { [weak self] in
            guard let self, !self.isClosed else { return }
            self.expiry = BootTimer(on: self.queue) { [weak self] in self?.look() }
            let tick = DispatchSource.makeTimerSource(queue: self.queue)
            tick.setEventHandler { [weak self] in self?.look() }
            let interval = DispatchTimeInterval.nanoseconds(Int(self.pollInterval.nanosecondsClamped))
            tick.schedule(deadline: .now() + interval, repeating: interval, leeway: .milliseconds(50))
            tick.activate()
            self.tick = tick
            self.look()
        }
    }

    func stop() async {
        await withCheckedContinuation { continuation in
            queue.async {
                self.isClosed = true
                self.tick?.cancel()
                self.tick = nil
                self.expiry = nil
                self.watch = nil
                self.connection = nil
                continuation.resume()
            }
        }
        mailbox.withLock { $0 }.close()
    }

    // MARK: Calls

    /// Runs `body` on the queue, again and again while other processes hold the lock, until the deadline.
    func perform<Value: Sendable>(
        _ what: String, within limit: Duration,
        _ body: @escaping @Sendable (EmbeddedEngine) throws(EmbeddedFailure) -> Value
    ) async -> EmbeddedAnswer<Value> {
        guard limit > .zero else { return .notSent(StoreError(.timedOut, "\(what): no time is left for it")) }
        return await withCheckedContinuation { continuation in
            let call = EmbeddedCall<Value>(what, within: limit, continuation)
            queue.async { self.attempt(call, body) }
        }
    }

    private func attempt<Value: Sendable>(
        _ call: EmbeddedCall<Value>,
        _ body: @escaping @Sendable (EmbeddedEngine) throws(EmbeddedFailure) -> Value
    ) {
        guard call.begin() else { return }
        do {
            call.end(.done(try body(self)))
        } catch {
            switch error {
            case .busy:
                guard call.pause() else { return }
                queue.asyncAfter(deadline: .now() + Self.busyPause) { self.attempt(call, body) }
            case .failed(let reason):
                call.end(.notSent(reason))
            case .unknown(let reason):
                call.end(.unknown(reason))
            }
        }
    }

    // MARK: Transactions (on the queue)

    /// Reads at one revision.
    func read<Value>(
        _ what: String, _ body: (EmbeddedTransaction) throws(SQLiteFailure) -> Value
    ) throws(EmbeddedFailure) -> Value {
        let connection = try connected(what)
        let value: Value
        let revision: StoreRevision
        do {
            try connection.execute("BEGIN")
            let transaction = try begin(on: connection)
            guard try transaction.countDead() == 0 else {
                try connection.execute("ROLLBACK")
                // What has expired is gone for every reader, also when nobody has written since.
                return try write(what, durable: false) { (transaction) throws(SQLiteFailure) in try body(transaction) }
            }
            value = try body(transaction)
            revision = transaction.revision
            try connection.execute("COMMIT")
        } catch let failure as SQLiteFailure {
            throw failed(failure, what)
        } catch let failure as EmbeddedFailure {
            throw failure
        } catch {
            throw .failed(StoreError(.malformed, "\(what): \(error)"))
        }
        try noticed(revision)
        return value
    }

    /// Changes at one revision, or nothing. `durable`: on the disk before it is answered, so that the revision cannot
    /// be given twice after a power failure; renewals need not be, for no session outlives the boot.
    func write<Value>(
        _ what: String, durable: Bool, _ body: (inout EmbeddedTransaction) throws(SQLiteFailure) -> Value
    ) throws(EmbeddedFailure) -> Value {
        let connection = try connected(what)
        let value: Value
        var transaction: EmbeddedTransaction
        do {
            if durable != isDurable {
                try connection.pragma("PRAGMA synchronous = \(durable ? "FULL" : "NORMAL")")
                isDurable = durable
            }
            try connection.execute("BEGIN IMMEDIATE")
            transaction = try begin(on: connection)
            try transaction.purge()
            value = try body(&transaction)
            if transaction.hasChanges { try transaction.writeRevision() }
        } catch {
            throw failed(error, what)
        }
        do {
            try connection.execute("COMMIT")
        } catch {
            if error.isBusy { throw failed(error, what) }
            // The log may hold the whole transaction: after a crash it could count. Only a later write tells.
            self.connection = nil
            let reason = file.explain(error, while: what)
            isDown(reason)
            throw .unknown(reason)
        }
        if transaction.hasChanges { file.touchLog() }
        try noticed(transaction.resulting)
        return value
    }

    private func begin(on connection: SQLiteConnection) throws(SQLiteFailure) -> EmbeddedTransaction {
        try EmbeddedTransaction(
            connection: connection, root: root, bootID: bootID, tokens: tokens, now: SystemClock.now())
    }

    private func failed(_ failure: SQLiteFailure, _ what: String) -> EmbeddedFailure {
        if let connection, connection.isInTransaction { _ = try? connection.execute("ROLLBACK") }
        if failure.isBusy { return .busy }
        let reason = file.explain(failure, while: what)
        if failure.primary != SQLITE_TOOBIG {
            // A fresh connection finds out whether the trouble lasts.
            connection = nil
            isDown(reason)
        }
        return .failed(reason)
    }

    private func connected(_ what: String) throws(EmbeddedFailure) -> SQLiteConnection {
        dispatchPrecondition(condition: .onQueue(queue))
        if isClosed { throw .failed(StoreError(.closed, "\(what): the embedded store was closed")) }
        if let identity {
            guard file.identity == identity else {
                let reason = StoreError(
                    .unreachable,
                    "\(what): \(file.path) was deleted or replaced while in use. Stop every member that uses it, "
                        + "then start them again")
                isDown(reason)
                throw .failed(reason)
            }
            if let connection { return connection }
        }
        do {
            if identity == nil { try file.create() }
            let found = file.identity
            let opened = try file.open()
            guard let found, found == file.identity else { throw EmbeddedFailure.busy }
            if identity == nil, file.isOpenToOthers {
                logger.warning(
                    "the embedded store's file can be read or written by other accounts; mode 0600 is meant",
                    metadata: ["path": "\(file.path)"])
            }
            identity = found
            connection = opened
            isDurable = true
            lookedAt = nil
        } catch let failure as SQLiteFailure {
            throw failed(failure, what)
        } catch let reason as StoreError {
            isDown(reason)
            throw .failed(reason)
        } catch {
            throw .busy
        }
        guard let connection else { throw .busy }
        watchLog()
        return connection
    }

    private func watchLog() {
        let watch = FileWatch(on: queue) { [weak self] in self?.look() }
        if let watch, watch.watch(file.logPath) {
            self.watch = watch
        } else {
            logger.warning(
                "changes by other processes are noticed at each poll only: inotify: \(EmbeddedFile.reason(errno))",
                metadata: ["path": "\(file.path)"])
        }
    }

    // MARK: Sessions (on the queue)

    func keep(_ session: SessionID, token: String) {
        tokens[session] = token
        watched.insert(session)
        look(attempt: 0)
    }

    /// The session is closed or given up by us: its end is no news.
    func forget(_ session: SessionID) {
        watched.remove(session)
    }

    // MARK: Signals

    /// A new stream of signals; an older one ends.
    func signals() -> AsyncStream<StoreSignal> {
        mailbox.withLock { current in
            current = SignalMailbox(waiting: current.close())
            return current.stream()
        }
    }

    private func post(_ signal: StoreSignal) {
        mailbox.withLock { $0 }.post(signal)
    }

    /// Looks what is new: changes by others, sessions that ended, when the next one may end.
    private func look() {
        // Mostly nothing is: one cheap question to SQLite keeps an idle agent idle.
        if let lookedAt, let connection, file.identity == identity, nextExpiry.map({ SystemClock.now() < $0 }) ?? true,
            let version = try? connection.dataVersion(), version == lookedAt
        {
            return
        }
        look(attempt: 0)
    }

    private func look(attempt: Int) {
        if isClosed { return }
        do {
            // Asked for before the look, so that what comes in between is looked at again.
            lookedAt = try? connection?.dataVersion()
            let (next, lost) = try read("watching the store") { (transaction) throws(SQLiteFailure) in
                var lost: [SessionID] = []
                for session in watched where try !transaction.isOurs(session) { lost.append(session) }
                return (try transaction.nextExpiry(), lost)
            }
            nextExpiry = next
            expiry?.set(next)
            if !lost.isEmpty {
                watched.subtract(lost)
                post(.sessionLost)
            }
        } catch {
            lookedAt = nil
            guard case .busy = error, attempt < Self.busyLooks else { return }
            queue.asyncAfter(deadline: .now() + Self.busyPause) { [weak self] in self?.look(attempt: attempt + 1) }
        }
    }

    private func noticed(_ revision: StoreRevision) throws(EmbeddedFailure) {
        if let highest, revision < highest {
            let reason = StoreError(
                .malformed,
                "\(file.path) went back from revision \(highest) to \(revision): an older copy was put in its place. "
                    + "Stop every member that uses it, then start them again")
            isDown(reason)
            throw .failed(reason)
        }
        if trouble != "" {
            if trouble != nil { logger.info("the embedded store works again", metadata: ["path": "\(file.path)"]) }
            trouble = ""
            post(.connected)
        }
        if highest.map({ $0 < revision }) ?? false { post(.changed(revision)) }
        highest = revision
    }

    /// Told once for each new trouble, not once for each try.
    private func isDown(_ reason: StoreError) {
        guard trouble != reason.message else { return }
        let isNews = trouble == nil || trouble == ""
        trouble = reason.message
        logger.warning("\(reason.message)")
        if isNews { post(.disconnected(reason.message)) }
    }
}
