#if Consul
    import ClusterModel
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Synchronization
    import Testing

    @testable import ConsulStore

    /// Three servers, of which some are killed, frozen, or restarted: what is proven must be true.
    @Suite(.serialized) struct ConsulClusterTests {
        @Test func conformsThroughAFollower() async throws {
            let cluster = try await ConsulCluster.started()
            defer { cluster.stop() }
            let follower = try #require(try cluster.followers().first)
            await withTaskGroup(of: Void.self) { group in
                for storeCase in StoreCases.all {
                    group.addTask {
                        let root = "/service/case\(nextNumber())/"
                        do {
                            try await storeCase.run(
                                ConsulStoreConformance.underTest(
                                    [follower.address], root, lifetime: .seconds(12)))
                        } catch {
                            Issue.record("\(storeCase.name): \(error)")
                        }
                    }
                }
            }
        }

        /// A holder that proves its lease through one server, and a rival that tries to take it through another.
        private final class Duel: Sendable {
            let holder: ConsulClusterStore
            let rival: ConsulClusterStore
            let session: any StoreSession
            let rivalSession: any StoreSession
            private struct Facts {
                /// The latest instant before which nobody else can have the entry.
                var promised = Instant.distantPast
                var proofs = 0
                var isGone = false
                var acquired: Instant?
                /// Promises made by proofs that were answered after the rival had it.
                var lateProofs = 0
            }
            private let facts = Mutex(Facts())

            init(_ holderAddress: String, _ rivalAddress: String, lifetime: Duration) async throws {
                let root = "/service/duel\(nextNumber())/"
                holder = try openConsul([holderAddress], root: root)
                rival = try openConsul([rivalAddress], root: root, member: "pg2")
                session = try await holder.openSession(
                    SessionRequest(lifetime: lifetime, name: "pg1"), within: .seconds(10))
                rivalSession = try await rival.openSession(
                    SessionRequest(lifetime: .seconds(600), name: "pg2"), within: .seconds(10))
                let outcome = await holder.commit(
                    StoreTransaction(
                        id: TransactionID(nextNumber()), compares: [.absent("leader")],
                        writes: [.create("leader", bytes("pg1"), .session(session.id))]), within: .seconds(5))
                guard outcome.isCommitted else { throw CaseFailure("the holder did not get it: \(outcome)") }
            }

            var promised: Instant { facts.withLock { $0.promised } }
            var proofs: Int { facts.withLock { $0.proofs } }
            var isGone: Bool { facts.withLock { $0.isGone } }
            var acquired: Instant? { facts.withLock { $0.acquired } }
            var lateProofs: Int { facts.withLock { $0.lateProofs } }

            /// Renews until cancelled, as a member does: within the interval, a little later when that failed.
            func prove() async {
                while !Task.isCancelled {
                    switch await session.renew(holding: true, within: session.renewalInterval) {
                    case .proven(_, let until):
                        facts.withLock {
                            $0.promised = max($0.promised, until)
                            $0.proofs += 1
                            if $0.acquired != nil { $0.lateProofs += 1 }
                        }
                        try? await Task.sleep(for: session.renewalInterval / 2)
                    case .unknown: try? await Task.sleep(for: .milliseconds(50))
                    case .gone:
                        facts.withLock { $0.isGone = true }
                        return
                    }
                }
            }

            /// Tries to take the entry until it has it; as a member does, only when it was seen to be free. (Consul looks at
            /// the lock delay before it replicates a request: one that is on its way when a session ends gets past it.)
            func attack() async {
                while !Task.isCancelled, acquired == nil {
                    let seen = try? await rival.read(.all, .linearizable, within: .milliseconds(300))
                    guard let seen, seen["leader"] == nil else {
                        try? await Task.sleep(for: .milliseconds(20))
                        continue
                    }
                    // Waits inside for the end of a lock delay; the last try is sent at most so long before the answer.
                    let outcome = await rival.commit(
                        StoreTransaction(
                            id: TransactionID(nextNumber()), compares: [.absent("leader")],
                            writes: [.create("leader", bytes("pg2"), .session(rivalSession.id))]),
                        within: .milliseconds(300))
                    if outcome.isCommitted { facts.withLock { $0.acquired = SystemClock.now() } }
                    try? await Task.sleep(for: .milliseconds(20))
                }
            }

            func keepRival() async {
                while !Task.isCancelled {
                    _ = await rivalSession.renew(holding: false, within: .seconds(2))
                    try? await Task.sleep(for: .milliseconds(500))
                }
            }

            func close() async {
                await holder.close()
                await rival.close()
            }
        }

        @Test(arguments: ["killed", "frozen"]) func theLeaderFailsWhileTheLeaseIsProven(_ how: String) async throws {
            let cluster = try await ConsulCluster.started()
            defer { cluster.stop() }
            let leader = try cluster.leader()
            let followers = try cluster.followers()
            let duel = try await Duel(followers[0].address, followers[1].address, lifetime: .seconds(12))
            let attack = Task { await duel.attack() }
            let keep = Task { await duel.keepRival() }
            let proofs = Task { await duel.prove() }
            #expect(await eventually(within: .seconds(10)) { duel.proofs >= 3 })
            if how == "killed" { leader.kill() } else { leader.freeze() }
            let failed = SystemClock.now()
            // Another leads, and the proofs go on before the lease is over.
            let before = duel.proofs
            #expect(await eventually(within: .seconds(20)) { duel.proofs >= before + 3 })
            let gap = SystemClock.now() - failed
            #expect(duel.acquired == nil)
            #expect(!duel.isGone)
            print("leader \(how): proofs again within \(gap)")
            if how == "frozen" {
                leader.thaw()
                let now = duel.proofs
                #expect(await eventually(within: .seconds(15)) { duel.proofs >= now + 2 })
                #expect(duel.acquired == nil)
            }
            // The holder falls silent: its last promise holds.
            proofs.cancel()
            await proofs.value
            let promised = duel.promised
            #expect(await eventually(within: .seconds(30)) { duel.acquired != nil })
            let acquired = try #require(duel.acquired)
            #expect(acquired >= promised)
            print("acquired \(acquired - promised) after the promised instant")
            attack.cancel()
            keep.cancel()
            await attack.value
            await keep.value
            await duel.close()
        }

        /// The holder's only way is the leader itself, which freezes until another leader has ended the session: what it
        /// then answers to requests that were waiting proves nothing.
        @Test func aThawedLeaderProvesNothing() async throws {
            let cluster = try await ConsulCluster.started()
            defer { cluster.stop() }
            let leader = try cluster.leader()
            let followers = try cluster.followers()
            let duel = try await Duel(leader.address, followers[0].address, lifetime: .seconds(6))
            let attack = Task { await duel.attack() }
            let keep = Task { await duel.keepRival() }
            let proofs = Task { await duel.prove() }
            #expect(await eventually(within: .seconds(10)) { duel.proofs >= 3 })
            leader.freeze()
            // A renewal with much time that waits in the frozen server.
            let waiting = Task { await duel.session.renew(holding: true, within: .seconds(40)) }
            #expect(await eventually(within: .seconds(40)) { duel.acquired != nil })
            let acquired = try #require(duel.acquired)
            #expect(acquired >= duel.promised)
            leader.thaw()
            let outcome = await waiting.value
            #expect(!outcome.isProven, "\(outcome)")
            #expect(await eventually(within: .seconds(20)) { duel.isGone })
            #expect(duel.lateProofs == 0)
            proofs.cancel()
            attack.cancel()
            keep.cancel()
            await proofs.value
            await attack.value
            await keep.value
            await duel.close()
        }

        /// A client's agent that is stopped leaves the cluster, and Consul ends the sessions made through it at once. Nobody
        /// can tell the holder, whose only way it was.
        @Test func anAgentThatLeavesTakesNoPromiseBack() async throws {
            let ports = try ConsulServer.Ports.free(2)
            let server = try ConsulServer(number: 1, ports: ports[0])
            defer { server.stop() }
            try server.start()
            try await server.waitUntilServing()
            let agent = try ConsulServer(number: 2, ports: ports[1], cluster: [ports[0]], isServer: false)
            defer { agent.stop() }
            try agent.start()
            try await agent.waitUntilServing()
            let duel = try await Duel(agent.address, server.address, lifetime: .seconds(12))
            let attack = Task { await duel.attack() }
            let keep = Task { await duel.keepRival() }
            let proofs = Task { await duel.prove() }
            #expect(await eventually(within: .seconds(10)) { duel.proofs >= 3 })
            if let pid = agent.pid { _ = kill(pid, SIGTERM) }
            let left = SystemClock.now()
            var ended: Instant?
            let isEnded = try await eventually(within: .seconds(20)) {
                if try await duel.rival.read(.all, .linearizable, within: .seconds(2))["leader"]?.value == bytes("pg1")
                {
                    return false
                }
                ended = SystemClock.now()
                return true
            }
            #expect(isEnded)
            #expect(await eventually(within: .seconds(30)) { duel.acquired != nil })
            let acquired = try #require(duel.acquired)
            print("the session ended \(try #require(ended) - left) after its agent was told to leave")
            #expect(try #require(ended) < duel.promised, "ended too late to show anything")
            #expect(acquired >= duel.promised, "acquired \(duel.promised - acquired) before the promised instant")
            proofs.cancel()
            attack.cancel()
            keep.cancel()
            await proofs.value
            await attack.value
            await keep.value
            await duel.close()
        }

        @Test func aRollingRestartLosesNoLease() async throws {
            let cluster = try await ConsulCluster.started()
            defer { cluster.stop() }
            let root = "/service/rolling\(nextNumber())/"
            let store = try openConsul(cluster.servers.map(\.address), root: root)
            let log = SignalLog(store)
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(30), name: "pg1"), within: .seconds(10))
            let acquired = await store.commit(
                StoreTransaction(
                    id: TransactionID(nextNumber()), compares: [],
                    writes: [.create("leader", bytes("pg1"), .session(session.id))]), within: .seconds(5))
            #expect(acquired.isCommitted)
            let first = SystemClock.now() + session.granted
            let failures = Mutex(0)
            let keeper = Task { () -> Instant in
                var until = first
                while !Task.isCancelled {
                    switch await session.renew(holding: true, within: .seconds(2)) {
                    case .proven(_, let promised): until = max(until, promised)
                    case .unknown: failures.withLock { $0 += 1 }
                    case .gone(let why):
                        Issue.record("gone: \(why)")
                        return until
                    }
                    if SystemClock.now() > until { Issue.record("the lease ran out") }
                    try? await Task.sleep(for: .milliseconds(300))
                }
                return until
            }
            for server in cluster.servers {
                server.kill()
                try server.start()
                try await server.waitUntilServing(within: .seconds(60))
            }
            keeper.cancel()
            let last = await keeper.value
            #expect(last > SystemClock.now())
            #expect(try await store.read(.all, .linearizable, within: .seconds(5))["leader"]?.owner == session.id)
            #expect(await log.first(after: 0, within: .seconds(1)) { $0 == .sessionLost } == nil)
            print("renewals that failed during a rolling restart: \(failures.withLock { $0 })")
            await session.close(abandon: false)
            await store.close()
        }

        @Test func aServerThatHearsNoLeaderIsNotTrustedWithNews() async throws {
            let cluster = try await ConsulCluster.started()
            defer { cluster.stop() }
            let follower = try #require(try cluster.followers().first)
            let store = try openConsul([follower.address], root: "/service/stale\(nextNumber())/") {
                $0.consistency = .stale
            }
            let log = SignalLog(store)
            let outcome = await store.commit(
                StoreTransaction(
                    id: TransactionID(nextNumber()), compares: [], writes: [.put("config", bytes("1"), .permanent)]),
                within: .seconds(5))
            guard case .committed(let revision, _) = outcome else { throw CaseFailure("not committed: \(outcome)") }
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            #expect(try await store.read(.all, .atLeast(revision), within: .seconds(5)).text("config") == "1")
            for server in cluster.servers where server !== follower { server.freeze() }
            // Its query for news is answered when its time is over.
            let limit = Duration.seconds(25)
            #expect(
                await log.first(after: 0, within: limit) { if case .disconnected = $0 { true } else { false } } != nil)
            // It still answers what needs no leader; that is not taken.
            await #expect(throws: StoreError.self) {
                try await store.read(.all, .atLeast(revision), within: .seconds(2))
            }
            let count = log.count
            for server in cluster.servers { server.thaw() }
            #expect(await log.first(after: count, within: .seconds(30)) { $0 == .connected } != nil)
            await store.close()
        }

        @Test func withoutAMajorityNothingIsProvenOrCommitted() async throws {
            let cluster = try await ConsulCluster.started()
            defer { cluster.stop() }
            let followers = try cluster.followers()
            let leader = try cluster.leader()
            let store = try openConsul([leader.address], root: "/service/alone\(nextNumber())/")
            let log = SignalLog(store)
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(60), name: "pg1"), within: .seconds(10))
            for follower in followers { follower.freeze() }
            let isLeader = SystemClock.now()
            // The leader needs a moment to see that it is none any more; before that its reads fail to find a majority.
            for _ in 0..<3 {
                switch await session.renew(holding: false, within: .seconds(1)) {
                case .proven: Issue.record("proven without a majority, \(SystemClock.now() - isLeader) after")
                case .gone(let why): Issue.record("gone: \(why)")
                case .unknown: break
                }
                await #expect(throws: StoreError.self) {
                    try await store.read(.all, .linearizable, within: .seconds(1))
                }
                let outcome = await store.commit(
                    StoreTransaction(
                        id: TransactionID(nextNumber()), compares: [],
                        writes: [.put("config", bytes("x"), .permanent)]), within: .seconds(1))
                #expect(!outcome.isCommitted && !outcome.isRefused)
            }
            #expect(
                await log.first(after: 0, within: .seconds(20)) { if case .disconnected = $0 { true } else { false } }
                    != nil)
            let count = log.count
            for follower in followers { follower.thaw() }
            #expect(await log.first(after: count, within: .seconds(30)) { $0 == .connected } != nil)
            let isProven = await eventually(within: .seconds(20)) {
                await session.renew(holding: false, within: .seconds(2)).isProven
            }
            #expect(isProven)
            await session.close(abandon: false)
            await store.close()
        }
    }
#endif
