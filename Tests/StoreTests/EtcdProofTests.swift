#if Etcd
    import ClusterModel
    import PluginInterfaces
    import StoreConformance
    import Synchronization
    import Testing

    @testable import EtcdStore

    /// What a renewal proves while leaders of etcd come and go: nobody else has the entry before the promised instant.
    @Suite(.serialized, .timeLimit(.minutes(5))) struct EtcdProofTests {
        /// A fault, and its end.
        enum Fault: String, CaseIterable, Sendable {
            case killLeader, freezeLeader, freezeFollower, killFollower, freezeAll, restartAll
        }

        /// A holder renews through one member, and at some moment stops for good; a rival on another member tries to
        /// take the entry all the time.
        @Test(arguments: Fault.allCases, [true, false])
        func nobodyHasItBeforeThePromisedInstant(_ fault: Fault, holderAtLeader: Bool) async throws {
            let ensemble = try await EtcdEnsemble.started()
            defer { ensemble.stop() }
            let leader = try await ensemble.leader()
            let followers = ensemble.servers.filter { $0 !== leader }
            let first = holderAtLeader ? leader : followers[0]
            let root = "/service/proof\(nextNumber())/"
            let others = ensemble.servers.filter { $0 !== first }.map(\.endpoint)
            let holder = try openEtcd([first.endpoint] + others, root: root) { $0.usesProxies = true }
            let rival = try openEtcd(others.reversed() + [first.endpoint], root: root) { $0.usesProxies = true }
            let request = SessionRequest(lifetime: .seconds(2), name: "pg1")
            let session = try await holder.openSession(request, within: .seconds(10))
            let acquired = await holder.commit(
                StoreTransaction(
                    id: TransactionID(nextNumber()), compares: [.absent("leader")],
                    writes: [.create("leader", bytes("pg1"), .session(session.id))]), within: .seconds(5))
            #expect(acquired.isCommitted)
            let promised = Mutex(Instant.distantPast)
            let proofs = Mutex(0)
            let renewing = Task {
                while !Task.isCancelled {
                    switch await session.renew(holding: true, within: .milliseconds(1500)) {
                    case .proven(let sent, let until):
                        #expect(until - sent <= session.granted)
                        // What is answered too late counts for nothing anyway.
                        if SystemClock.now() < until {
                            promised.withLock { $0 = max($0, until) }
                            proofs.withLock { $0 += 1 }
                        }
                    case .gone: return
                    case .unknown: break
                    }
                    try? await Task.sleep(for: .milliseconds(100))
                }
            }
            let taking = Task { () -> (Instant, Instant)? in
                let own = try await rival.openSession(
                    SessionRequest(lifetime: .seconds(20), name: "pg2"), within: .seconds(10))
                while !Task.isCancelled {
                    let attempt = SystemClock.now()
                    let write = StoreTransaction(
                        id: TransactionID(nextNumber()), compares: [.absent("leader")],
                        writes: [.create("leader", bytes("pg2"), .session(own.id))])
                    switch await rival.commit(write, within: .seconds(2)) {
                    case .committed: return (attempt, SystemClock.now())
                    case .unknown:
                        // It may have been done: then since some time after the attempt.
                        let seen = try? await own.resolve(write.id, .all, within: .seconds(10))
                        if seen?["leader"]?.owner == own.id { return (attempt, SystemClock.now()) }
                    case .refused, .notSent: break
                    }
                    try await Task.sleep(for: .milliseconds(20))
                }
                return nil
            }
            #expect(await eventually(within: .seconds(10)) { proofs.withLock { $0 } >= 5 })
            let before = proofs.withLock { $0 }
            switch fault {
            case .killLeader: leader.kill()
            case .freezeLeader: leader.freeze()
            case .freezeFollower: followers[0].freeze()
            case .killFollower: followers[0].kill()
            case .freezeAll:
                for server in ensemble.servers { server.freeze() }
                try await Task.sleep(for: .milliseconds(2500))
                for server in ensemble.servers { server.thaw() }
            case .restartAll:
                for server in ensemble.servers { server.kill() }
                for server in ensemble.servers { try server.start() }
            }
            // With one of three gone the lease goes on.
            if fault != .freezeAll {
                #expect(
                    await eventually(within: .seconds(20)) {
                        proofs.withLock { $0 } > before + 3 || renewing.isCancelled
                    }, "\(fault)")
            }
            leader.thaw()
            followers[0].thaw()
            try await Task.sleep(for: .milliseconds(300))
            renewing.cancel()
            await renewing.value
            let last = promised.withLock { $0 }
            let giveUp = Task {
                try? await Task.sleep(for: .seconds(30))
                taking.cancel()
            }
            let taken = try #require(try await taking.value, "the rival never had it")
            giveUp.cancel()
            #expect(taken.1 >= last, "\(fault): the rival had it \(last - taken.1) before the promised instant")
            await session.close(abandon: true)
            await holder.close()
            await rival.close()
        }

        /// A leader that is cut off from the others still answers keepalives: nothing is proved by that.
        @Test func aDeposedLeaderProvesNothing() async throws {
            let ensemble = try await EtcdEnsemble.started()
            defer { ensemble.stop() }
            let leader = try await ensemble.leader()
            let followers = ensemble.servers.filter { $0 !== leader }
            let root = "/service/proof\(nextNumber())/"
            // This client knows the leader alone.
            let store = try openEtcd([leader.endpoint], root: root) { $0.usesProxies = true }
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(20), name: "pg1"), within: .seconds(10))
            let lease = try #require(LeaseID(text: session.id.text))
            let acquired = await store.commit(
                StoreTransaction(
                    id: TransactionID(nextNumber()), compares: [.absent("leader")],
                    writes: [.create("leader", bytes("pg1"), .session(session.id))]), within: .seconds(5))
            #expect(acquired.isCommitted)
            #expect(await session.renew(holding: true, within: .seconds(5)).isProven)
            // Both followers stand: the leader has no majority, and does not know yet.
            for server in followers { server.freeze() }
            let answer = try await leader.call("/v3/lease/keepalive", ["ID": .string(String(lease.number))])
            #expect(answer["result"]?["TTL"]?.signed ?? 0 > 0)
            let outcome = await session.renew(holding: true, within: .milliseconds(1500))
            #expect(!outcome.isProven, "\(outcome)")
            #expect(!outcome.isGone, "\(outcome)")
            for server in followers { server.thaw() }
            #expect(
                await eventually(within: .seconds(10)) {
                    await session.renew(holding: true, within: .seconds(2)).isProven
                })
            await session.close(abandon: false)
            await store.close()
        }

        /// A member without a leader ends its watches, and is left.
        @Test func aMemberWithoutALeaderIsLeft() async throws {
            let ensemble = try await EtcdEnsemble.started()
            defer { ensemble.stop() }
            let root = "/service/proof\(nextNumber())/"
            let leader = try await ensemble.leader()
            let followers = ensemble.servers.filter { $0 !== leader }
            let store = try openEtcd([followers[0].endpoint], root: root) { $0.usesProxies = true }
            let log = SignalLog(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            leader.freeze()
            followers[1].freeze()
            // The server waits for three election timeouts.
            #expect(
                await log.first(after: 0, within: .seconds(15)) { if case .disconnected = $0 { true } else { false } }
                    != nil)
            let count = log.count
            leader.thaw()
            followers[1].thaw()
            #expect(await log.first(after: count, within: .seconds(15)) { $0 == .connected } != nil)
            await store.close()
        }

        /// A member that was asleep for long shows an older state: it is not shown.
        @Test func aViewNeverGoesBack() async throws {
            let ensemble = try await EtcdEnsemble.started()
            defer { ensemble.stop() }
            let root = "/service/proof\(nextNumber())/"
            let leader = try await ensemble.leader()
            let follower = try #require(ensemble.servers.first { $0 !== leader })
            let store = try openEtcd([leader.endpoint, follower.endpoint], root: root) { $0.usesProxies = true }
            var last = StoreRevision(number: 0)
            for round in 0..<10 {
                let written = await store.commit(
                    StoreTransaction(
                        id: TransactionID(nextNumber()), compares: [],
                        writes: [.put("config", bytes("\(round)"), .permanent)]), within: .seconds(5))
                guard case .committed(let revision, _) = written else { throw CaseFailure("\(written)") }
                // Through the other member, by itself: as new as what we have seen, or it asks the leader.
                store.cluster.failed(leader.endpoint)
                store.cluster.succeeded(follower.endpoint)
                let snapshot = try await store.read(.all, .atLeast(last), within: .seconds(5))
                #expect(snapshot.revision >= revision)
                #expect(snapshot.text("config") == "\(round)")
                #expect(snapshot.isCut)
                last = snapshot.revision
                store.cluster.failed(follower.endpoint)
                store.cluster.succeeded(leader.endpoint)
            }
            // Of a revision that is not there yet nothing is shown by a member's own word: the read is linearizable.
            let ahead = StoreRevision(era: 0, number: last.number + 1000)
            let snapshot = try await store.read(.all, .atLeast(ahead), within: .seconds(5))
            #expect(snapshot.revision >= last)
            await store.close()
        }

        /// Another cluster behind one of the endpoints is not mixed in; once it is behind all of them, it is the store.
        @Test func anotherStoreIsNotMixedIn() async throws {
            let ours = try await EtcdServer.single()
            defer { ours.stop() }
            let theirs = try await EtcdServer.single()
            defer { theirs.stop() }
            let first = try EtcdProxy(to: ours.endpoint)
            defer { first.stop() }
            let root = "/service/proof\(nextNumber())/"
            let store = try openEtcd([first.endpoint, theirs.endpoint], root: root) {
                $0.usesProxies = true
                $0.replacementDelay = .seconds(2)
            }
            let request = SessionRequest(lifetime: .seconds(1), name: "pg1")
            let session = try await store.openSession(request, within: .seconds(5))
            let log = SignalLog(store)
            func put(_ text: String) async -> CommitOutcome {
                await store.commit(
                    StoreTransaction(
                        id: TransactionID(nextNumber()), compares: [],
                        writes: [.put("config", bytes(text), .permanent)]), within: .seconds(2))
            }
            #expect(await put("ours").isCommitted)
            first.set(.refuse)
            first.cut()
            // The other one answers, and is not believed: not for long either, for one of two is no majority.
            let until = SystemClock.now() + .seconds(4)
            while SystemClock.now() < until {
                await #expect(throws: StoreError.self) {
                    try await store.read(.all, .linearizable, within: .seconds(1))
                }
                let outcome = await put("theirs")
                #expect(!outcome.isCommitted && !outcome.isRefused, "\(outcome)")
                guard case .unknown = await session.renew(holding: false, within: .seconds(1)) else {
                    throw CaseFailure("renewed in another store")
                }
                try await Task.sleep(for: .milliseconds(200))
            }
            first.set(.pass)
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).text("config") == "ours")
            let found = try await theirs.call(
                "/v3/kv/range", ["key": .string(Base64.encode([0])), "range_end": .string(Base64.encode([0]))])
            #expect(found["kvs"] == nil)
            await store.close()
            _ = log
        }

        @Test func aReplacedStoreIsTakenAfterAWhile() async throws {
            let ours = try await EtcdServer.single()
            defer { ours.stop() }
            let port = ours.place
            let root = "/service/proof\(nextNumber())/"
            let store = try openEtcd([ours.endpoint], root: root) { $0.replacementDelay = .seconds(2) }
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(1), name: "pg1"), within: .seconds(5))
            let log = SignalLog(store)
            let written = await store.commit(
                StoreTransaction(
                    id: TransactionID(nextNumber()), compares: [], writes: [.put("config", bytes("old"), .permanent)]),
                within: .seconds(5))
            #expect(written.isCommitted)
            let last = try await store.read(.all, .linearizable, within: .seconds(5)).revision
            ours.stop()
            // An empty one in its place.
            let next = try EtcdServer(port, cluster: [port], token: "another")
            defer { next.stop() }
            try next.start()
            try await next.waitUntilServing()
            await #expect(throws: StoreError.self) { try await store.read(.all, .linearizable, within: .seconds(1)) }
            var snapshot: StoreSnapshot?
            #expect(
                await eventually(within: .seconds(15)) {
                    snapshot = try? await store.read(.all, .linearizable, within: .seconds(1))
                    return snapshot != nil
                })
            #expect(snapshot?.entries.isEmpty == true)
            #expect((snapshot?.revision ?? last) > last)
            #expect(await session.renew(holding: false, within: .seconds(2)).isGone)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .sessionLost } != nil)
            let again = try await store.openSession(
                SessionRequest(lifetime: .seconds(3), name: "pg1", resume: session.resumption), within: .seconds(5))
            #expect(!again.isResumed)
            #expect(await again.renew(holding: false, within: .seconds(5)).isProven)
            await again.close(abandon: false)
            await store.close()
        }
    }
#endif
