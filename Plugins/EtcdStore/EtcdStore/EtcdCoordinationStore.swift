#if Etcd
    import ClusterModel
    import Logging
    import PluginInterfaces
    import Synchronization

    /// The cluster's entries in etcd.
    final class EtcdCoordinationStore: CoordinationStore {
        private struct State {
            var session: EtcdSession?
            var isClosed = false
            var hasAskedRelease = false
        }

        let cluster: EtcdCluster
        let watch: WatchKeeper
        let logger: Logger
        private let mailbox: SignalMailbox
        private let state = Mutex(State())

        init(_ settings: EtcdSettings, keys: EtcdKeys, logger: Logger) throws {
            let cluster = EtcdCluster(
                settings, keys: keys, http: try GatewayClient(settings), logger: logger)
            let mailbox = SignalMailbox()
            let watch = WatchKeeper(cluster) { mailbox.post($0) }
            cluster.onSilence.withLock { $0 = { [weak watch] endpoint in watch?.suspect(endpoint) } }
            self.cluster = cluster
            self.mailbox = mailbox
            self.watch = watch
            self.logger = logger
        }

        deinit {
            watch.stop()
        }

        var limits: StoreLimits { EtcdCommitter.limits }

        private var committer: EtcdCommitter { EtcdCommitter(cluster: cluster) }

        func signals() -> AsyncStream<StoreSignal> {
            watch.start()
            return mailbox.stream()
        }

        func close() async {
            let session = state.withLock { state in
                state.isClosed = true
                defer { state.session = nil }
                return state.session
            }
            cluster.close()
            // What hangs on the session may still be relied on.
            await session?.storeCloses()
            watch.stop()
            mailbox.close()
        }

        // MARK: Sessions

        func openSession(_ request: SessionRequest, within: Duration) async throws(StoreError) -> any StoreSession {
            let deadline = SystemClock.now() + within
            let parts = EtcdSession.Parts(
                cluster: cluster, watch: watch, logger: logger, signal: { [mailbox] in mailbox.post($0) },
                forget: { [weak self] in self?.forget($0) })
            let session = try await EtcdSession.open(request, parts, until: deadline)
            let (former, isClosed) = state.withLock { state -> (EtcdSession?, Bool) in
                defer { state.session = state.isClosed ? nil : session }
                return (state.session, state.isClosed)
            }
            // One that was handed out is not ours to end: its holder does, or it expires.
            await former?.storeCloses()
            if isClosed {
                await session.close(abandon: true)
                throw StoreError(.closed, "the etcd store was closed")
            }
            session.start()
            await warnOfRelease(until: min(deadline, SystemClock.now() + .seconds(1)))
            return session
        }

        /// Forgets a session that was closed.
        private func forget(_ session: EtcdSession) {
            state.withLock { if $0.session === session { $0.session = nil } }
        }

        /// Once: says what is wrong with the servers' release.
        private func warnOfRelease(until deadline: Instant) async {
            let isFirst = state.withLock { state in
                defer { state.hasAskedRelease = true }
                return !state.hasAskedRelease
            }
            guard isFirst, let endpoint = cluster.order.first,
                let answer = try? await cluster.http.get("/version", at: endpoint, until: deadline),
                let text = answer["etcdserver"]?.string, let release = EtcdRelease(text)
            else { return }
            logger.debug("etcd \(release) at \(endpoint)")
            if let warning = release.warning { logger.warning("\(warning)") }
        }

        // MARK: Reading

        func read(
            _ keys: KeySelection, _ consistency: StoreConsistency, within: Duration
        ) async throws(StoreError) -> StoreSnapshot {
            try await EtcdReader(cluster: cluster, deadline: SystemClock.now() + within).read(keys, consistency)
        }

        // MARK: Writing

        func commit(_ transaction: StoreTransaction, within: Duration) async -> CommitOutcome {
            let session = state.withLock { $0.session }
            return await committer.commit(transaction, session: session, until: SystemClock.now() + within)
        }
    }
#endif
