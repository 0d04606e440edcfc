#if ZooKeeper
    import ClusterModel
    import PluginInterfaces
    import Synchronization

    /// One renewal by proof: a transaction of nothing but checks.
    struct Prover {
        let store: ZooKeeperClusterStore
        let connection: ZooKeeperConnection
        let live: Live
        let deadline: Instant

        func renew(holding: Bool) async -> RenewOutcome {
            let mayGo = connection.state.withLock { state in
                defer { state.isRenewing = true }
                return !state.isRenewing
            }
            guard mayGo else { return .unknown(StoreError(.timedOut, "a renewal is under way already")) }
            defer { connection.state.withLock { $0.isRenewing = false } }
            if connection.state.withLock({ $0.ledger?.heartbeat }) != nil { return await heartbeat(holding) }
            do throws(CallFailure) {
                if let outcome = try await learnVersions(holding) { return outcome }
                await pace()
                // Again after a look at what a failed check means: own writes may overtake it.
                for _ in 0..<4 {
                    switch await prove(holding) {
                    case .outcome(let outcome): return outcome
                    case .checkFailed:
                        if let outcome = try await look(holding) { return outcome }
                    }
                }
                return .unknown(StoreError(.timedOut, "own entries change faster than they can be checked"))
            } catch {
                return failed(error)
            }
        }

        /// While the proofs through a follower show nothing yet, waits until one more can: written at once, it would only
        /// burden the ensemble.
        private func pace() async {
            let limit = deadline - .milliseconds(100)
            while SystemClock.now() < limit {
                let until = connection.state.withLock { state in
                    state.phase == .connected(live.generation) ? state.ledger?.worthwhile(state.role) : nil
                }
                guard let until, until > SystemClock.now() else { return }
                // In small steps: the server may turn out to be the leader meanwhile.
                let step = min(until - SystemClock.now(), .milliseconds(20))
                guard (try? await Task.sleep(for: step)) != nil else { return }
            }
        }

        private enum Attempt {
            case outcome(RenewOutcome)
            case checkFailed
        }

        private func prove(_ holding: Bool) async -> Attempt {
            let paths = store.paths
            let (leader, member, isForeign) = connection.state.withLock {
                ($0.leader.version, $0.member.version, $0.member.isForeign)
            }
            if isForeign { return .checkFailed }
            var checks: [Operation] = []
            if holding {
                guard let leader else { return .checkFailed }
                checks.append(.check(path: paths.path("leader"), version: leader))
            }
            if let member { checks.append(.check(path: paths.path(paths.member), version: member)) }
            // Without entries of our own: the cluster's node, in any version. A proposal like any other.
            if checks.isEmpty { checks.append(.check(path: paths.base, version: -1)) }
            guard SystemClock.now() < deadline else {
                return .outcome(.unknown(StoreError(.timedOut, "no time was left to send a proof")))
            }
            let sent = SystemClock.now()
            let reply = connection.submit(checks, live, proofSent: sent)
            switch await reply.wait(until: deadline) {
            case .success:
                let expiry = connection.state.withLock { state -> Instant? in
                    // What was proved through an earlier connection was forgotten with it.
                    guard state.phase == .connected(live.generation) else { return nil }
                    return state.ledger?.expiry(state.role)
                }
                guard let expiry else {
                    return .outcome(
                        .unknown(
                            StoreError(.timedOut, "the first proofs through a follower of ZooKeeper show nothing yet")))
                }
                return .outcome(.proven(sent: sent, notExpiredBefore: expiry))
            case .failure(let failure):
                if failure.stage == .answered, failure.code == .badVersion || failure.code == .noNode {
                    return .checkFailed
                }
                return .outcome(failed(failure))
            }
        }

        /// Reads the versions that no write of ours told (after a resumption).
        private func learnVersions(_ holding: Bool) async throws(CallFailure) -> RenewOutcome? {
            let isKnown = connection.state.withLock {
                $0.member.version != nil && (!holding || $0.leader.version != nil)
            }
            if isKnown { return nil }
            return try await look(holding)
        }

        /// Reads our entries after a sync and takes over what our own writes explain; an outcome when they do not.
        private func look(_ holding: Bool) async throws(CallFailure) -> RenewOutcome? {
            let paths = store.paths
            let reader = ZooKeeperReader(handle: live.handle, paths: paths, deadline: deadline)
            let (leaderLost, memberLost) = connection.state.withLock { ($0.leader.lost, $0.member.lost) }
            let synced = live.handle.sync(paths.base)
            let found = try await reader.nodes(["leader", paths.member])
            do throws(CallFailure) {
                _ = try await synced.wait(until: deadline).get()
            } catch {
                if error.code != .noNode { throw error }
            }
            let leader = found["leader"]?.stat
            if holding, leader?.ownerSession != live.session {
                let owner = leader.map { $0.ownerSession.map { "session \($0)" } ?? "nobody" }
                return .gone(
                    owner.map { "\(paths.path("leader")) belongs to \($0) now" }
                        ?? "\(paths.path("leader")) is not there any more")
            }
            let member = found[paths.member]?.stat
            return connection.state.withLock { state in
                if let leader, leader.ownerSession == live.session {
                    state.leader.adopt(leader.version, created: leader.created, lostBefore: leaderLost)
                } else {
                    state.leader.forget()
                }
                guard let member, member.ownerSession == live.session else {
                    state.member.forget()
                    return nil
                }
                guard state.member.explains(member.version, created: member.created) else {
                    return .gone("\(paths.path(paths.member)) was written by another instance with this session")
                }
                state.member.adopt(member.version, created: member.created, lostBefore: memberLost)
                return nil
            }
        }

        /// A read in place of a proof, where the servers' tick and syncLimit are configured and leave enough time.
        private func heartbeat(_ holding: Bool) async -> RenewOutcome {
            let sent = SystemClock.now()
            do throws(CallFailure) {
                let reader = ZooKeeperReader(handle: live.handle, paths: store.paths, deadline: deadline)
                let found = try await reader.nodes(["leader", store.paths.member])
                if holding, found["leader"]?.stat.ownerSession != live.session {
                    // The server may be behind; look again after a sync.
                    if let outcome = try await look(holding) { return outcome }
                }
                if let member = found[store.paths.member]?.stat, member.ownerSession == live.session {
                    let isOurs = connection.state.withLock {
                        $0.member.explains(member.version, created: member.created)
                    }
                    if !isOurs, let outcome = try await look(holding) { return outcome }
                }
                let expiry = connection.state.withLock { $0.ledger?.expiry(heartbeatSent: sent) }
                guard let expiry else {
                    return .unknown(StoreError(.unreachable, "the connection to ZooKeeper was lost meanwhile"))
                }
                return .proven(sent: sent, notExpiredBefore: expiry)
            } catch {
                return failed(error)
            }
        }

        private func failed(_ failure: CallFailure) -> RenewOutcome {
            let error = store.explain(failure, "prove the session", connection, live.generation)
            return error.code == .sessionLost ? .gone(error.message) : .unknown(error)
        }
    }

    extension ZooKeeperConnection {
        /// Sends a transaction and keeps account of what it does to our own entries.
        ///
        /// The account is kept on the library's thread, in the order of the server's answers and before anybody waits
        /// for them: a proof that runs beside a write of the member's entry must not take it for somebody else's.
        func submit(_ operations: [Operation], _ live: Live, proofSent: Instant? = nil) -> PendingReply<[NodeStat?]> {
            let leader = paths.path("leader")
            let member = paths.path(paths.member)
            let writesLeader = operations.contains { $0.isWrite && $0.path == leader }
            let writesMember = operations.contains { $0.isWrite && $0.path == member }
            let acquires = operations.contains {
                if case .create(leader, _, true) = $0 { return true }
                return false
            }
            guard proofSent != nil || writesLeader || writesMember else { return live.handle.multi(operations) }
            let sent = proofSent ?? SystemClock.now()
            state.withLock { state in
                if writesLeader { state.leader.begin() }
                if writesMember { state.member.begin() }
            }
            return live.handle.multi(operations) { [weak self] result in
                self?.state.withLock { state in
                    if writesLeader { state.leader.account(operations, result, leader) }
                    if writesMember { state.member.account(operations, result, member) }
                    guard case .success = result, proofSent != nil || acquires, state.generation == live.generation
                    else { return }
                    state.ledger?.acknowledge(sent: sent)
                }
            }
        }
    }

    extension TrackedNode {
        /// A transaction that writes the node came to its end.
        fileprivate mutating func account(
            _ operations: [Operation], _ result: Result<[NodeStat?], CallFailure>, _ path: String
        ) {
            switch result {
            case .failure(let failure): failure.stage == .unknown ? lostAnswer() : refused()
            case .success(let stats):
                // The last write tells what is left, but a set after a create in the same transaction is no step of
                // somebody else's.
                var creates = false
                var last: (Operation, NodeStat?)?
                for (operation, stat) in zip(operations, stats) where operation.path == path && operation.isWrite {
                    if case .create = operation { creates = true }
                    last = (operation, stat)
                }
                switch last {
                case (.set, let stat?)?:
                    if creates { forget() }
                    wrote(stat.version, created: stat.created)
                case (.create, _)?: recreated()
                case (.delete, _)?: deleted()
                case (.set, nil)?, (.check, _)?, nil: refused()
                }
            }
        }
    }

    extension Operation {
        var isWrite: Bool {
            if case .check = self { return false }
            return true
        }
    }
#endif
