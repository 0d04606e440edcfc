#if ZooKeeper
    import ClusterModel
    import Logging
    import PluginInterfaces
    import Synchronization

    /// The cluster's entries in ZooKeeper.
    ///
    /// A handle of ZooKeeper is a session. The store has one at a time: opened by `openSession`, or by the first call
    /// that needs one (a command that only reads), then replaced by `openSession`.
    final class ZooKeeperClusterStore: CoordinationStore {
        private struct State {
            var connection: ZooKeeperConnection?
            /// Whether the connection is that of a session handed out.
            var isSession = false
            var lifetime = Duration.seconds(10)
            var isClosed = false
            /// The newest transaction seen: no answer may show less.
            var newest: UInt64 = 0
            /// Each entry's newest change seen.
            var modified: [StoreKey: UInt64] = [:]
            /// Rises whenever the servers' state was set back: their numbers begin anew.
            var era: UInt32 = 0
        }

        let settings: ZooKeeperSettings
        let route: ServerRoute
        let paths: KeyPaths
        private let state = Mutex(State())
        private let mailbox = SignalMailbox()
        let logger: Logger

        /// Reads certificates and keys, if encryption is wanted; blocks on their files.
        init(_ settings: ZooKeeperSettings, paths: KeyPaths, logger: Logger) throws(EncryptionProblem) {
            self.settings = settings
            route = try ServerRoute(settings, logger: logger)
            self.paths = paths
            self.logger = logger
            ZooKeeperHandle.messages.withLock { $0 = { logger.debug("zookeeper client: \($0)") } }
        }

        /// Under the servers' limit for a request (jute.maxbuffer, 1048575 bytes unless they were told otherwise).
        let limits = StoreLimits(
            bytesPerValue: 1_000_000, bytesPerTransaction: 1_040_000, operationsPerTransaction: 512,
            versionsIncludeCreation: false)

        func signals() -> AsyncStream<StoreSignal> { mailbox.stream() }

        // MARK: Connections

        private func makeConnection(lifetime: Duration, resume: ClientIdentity?) -> ZooKeeperConnection {
            ZooKeeperConnection(
                settings: settings, route: route, paths: paths, asked: lifetime, resume: resume,
                newest: { [weak self] in self?.newest ?? 0 }, onSetBack: { [weak self] in self?.wasSetBack() },
                signal: { [mailbox] in mailbox.post($0) })
        }

        /// The connection there is, or a new one where there is none or the last one died.
        private func connection() throws(StoreError) -> ZooKeeperConnection {
            let (connection, fresh, dead) = try state.withLock {
                state throws(StoreError) -> (ZooKeeperConnection, Bool, ZooKeeperConnection?) in
                if state.isClosed { throw StoreError(.closed, "the ZooKeeper store was closed") }
                var dead: ZooKeeperConnection?
                if let connection = state.connection {
                    switch connection.phase {
                    case .opening, .connected, .disconnected: return (connection, false, nil)
                    case .dead, .closed: dead = connection
                    }
                }
                let connection = makeConnection(lifetime: state.lifetime, resume: nil)
                state.connection = connection
                state.isSession = false
                return (connection, true, dead)
            }
            if fresh { connection.start() }
            // Its session is no more, or not ours to end.
            dead?.shut(abandon: true)
            return connection
        }

        func openSession(_ request: SessionRequest, within: Duration) async throws(StoreError) -> any StoreSession {
            let deadline = SystemClock.now() + within
            var resume: ClientIdentity?
            if let saved = request.resume {
                resume = ClientIdentity(encoded: saved)
                if resume == nil { logger.warning("the saved ZooKeeper session is unreadable; a new one is opened") }
            }
            let (connection, former, isFormerHandedOut) = try replaceConnection(
                lifetime: request.lifetime, resume: resume)
            // One that was handed out is not ours to end: its holder does, or it expires.
            if let former { await former.close(abandon: isFormerHandedOut) }
            do throws(StoreError) {
                _ = try await connection.ready(until: deadline, patient: true)
            } catch {
                if resume != nil, error.code == .sessionLost {
                    logger.notice("the saved ZooKeeper session has expired; a new one is opened")
                    connection.shut(abandon: true)
                    var fresh = request
                    fresh.resume = nil
                    return try await openSession(fresh, within: max(.zero, deadline - SystemClock.now()))
                }
                // Abandoned, for a session that is taken up just now must not be ended by giving up.
                await connection.close(abandon: true)
                throw error
            }
            await connection.settleRole(until: min(deadline, SystemClock.now() + .milliseconds(500)))
            guard let identity = connection.identity, let granted = connection.granted else {
                await connection.close(abandon: true)
                throw StoreError(.unreachable, "the connection to ZooKeeper was lost while the session was opened")
            }
            let session = ZooKeeperSession(
                store: self, connection: connection, identity: identity, granted: granted, isResumed: resume != nil)
            if resume != nil {
                do throws(StoreError) {
                    try await takeOver(session, connection, until: deadline)
                } catch {
                    await connection.close(abandon: true)
                    throw error
                }
            }
            // From here on its end is signalled; before, it is the error of this call.
            if let death = connection.handOut() {
                await connection.close(abandon: true)
                throw connection.error(of: death)
            }
            return session
        }

        /// Makes an older instance's proofs fail. The connection may be lost meanwhile (to that very instance, if it still
        /// runs): each attempt reads anew before it writes.
        private func takeOver(
            _ session: ZooKeeperSession, _ connection: ZooKeeperConnection, until deadline: Instant
        ) async throws(StoreError) {
            while true {
                do throws(StoreError) {
                    return try await session.takeOverMemberEntry(until: deadline)
                } catch {
                    guard error.code == .unreachable, SystemClock.now() + .milliseconds(20) < deadline,
                        (try? await Task.sleep(for: .milliseconds(20))) != nil
                    else { throw error }
                }
            }
        }

        /// Puts a connection for a session in place: the one there is, if nobody has a session on it and it fits.
        private func replaceConnection(
            lifetime: Duration, resume: ClientIdentity?
        ) throws(StoreError) -> (ZooKeeperConnection, former: ZooKeeperConnection?, isHandedOut: Bool) {
            let (connection, former, isHandedOut, isNew) = try state.withLock {
                state throws(StoreError) -> (ZooKeeperConnection, ZooKeeperConnection?, Bool, Bool) in
                if state.isClosed { throw StoreError(.closed, "the ZooKeeper store was closed") }
                state.lifetime = lifetime
                if let connection = state.connection, !state.isSession, resume == nil, connection.asked == lifetime {
                    switch connection.phase {
                    case .opening, .connected, .disconnected:
                        state.isSession = true
                        return (connection, nil, false, false)
                    case .dead, .closed: break
                    }
                }
                let former = state.connection
                let isHandedOut = state.isSession
                let connection = makeConnection(lifetime: lifetime, resume: resume)
                state.connection = connection
                state.isSession = true
                return (connection, former, isHandedOut, true)
            }
            if isNew { connection.start() }
            return (connection, former, isHandedOut)
        }

        var currentConnection: ZooKeeperConnection? { state.withLock { $0.connection } }

        /// Forgets a connection that its session closed.
        func forget(_ connection: ZooKeeperConnection) {
            state.withLock { state in
                guard state.connection === connection else { return }
                state.connection = nil
                state.isSession = false
            }
        }

        func close() async {
            let (connection, isSession) = state.withLock { state in
                state.isClosed = true
                defer { state.connection = nil }
                return (state.connection, state.isSession)
            }
            // A session handed out outlives the store: what hangs on it may still be relied on.
            await connection?.close(abandon: isSession)
            route.close()
            mailbox.close()
        }

        // MARK: Reading

        func read(
            _ keys: KeySelection, _ consistency: StoreConsistency, within: Duration
        ) async throws(StoreError) -> StoreSnapshot {
            let deadline = SystemClock.now() + within
            return try await read(keys, consistency, on: connection(), until: deadline)
        }

        /// Reads through a certain connection.
        func read(
            _ keys: KeySelection, _ consistency: StoreConsistency, on connection: ZooKeeperConnection,
            until deadline: Instant
        ) async throws(StoreError) -> StoreSnapshot {
            let live = try await connection.ready(until: deadline)
            let reader = ZooKeeperReader(handle: live.handle, paths: paths, deadline: deadline)
            let requestedAt = SystemClock.now()
            var known = state.withLock { $0.newest }
            // A handle's first read syncs in any case: the server it met may be behind what an earlier one showed.
            var sync = connection.state.withLock { !$0.isSynced }
            switch consistency {
            case .linearizable: sync = true
            case .atLeast(let revision): if revision.number > known { sync = true }
            }
            do throws(CallFailure) {
                var late = 0
                var attempts = 0
                var last: Behind?
                while true {
                    var pass = try await reader.pass(keys, sync: sync)
                    if sync { connection.state.withLock { $0.isSynced = true } }
                    var rounds = 1
                    while !pass.isCut(known: known), rounds < 4 {
                        // What the last pass saw, the server had seen before the next began.
                        known = max(known, pass.newest)
                        pass = try await reader.pass(keys, sync: false)
                        rounds += 1
                    }
                    // Another read may have overtaken this one; then the next pass shows more. A store that went back shows
                    // the same old entry again and again.
                    if let behind = note(pass, known: known) {
                        late = behind == last ? late + 1 : 1
                        last = behind
                        attempts += 1
                        if late == 3 {
                            wasSetBack()
                            known = 0
                        }
                        if attempts > 8 { throw CallFailure(.wentBack, .answered) }
                        sync = true
                        continue
                    }
                    return StoreSnapshot(
                        revision: StoreRevision(era: era, number: max(pass.newest, known)), entries: pass.entries,
                        isCut: pass.isCut(known: known), requestedAt: requestedAt)
                }
            } catch {
                throw explain(error, "read \(paths.base)", connection, live.generation)
            }
        }

        /// An entry that a pass showed older than it had been seen.
        private struct Behind: Hashable {
            var key: StoreKey
            var modified: UInt64
        }

        /// Remembers what a pass showed, unless it is older than what was seen before: then what shows it.
        private func note(_ pass: ReadPass, known: UInt64) -> Behind? {
            state.withLock { state in
                let behind = pass.modified.filter { $0.value < state.modified[$0.key] ?? 0 }
                if let first = behind.min(by: { $0.key < $1.key }) {
                    return Behind(key: first.key, modified: first.value)
                }
                for (key, modified) in pass.modified { state.modified[key] = modified }
                state.newest = max(state.newest, pass.newest, known)
                return nil
            }
        }

        private var era: UInt32 { state.withLock { $0.era } }

        /// The servers know less than they did: nothing that was seen before says anything of them any more.
        private func wasSetBack() {
            state.withLock { state in
                state.newest = 0
                state.modified = [:]
                state.era &+= 1
            }
            logger.warning("ZooKeeper was set back to an older state, or emptied")
        }

        func noteCommit(_ number: UInt64) {
            state.withLock { $0.newest = max($0.newest, number) }
        }

        var newest: UInt64 { state.withLock { $0.newest } }

        // MARK: Writing

        func commit(_ transaction: StoreTransaction, within: Duration) async -> CommitOutcome {
            let deadline = SystemClock.now() + within
            if let error = tooLarge(transaction) { return .notSent(error) }
            do throws(StoreError) {
                let connection = try connection()
                let live = try await connection.ready(until: deadline)
                if let session = transaction.foreignSession(besides: live.session) {
                    return .notSent(
                        StoreError(
                            .sessionLost, "entries for session \(session) need that session; now is \(live.session)"))
                }
                return await Committer(store: self, connection: connection, live: live, deadline: deadline)
                    .commit(transaction)
            } catch {
                return .notSent(error)
            }
        }

        private func tooLarge(_ transaction: StoreTransaction) -> StoreError? {
            var total = 0
            for write in transaction.writes {
                guard case .create(let key, let value, _) = write.asCreate else { continue }
                if value.count > limits.bytesPerValue {
                    return StoreError(
                        .tooLarge,
                        "the value of \(paths.path(key)) has \(value.count) bytes; ZooKeeper takes \(limits.bytesPerValue)"
                    )
                }
                total += value.count
            }
            let operations = transaction.compares.count * 2 + transaction.writes.count
            if total > limits.bytesPerTransaction || operations > limits.operationsPerTransaction {
                return StoreError(
                    .tooLarge,
                    "a transaction of \(total) bytes and \(operations) operations; ZooKeeper takes "
                        + "\(limits.bytesPerTransaction) bytes, and \(limits.operationsPerTransaction) operations")
            }
            return nil
        }

        // MARK: Errors

        /// A failed request in the words of the store's users; a silent server is suspected on the way.
        func explain(
            _ failure: CallFailure, _ attempt: String, _ connection: ZooKeeperConnection, _ generation: Int
        ) -> StoreError {
            switch failure.code {
            case .notAuthorized:
                return StoreError(
                    .notAuthorized,
                    "cannot \(attempt): the nodes' access list does not allow it to this client; "
                        + (settings.credentials.isEmpty
                            ? "set zookeeper.auth_data to credentials that it names"
                            : "check the credentials in zookeeper.auth_data, or mend the list with setAcl"))
            case .sessionExpired, .invalidState, .closing, .authFailed:
                if case .dead(let death) = connection.phase { return connection.error(of: death) }
                if failure.code == .closing {
                    return StoreError(.closed, "cannot \(attempt): the connection was closed")
                }
                return connection.error(of: failure.code == .authFailed ? .authenticationFailed : .expired)
            case .operationTimeout:
                connection.suspectServer(generation)
                return StoreError(.timedOut, "cannot \(attempt): ZooKeeper did not answer in time")
            case .wentBack:
                return StoreError(
                    .malformed,
                    "cannot \(attempt): ZooKeeper shows entries older than it did before, again and again")
            case .badArguments, .marshallingError:
                return StoreError(
                    .misconfigured,
                    "cannot \(attempt): ZooKeeper does not take such a name (control characters, characters beyond "
                        + "U+FFFF, '.', '..' and nothing at all are not allowed)")
            case .invalidACL:
                return StoreError(
                    .misconfigured, "cannot \(attempt): ZooKeeper refuses the access list; check zookeeper.set_acls")
            default:
                return StoreError(.unreachable, "cannot \(attempt): \(failure.code)")
            }
        }
    }

    extension ZooKeeperCode {
        /// No code of the library: an answer showed less than an earlier one.
        static let wentBack = ZooKeeperCode(-9999)
    }

    extension StoreTransaction {
        /// A session other than this one that entries shall live as long as.
        func foreignSession(besides own: SessionID) -> SessionID? {
            for write in writes {
                switch write {
                case .create(_, _, .session(let session)), .put(_, _, .session(let session)):
                    if session != own { return session }
                case .create, .put, .delete: continue
                }
            }
            return nil
        }
    }

    extension StoreWrite {
        /// A put seen as a create; nil for a delete.
        fileprivate var asCreate: StoreWrite? {
            switch self {
            case .create: self
            case .put(let key, let value, let lifetime): .create(key, value, lifetime)
            case .delete: nil
            }
        }
    }
#endif
