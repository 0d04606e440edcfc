#if Consul
    import ClusterModel
    import Logging
    import PluginInterfaces
    import Synchronization

    /// The cluster's entries in Consul's key-value store, in the tree and the forms that Patroni uses.
    final class ConsulClusterStore: CoordinationStore {
        let client: ConsulClient
        let place: KeyPlace
        let refusals: ConsulRefusals
        let logger: Logger
        let memory = Mutex(RevisionMemory())
        /// The session in use; nil before there is one, and after its end.
        let anchor = Mutex<SessionAnchor?>(nil)
        /// Sessions of ours that are over for this instance, whatever Consul says: the last few.
        private let ended = Mutex<[String]>([])
        let memberName: String
        let scope: String
        let checks: [String]
        let settings: Mutex<ConsulSettings>
        private let consistency: ConsulConsistency
        let watch: ChangeWatch
        private let registrar: ServiceRegistrar?

        /// How often a transaction is tried again whose guesses were out of date.
        private static let attempts = 10
        /// Between two tries to get an entry that has a lock delay.
        private static let lockPause = Duration.milliseconds(100)

        init(
            _ settings: ConsulSettings, root: String, scope: String, memberName: String, logger: Logger
        ) throws(StoreError) {
            let client = try ConsulClient(settings)
            let place = KeyPlace(root: root)
            let refusals = ConsulRefusals(place: place, registersService: settings.service != nil)
            self.client = client
            self.place = place
            self.refusals = refusals
            self.logger = logger
            self.memberName = memberName
            self.scope = scope
            checks = settings.checks
            self.settings = Mutex(settings)
            consistency = settings.consistency
            watch = ChangeWatch(
                client: client, place: place, refusals: refusals, consistency: settings.consistency)
            registrar = settings.service.map {
                ServiceRegistrar(
                    client: client, refusals: refusals, settings: $0, scope: scope, memberName: memberName,
                    logger: logger)
            }
            client.onSilence.withLock { $0 = { [weak watch] in watch?.doubt() } }
        }

        var limits: StoreLimits {
            StoreLimits(
                bytesPerValue: TransactionPlan.mostValueBytes, bytesPerTransaction: TransactionPlan.mostValueBytes,
                // One is the check of the session's own entry.
                operationsPerTransaction: TransactionPlan.mostOperations - 1, versionsIncludeCreation: true)
        }

        // MARK: Reading

        func read(
            _ keys: KeySelection, _ wanted: StoreConsistency, within limit: Duration
        ) async throws(StoreError) -> StoreSnapshot {
            var least: StoreRevision?
            var flag: String? = "consistent"
            if case .atLeast(let revision) = wanted {
                least = revision
                flag = consistency.flag
            }
            let answer = try await readTree(flag: flag, least: least, until: SystemClock.now() + limit)
            var entries = answer.entries.compactMap { entry -> StoreEntry? in
                guard let key = place.key(entry.key) else { return nil }
                return StoreEntry(
                    key: key, value: entry.value, version: entry.version,
                    // A leader entry that was kept and locked again is another term.
                    created: key == leaderKey ? entry.modifyIndex : entry.createIndex,
                    owner: entry.session.map { SessionID($0) })
            }
            if case .keys(let wanted) = keys {
                let byKey = Dictionary(entries.map { ($0.key, $0) }) { $1 }
                entries = wanted.compactMap { byKey[$0] }
            }
            return StoreSnapshot(
                revision: answer.revision, entries: entries, isCut: true, requestedAt: answer.requestedAt)
        }

        /// The whole tree, which the servers read as it is at one moment.
        private func readTree(
            flag first: String?, least: StoreRevision?, until deadline: Instant
        ) async throws(StoreError) -> (entries: [ConsulEntry], revision: StoreRevision, requestedAt: Instant) {
            let purpose = "read the cluster"
            var flag = first
            var wasClosed = false
            while true {
                let requestedAt = SystemClock.now()
                var query: [(name: String, value: String?)] = [("recurse", nil)]
                if let flag { query.append((flag, nil)) }
                let answer: ConsulAnswer
                switch await client.call(.get(place.tree, query, for: purpose), within: deadline - requestedAt) {
                case .success(let success): answer = success
                case .failure(let failure):
                    // A kept connection that the other side has just closed; a read may be sent again.
                    if failure.error.code == .unreachable, failure.stage == .unknown, !wasClosed {
                        wasClosed = true
                        continue
                    }
                    throw failure.error
                }
                let entries = try self.entries(answer, purpose)
                if entries.isEmpty { try await checkVisibility(purpose, until: deadline) }
                let isConsistent = flag == "consistent"
                if isConsistent, answer.knowsLeader == false {
                    throw StoreError(.unreachable, "\(client.endpoint) cannot \(purpose): it knows no leader")
                }
                if !isConsistent,
                    answer.knowsLeader == false || (answer.lastContact ?? .zero) > ChangeWatch.oldestContact
                {
                    flag = "consistent"
                    continue
                }
                let verdict = memory.withLock {
                    $0.accept(
                        entries, index: answer.index ?? 0, requestedAt: requestedAt, now: SystemClock.now(),
                        isConsistent: isConsistent)
                }
                switch verdict {
                case .accepted(let revision), .acceptedThoughOlder(let revision):
                    if case .acceptedThoughOlder = verdict {
                        logger.warning(
                            "Consul's data went back: was a snapshot restored? What is there now counts.",
                            metadata: ["root": "\(place.root)", "index": "\(answer.index ?? 0)"])
                    }
                    if let least, revision < least {
                        if isConsistent {
                            throw StoreError(
                                .malformed, "Consul is at revision \(revision), before \(least): was it set up anew?")
                        }
                        flag = "consistent"
                        continue
                    }
                    return (entries, revision, requestedAt)
                case .dropped:
                    flag = "consistent"
                }
                guard SystemClock.now() < deadline else {
                    throw StoreError(.timedOut, "Consul's answers were older than what had been seen, for too long")
                }
            }
        }

        /// What a token may not see is left out of a tree: an empty one may only be hidden. One entry is refused plainly.
        private func checkVisibility(_ purpose: String, until deadline: Instant) async throws(StoreError) {
            let call = ConsulCall.get(place.entry(place.path(leaderKey)), for: purpose)
            switch await client.call(call, within: deadline - SystemClock.now()) {
            case .failure(let failure): throw failure.error
            case .success(let answer) where answer.status == 200 || answer.status == 404: break
            case .success(let answer): throw refusals.error(answer, purpose, at: client.endpoint)
            }
        }

        private func entries(_ answer: ConsulAnswer, _ purpose: String) throws(StoreError) -> [ConsulEntry] {
            switch answer.status {
            // A tree without entries has an index all the same; a 404 without one is not Consul's.
            case 404 where answer.index != nil: return []
            case 200:
                guard answer.index != nil, let entries = ConsulReply.entries(answer.body) else {
                    throw refusals.malformed(purpose, at: client.endpoint)
                }
                return entries
            default: throw refusals.error(answer, purpose, at: client.endpoint)
            }
        }

        // MARK: Writing

        func commit(_ transaction: StoreTransaction, within limit: Duration) async -> CommitOutcome {
            let deadline = SystemClock.now() + limit
            let purpose = "write to the cluster"
            if client.isClosed { return .notSent(StoreError(.closed, "the store was closed")) }
            if let error = excess(of: transaction) { return .notSent(error) }
            if let compare = endedSession(in: transaction) { return .refused(compare) }
            var isFresh = false
            var attempts = 0
            while attempts < Self.attempts {
                attempts += 1
                let plan: TransactionPlan
                let anchor = self.anchor.withLock { $0 }
                do {
                    let known = memory.withLock { $0.entries }
                    plan = try TransactionPlan(transaction, at: place, known: known, anchor: anchor)
                } catch {
                    // What is known may be out of date.
                    if isFresh { return .refused(error.compare) }
                    if let failure = await refresh(until: deadline) { return .notSent(failure) }
                    isFresh = true
                    continue
                }
                let body = plan.body
                if plan.operations.count > TransactionPlan.mostOperations || body.utf8.count > TransactionPlan.mostBytes
                {
                    return .notSent(
                        StoreError(
                            .tooLarge,
                            "a transaction of \(plan.operations.count) operations and \(body.utf8.count) bytes; Consul takes "
                                + "\(TransactionPlan.mostOperations) and \(TransactionPlan.mostBytes)"))
                }
                let left = deadline - SystemClock.now()
                guard left > .zero else {
                    return .notSent(StoreError(.timedOut, "no time was left to \(purpose)"))
                }
                switch await submit(plan, purpose, within: left) {
                case .done(let entries): return committed(transaction, plan, entries)
                case .notSent(let error): return .notSent(error)
                case .unknown(let error): return .unknown(error)
                case .refused(let problems):
                    if problems.contains(where: \.isLockDelay), problems.allSatisfy(\.isLockDelay) {
                        // Free, and not to be had yet: whoever asks first once it is gets it. The caller waits in here.
                        guard deadline - SystemClock.now() > Self.lockPause * 2 else { return .refused(nil) }
                        do { try await Task.sleep(for: Self.lockPause, clock: .continuous) } catch {
                            return .refused(nil)
                        }
                        attempts -= 1
                        continue
                    }
                    if let anchor, problems.contains(where: { $0.isInvalidSession && $0.text.contains(anchor.session) })
                    {
                        lost(anchor.session)
                    }
                    if let problem = problems.first(where: { !plan.isGuess($0.operation) }) {
                        return .refused(plan.compare(of: problem))
                    }
                    // Only guesses failed. Nothing was applied: look, and try again.
                    if let failure = await refresh(until: deadline) { return .notSent(failure) }
                    isFresh = true
                    if let anchor, !anchorIsThere() {
                        lost(anchor.session)
                        if let compare = endedSession(in: transaction) { return .refused(compare) }
                    }
                }
            }
            return .notSent(StoreError(.timedOut, "the entries that were to be compared kept changing"))
        }

        /// How the sending of a plan ended.
        enum Submission: Sendable {
            case done([ConsulEntry])
            case refused([ConsulReply.Problem])
            case notSent(StoreError)
            case unknown(StoreError)
        }

        /// Sends a plan, once.
        func submit(_ plan: TransactionPlan, _ purpose: String, within limit: Duration) async -> Submission {
            switch await client.call(.put("/v1/txn", body: plan.body, for: purpose), within: limit) {
            case .failure(let failure):
                return failure.stage == .notSent ? .notSent(failure.error) : .unknown(failure.error)
            case .success(let answer):
                let malformed = refusals.malformed(purpose, at: client.endpoint)
                switch answer.status {
                case 200:
                    guard case .done(let entries)? = ConsulReply.transaction(answer.body, isConflict: false) else {
                        return .unknown(malformed)
                    }
                    return .done(entries)
                case 409:
                    guard case .failed(let problems)? = ConsulReply.transaction(answer.body, isConflict: true) else {
                        return .unknown(malformed)
                    }
                    if let problem = problems.first(where: \.isPermission) {
                        return .notSent(refusals.notAuthorized(purpose, problem.text))
                    }
                    return .refused(problems)
                default:
                    let error = refusals.error(answer, purpose, at: client.endpoint)
                    return ConsulRefusals.isWithoutEffect(answer) ? .notSent(error) : .unknown(error)
                }
            }
        }

        private func committed(
            _ transaction: StoreTransaction, _ plan: TransactionPlan, _ entries: [ConsulEntry]
        ) -> CommitOutcome {
            var versions: [StoreKey: EntryVersion] = [:]
            for entry in entries {
                guard let key = place.key(entry.key), plan.written.contains(key) else { continue }
                versions[key] = entry.version
            }
            let newest = versions.values.map(\.number).max() ?? 0
            let revision = memory.withLock { memory in
                memory.note(committed: newest, now: SystemClock.now())
                return memory.revision
            }
            registrar?.note(transaction)
            return .committed(revision, versions)
        }

        private func excess(of transaction: StoreTransaction) -> StoreError? {
            let operations = transaction.compares.count + transaction.writes.count
            if operations > limits.operationsPerTransaction {
                return StoreError(
                    .tooLarge, "\(operations) operations; Consul takes \(limits.operationsPerTransaction) at once")
            }
            for write in transaction.writes {
                switch write {
                case .create(let key, let value, _), .put(let key, let value, _):
                    if value.count > limits.bytesPerValue {
                        return StoreError(
                            .tooLarge, "\(key) would have \(value.count) bytes; the store takes \(limits.bytesPerValue)"
                        )
                    }
                case .delete: break
                }
            }
            return nil
        }

        // MARK: The session's anchor

        /// Reads all anew; takes the anchor's index over, while it is ours. The error, when that failed.
        func refresh(until deadline: Instant) async -> StoreError? {
            do throws(StoreError) {
                let answer = try await readTree(flag: "consistent", least: nil, until: deadline)
                anchor.withLock { anchor in
                    guard let ours = anchor, let entry = answer.entries.first(where: { $0.key == ours.path }),
                        ours.isOurs(entry)
                    else { return }
                    anchor?.index = entry.modifyIndex
                    anchor?.round = UInt16(truncatingIfNeeded: entry.flags)
                }
                return nil
            } catch {
                return error
            }
        }

        /// Whether the last answer showed the anchor as ours.
        private func anchorIsThere() -> Bool {
            guard let ours = anchor.withLock({ $0 }) else { return false }
            return memory.withLock { $0.entries[ours.path].map(ours.isOurs) ?? false }
        }

        /// What of a transaction hangs on a session that is over for us: another instance may have it now.
        private func endedSession(in transaction: StoreTransaction) -> StoreCompare? {
            let ended = ended.withLock { $0 }
            for compare in transaction.compares {
                if case .owner(_, let session) = compare, ended.contains(session.text) { return compare }
            }
            for write in transaction.writes {
                switch write {
                case .create(let key, _, .session(let session)), .put(let key, _, .session(let session)):
                    if ended.contains(session.text) { return .owner(key, session) }
                case .create, .put, .delete: break
                }
            }
            return nil
        }

        // MARK: Signals and sessions

        func signals() -> AsyncStream<StoreSignal> {
            watch.start { [weak self] paths in await self?.lookForAnchor(among: paths) }
            return watch.mailbox.stream()
        }

        /// The watch has seen the tree's names: ours missing there means that the session may be over.
        private func lookForAnchor(among paths: Set<String>) async {
            guard let ours = anchor.withLock({ $0 }), !paths.contains(ours.path) else { return }
            let call = ConsulCall.get(place.entry(ours.path), [("consistent", nil)], for: "look for the session")
            guard case .success(let answer) = await client.call(call, within: .seconds(5)), answer.status == 404,
                answer.index != nil
            else { return }
            lost(ours.session)
        }

        /// The session is over: tells it, once.
        func lost(_ session: String) {
            if forget(session) { watch.mailbox.post(.sessionLost) }
        }

        /// Nothing is done through the session any more. Whether it was in use.
        @discardableResult func forget(_ session: String) -> Bool {
            ended.withLock { ended in
                if !ended.contains(session) { ended = ended.suffix(7) + [session] }
            }
            return anchor.withLock { anchor in
                guard anchor?.session == session else { return false }
                anchor = nil
                return true
            }
        }

        /// A session is open. One of ours that is taken up again counts anew.
        func use(_ settled: SessionAnchor, lifetime: Duration) {
            ended.withLock { ended in ended.removeAll { $0 == settled.session } }
            anchor.withLock { $0 = settled }
            registrar?.note(lifetime: lifetime)
        }

        func openSession(
            _ request: SessionRequest, within limit: Duration
        ) async throws(StoreError) -> any StoreSession {
            try await ConsulSession.open(request, on: self, within: limit)
        }

        func close() async {
            await watch.stop()
            await registrar?.stop()
            await client.close()
        }
    }

    /// The entry that the lease is about.
    let leaderKey: StoreKey = "leader"

    extension TransactionPlan {
        /// Whether an operation's failure says no more than that something is out of date.
        func isGuess(_ operation: Int) -> Bool {
            operations.indices.contains(operation) && operations[operation].isGuess
        }

        /// What an operation that was refused says to the caller.
        func compare(of problem: ConsulReply.Problem) -> StoreCompare? {
            guard operations.indices.contains(problem.operation) else { return nil }
            // Within the lock delay nobody has the entry: no compare of the caller's failed.
            if problem.isLockDelay { return nil }
            return operations[problem.operation].compare
        }
    }
#endif
