#if ZooKeeper
    import ClusterModel
    import PluginInterfaces
    import StoreConformance
    import Synchronization
    import Testing

    @testable import ZooKeeperStore

    extension ZooKeeperInTurn {
        /// Ensembles as administrators run them: restarted one by one, with observers, with read-only servers.
        @Suite(.serialized) struct ZooKeeperRollingTests {
            private func commit(
                _ store: any CoordinationStore, within: Duration = .seconds(5), _ writes: StoreWrite...
            ) async -> CommitOutcome {
                await store.commit(
                    StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: writes), within: within)
            }

            /// What a holder promises itself, and the least of it that was ever left.
            private final class Promise: Sendable {
                private let state = Mutex(
                    (until: Instant.distantPast, least: Duration.seconds(3600), gone: String?.none))

                func extend(_ expiry: Instant, answered: Instant) {
                    // An answer after the promise before it ran out does not count.
                    state.withLock {
                        if answered < $0.until || $0.until == .distantPast { $0.until = max($0.until, expiry) }
                    }
                }

                func look(_ now: Instant) { state.withLock { $0.least = min($0.least, $0.until - now) } }
                func end(_ why: String) { state.withLock { $0.gone = why } }
                var least: Duration { state.withLock { $0.least } }
                var gone: String? { state.withLock { $0.gone } }
            }

            @Test(arguments: [false, true])
            func aRollingRestartCostsNeitherSessionNorLease(_ isEncrypted: Bool) async throws {
                let certificates = try TestCertificates()
                // The servers read their files again when they start again.
                defer { withExtendedLifetime(certificates) {} }
                let server = try certificates.make("server")
                let client = try certificates.make("member")
                let ensemble = try await ZooKeeperEnsemble.started(
                    tick: 500, encryption: .init(authority: certificates.authority, pair: server.both))
                defer { ensemble.stop() }
                let store = try openZooKeeper(
                    encrypted: isEncrypted ? ensemble.secureAddresses : ensemble.addresses, root: "/service/demo/"
                ) {
                    $0.tick = .milliseconds(500)
                    if isEncrypted {
                        $0.encryption = EncryptionSettings(
                            authorityFile: certificates.authority, certificateFile: client.certificate,
                            keyFile: client.key)
                    }
                }
                let log = SignalLog(store)
                let session = try await store.openSession(
                    SessionRequest(lifetime: .seconds(10), name: "pg1"), within: .seconds(10))
                #expect(await commit(store, .create("members/pg1", bytes("{}"), .session(session.id))).isCommitted)
                #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
                let promise = Promise()
                while true {
                    let renewal = await session.renew(holding: true, within: .seconds(2))
                    if case .proven(_, let expiry) = renewal {
                        promise.extend(expiry, answered: SystemClock.now())
                        break
                    }
                    try await Task.sleep(for: session.renewalInterval)
                }
                let renewals = Task {
                    while !Task.isCancelled {
                        let start = SystemClock.now()
                        switch await session.renew(holding: true, within: session.renewalInterval) {
                        case .proven(_, let expiry): promise.extend(expiry, answered: SystemClock.now())
                        case .gone(let why):
                            promise.end(why)
                            return
                        case .unknown: break
                        }
                        // Sooner after a failure, as the agent does.
                        let pause = session.renewalInterval - (SystemClock.now() - start)
                        try? await Task.sleep(for: max(pause, .milliseconds(50)))
                    }
                }
                let looking = Task {
                    while !Task.isCancelled {
                        promise.look(SystemClock.now())
                        try? await Task.sleep(for: .milliseconds(20))
                    }
                }
                // The leader last, as is good practice, and without a word each time.
                let leader = try ensemble.leader()
                for victim in ensemble.followers() + [leader] {
                    victim.kill()
                    try victim.start()
                    try await victim.waitUntilServing()
                    for server in ensemble.servers { try await server.waitUntilServing() }
                }
                renewals.cancel()
                looking.cancel()
                await renewals.value
                await looking.value
                #expect(promise.gone == nil)
                // What the agent needs to begin a stop (F in the safety rules): B, a sixth of the lease, and the margin.
                let needed = session.granted / 8 + .seconds(1) + session.granted / 100
                #expect(promise.least > needed, "only \(promise.least) were left")
                #expect(await !log.has(.sessionLost))
                print(
                    "rolling restart, TLS \(isEncrypted): least of the lease left \(promise.least) of \(session.granted)"
                )
                // The connection may be on its way to another server just now.
                var entry: StoreEntry?
                let isRead = await eventually(within: .seconds(10)) {
                    entry = (try? await store.read(.all, .linearizable, within: .seconds(2)))?["leader"]
                    return entry != nil
                }
                #expect(isRead)
                #expect(entry?.owner == session.id)
                await session.close(abandon: false)
                await store.close()
            }

            @Test func anObserverCountsAsAFollower() async throws {
                let ensemble = try await ZooKeeperEnsemble.started(tick: 200, observers: 1)
                defer { ensemble.stop() }
                let observer = try #require(ensemble.servers.last)
                #expect(observer.mode == "observer")
                let store = openZooKeeper([observer.address], root: "/service/demo/") { $0.tick = .milliseconds(200) }
                let session = try await store.openSession(
                    SessionRequest(lifetime: .seconds(3), name: "pg1"), within: .seconds(10))
                #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
                #expect(session.intervalsBehind == 2)
                var proven: (sent: Instant, expiry: Instant)?
                var renewals = 0
                _ = await eventually(within: .seconds(5)) {
                    renewals += 1
                    if case .proven(let sent, let expiry) = await session.renew(holding: true, within: .seconds(1)) {
                        proven = (sent, expiry)
                    }
                    return proven != nil
                }
                let proof = try #require(proven)
                #expect(renewals >= 2)
                // Two proofs and their gaps behind.
                #expect(proof.expiry - proof.sent <= session.granted - .milliseconds(250))
                // The leader is preferred where there is a choice, observers are as good as followers.
                let all = openZooKeeper(ensemble.addresses.reversed(), root: "/service/demo/", member: "pg2")
                _ = try await all.read(.all, .linearizable, within: .seconds(5))
                #expect(
                    all.currentConnection?.state.withLock { $0.server?.description } == (try ensemble.leader().address))
                await all.close()
                await store.close()
            }

            @Test func aReadOnlyServerProvesNothingAndTakesNothing() async throws {
                let ensemble = try await ZooKeeperEnsemble.started(tick: 200, properties: ["readonlymode.enabled=true"])
                defer { ensemble.stop() }
                let store = openZooKeeper(ensemble.addresses, root: "/service/demo/") { $0.tick = .milliseconds(200) }
                let log = SignalLog(store)
                let session = try await store.openSession(
                    SessionRequest(lifetime: .seconds(4), name: "pg1"), within: .seconds(10))
                #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
                let isProven = await eventually(within: .seconds(4)) {
                    await session.renew(holding: true, within: .seconds(1)).isProven
                }
                #expect(isProven)
                let survivor = try #require(ensemble.followers().first)
                for server in ensemble.servers where server !== survivor { server.kill() }
                let isReadOnly = await eventually(within: .seconds(20)) { survivor.mode == "read-only" }
                #expect(isReadOnly, "\(survivor.mode ?? "not serving")")
                #expect(await log.first(after: 0, within: .seconds(5)) { $0.isDisconnected } != nil)
                #expect(ServerProbe.role(in: "Mode: read-only\n") == nil)
                let count = log.count
                // Long enough for the client to have tried it many times over.
                let end = SystemClock.now() + .seconds(3)
                while SystemClock.now() < end {
                    switch await session.renew(holding: true, within: .milliseconds(300)) {
                    case .proven: throw CaseFailure("a read-only server proved a lease")
                    case .gone, .unknown: break
                    }
                    switch await commit(store, within: .milliseconds(300), .put("config", bytes("x"), .permanent)) {
                    case .committed, .refused: throw CaseFailure("a read-only server took a commit")
                    case .notSent, .unknown: break
                    }
                    await #expect(throws: StoreError.self) {
                        try await store.read(.all, .linearizable, within: .milliseconds(300))
                    }
                    try await Task.sleep(for: .milliseconds(50))
                }
                #expect(await log.first(after: count, within: .zero) { $0 == .connected } == nil)
                // With its ensemble back, it is a server like any other.
                for server in ensemble.servers where server !== survivor { try server.start() }
                let isBack = await eventually(within: .seconds(30)) {
                    if (try? await store.read(.all, .linearizable, within: .seconds(1))) != nil { return true }
                    let request = SessionRequest(lifetime: .seconds(4), name: "pg1")
                    return (try? await store.openSession(request, within: .seconds(2))) != nil
                }
                #expect(isBack)
                await store.close()
            }
        }
    }
#endif
