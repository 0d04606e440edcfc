#if ZooKeeper
    import ClusterModel
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Synchronization
    import Testing

    @testable import ZooKeeperStore

    /// Ensembles of three: followers' proofs, frozen servers, lost followers.
    @Suite(.serialized) struct ZooKeeperEnsembleTests {
        private func commit(
            _ store: any CoordinationStore, within: Duration = .seconds(5), _ writes: StoreWrite...
        ) async -> CommitOutcome {
            await store.commit(
                StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: writes), within: within)
        }

        private func session(
            _ store: ZooKeeperClusterStore, lifetime: Duration
        ) async throws -> any StoreSession {
            try await store.openSession(SessionRequest(lifetime: lifetime, name: "pg1"), within: .seconds(10))
        }

        @Test func theLeaderIsPreferredAndAFollowerNeedsThreeProofs() async throws {
            let ensemble = try await ZooKeeperEnsemble.started(tick: 200)
            defer { ensemble.stop() }
            let root = "/service/demo/"
            let near = openZooKeeper(ensemble.addresses, root: root)
            let first = try await session(near, lifetime: .seconds(3))
            #expect(first.renewalInterval == first.granted / 6)
            #expect(await commit(near, .create("leader", bytes("pg1"), .session(first.id))).isCommitted)
            guard case .proven(let sent, let expiry) = await first.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven at the leader")
            }
            #expect(expiry == sent + first.granted)
            #expect(first.intervalsBehind == 0)
            await first.close(abandon: false)
            await near.close()

            let follower = try #require(ensemble.followers().first)
            let far = openZooKeeper([follower.address], root: root) { $0.tick = .milliseconds(200) }
            let second = try await session(far, lifetime: .seconds(3))
            #expect(second.renewalInterval == second.granted / 6)
            #expect(second.intervalsBehind == 2)
            #expect(await commit(far, .create("leader", bytes("pg1"), .session(second.id))).isCommitted)
            // The acquiring commit is the first proof.
            var sends: [Instant] = []
            var proven: [Instant] = []
            for _ in 0..<5 {
                try await Task.sleep(for: second.renewalInterval)
                let before = SystemClock.now()
                switch await second.renew(holding: true, within: .seconds(5)) {
                case .proven(let sent, let expiry):
                    #expect(sent >= before)
                    sends.append(sent)
                    proven.append(expiry)
                    // The send instants of unproven ones are known roughly.
                    let two = sends.count >= 3 ? sends[sends.count - 3] + second.granted : .distantFuture
                    #expect(expiry <= two + .milliseconds(250))
                    #expect(expiry - sent <= second.granted - second.renewalInterval * 2)
                case .unknown: sends.append(before)
                case .gone(let why): throw CaseFailure(why)
                }
            }
            #expect(proven.count == 4)
            await far.close()
        }

        /// The ensemble's leader is frozen while the holder hangs on a follower, which goes on answering reads and
        /// pings: nobody else may have the entry before the instant up to which the holder was promised it.
        @Test(arguments: [2, 3]) func aFrozenLeaderNeverGivesTheEntryAwayTooEarly(_ seconds: Int) async throws {
            let ensemble = try await ZooKeeperEnsemble.started(tick: 500, syncLimit: 20)
            defer { ensemble.stop() }
            let root = "/service/demo/"
            let leader = try ensemble.leader()
            let followers = ensemble.followers()
            let holder = openZooKeeper([followers[0].address], root: root) { $0.tick = .milliseconds(500) }
            let rival = openZooKeeper([followers[1].address], root: root, member: "pg2")
            let holding = try await session(holder, lifetime: .milliseconds(2400))
            // Outlives whatever the leader slept.
            let racing = try await session(rival, lifetime: .seconds(9))
            #expect(await commit(holder, .create("members/pg1", bytes("{}"), .session(holding.id))).isCommitted)
            #expect(await commit(holder, .create("leader", bytes("pg1"), .session(holding.id))).isCommitted)

            let promised = Mutex(Instant.distantPast)
            let renewals = Task {
                var proofs = 0
                while !Task.isCancelled {
                    switch await holding.renew(holding: true, within: holding.renewalInterval) {
                    case .proven(_, let expiry):
                        // An answer that comes after what it promises is of no use to anybody.
                        if SystemClock.now() < expiry { promised.withLock { $0 = max($0, expiry) } }
                        proofs += 1
                    case .gone: return proofs
                    case .unknown: break
                    }
                    try? await Task.sleep(for: holding.renewalInterval)
                }
                return proofs
            }
            #expect(await eventually(within: .seconds(10)) { promised.withLock { $0 } > SystemClock.now() })
            leader.freeze()
            let frozenAt = SystemClock.now()
            let race = Task { () -> Instant? in
                let deadline = SystemClock.now() + .seconds(30)
                while SystemClock.now() < deadline, !Task.isCancelled {
                    let outcome = await commit(
                        rival, within: .seconds(5), .create("leader", bytes("pg2"), .session(racing.id)))
                    if outcome.isCommitted { return SystemClock.now() }
                    try? await Task.sleep(for: .milliseconds(2))
                }
                return nil
            }
            try await Task.sleep(for: .seconds(seconds))
            // Pings and reads are answered by the follower all the same.
            #expect(followers[0].mode == "follower")
            leader.thaw()
            // From here on the holder does nothing more: its session ends sooner or later.
            renewals.cancel()
            let proofs = await renewals.value
            await holding.close(abandon: true)
            let acquired = try #require(await race.value, "the entry never came free")
            let last = promised.withLock { $0 }
            #expect(proofs > 0)
            #expect(last > frozenAt)
            #expect(acquired >= last, "acquired \(last - acquired) before the promised instant")
            await rival.close()
        }

        @Test func aFrozenServerIsLeftForOneThatAnswers() async throws {
            let ensemble = try await ZooKeeperEnsemble.started(tick: 500)
            defer { ensemble.stop() }
            let store = openZooKeeper(ensemble.addresses, root: "/service/demo/") { $0.tick = .milliseconds(500) }
            let session = try await session(store, lifetime: .seconds(9))
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            // The client hangs on the leader; freeze another server first: nobody notices.
            let leader = try ensemble.leader()
            leader.freeze()
            let start = SystemClock.now()
            var back: Instant?
            _ = await eventually(within: .seconds(9)) {
                // The others need to elect a leader of their own, too.
                let isProven = await session.renew(holding: true, within: .milliseconds(300)).isProven
                let isRead =
                    (try? await store.read(.keys(["leader"]), .linearizable, within: .milliseconds(300))) != nil
                if isProven || isRead { back = SystemClock.now() }
                return back != nil
            }
            let end = try #require(back, "the client stayed with the frozen server")
            // By itself the library stays for two thirds of the lifetime: 6 s.
            #expect(end - start < .seconds(5), "\(end - start)")
            #expect(try await store.read(.all, .linearizable, within: .seconds(5))["leader"]?.owner == session.id)
            leader.thaw()
            await store.close()
        }

        @Test func aFrozenServerDoesNotDelayTheStart() async throws {
            let ensemble = try await ZooKeeperEnsemble.started(tick: 200)
            defer { ensemble.stop() }
            let victim = try #require(ensemble.followers().first)
            victim.freeze()
            let others = ensemble.addresses.filter { $0 != victim.address }
            let store = openZooKeeper([victim.address] + others, root: "/service/demo/")
            let start = SystemClock.now()
            let session = try await session(store, lifetime: .seconds(4))
            #expect(SystemClock.now() - start < .milliseconds(1500))
            #expect(await session.renew(holding: false, within: .seconds(2)) != .gone(""))
            victim.thaw()
            await store.close()
        }

        @Test func aKilledFollowerCostsTheConnectionNotTheSession() async throws {
            let ensemble = try await ZooKeeperEnsemble.started(tick: 200)
            defer { ensemble.stop() }
            let followers = ensemble.followers()
            let store = openZooKeeper(followers.map(\.address), root: "/service/demo/") {
                $0.tick = .milliseconds(200)
            }
            let log = SignalLog(store)
            let session = try await session(store, lifetime: .seconds(4))
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            for _ in 0..<3 {
                try await Task.sleep(for: session.renewalInterval)
                _ = await session.renew(holding: true, within: .seconds(2))
            }
            let count = log.count
            followers[0].kill()
            #expect(await log.first(after: count, within: .seconds(5)) { $0 == .connected } != nil)
            // What was proved through the lost follower says nothing about the new one.
            var renewals = 0
            let isProven = await eventually(within: .seconds(4)) {
                renewals += 1
                switch await session.renew(holding: true, within: .seconds(1)) {
                case .proven: return true
                case .unknown, .gone:
                    try? await Task.sleep(for: session.renewalInterval)
                    return false
                }
            }
            #expect(isProven)
            #expect(renewals >= 3)
            #expect(
                try await session.resolve(TransactionID(1), .all, within: .seconds(5))["leader"]?.owner == session.id)
            await store.close()
        }
    }
#endif
