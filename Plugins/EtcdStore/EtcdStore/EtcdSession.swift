#if Etcd
    import ClusterModel
    import Logging
    import PluginInterfaces
    import Synchronization

    /// A session with etcd: a lease, kept alive by renewals alone.
    ///
    /// A keepalive is no operation of raft: a leader that was deposed without noticing still answers it. So a renewal is a
    /// keepalive sent at s, whose answer names the lease's lifetime t and the member's raft term, **then** a linearizable
    /// read by the same member, in the same term. The read is only answered once a majority has confirmed the leader of
    /// that term, after the keepalive; so that leader was the one whose clock counts, and no other began to count before.
    /// **E = s + t**. A leader elected later begins every lease anew, which is later.
    ///
    /// Each session has a fence besides: a key that does not exist until it is needed. Every transaction of the session
    /// compares it. To make sure that a transaction can no longer take effect, the fence is moved; an instance that takes
    /// up the session of an earlier one moves it first, and the earlier one's proofs and transactions fail from then on.
    final class EtcdSession: StoreSession {
        private struct State {
            /// The fence's version; nil while there is none.
            var fence: EntryVersion?
            /// The leader entry's version, while it is known to hang on this lease.
            var leader: EntryVersion?
            /// As far as renewals have proved it.
            var expiry: Instant
            /// The last proof: when it was sent, and the latest expiry that any gave.
            var lastProof: (sent: Instant, expiry: Instant)?
            var lost: String?
            var isClosed = false
            var isHandedOut = false
            var monitor: Task<Void, Never>?
        }

        /// What a session has of its store, which may go before it does.
        struct Parts: Sendable {
            var cluster: EtcdCluster
            var watch: WatchKeeper
            var logger: Logger
            var signal: @Sendable (StoreSignal) -> Void
            var forget: @Sendable (EtcdSession) -> Void
        }

        private let parts: Parts
        private var cluster: EtcdCluster { parts.cluster }
        private let lease: LeaseID
        private let era: UInt32
        let granted: Duration
        let isResumed: Bool
        /// Nothing but renewals keeps the lease alive.
        let needsIdleRenewal = true
        /// Tells this instance from another one with the same lease.
        private let nonce: String
        private let state: Mutex<State>

        private init(
            _ parts: Parts, lease: LeaseID, granted: Duration, isResumed: Bool, expiry: Instant, era: UInt32
        ) {
            self.parts = parts
            self.lease = lease
            self.granted = granted
            self.isResumed = isResumed
            self.era = era
            nonce = String(UInt64.random(in: 0 ... .max), radix: 16)
            state = Mutex(State(expiry: expiry))
        }

        deinit {
            state.withLock { $0.monitor }?.cancel()
        }

        var id: SessionID { SessionID(lease.text) }
        var renewalInterval: Duration { granted / 4 }

        static let takenOver = "another instance has taken over this session"
        private static let closed = "the session was closed"

        // MARK: Opening

        private static let mark = "etcd3"

        /// The cluster and the lease of an earlier instance; nil for anything else.
        private static func parse(_ bytes: [UInt8]) -> (cluster: UInt64, lease: LeaseID)? {
            let parts = String(decoding: bytes, as: UTF8.self).split(separator: " ", omittingEmptySubsequences: false)
            guard parts.count == 3, parts[0] == mark, let cluster = UInt64(parts[1], radix: 16),
                let lease = LeaseID(text: String(parts[2]))
            else { return nil }
            return (cluster, lease)
        }

        var resumption: [UInt8]? {
            guard let cluster = cluster.clusterID else { return nil }
            return Array("\(Self.mark) \(String(cluster, radix: 16)) \(lease.text)".utf8)
        }

        static func open(
            _ request: SessionRequest, _ parts: Parts, until deadline: Instant
        ) async throws(StoreError) -> EtcdSession {
            if let saved = request.resume {
                if let earlier = parse(saved) {
                    if let session = try await resume(earlier, parts, until: deadline) { return session }
                    parts.logger.notice("the saved lease of etcd has expired; a new one is taken")
                } else {
                    parts.logger.warning("the saved session is no lease of etcd; a new one is taken")
                }
            }
            let sent = SystemClock.now()
            let seconds = max(1, (request.lifetime.nanosecondsClamped + 999_999_999) / 1_000_000_000)
            let answer: GatewayAnswer
            // One that was granted without our hearing of it expires, with nothing hanging on it.
            switch await parts.cluster.sequence(
                "/v3/lease/grant", ["TTL": .string(String(seconds)), "ID": "0"], until: deadline, isRepeatable: true)
            {
            case .success(let granted): answer = granted.answer
            case .failure(let failure): throw failure.error("take a lease of etcd")
            }
            guard let number = answer.body["ID"]?.signed, let lease = LeaseID(number),
                let granted = lifetime(answer.body["TTL"])
            else { throw StoreError(.malformed, "cannot take a lease of etcd: the answer names none") }
            parts.cluster.expectLifetime(granted)
            return EtcdSession(
                parts, lease: lease, granted: granted, isResumed: false, expiry: sent + granted,
                era: parts.cluster.era)
        }

        /// Seconds of a lease; nil for none.
        private static func lifetime(_ value: JSONValue?) -> Duration? {
            guard let seconds = value?.signed, seconds > 0, seconds < 1_000_000_000 else { return nil }
            return .seconds(seconds)
        }

        /// Takes up a lease; nil when it is no more.
        private static func resume(
            _ earlier: (cluster: UInt64, lease: LeaseID), _ parts: Parts, until deadline: Instant
        ) async throws(StoreError) -> EtcdSession? {
            let cluster = parts.cluster
            let found = try await cluster.race("take up the saved lease", until: deadline) {
                endpoint -> Result<EtcdSession?, GatewayFailure> in
                do throws(GatewayFailure) {
                    for attempt in 0..<2 {
                        let sent = SystemClock.now()
                        let before = cluster.before
                        let answer = try await cluster.call(
                            "/v3/lease/keepalive", ["ID": .string(String(earlier.lease.number))], at: endpoint,
                            until: deadline, isStream: true)
                        // After this the member has seen the grant, if there was one.
                        let look = try await cluster.call(
                            "/v3/kv/range",
                            ["key": .string(cluster.keys.encoded(EtcdKeys.leader)), "count_only": true],
                            at: endpoint, until: deadline)
                        try cluster.admit(look.header, from: endpoint, isCurrent: true, before: before)
                        guard look.header.cluster == earlier.cluster, answer.header.cluster == earlier.cluster else {
                            return .success(nil)
                        }
                        if let granted = lifetime(answer.body["TTL"]) {
                            cluster.expectLifetime(granted)
                            return .success(
                                EtcdSession(
                                    parts, lease: earlier.lease, granted: granted, isResumed: true,
                                    expiry: sent + granted, era: cluster.era))
                        }
                        if attempt == 0 { try? await Task.sleep(for: .milliseconds(20)) }
                    }
                    return .success(nil)
                } catch {
                    return .failure(error)
                }
            }.get()
            guard let session = found else { return nil }
            switch await session.moveFence(isTakingOver: true, until: deadline) {
            case .moved: return session
            case .leaseGone: return nil
            case .takenOver: throw StoreError(.sessionLost, takenOver)
            case .failed(let error): throw error
            }
        }

        /// The session is in use from here on: its end is signalled.
        func start() {
            let monitor = Task { [weak self] in
                while !Task.isCancelled {
                    guard let wait = self?.untilDoubt else { return }
                    guard (try? await Task.sleep(for: wait, tolerance: .milliseconds(20), clock: .continuous)) != nil
                    else { return }
                    guard let self, self.untilDoubt == .zero else { continue }
                    await self.lookAfter()
                }
            }
            let isClosed = state.withLock { state in
                state.isHandedOut = true
                if !state.isClosed { state.monitor = monitor }
                return state.isClosed
            }
            if isClosed { monitor.cancel() }
        }

        // MARK: The fence

        var fence: TransactionRequest.Fence {
            TransactionRequest.Fence(key: EtcdKeys.fence(lease), version: state.withLock { $0.fence })
        }

        /// Takes note of where the fence is; false when another instance put it there.
        func adopt(fence found: KeyValue?) -> Bool {
            if let found, found.value != Array(nonce.utf8) {
                lose(Self.takenOver)
                return false
            }
            state.withLock { $0.fence = found?.version }
            return true
        }

        private enum FenceEnd {
            case moved
            case leaseGone
            case takenOver
            case failed(StoreError)
        }

        /// Moves the fence, so that no transaction can take effect any more that was sent before.
        private func moveFence(isTakingOver: Bool, until deadline: Instant) async -> FenceEnd {
            let key = EtcdKeys.fence(lease)
            var last = StoreError(.timedOut, "cannot move the session's fence: no time was left")
            while SystemClock.now() < deadline {
                let expected = fence
                let transaction = StoreTransaction(
                    id: TransactionID(0), compares: [], writes: [.put(key, Array(nonce.utf8), .session(id))])
                guard let request = try? TransactionRequest(transaction, keys: cluster.keys, fence: expected),
                    let body = try? request.body()
                else { return .failed(last) }
                // Under its own compare, so that only the first of several takes effect.
                switch await cluster.sequence("/v3/kv/txn", body, until: deadline, isRepeatable: true) {
                case .success(let (answer, endpoint)):
                    switch request.outcome(answer) {
                    case .committed(let versions)?:
                        state.withLock { $0.fence = versions[key] }
                        return .moved
                    case .fenced(let found)?:
                        if isTakingOver, found.map({ $0.value != Array(nonce.utf8) }) ?? true {
                            state.withLock { $0.fence = found?.version }
                            continue
                        }
                        guard adopt(fence: found) else { return .takenOver }
                        // It has moved already, by an attempt of ours. (Deleted by hand, it has to be put anew.)
                        if found != nil { return .moved }
                    case .refused?, nil:
                        last = StoreError(.malformed, "\(endpoint) gave no usable answer to a transaction")
                    }
                case .failure(let failure):
                    if failure.refusal?.kind == .leaseNotFound { return .leaseGone }
                    last = failure.error("move the session's fence")
                    if failure.refusal?.kind == .notAuthorized || cluster.isClosed { return .failed(last) }
                    // Not at once again: the servers may be choosing a leader.
                    guard (try? await Task.sleep(for: .milliseconds(50))) != nil else { return .failed(last) }
                }
            }
            return .failed(last)
        }

        // MARK: Renewing

        private enum Proof: Sendable {
            case proven(sent: Instant, notExpiredBefore: Instant)
            /// The leader entry is not ours; the lease may live on.
            case notLeader(String)
            case lost(String)
        }

        /// How long a member that leads nothing goes without a proof, which is also a look at the watch and at the fence.
        private static let longestUnproven = Duration.seconds(30)

        func renew(holding: Bool, within: Duration) async -> RenewOutcome {
            let deadline = SystemClock.now() + within
            let (lost, isClosed) = state.withLock { ($0.lost, $0.isClosed) }
            if let lost { return .gone(lost) }
            if isClosed { return .gone(Self.closed) }
            let lastProof = state.withLock { $0.lastProof }
            let isIdle = !holding && lastProof.map { SystemClock.now() - $0.sent < Self.longestUnproven } ?? false
            let result = await cluster.race("renew the lease", until: deadline) {
                [self] endpoint -> Result<Proof, GatewayFailure> in
                if isIdle, let lastProof, let sent = await beat(at: endpoint, until: deadline) {
                    return .success(.proven(sent: sent, notExpiredBefore: lastProof.expiry))
                }
                return await prove(holding, at: endpoint, until: deadline)
            }
            switch result {
            case .success(.proven(let sent, let expiry)):
                // Meanwhile something else may have shown that it is over.
                if let lost = state.withLock({ $0.lost }) { return .gone(lost) }
                state.withLock { $0.expiry = max($0.expiry, expiry) }
                return .proven(sent: sent, notExpiredBefore: expiry)
            case .success(.notLeader(let why)): return .gone(why)
            case .success(.lost(let why)):
                lose(why)
                return .gone(why)
            case .failure(let error): return .unknown(error)
            }
        }

        /// Keeps the lease alive, which is all that a member needs who leads nothing. Nil when something about the answer
        /// wants a closer look; a failure as well, which a proof then tells of.
        private func beat(at endpoint: Endpoint, until deadline: Instant) async -> Instant? {
            let sent = SystemClock.now()
            let body: JSONValue = ["ID": .string(String(lease.number))]
            do throws(GatewayFailure) {
                let answer = try await cluster.call(
                    "/v3/lease/keepalive", body, at: endpoint, until: deadline, isStream: true)
                guard answer.header.cluster == cluster.clusterID, cluster.era == era,
                    let lifetime = Self.lifetime(answer.body["TTL"])
                else { return nil }
                state.withLock { $0.expiry = max($0.expiry, sent + min(lifetime, granted)) }
                return sent
            } catch {
                return nil
            }
        }

        private func prove(
            _ holding: Bool, at endpoint: Endpoint, until deadline: Instant
        ) async -> Result<Proof, GatewayFailure> {
            do throws(GatewayFailure) {
                var timesNotFound = 0
                for _ in 0..<4 {
                    if cluster.era != era { return .success(.lost("etcd is another store now")) }
                    let before = cluster.before
                    let sent = SystemClock.now()
                    let keepalive = try await cluster.call(
                        "/v3/lease/keepalive", ["ID": .string(String(lease.number))], at: endpoint, until: deadline,
                        isStream: true)
                    let look = try await look(at: endpoint, until: deadline)
                    guard keepalive.header.cluster == look.header.cluster,
                        keepalive.header.member == look.header.member, keepalive.header.term == look.header.term
                    else {
                        // The leader changed in between, or a proxy asked two members: nothing is proved.
                        try? await Task.sleep(for: .milliseconds(20))
                        continue
                    }
                    do throws(GatewayFailure) {
                        try cluster.admit(look.header, from: endpoint, isCurrent: true, before: before)
                    } catch {
                        // Overtaken by another answer of this store; or of another store.
                        guard cluster.isIntroduced(endpoint) else { throw error }
                        continue
                    }
                    guard adopt(fence: look.fence) else { return .success(.lost(Self.takenOver)) }
                    let isOurs = look.leader?.lease == lease
                    state.withLock { $0.leader = isOurs ? look.leader?.version : nil }
                    parts.watch.audit(
                        WatchMirror.Summary(
                            count: look.count, newest: look.newest, revision: look.header.revision, era: era))
                    if holding, !isOurs {
                        let name = cluster.keys.name + EtcdKeys.leader
                        let owner = look.leader.map { $0.lease.map { "lease \($0.text)" } ?? "nobody" }
                        return .success(
                            .notLeader(
                                owner.map { "\(name) belongs to \($0) now" } ?? "\(name) is not there any more"))
                    }
                    guard let lifetime = Self.lifetime(keepalive.body["TTL"]) else {
                        // A leader that has only just been elected may not have applied the grant yet.
                        timesNotFound += 1
                        if timesNotFound > 1, !isOurs { return .success(.lost("the lease has expired or was revoked")) }
                        try? await Task.sleep(for: .milliseconds(20))
                        continue
                    }
                    let expiry = sent + min(lifetime, granted)
                    state.withLock { $0.lastProof = (sent, max($0.lastProof?.expiry ?? expiry, expiry)) }
                    return .success(.proven(sent: sent, notExpiredBefore: expiry))
                }
                return .failure(EtcdCluster.unfit("the leader of etcd changed while the lease was renewed"))
            } catch {
                return .failure(error)
            }
        }

        /// What a linearizable read shows of the session.
        private struct Look {
            var header: AnswerHeader
            var leader: KeyValue?
            var fence: KeyValue?
            /// Below the cluster's root: how many keys there are, and the last change of one.
            var count: Int
            var newest: UInt64
        }

        private func look(at endpoint: Endpoint, until deadline: Instant) async throws(GatewayFailure) -> Look {
            let keys = cluster.keys
            let body: JSONValue = [
                "success": [
                    ["request_range": ["key": .string(keys.encoded(EtcdKeys.leader))]],
                    ["request_range": ["key": .string(keys.encoded(EtcdKeys.fence(lease)))]],
                    ["request_range": .object(WatchMirror.Summary.range(keys))],
                ]
            ]
            let answer = try await cluster.call("/v3/kv/txn", body, at: endpoint, until: deadline)
            let responses = answer.body["responses"]?.array ?? []
            guard responses.count == 3, let leader = GatewayAnswer.keyValues(responses[0]["response_range"]),
                let fence = GatewayAnswer.keyValues(responses[1]["response_range"]),
                let newest = GatewayAnswer.keyValues(responses[2]["response_range"])
            else { throw EtcdReader.malformed(endpoint) }
            let count = responses[2]["response_range"]?["count"]?.signed ?? 0
            return Look(
                header: answer.header, leader: leader.first, fence: fence.first, count: Int(clamping: count),
                newest: newest.first?.modified ?? 0)
        }

        // MARK: Its end

        /// The lease is no more, or not ours any more. Signalled once.
        func lose(_ why: String) {
            let isNews = state.withLock { state in
                guard state.lost == nil, !state.isClosed else { return false }
                state.lost = why
                return state.isHandedOut
            }
            if isNews { parts.signal(.sessionLost) }
        }

        /// How long until the lease may have expired unnoticed; zero when it may have; nil when nobody cares any more.
        private var untilDoubt: Duration? {
            state.withLock { state in
                guard state.lost == nil, !state.isClosed else { return nil }
                // Servers look for expired leases twice a second.
                return max(.zero, state.expiry + .milliseconds(700) - SystemClock.now())
            }
        }

        /// Asks, without renewing it, whether the lease is still there.
        private func lookAfter() async {
            let deadline = SystemClock.now() + .seconds(2)
            let answer = await cluster.race("look after the lease", until: deadline) {
                [self] endpoint -> Result<Bool, GatewayFailure> in
                do throws(GatewayFailure) {
                    let before = cluster.before
                    let look = try await look(at: endpoint, until: deadline)
                    try cluster.admit(look.header, from: endpoint, isCurrent: true, before: before)
                    let answer = try await cluster.call(
                        "/v3/lease/timetolive", ["ID": .string(String(lease.number))], at: endpoint, until: deadline)
                    // -1, and no lifetime that was granted: there is none. (One that is overdue may show -1 as well.)
                    let isThere = (answer.body["TTL"]?.signed ?? 0) >= 0 || answer.body["grantedTTL"] != nil
                    return .success(isThere)
                } catch {
                    if error.refusal?.kind == .leaseNotFound { return .success(false) }
                    return .failure(error)
                }
            }
            if case .success(false) = answer {
                lose("the lease has expired or was revoked")
                return
            }
            if cluster.era != era {
                lose("etcd is another store now")
                return
            }
            // It lives on (a leader begins every lease anew), or nobody can tell.
            state.withLock { $0.expiry = max($0.expiry, SystemClock.now() + .milliseconds(300)) }
        }

        func sawCommit(_ versions: [StoreKey: EntryVersion], deletesLeader: Bool) {
            guard versions[EtcdKeys.leader] != nil || deletesLeader else { return }
            state.withLock { $0.leader = versions[EtcdKeys.leader] }
        }

        func resolve(
            _ id: TransactionID, _ keys: KeySelection, within: Duration
        ) async throws(StoreError) -> StoreSnapshot {
            let limit = SystemClock.now() + within
            if let error = over { throw error }
            switch await moveFence(isTakingOver: false, until: limit) {
            // Without the lease nothing can be hung on it any more.
            case .moved, .leaseGone: break
            case .takenOver: throw StoreError(.sessionLost, Self.takenOver)
            case .failed(let error): throw error
            }
            return try await EtcdReader(cluster: cluster, deadline: limit).read(keys, .linearizable)
        }

        private var over: StoreError? {
            if cluster.isClosed { return StoreError(.closed, "the etcd store was closed") }
            return state.withLock { state in
                if let lost = state.lost { return StoreError(.sessionLost, lost) }
                return state.isClosed ? StoreError(.closed, Self.closed) : nil
            }
        }

        func releaseLeader(within: Duration) async -> CommitOutcome {
            let deadline = SystemClock.now() + within
            if let error = over { return .notSent(error) }
            // In the version that we hold: arriving late, it does not meet a later term, not even one of ours.
            var version = state.withLock { $0.leader }
            if version == nil {
                do throws(StoreError) {
                    let found = try await EtcdReader(cluster: cluster, deadline: deadline)
                        .read(.keys([EtcdKeys.leader]), .linearizable)
                    guard let entry = found[EtcdKeys.leader], entry.owner == id else {
                        return .refused(.owner(EtcdKeys.leader, id))
                    }
                    version = entry.version
                } catch {
                    return .notSent(error)
                }
            }
            var compares: [StoreCompare] = [.owner(EtcdKeys.leader, id)]
            if let version { compares.append(.version(EtcdKeys.leader, version)) }
            let transaction = StoreTransaction(
                id: TransactionID(0), compares: compares, writes: [.delete(EtcdKeys.leader)])
            return await EtcdCommitter(cluster: cluster).commit(transaction, session: self, until: deadline)
        }

        /// The store closes, or another session takes this one's place: nothing is renewed any more, nothing ended.
        func storeCloses() async {
            let monitor = state.withLock { state in
                state.isClosed = true
                defer { state.monitor = nil }
                return state.monitor
            }
            monitor?.cancel()
            await monitor?.value
        }

        private static let closeLimit = Duration.seconds(2)

        func close(abandon: Bool) async {
            let wasClosed = state.withLock { $0.isClosed }
            await storeCloses()
            parts.forget(self)
            guard !abandon, !wasClosed, !cluster.isClosed, state.withLock({ $0.lost }) == nil else { return }
            // Whatever comes of it: what cannot be revoked now expires.
            _ = await cluster.sequence(
                "/v3/lease/revoke", ["ID": .string(String(lease.number))], until: SystemClock.now() + Self.closeLimit,
                isRepeatable: false)
        }
    }
#endif
