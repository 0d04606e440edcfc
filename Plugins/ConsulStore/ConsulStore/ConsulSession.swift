#if Consul
    import ClusterModel
    import PluginInterfaces
    import Synchronization

    /// A session of Consul with a lifetime τ, and the lease that hangs on it.
    ///
    /// Consul ends a session after 2τ without a renewal, but at once when the node that it was made through leaves, or when
    /// one of its checks fails: long before s + τ. Then the *lock delay*, which is τ as well, keeps the entries from others
    /// for that long, counted from a moment at which the last proof has shown the session alive. So s + τ holds.
    ///
    /// Its *anchor* is an entry of ours, `sessions/<id>`, that lives as long as it does. Every transaction checks the
    /// anchor's index. Rewriting it therefore makes sure that nothing which was sent before takes effect later: by
    /// `resolve` after an unknown outcome, and by an instance that takes the session up from an earlier one.
    final class ConsulSession: StoreSession {
        let id: SessionID
        let granted: Duration
        let isResumed: Bool
        /// Consul's sessions live by renewals alone.
        let needsIdleRenewal = true
        private let store: ConsulClusterStore
        private struct State {
            var ledger: RenewalLedger
            /// Why the session is over.
            var end: String?
        }
        private let state: Mutex<State>

        /// No lock delay is longer, and the lease not either.
        static let longestLifetime = Duration.seconds(60)
        private static let closeLimit = Duration.seconds(2)
        private static let resumptionMark = "consul1"

        private init(
            _ id: String, lifetime: Duration, sent: Instant, isResumed: Bool, on store: ConsulClusterStore
        ) {
            self.id = SessionID(id)
            granted = lifetime
            self.isResumed = isResumed
            self.store = store
            state = Mutex(State(ledger: RenewalLedger(lifetime: lifetime, lastSent: sent)))
        }

        var renewalInterval: Duration { granted / 4 }
        var resumption: [UInt8]? { Array("\(Self.resumptionMark) \(id.text)".utf8) }

        /// The session of an earlier instance; nil for anything else.
        static func parseResumption(_ bytes: [UInt8]) -> String? {
            let parts = String(decoding: bytes.prefix(200), as: UTF8.self)
                .split(separator: " ", omittingEmptySubsequences: false)
            guard parts.count == 2, parts[0] == resumptionMark, ConsulReply.isSessionID(String(parts[1])) else {
                return nil
            }
            return String(parts[1])
        }

        // MARK: Opening

        static func open(
            _ request: SessionRequest, on store: ConsulClusterStore, within limit: Duration
        ) async throws(StoreError) -> ConsulSession {
            let deadline = SystemClock.now() + limit
            if let earlier = request.resume.flatMap(parseResumption),
                let session = try await resume(earlier, on: store, until: deadline)
            {
                return session
            }
            // Twice the lifetime until Consul ends the session, and once more for the lock delay: in all what was asked for.
            // Whole milliseconds, as they are written.
            let wanted = min(Duration.milliseconds(max(1, (request.lifetime / 3).milliseconds)), longestLifetime)
            let sent = SystemClock.now()
            let (id, lifetime) = try await create(wanted, name: request.name, on: store, until: deadline)
            let anchor = SessionAnchor(
                session: id, path: store.place.anchor(id), index: 0, instance: .random(in: 1 ... .max))
            let plan = TransactionPlan([
                TransactionPlan.Operation(
                    verb: "lock", path: anchor.path, value: Array(request.name.utf8), session: id, flags: anchor.flags)
            ])
            do throws(StoreError) {
                try await settle(plan, anchor, lifetime, on: store, until: deadline)
            } catch {
                // Nothing hangs on it yet; should this not arrive, it ends by itself.
                _ = await store.client.call(destruction(id), within: closeLimit)
                throw error
            }
            return ConsulSession(id, lifetime: lifetime, sent: sent, isResumed: false, on: store)
        }

        private static func create(
            _ wanted: Duration, name: String, on store: ConsulClusterStore, until deadline: Instant
        ) async throws(StoreError) -> (id: String, lifetime: Duration) {
            let purpose = "open a session"
            var lifetime = wanted
            var isRaised = false
            while true {
                let body = JSONValue.object([
                    "Name": .string("\(store.scope)-\(name)"), "TTL": .string(GoDuration.text(lifetime)),
                    "LockDelay": .string(GoDuration.text(lifetime)), "Behavior": "delete",
                    // None means none: not the node's own health, by which a busy network would end the lease.
                    "Checks": .array(store.checks.map(JSONValue.string)),
                ])
                let call = ConsulCall.put("/v1/session/create", body: body.serialized(), for: purpose)
                switch await store.client.call(call, within: deadline - SystemClock.now()) {
                case .failure(let failure): throw failure.error
                case .success(let answer):
                    if answer.status == 200 {
                        guard let id = ConsulReply.sessionID(answer.body) else {
                            throw store.refusals.malformed(purpose, at: store.client.endpoint)
                        }
                        return (id, lifetime)
                    }
                    if !isRaised, let least = ConsulReply.leastLifetime(answer.text), least > lifetime,
                        least <= longestLifetime
                    {
                        isRaised = true
                        lifetime = least
                        continue
                    }
                    // A server that has just started is not in its own catalogue for a moment.
                    if answer.text.containsInAnyCase("missing node registration"),
                        deadline - SystemClock.now() > .milliseconds(400)
                    {
                        try? await Task.sleep(for: .milliseconds(200), clock: .continuous)
                        continue
                    }
                    let error = store.refusals.error(answer, purpose, at: store.client.endpoint)
                    if answer.text.containsInAnyCase("check") {
                        throw StoreError(
                            .misconfigured,
                            "\(error.message); consul.checks names checks of the agent's node that must pass")
                    }
                    throw error
                }
            }
        }

        /// Takes a session up. Nil when there is none to take up.
        private static func resume(
            _ id: String, on store: ConsulClusterStore, until deadline: Instant
        ) async throws(StoreError) -> ConsulSession? {
            let purpose = "take up the saved session"
            let info = ConsulCall.get("/v1/session/info/\(id)", [("consistent", nil)], for: purpose)
            let answer = try await answer(info, on: store, until: deadline)
            guard answer.status == 200 else { throw store.refusals.error(answer, purpose, at: store.client.endpoint) }
            guard let found = ConsulReply.session(answer.body) else {
                throw store.refusals.malformed(purpose, at: store.client.endpoint)
            }
            guard let facts = found, facts.deletesKeys, let lifetime = facts.lifetime, lifetime > .zero else {
                return nil
            }
            let sent = SystemClock.now()
            let renewal = try await Self.answer(renewal(id), on: store, until: deadline)
            if renewal.status == 404 { return nil }
            guard renewal.status == 200 else {
                throw store.refusals.error(renewal, purpose, at: store.client.endpoint)
            }
            // Written after the renewal: should the servers have begun to end the session before that, this fails. And an
            // earlier instance that still runs can do nothing any more with what it knows.
            let anchor = SessionAnchor(
                session: id, path: store.place.anchor(id), index: 0, instance: .random(in: 1 ... .max))
            let plan = TransactionPlan([
                TransactionPlan.Operation(
                    verb: "lock", path: anchor.path, value: Array(store.memberName.utf8), session: id,
                    flags: anchor.flags)
            ])
            let isOpen = try await settle(plan, anchor, lifetime, on: store, until: deadline, mayBeGone: true)
            guard isOpen else { return nil }
            return ConsulSession(id, lifetime: lifetime, sent: sent, isResumed: true, on: store)
        }

        /// Writes an anchor; false when there is no such session, if that may be.
        @discardableResult private static func settle(
            _ plan: TransactionPlan, _ anchor: SessionAnchor, _ lifetime: Duration, on store: ConsulClusterStore,
            until deadline: Instant, mayBeGone: Bool = false
        ) async throws(StoreError) -> Bool {
            switch await store.submit(plan, "set the session's entry", within: deadline - SystemClock.now()) {
            case .done(let entries):
                guard let entry = entries.first(where: { $0.key == anchor.path }), anchor.isOurs(entry) else {
                    throw store.refusals.malformed("set the session's entry", at: store.client.endpoint)
                }
                var settled = anchor
                settled.index = entry.modifyIndex
                store.use(settled, lifetime: lifetime)
                return true
            case .refused(let problems):
                if mayBeGone { return false }
                throw StoreError(
                    .sessionLost, "the new session is gone already: \(problems.first?.text ?? "no reason given")")
            case .notSent(let error), .unknown(let error): throw error
            }
        }

        private static func answer(
            _ call: ConsulCall, on store: ConsulClusterStore, until deadline: Instant
        ) async throws(StoreError) -> ConsulAnswer {
            switch await store.client.call(call, within: deadline - SystemClock.now()) {
            case .success(let answer): return answer
            case .failure(let failure): throw failure.error
            }
        }

        static func renewal(_ id: String) -> ConsulCall {
            .put("/v1/session/renew/\(id)", for: "renew the session")
        }

        private static func destruction(_ id: String) -> ConsulCall {
            .put("/v1/session/destroy/\(id)", for: "end the session")
        }

        // MARK: Renewing

        func renew(holding: Bool, within limit: Duration) async -> RenewOutcome {
            if let end = state.withLock({ $0.end }) { return .gone(end) }
            let sent = SystemClock.now()
            switch await store.client.call(Self.renewal(id.text), within: limit) {
            case .failure(let failure): return .unknown(failure.error)
            case .success(let answer) where answer.status == 404 && answer.text.containsInAnyCase("session id"):
                return gone("Consul says that the session has ended")
            case .success(let answer) where answer.status != 200:
                return .unknown(store.refusals.error(answer, "renew the session", at: store.client.endpoint))
            case .success: break
            }
            // What leads nothing needs no proof each time; but the ledger wants one well before the session is in doubt.
            if !holding, let expiry = state.withLock({ $0.ledger.isFresh(at: sent) ? $0.ledger.expiry : nil }) {
                return .proven(sent: sent, notExpiredBefore: expiry)
            }
            // A deposed leader answers renewals as well. Only the leader of a majority answers what comes now.
            switch await look(holding: holding, until: sent + limit) {
            case .failure(let error): return .unknown(error)
            case .success(let end?): return end.isOver ? gone(end.why) : .gone(end.why)
            case .success(nil): break
            }
            let answered = SystemClock.now()
            guard let expiry = state.withLock({ $0.ledger.count(sent: sent, answered: answered) }) else {
                return gone("the session was not renewed for twice its lifetime: Consul may be about to end it")
            }
            return .proven(sent: sent, notExpiredBefore: expiry)
        }

        /// What a look after a renewal found to be over.
        private struct End: Sendable {
            var why: String
            /// The session, not only the holding.
            var isOver: Bool
        }

        /// Looks at the anchor and the leader entry, through a majority; nil when all is as it should be.
        private func look(holding: Bool, until deadline: Instant) async -> Result<End?, StoreError> {
            let purpose = "prove the session"
            let leader = store.place.path(leaderKey)
            let anchor = store.anchor.withLock { $0 }
            guard let anchor, anchor.session == id.text else {
                return .success(End(why: "another session was opened, or this one has ended", isOver: true))
            }
            // A transaction that only reads asks for consistency in its query; a tree's read, unlike an entry's, does not
            // fail where there is none.
            let plan = TransactionPlan(
                [anchor.path, leader].map { TransactionPlan.Operation(verb: "get-tree", path: $0) })
            let call = ConsulCall.put("/v1/txn", [("consistent", nil)], body: plan.body, for: purpose)
            let answer: ConsulAnswer
            switch await store.client.call(call, within: deadline - SystemClock.now()) {
            case .failure(let failure): return .failure(failure.error)
            case .success(let success): answer = success
            }
            guard answer.status == 200 else {
                return .failure(store.refusals.error(answer, purpose, at: store.client.endpoint))
            }
            guard case .done(let entries)? = ConsulReply.transaction(answer.body, isConflict: false),
                answer.knowsLeader == true
            else { return .failure(store.refusals.malformed(purpose, at: store.client.endpoint)) }
            let found = entries.first { $0.key == anchor.path }
            guard let found, found.session == id.text else {
                // What a token may not see is left out of the answer.
                if let error = await isHidden(anchor.path, until: deadline) { return .failure(error) }
                return .success(End(why: "Consul has ended the session", isOver: true))
            }
            guard anchor.isOurs(found) else {
                return .success(End(why: "another instance has taken over the session", isOver: true))
            }
            guard holding else { return .success(nil) }
            guard let entry = entries.first(where: { $0.key == leader }) else {
                if let error = await isHidden(leader, until: deadline) { return .failure(error) }
                return .success(End(why: "the leader entry is not there any more", isOver: false))
            }
            if entry.session != id.text {
                let owner = entry.session.map { "session \($0)" } ?? "nobody"
                return .success(End(why: "the leader entry belongs to \(owner) now", isOver: false))
            }
            return .success(nil)
        }

        /// Whether an entry is only kept from us; nil when it is not there, the error otherwise.
        private func isHidden(_ path: String, until deadline: Instant) async -> StoreError? {
            let purpose = "look at \(path)"
            let call = ConsulCall.get(store.place.entry(path), [("consistent", nil)], for: purpose)
            switch await store.client.call(call, within: deadline - SystemClock.now()) {
            case .failure(let failure): return failure.error
            case .success(let answer) where answer.status == 404 && answer.index != nil: return nil
            case .success(let answer) where answer.status == 200:
                return StoreError(.unreachable, "\(path) was missing in one answer and there in the next")
            case .success(let answer): return store.refusals.error(answer, purpose, at: store.client.endpoint)
            }
        }

        private func gone(_ why: String) -> RenewOutcome {
            let why = state.withLock { state in
                let end = state.end ?? why
                state.end = end
                return end
            }
            store.lost(id.text)
            return .gone(why)
        }

        // MARK: After an unknown outcome

        /// Rewrites the anchor: whatever was sent before fails from then on. Then reads.
        func resolve(
            _ transaction: TransactionID, _ keys: KeySelection, within limit: Duration
        ) async throws(StoreError) -> StoreSnapshot {
            let deadline = SystemClock.now() + limit
            while true {
                guard let anchor = store.anchor.withLock({ $0 }), anchor.session == id.text else {
                    // The session is over, and with it everything that checks its entry.
                    break
                }
                var next = anchor
                next.round &+= 1
                let plan = TransactionPlan([
                    TransactionPlan.Operation(verb: "check-index", path: anchor.path, index: anchor.index),
                    TransactionPlan.Operation(
                        verb: "lock", path: anchor.path, value: Array(store.memberName.utf8), session: id.text,
                        flags: next.flags),
                ])
                let left = deadline - SystemClock.now()
                guard left > .zero else {
                    throw StoreError(.timedOut, "the session's entry could not be rewritten in time")
                }
                switch await store.submit(plan, "settle what became of a transaction", within: left) {
                case .done(let entries):
                    guard let entry = entries.last(where: { $0.key == anchor.path }), next.isOurs(entry) else {
                        throw store.refusals.malformed("settle a transaction", at: store.client.endpoint)
                    }
                    next.index = entry.modifyIndex
                    store.anchor.withLock { current in
                        if current?.session == id.text { current = next }
                    }
                    return try await store.read(keys, .linearizable, within: deadline - SystemClock.now())
                case .notSent(let error): throw error
                case .refused, .unknown:
                    // Rewritten by an attempt whose answer was lost, or the session is over. An attempt that is still under
                    // way fails once another has succeeded.
                    if let error = await store.refresh(until: deadline) { throw error }
                    let isThere = store.memory.withLock { $0.entries[anchor.path].map(anchor.isOurs) ?? false }
                    if !isThere {
                        _ = gone("Consul has ended the session, or another instance has taken it over")
                    }
                }
            }
            return try await store.read(keys, .linearizable, within: deadline - SystemClock.now())
        }

        // MARK: Ending

        func releaseLeader(within limit: Duration) async -> CommitOutcome {
            await store.commit(
                StoreTransaction(
                    id: TransactionID(0), compares: [.owner(leaderKey, id)], writes: [.delete(leaderKey)]),
                within: limit)
        }

        func close(abandon: Bool) async {
            state.withLock { $0.end = $0.end ?? "the session was closed" }
            store.forget(id.text)
            if abandon { return }
            let deadline = SystemClock.now() + Self.closeLimit
            await deleteEntries(until: deadline)
            // Whatever comes of it: it ends by itself.
            _ = await store.client.call(Self.destruction(id.text), within: deadline - SystemClock.now())
        }

        /// What is deleted before its session ends is free at once; otherwise a next instance would have to wait for the
        /// lock delay before it could write its member's entry.
        private func deleteEntries(until deadline: Instant) async {
            guard await store.refresh(until: deadline) == nil else { return }
            let ours = store.memory.withLock { $0.entries.values.filter { $0.session == id.text }.map(\.key) }
            guard !ours.isEmpty, ours.count * 2 <= TransactionPlan.mostOperations else { return }
            let plan = TransactionPlan(
                ours.flatMap { path in
                    [
                        TransactionPlan.Operation(verb: "check-session", path: path, session: id.text),
                        TransactionPlan.Operation(verb: "delete", path: path),
                    ]
                })
            _ = await store.submit(plan, "delete the session's entries", within: deadline - SystemClock.now())
        }
    }
#endif
