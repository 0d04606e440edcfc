#if Etcd
    import ClusterModel
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import EtcdStore

    /// What becomes of calls when servers and networks fail.
    @Suite(.timeLimit(.minutes(3))) struct EtcdFailureTests {
        private func roots() -> String { "/service/fail\(nextNumber())/" }

        private func session(
            _ store: EtcdCoordinationStore, lifetime: Duration = .seconds(3), resume: [UInt8]? = nil
        ) async throws -> any StoreSession {
            try await store.openSession(
                SessionRequest(lifetime: lifetime, name: "pg1", resume: resume), within: .seconds(10))
        }

        private func transaction(_ compares: [StoreCompare] = [], _ writes: StoreWrite...) -> StoreTransaction {
            StoreTransaction(id: TransactionID(nextNumber()), compares: compares, writes: writes)
        }

        @Test func aRefusedConnectionIsNotSentAndEndsAtOnce() async throws {
            let port = try freePorts(1)[0]
            let store = try openEtcd([Endpoint(isSecure: false, host: "127.0.0.1", port: port)], root: roots())
            let before = SystemClock.now()
            let outcome = await store.commit(transaction([], .put("config", [], .permanent)), within: .seconds(10))
            guard case .notSent(let error) = outcome else { throw CaseFailure("\(outcome)") }
            #expect(error.code == .unreachable)
            await #expect(throws: StoreError.self) { try await store.read(.all, .linearizable, within: .seconds(10)) }
            #expect(SystemClock.now() - before < .seconds(3))
            await store.close()
        }

        @Test func anAnswerThatDoesNotComeIsUnknownAndIsResolved() async throws {
            let server = try await SharedEtcd.shared.server()
            let proxy = try EtcdProxy(to: server.endpoint)
            defer { proxy.stop() }
            let root = roots()
            let store = try openEtcd([proxy.endpoint], root: root)
            let direct = try openEtcd([server.endpoint], root: root)
            let session = try await session(store)
            for mode in [EtcdProxy.Mode.holdAnswers, .cutAnswers] {
                proxy.set(mode)
                let value = bytes("\(mode)")
                let write = transaction([], .put("config", value, .permanent))
                let outcome = await store.commit(write, within: .milliseconds(700))
                guard case .unknown = outcome else { throw CaseFailure("\(mode): \(outcome)") }
                // It was done all the same.
                #expect(
                    try await eventually(within: .seconds(5)) {
                        try await direct.read(.all, .linearizable, within: .seconds(2))["config"]?.value == value
                    })
                proxy.set(.pass)
                proxy.cut()
                let snapshot = try await session.resolve(write.id, .all, within: .seconds(5))
                #expect(snapshot["config"]?.value == value)
            }
            // The fence that resolving has put is nobody's entry, and goes with the lease.
            #expect(try await store.read(.all, .linearizable, within: .seconds(2)).entries.map(\.key) == ["config"])
            await session.close(abandon: false)
            let all = try await server.call(
                "/v3/kv/range",
                [
                    "key": .string(EtcdKeys(root: root).encodedRoot),
                    "range_end": .string(EtcdKeys(root: root).encodedEnd),
                ])
            #expect(GatewayAnswer.keyValues(.object(all))?.count == 1)
            await store.close()
            await direct.close()
        }

        @Test func aTransactionThatArrivesAfterItWasResolvedHasNoEffect() async throws {
            let server = try await SharedEtcd.shared.server()
            let stalled = try EtcdProxy(to: server.endpoint)
            defer { stalled.stop() }
            let root = roots()
            let store = try openEtcd([stalled.endpoint, server.endpoint], root: root)
            let session = try await session(store, lifetime: .seconds(20))
            let first = transaction([], .put("config", bytes("1"), .permanent))
            guard case .committed = await store.commit(first, within: .seconds(5)) else {
                throw CaseFailure("not committed")
            }
            for round in 0..<2 {
                // Without any compare of its own, so that nothing but the fence can hold it back.
                let late = transaction(
                    [], .put("failover", bytes("late"), .permanent),
                    .put("leader", bytes("pg1"), .session(session.id)))
                stalled.set(.stall)
                let outcome = await store.commit(late, within: .milliseconds(600))
                guard case .unknown = outcome else { throw CaseFailure("round \(round): \(outcome)") }
                let snapshot = try await session.resolve(late.id, .all, within: .seconds(5))
                #expect(snapshot["failover"] == nil)
                // Now it arrives.
                stalled.set(.pass)
                try await Task.sleep(for: .milliseconds(300))
                let after = try await store.read(.all, .linearizable, within: .seconds(5))
                #expect(after["failover"] == nil, "round \(round)")
                #expect(after["leader"] == nil, "round \(round)")
                // The session itself goes on, by the endpoint that answers and by the first one again.
                #expect(await session.renew(holding: false, within: .seconds(5)).isProven)
                let next = transaction([], .put("config", bytes("2"), .permanent))
                guard case .committed = await store.commit(next, within: .seconds(5)) else {
                    throw CaseFailure("not committed")
                }
                store.cluster.failed(server.endpoint)
                store.cluster.succeeded(stalled.endpoint)
            }
            await session.close(abandon: false)
            await store.close()
        }

        @Test(arguments: [EtcdProxy.Mode.garbage, .refuse, .cutAnswers, .stall])
        func aBadEndpointIsLeftForAGoodOne(_ mode: EtcdProxy.Mode) async throws {
            let server = try await SharedEtcd.shared.server()
            let proxy = try EtcdProxy(to: server.endpoint)
            defer { proxy.stop() }
            proxy.set(mode)
            let store = try openEtcd([proxy.endpoint, server.endpoint], root: roots()) { $0.usesProxies = true }
            let session = try await session(store)
            let before = SystemClock.now()
            _ = try await store.read(.all, .linearizable, within: .seconds(8))
            #expect(SystemClock.now() - before < .seconds(4))
            #expect(await session.renew(holding: false, within: .seconds(4)).isProven)
            let outcome = await store.commit(transaction([], .put("config", [1], .permanent)), within: .seconds(5))
            #expect(outcome.isCommitted, "\(outcome)")
            await session.close(abandon: false)
            await store.close()
        }

        @Test(arguments: [EtcdProxy.Mode.slow(300), .crumbs(7)])
        func slowAndBrokenUpAnswersAreUnderstood(_ mode: EtcdProxy.Mode) async throws {
            let server = try await SharedEtcd.shared.server()
            let proxy = try EtcdProxy(to: server.endpoint)
            defer { proxy.stop() }
            let root = roots()
            let store = try openEtcd([proxy.endpoint], root: root) { $0.usesProxies = true }
            let writer = try openEtcd([server.endpoint], root: root)
            let log = SignalLog(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            proxy.set(mode)
            for number in 0..<3 {
                let count = log.count
                let outcome = await writer.commit(
                    transaction([], .put("config", bytes("\(number)"), .permanent)), within: .seconds(5))
                #expect(outcome.isCommitted)
                #expect(await log.first(after: count, within: .seconds(5)) { $0.isNews } != nil)
                let snapshot = try await store.read(.all, .linearizable, within: .seconds(10))
                #expect(snapshot.text("config") == "\(number)")
            }
            await store.close()
            await writer.close()
        }

        @Test func aSilentWatchIsNoticedByTheRenewals() async throws {
            let server = try await SharedEtcd.shared.server()
            let proxy = try EtcdProxy(to: server.endpoint)
            defer { proxy.stop() }
            let root = roots()
            // Two ways to one server; the watch goes through the first, which dies without a word.
            let store = try openEtcd([proxy.endpoint, server.endpoint], root: root) { $0.usesProxies = true }
            let writer = try openEtcd([server.endpoint], root: root)
            let session = try await session(store)
            let log = SignalLog(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            proxy.set(.stall)
            let count = log.count
            let outcome = await writer.commit(
                transaction([], .put("config", bytes("x"), .permanent)), within: .seconds(5))
            #expect(outcome.isCommitted)
            let start = SystemClock.now()
            var told: Instant?
            for _ in 0..<10 where told == nil {
                _ = await session.renew(holding: false, within: .seconds(2))
                told = await log.first(after: count, within: session.renewalInterval) { $0.isNews }
            }
            let noticed = try #require(told)
            #expect(noticed - start < .seconds(5))
            await session.close(abandon: false)
            await store.close()
            await writer.close()
        }

        @Test func onlyTheWatchDies() async throws {
            let server = try await SharedEtcd.shared.server()
            let proxy = try EtcdProxy(to: server.endpoint)
            defer { proxy.stop() }
            let root = roots()
            let store = try openEtcd([proxy.endpoint], root: root) { $0.usesProxies = true }
            let writer = try openEtcd([server.endpoint], root: root)
            let session = try await session(store)
            let log = SignalLog(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            // What the watch does not tell, a renewal shows to be missing: here a change that it never heard of.
            let newest = try await server.call("/v3/kv/range", ["key": .string(Base64.encode(bytes("nothing")))])
            let revision = try #require(AnswerHeader(newest["header"])?.revision)
            let count = log.count
            store.watch.audit(
                WatchMirror.Summary(count: 7, newest: revision + 1, revision: revision + 1, era: store.cluster.era))
            #expect(await log.first(after: count, within: .seconds(3)) { $0.isNews } != nil)
            // And it works again.
            let later = log.count
            let outcome = await writer.commit(
                transaction([], .put("config", bytes("x"), .permanent)), within: .seconds(5))
            #expect(outcome.isCommitted)
            #expect(await log.first(after: later, within: .seconds(3)) { $0.isNews } != nil)
            await session.close(abandon: false)
            await store.close()
            await writer.close()
        }

        @Test func compactionWhileTheWatchIsCut() async throws {
            let server = try await EtcdServer.single()
            defer { server.stop() }
            let proxy = try EtcdProxy(to: server.endpoint)
            defer { proxy.stop() }
            let root = roots()
            let store = try openEtcd([proxy.endpoint], root: root) { $0.usesProxies = true }
            let writer = try openEtcd([server.endpoint], root: root)
            let log = SignalLog(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            proxy.set(.refuse)
            proxy.cut()
            #expect(
                await log.first(after: 0, within: .seconds(5)) { if case .disconnected = $0 { true } else { false } }
                    != nil)
            var revision: UInt64 = 0
            for number in 0..<5 {
                guard
                    case .committed(let made, _) = await writer.commit(
                        transaction([], .put("config", bytes("\(number)"), .permanent)), within: .seconds(5))
                else { throw CaseFailure("not committed") }
                revision = made.number
            }
            try await server.call(
                "/v3/kv/compaction", ["revision": .string(String(revision)), "physical": true])
            let count = log.count
            proxy.set(.pass)
            #expect(await log.first(after: count, within: .seconds(10)) { $0.isNews } != nil)
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).text("config") == "4")
            // And the watch tells of what comes.
            let later = log.count
            let outcome = await writer.commit(
                transaction([], .put("config", bytes("x"), .permanent)), within: .seconds(5))
            #expect(outcome.isCommitted)
            #expect(await log.first(after: later, within: .seconds(5)) { $0.isNews } != nil)
            await store.close()
            await writer.close()
        }

        @Test func aServerThatRestartsIsFoundAgain() async throws {
            let server = try await EtcdServer.single()
            defer { server.stop() }
            let store = try openEtcd([server.endpoint], root: roots())
            let session = try await session(store, lifetime: .seconds(10))
            let log = SignalLog(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            let mine = transaction([.absent("leader")], .create("leader", bytes("pg1"), .session(session.id)))
            #expect(await store.commit(mine, within: .seconds(5)).isCommitted)
            server.kill()
            #expect(
                await log.first(after: 0, within: .seconds(5)) { if case .disconnected = $0 { true } else { false } }
                    != nil)
            let before = SystemClock.now()
            guard case .unknown = await session.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("a renewal without a server")
            }
            #expect(SystemClock.now() - before < .seconds(3))
            let count = log.count
            try server.start()
            try await server.waitUntilServing()
            #expect(await log.first(after: count, within: .seconds(10)) { $0 == .connected } != nil)
            #expect(await session.renew(holding: true, within: .seconds(5)).isProven)
            await session.close(abandon: false)
            await store.close()
        }

        @Test func aFrozenServerIsUnknownAndThenGoesOn() async throws {
            let server = try await EtcdServer.single()
            defer { server.stop() }
            let store = try openEtcd([server.endpoint], root: roots())
            let session = try await session(store, lifetime: .seconds(20))
            _ = try await store.read(.all, .linearizable, within: .seconds(5))
            server.freeze()
            let before = SystemClock.now()
            let write = transaction([], .put("config", bytes("late"), .permanent))
            guard case .unknown(let error) = await store.commit(write, within: .milliseconds(800)) else {
                throw CaseFailure("not unknown")
            }
            #expect(error.code == .timedOut)
            guard case .unknown = await session.renew(holding: false, within: .milliseconds(800)) else {
                throw CaseFailure("not unknown")
            }
            await #expect(throws: StoreError.self) {
                try await store.read(.all, .linearizable, within: .milliseconds(500))
            }
            #expect(SystemClock.now() - before < .seconds(4))
            server.thaw()
            // The request lay in the server's socket: it took effect, or never will.
            let snapshot = try await session.resolve(write.id, .all, within: .seconds(5))
            let seen = snapshot.text("config")
            try await Task.sleep(for: .milliseconds(300))
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).text("config") == seen)
            await session.close(abandon: false)
            await store.close()
        }

        @Test func aFullDatabaseIsNoCertainty() async throws {
            var options = EtcdServer.Options()
            options.extra = ["--quota-backend-bytes", "200000"]
            let server = try await EtcdServer.single(options)
            defer { server.stop() }
            let store = try openEtcd([server.endpoint], root: roots())
            var outcomes: [CommitOutcome] = []
            for number in 0..<20 {
                let big = [UInt8](repeating: UInt8(number), count: 50_000)
                let outcome = await store.commit(
                    transaction([], .put("history", big, .permanent)), within: .seconds(5))
                outcomes.append(outcome)
                if !outcome.isCommitted { break }
            }
            let last = try #require(outcomes.last)
            guard case .unknown(let error) = last else { throw CaseFailure("\(last)") }
            #expect(error.message.contains("space exceeded"))
            await store.close()
        }

        @Test func aTransactionForALeaseThatIsGoneHasNoEffectAtAll() async throws {
            let server = try await SharedEtcd.shared.server()
            let store = try openEtcd([server.endpoint], root: roots())
            let session = try await session(store, lifetime: .seconds(20))
            let log = SignalLog(store)
            let lease = try #require(LeaseID(text: session.id.text))
            try await server.call("/v3/lease/revoke", ["ID": .string(String(lease.number))])
            let outcome = await store.commit(
                transaction(
                    [.absent("leader")], .put("config", bytes("{}"), .permanent),
                    .create("leader", bytes("pg1"), .session(session.id))), within: .seconds(5))
            guard case .notSent(let error) = outcome else { throw CaseFailure("\(outcome)") }
            #expect(error.code == .sessionLost)
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).entries.isEmpty)
            #expect(await log.first(after: 0, within: .seconds(3)) { $0 == .sessionLost } != nil)
            #expect(await session.renew(holding: false, within: .seconds(5)).isGone)
            await session.close(abandon: false)
            await store.close()
        }

        @Test func twoInstancesWithOneSession() async throws {
            let server = try await SharedEtcd.shared.server()
            let root = roots()
            let one = try openEtcd([server.endpoint], root: root)
            let first = try await session(one, lifetime: .seconds(20))
            let log = SignalLog(one)
            let mine = transaction([.absent("leader")], .create("leader", bytes("pg1"), .session(first.id)))
            #expect(await one.commit(mine, within: .seconds(5)).isCommitted)
            #expect(await first.renew(holding: true, within: .seconds(5)).isProven)
            let two = try openEtcd([server.endpoint], root: root)
            let second = try await session(two, lifetime: .seconds(20), resume: first.resumption)
            #expect(second.isResumed)
            #expect(second.id == first.id)
            // The first neither proves nor writes anything from now on.
            let write = transaction([.owner("leader", first.id)], .put("status", bytes("{}"), .permanent))
            let outcome = await one.commit(write, within: .seconds(5))
            guard case .notSent(let error) = outcome else { throw CaseFailure("\(outcome)") }
            #expect(error.code == .sessionLost)
            #expect(await first.renew(holding: true, within: .seconds(5)).isGone)
            #expect(await log.first(after: 0, within: .seconds(3)) { $0 == .sessionLost } != nil)
            #expect(await !first.releaseLeader(within: .seconds(5)).isCommitted)
            // And its end does not end the second's.
            await first.close(abandon: false)
            #expect(await second.renew(holding: true, within: .seconds(5)).isProven)
            #expect(await two.commit(write, within: .seconds(5)).isCommitted)
            #expect(await second.releaseLeader(within: .seconds(5)).isCommitted)
            await second.close(abandon: false)
            await one.close()
            await two.close()
        }

        @Test func aLateReleaseDoesNotMeetALaterTerm() async throws {
            let server = try await SharedEtcd.shared.server()
            let stalled = try EtcdProxy(to: server.endpoint)
            defer { stalled.stop() }
            let root = roots()
            let store = try openEtcd([stalled.endpoint], root: root) { $0.usesProxies = true }
            let other = try openEtcd([server.endpoint], root: root)
            let session = try await session(store, lifetime: .seconds(20))
            let acquire = transaction([.absent("leader")], .create("leader", bytes("pg1"), .session(session.id)))
            #expect(await store.commit(acquire, within: .seconds(5)).isCommitted)
            stalled.set(.stall)
            guard case .unknown = await session.releaseLeader(within: .milliseconds(500)) else {
                throw CaseFailure("not unknown")
            }
            // Somebody else deletes it, and the same session takes it again, before the release arrives.
            #expect(await other.commit(transaction([], .delete("leader")), within: .seconds(5)).isCommitted)
            let key = EtcdKeys(root: root).encoded("leader")
            let lease = try #require(LeaseID(text: session.id.text))
            try await server.call(
                "/v3/kv/put",
                ["key": .string(key), "value": "cGcx", "lease": .string(String(lease.number))])
            let taken = try await other.read(.all, .linearizable, within: .seconds(5))["leader"]
            stalled.set(.pass)
            try await Task.sleep(for: .milliseconds(300))
            #expect(try await other.read(.all, .linearizable, within: .seconds(5))["leader"] == taken)
            await session.close(abandon: false)
            await store.close()
            await other.close()
        }

        @Test func severalPages() async throws {
            let server = try await SharedEtcd.shared.server()
            let root = roots()
            let store = try openEtcd([server.endpoint], root: root)
            let count = EtcdReader.pageSize + 40
            for start in stride(from: 0, to: count, by: 100) {
                let writes = (start..<min(count, start + 100)).map { StoreWrite.put("members/m\($0)", [1], .permanent) }
                let outcome = await store.commit(
                    StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: writes), within: .seconds(5)
                )
                #expect(outcome.isCommitted, "\(outcome)")
            }
            let snapshot = try await store.read(.all, .linearizable, within: .seconds(5))
            #expect(snapshot.entries.count == count)
            #expect(snapshot.isCut)
            await store.close()
        }

        @Test func bigValues() async throws {
            let server = try await SharedEtcd.shared.server()
            let store = try openEtcd([server.endpoint], root: roots())
            let big = [UInt8](repeating: 7, count: store.limits.bytesPerValue)
            #expect(
                await store.commit(transaction([], .put("history", big, .permanent)), within: .seconds(10)).isCommitted)
            #expect(try await store.read(.all, .linearizable, within: .seconds(10))["history"]?.value == big)
            // Two halves in one transaction, at the limit.
            let half = Array(big.prefix(store.limits.bytesPerTransaction / 2 - 2000))
            let two = transaction([], .put("a", half, .permanent), .put("b", half, .permanent))
            #expect(await store.commit(two, within: .seconds(10)).isCommitted)
            let many = (0..<126).map { StoreWrite.put("members/m\($0)", [1], .permanent) }
            let outcome = await store.commit(
                StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: many), within: .seconds(10))
            #expect(outcome.isCommitted, "\(outcome)")
            await store.close()
        }
    }
#endif
