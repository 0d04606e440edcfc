#if ZooKeeper
    import ClusterModel
    import PluginInterfaces
    import Synchronization

    /// A session of ZooKeeper: the handle it was opened with, until that is lost.
    ///
    /// Deadlines are reckoned as `ProofLedger` documents.
    final class ZooKeeperSession: StoreSession {
        private let store: ZooKeeperClusterStore
        private let connection: ZooKeeperConnection
        private let identity: ClientIdentity
        private let grantedAtStart: Duration
        let isResumed: Bool

        init(
            store: ZooKeeperClusterStore, connection: ZooKeeperConnection, identity: ClientIdentity, granted: Duration,
            isResumed: Bool
        ) {
            self.store = store
            self.connection = connection
            self.identity = identity
            grantedAtStart = granted
            self.isResumed = isResumed
        }

        var id: SessionID { identity.session }

        /// What the server granted at the latest connect: each one negotiates anew.
        var granted: Duration { connection.granted ?? grantedAtStart }

        var renewalInterval: Duration {
            connection.state.withLock { state in state.ledger.map { $0.interval(state.role) } ?? grantedAtStart / 6 }
        }

        /// Through a follower E is reckoned from the proof two before the newest.
        var intervalsBehind: Int {
            connection.state.withLock { state in state.ledger?.intervalsBehind(state.role) ?? 0 }
        }

        var resumption: [UInt8]? { identity.encoded }

        func renew(holding: Bool, within: Duration) async -> RenewOutcome {
            let deadline = SystemClock.now() + within
            do throws(StoreError) {
                let live = try await connection.ready(until: deadline)
                connection.askRole(live.generation)
                return await Prover(store: store, connection: connection, live: live, deadline: deadline)
                    .renew(holding: holding)
            } catch {
                switch error.code {
                case .sessionLost, .closed: return .gone(error.message)
                default: return .unknown(error)
                }
            }
        }

        func resolve(
            _ id: TransactionID, _ keys: KeySelection, within: Duration
        ) async throws(StoreError) -> StoreSnapshot {
            // The server refuses what still arrives from an earlier connection of the session, and what this connection
            // has queued is in front of the sync.
            try await store.read(keys, .linearizable, on: connection, until: SystemClock.now() + within)
        }

        func releaseLeader(within: Duration) async -> CommitOutcome {
            let deadline = SystemClock.now() + within
            do throws(StoreError) {
                let live = try await connection.ready(until: deadline)
                // Ours while our session lives: nobody else can have it between this read and the delete, which the
                // server refuses once the session is gone.
                let transaction = StoreTransaction(
                    id: TransactionID(0), compares: [.owner("leader", id)], writes: [.delete("leader")])
                return await Committer(store: store, connection: connection, live: live, deadline: deadline)
                    .commit(transaction)
            } catch {
                return .notSent(error)
            }
        }

        /// Raises the version of the member's entry, so that the proofs of an older instance fail which still has this
        /// session.
        func takeOverMemberEntry(until deadline: Instant) async throws(StoreError) {
            let live = try await connection.ready(until: deadline, patient: true)
            let reader = ZooKeeperReader(handle: live.handle, paths: store.paths, deadline: deadline)
            do throws(CallFailure) {
                guard let node = try await reader.nodes([store.paths.member])[store.paths.member],
                    node.stat.ownerSession == id
                else { return }
                let write = Operation.set(
                    path: store.paths.path(store.paths.member), value: node.value, version: node.stat.version)
                _ = try await connection.submit([write], live).wait(until: deadline).get()
            } catch {
                throw store.explain(error, "take up the saved session", connection, live.generation)
            }
        }

        func close(abandon: Bool) async {
            store.forget(connection)
            await connection.close(abandon: abandon)
        }
    }
#endif
