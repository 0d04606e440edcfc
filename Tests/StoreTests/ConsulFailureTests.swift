#if Consul
    import ClusterModel
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import ConsulStore

    /// What goes wrong on the way to one server, and with it.
    @Suite struct ConsulFailureTests {
        private func root() -> String { "/service/failure\(nextNumber())/" }

        private func open(
            _ store: ConsulClusterStore, lifetime: Duration = .seconds(6), resume: [UInt8]? = nil
        ) async throws -> any StoreSession {
            try await store.openSession(
                SessionRequest(lifetime: lifetime, name: "pg1", resume: resume), within: .seconds(10))
        }

        private func commit(
            _ store: any CoordinationStore, if compares: [StoreCompare] = [], within: Duration = .seconds(5),
            _ writes: StoreWrite...
        ) async -> CommitOutcome {
            await store.commit(
                StoreTransaction(id: TransactionID(nextNumber()), compares: compares, writes: writes), within: within)
        }

        private func isDisconnected(_ signal: StoreSignal) -> Bool {
            if case .disconnected = signal { return true }
            return false
        }

        // MARK: Nobody there

        @Test func aServerThatIsDownAtTheStartIsReportedAtOnceAndFoundLater() async throws {
            let server = try ConsulServer(ports: try ConsulServer.Ports.free(1)[0])
            defer { server.stop() }
            let store = try openConsul([server.address], root: root())
            let log = SignalLog(store)
            let start = SystemClock.now()
            await #expect { _ = try await self.open(store) } throws: {
                ($0 as? StoreError)?.code == .unreachable && "\($0)".contains(server.address)
            }
            await #expect(throws: StoreError.self) { try await store.read(.all, .linearizable, within: .seconds(5)) }
            guard case .notSent(let error) = await commit(store, .put("config", [], .permanent)) else {
                throw CaseFailure("sent to nobody")
            }
            #expect(error.code == .unreachable)
            #expect(SystemClock.now() - start < .milliseconds(1500))
            #expect(await log.first(after: 0, within: .seconds(2), isDisconnected) != nil)
            try server.start()
            #expect(await log.first(after: 0, within: .seconds(20)) { $0 == .connected } != nil)
            let isOpen = await eventually(within: .seconds(20)) { (try? await self.open(store)) != nil }
            #expect(isOpen)
            await store.close()
        }

        @Test func namesThatDoNotResolveAreReported() async throws {
            let store = try openConsul(["no-such-host.invalid:8500"], root: root())
            await #expect { _ = try await self.open(store) } throws: {
                ($0 as? StoreError)?.code == .unreachable && "\($0)".contains("no-such-host.invalid")
            }
            await store.close()
        }

        @Test func theNextHostIsAskedWhenOneIsDown() async throws {
            let server = try await SharedConsul.shared.server()
            let dead = try freePorts(1)[0]
            let store = try openConsul(["127.0.0.1:\(dead)", server.address], root: root())
            let session = try await open(store)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            guard case .proven = await session.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            await session.close(abandon: false)
            await store.close()
        }

        @Test func aHostThatKeepsSilentIsLeftForTheNext() async throws {
            let server = try await SharedConsul.shared.server()
            let proxy = try FaultProxy(to: server.ports.http)
            defer { proxy.close() }
            let store = try openConsul([proxy.address, server.address], root: root())
            let log = SignalLog(store)
            let session = try await open(store)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            await proxy.set(.stalled)
            guard case .unknown = await session.renew(holding: true, within: .milliseconds(300)) else {
                throw CaseFailure("renewed through a dead line")
            }
            guard case .proven = await session.renew(holding: true, within: .milliseconds(900)) else {
                throw CaseFailure("not proven through the next host")
            }
            // The query that waits for news was at the silent one: it is asked again at the other.
            let isHeard = await eventually(within: .seconds(5)) {
                let count = log.count
                guard await commit(store, .put("config", bytes("{}"), .permanent)).isCommitted else { return false }
                return await log.first(after: count, within: .seconds(1)) { $0.isNews } != nil
            }
            #expect(isHeard)
            await session.close(abandon: false)
            await store.close()
        }

        // MARK: Lost and late

        @Test func aLostAnswerIsUnknownAndResolved() async throws {
            let server = try await SharedConsul.shared.server()
            let proxy = try FaultProxy(to: server.ports.http)
            defer { proxy.close() }
            let store = try openConsul([proxy.address], root: root())
            let session = try await open(store)
            await proxy.set(.answersLost)
            guard
                case .unknown = await commit(
                    store, if: [.absent("leader")], within: .milliseconds(500),
                    .create("leader", bytes("pg1"), .session(session.id)))
            else { throw CaseFailure("an answer that was lost is no answer") }
            // Not while nothing can be read.
            await #expect(throws: StoreError.self) {
                try await session.resolve(TransactionID(1), .all, within: .milliseconds(500))
            }
            await proxy.set(.none)
            let snapshot = try await session.resolve(TransactionID(1), .all, within: .seconds(5))
            #expect(snapshot["leader"]?.owner == session.id)
            #expect(snapshot["leader"]?.version.created == snapshot["leader"]?.version.number)
            #expect(snapshot.entries.map(\.key) == ["leader"])
            // It goes on as if nothing had been.
            #expect(await commit(store, if: [.owner("leader", session.id)], .put("status", [], .permanent)).isCommitted)
            guard case .proven = await session.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            #expect(await session.releaseLeader(within: .seconds(5)).isCommitted)
            await session.close(abandon: false)
            await store.close()
        }

        @Test func aTransactionThatArrivesAfterItsResolutionHasNoEffect() async throws {
            let server = try await SharedConsul.shared.server()
            let proxy = try FaultProxy(to: server.ports.http)
            defer { proxy.close() }
            // The second host is the direct way.
            let store = try openConsul([proxy.address, server.address], root: root())
            let session = try await open(store)
            #expect(await commit(store, .put("sync", bytes("0"), .permanent)).isCommitted)
            let version = try #require(
                try await store.read(.all, .linearizable, within: .seconds(5))["sync"]?.version)
            await proxy.set(.stalled)
            guard
                case .unknown(let error) = await commit(
                    store, if: [.version("sync", version)], within: .milliseconds(300),
                    .put("sync", bytes("1"), .permanent), .create("leader", bytes("pg1"), .session(session.id)))
            else { throw CaseFailure("answered by nobody") }
            #expect(error.code == .timedOut)
            let snapshot = try await session.resolve(TransactionID(1), .all, within: .seconds(5))
            #expect(snapshot.text("sync") == "0")
            #expect(snapshot["leader"] == nil)
            await proxy.set(.none)
            // It arrives now: its compares hold, and yet it must not count.
            try await Task.sleep(for: .milliseconds(400))
            let later = try await store.read(.all, .linearizable, within: .seconds(5))
            #expect(later.text("sync") == "0")
            #expect(later["leader"] == nil)
            #expect(
                await commit(store, if: [.version("sync", version)], .put("sync", bytes("2"), .permanent)).isCommitted)
            await session.close(abandon: false)
            await store.close()
        }

        @Test func garbageIsNoAnswer() async throws {
            let server = try await SharedConsul.shared.server()
            let proxy = try FaultProxy(to: server.ports.http)
            defer { proxy.close() }
            let store = try openConsul([proxy.address], root: root())
            let log = SignalLog(store)
            let session = try await open(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            let count = log.count
            await proxy.set(.garbage)
            guard case .unknown = await commit(store, .put("config", bytes("{}"), .permanent)) else {
                throw CaseFailure("garbage taken for an answer")
            }
            await #expect(throws: StoreError.self) { try await store.read(.all, .linearizable, within: .seconds(2)) }
            guard case .unknown = await session.renew(holding: false, within: .seconds(2)) else {
                throw CaseFailure("garbage taken for a proof")
            }
            #expect(await log.first(after: count, within: .seconds(15), isDisconnected) != nil)
            await proxy.set(.none)
            #expect(await log.first(after: count, within: .seconds(5)) { $0 == .connected } != nil)
            _ = try await session.resolve(TransactionID(1), .all, within: .seconds(5))
            await session.close(abandon: false)
            await store.close()
        }

        @Test func slowAnswersCountFromWhenTheRenewalWasSent() async throws {
            let server = try await SharedConsul.shared.server()
            let proxy = try FaultProxy(to: server.ports.http)
            defer { proxy.close() }
            let store = try openConsul([proxy.address], root: root())
            let session = try await open(store)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            await proxy.set(.slow(.milliseconds(300)))
            let before = SystemClock.now()
            guard
                case .proven(let sent, let promised) = await session.renew(holding: true, within: .seconds(3))
            else { throw CaseFailure("not proven") }
            #expect(SystemClock.now() - before > .milliseconds(500))
            #expect(sent - before < .milliseconds(300))
            #expect(promised == sent + session.granted)
            // Slower than there is time for.
            let start = SystemClock.now()
            guard case .unknown = await session.renew(holding: true, within: .milliseconds(200)) else {
                throw CaseFailure("answered too early")
            }
            #expect(SystemClock.now() - start < .seconds(2))
            await #expect(throws: StoreError.self) {
                try await store.read(.all, .linearizable, within: .milliseconds(200))
            }
            await proxy.set(.none)
            await session.close(abandon: false)
            await store.close()
        }

        @Test func aLineOnWhichNothingComesIsNoticedInTime() async throws {
            let server = try await SharedConsul.shared.server()
            let proxy = try FaultProxy(to: server.ports.http)
            defer { proxy.close() }
            let root = root()
            let store = try openConsul([proxy.address], root: root)
            let direct = try openConsul([server.address], root: root)
            let log = SignalLog(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            let count = log.count
            await proxy.set(.stalled)
            #expect(await commit(direct, .put("config", bytes("{}"), .permanent)).isCommitted)
            let bound = ChangeWatch.longestSilence + .seconds(1)
            #expect(await log.first(after: count, within: bound, isDisconnected) != nil)
            await proxy.set(.none)
            #expect(await log.first(after: count, within: .seconds(8)) { $0 == .connected } != nil)
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).text("config") == "{}")
            // A signal comes again.
            let now = log.count
            #expect(await commit(direct, .put("config", bytes("[]"), .permanent)).isCommitted)
            #expect(await log.first(after: now, within: .seconds(3)) { $0.isNews } != nil)
            await direct.close()
            await store.close()
        }

        @Test func aLineThatIsCutIsNoticedAtOnce() async throws {
            let server = try await SharedConsul.shared.server()
            let proxy = try FaultProxy(to: server.ports.http)
            defer { proxy.close() }
            let store = try openConsul([proxy.address], root: root())
            let log = SignalLog(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            let count = log.count
            await proxy.set(.cut)
            #expect(await log.first(after: count, within: .seconds(2), isDisconnected) != nil)
            await proxy.set(.none)
            #expect(await log.first(after: count, within: .seconds(3)) { $0 == .connected } != nil)
            await store.close()
        }

        // MARK: Servers that end and begin

        @Test func aKilledServerLosesNothingAndTheSessionLivesOn() async throws {
            let server = try await ConsulServer.standalone()
            defer { server.stop() }
            let store = try openConsul([server.address], root: root())
            let log = SignalLog(store)
            let session = try await open(store, lifetime: .seconds(30))
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            let before = try await store.read(.all, .linearizable, within: .seconds(5))
            let count = log.count
            server.freeze()
            async let outcome = commit(store, within: .seconds(3), .create("config", bytes("1"), .permanent))
            try await Task.sleep(for: .milliseconds(100))
            server.kill()
            switch await outcome {
            // Not sent: on a busy machine it may come to the server only after its end.
            case .unknown, .notSent: break
            case let other: throw CaseFailure("answered by a dead server: \(other)")
            }
            #expect(await log.first(after: count, within: .seconds(5), isDisconnected) != nil)
            guard case .unknown = await session.renew(holding: true, within: .seconds(1)) else {
                throw CaseFailure("proven by a dead server")
            }
            try server.start()
            #expect(await log.first(after: count, within: .seconds(30)) { $0 == .connected } != nil)
            var after: StoreSnapshot?
            _ = await eventually(within: .seconds(20)) {
                after = try? await session.resolve(TransactionID(1), .all, within: .seconds(2))
                return after != nil
            }
            #expect(after?["leader"] == before["leader"])
            #expect(try #require(after).revision >= before.revision)
            guard case .proven = await session.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven after the restart")
            }
            await session.close(abandon: false)
            await store.close()
        }

        @Test func aRestoredSnapshotIsSeenAsItIsAndTheViewsNumberNeverFalls() async throws {
            let server = try await ConsulServer.standalone()
            defer { server.stop() }
            let store = try openConsul([server.address], root: root())
            let log = SignalLog(store)
            #expect(await commit(store, .put("config", bytes("old"), .permanent)).isCommitted)
            let file = server.directory + "/snapshot"
            try #require(
                try ConsulFiles.shell("consul snapshot save -http-addr=\(server.address) \(file) >/dev/null") == 0)
            let session = try await open(store)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            for number in 0..<5 {
                #expect(await commit(store, .put("config", bytes("new\(number)"), .permanent)).isCommitted)
            }
            let before = try await store.read(.all, .linearizable, within: .seconds(5))
            _ = await session.renew(holding: true, within: .seconds(5))
            let count = log.count
            try #require(
                try ConsulFiles.shell("consul snapshot restore -http-addr=\(server.address) \(file) >/dev/null") == 0)
            #expect(await log.first(after: count, within: .seconds(10)) { $0.isNews } != nil)
            let after = try await store.read(.all, .linearizable, within: .seconds(5))
            #expect(after.text("config") == "old")
            #expect(after["leader"] == nil)
            #expect(after.revision >= before.revision)
            #expect(await session.renew(holding: true, within: .seconds(5)).isGone)
            #expect(await log.first(after: count, within: .seconds(5)) { $0 == .sessionLost } != nil)
            // Life goes on.
            let again = try await open(store)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(again.id))).isCommitted)
            let version = try #require(after["config"]?.version)
            #expect(
                await commit(
                    store, if: [.version("config", version), .value("leader", bytes("pg1"))],
                    .put("config", bytes("newer"), .permanent)
                ).isCommitted)
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).text("config") == "newer")
            await again.close(abandon: false)
            await store.close()
        }

        @Test func anEmptiedServerIsSeenAsItIs() async throws {
            let server = try await ConsulServer.standalone()
            defer { server.stop() }
            let store = try openConsul([server.address], root: root())
            let log = SignalLog(store)
            let session = try await open(store)
            for number in 0..<20 {
                #expect(await commit(store, .put("config", bytes("\(number)"), .permanent)).isCommitted)
            }
            let before = try await store.read(.all, .linearizable, within: .seconds(5))
            server.kill()
            removeTree(server.directory + "/data")
            let count = log.count
            try server.start()
            #expect(await log.first(after: count, within: .seconds(30)) { $0 == .connected } != nil)
            try await server.waitUntilServing()
            let after = try await store.read(.all, .linearizable, within: .seconds(5))
            #expect(after.entries.isEmpty)
            #expect(after.revision >= before.revision)
            #expect(await session.renew(holding: false, within: .seconds(5)).isGone)
            let again = try await open(store)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(again.id))).isCommitted)
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).text("leader") == "pg1")
            guard case .proven = await again.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            await again.close(abandon: false)
            await store.close()
        }

        // MARK: Sessions

        @Test func theServersMinimumIsGrantedAndNobodyElseHasTheEntryBefore() async throws {
            let server = try await ConsulServer.standalone(sessionMinimum: "4s")
            defer { server.stop() }
            let root = root()
            let store = try openConsul([server.address], root: root)
            let other = try openConsul([server.address], root: root, member: "pg2")
            let session = try await open(store, lifetime: .seconds(4))
            #expect(session.granted == .seconds(4))
            let long = try openConsul([server.address], root: root)
            #expect(try await open(long, lifetime: .seconds(30)).granted == .seconds(10))
            #expect(try await open(long, lifetime: .seconds(600)).granted == .seconds(60))
            await long.close()
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            guard case .proven(let sent, let promised) = await session.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            #expect(promised == sent + .seconds(4))
            let rival = try await open(other, lifetime: .seconds(60))
            var free: Instant?
            _ = try await eventually(within: .seconds(15)) {
                if try await other.read(.all, .linearizable, within: .seconds(2))["leader"] != nil { return false }
                free = SystemClock.now()
                return true
            }
            // Twice the lifetime, and the lock delay.
            #expect(try #require(free) - sent > .milliseconds(7900) && #require(free) - sent < .seconds(10))
            let outcome = await commit(
                other, if: [.absent("leader")], within: .seconds(10),
                .create("leader", bytes("pg2"), .session(rival.id)))
            let acquired = SystemClock.now()
            #expect(outcome.isCommitted)
            #expect(acquired - sent > .milliseconds(11900) && acquired - sent < .seconds(14))
            await rival.close(abandon: false)
            await store.close()
            await other.close()
        }

        @Test func anEarlierInstanceCanDoNothingOnceItsSessionWasTakenUp() async throws {
            let server = try await SharedConsul.shared.server()
            let root = root()
            let first = try openConsul([server.address], root: root)
            let session = try await open(first, lifetime: .seconds(20))
            #expect(await commit(first, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            guard case .proven = await session.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            let second = try openConsul([server.address], root: root)
            let taken = try await open(second, lifetime: .seconds(20), resume: session.resumption)
            #expect(taken.isResumed)
            #expect(taken.granted == session.granted)
            let ours: [StoreCompare] = [.owner("leader", session.id)]
            #expect(await commit(first, if: ours, .put("status", bytes("1"), .permanent)).isRefused)
            #expect(await session.renew(holding: true, within: .seconds(5)).isGone)
            #expect(await commit(first, if: ours, .put("status", bytes("1"), .permanent)).isRefused)
            #expect(await session.releaseLeader(within: .seconds(5)).isRefused)
            #expect(try await second.read(.all, .linearizable, within: .seconds(5)).text("leader") == "pg1")
            guard case .proven = await taken.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven by the second")
            }
            #expect(await commit(second, if: ours, .put("status", bytes("2"), .permanent)).isCommitted)
            await first.close()
            await taken.close(abandon: false)
            await second.close()
        }

        @Test func aRenewalAfterTwoLifetimesDoesNotCount() async throws {
            var ledger = RenewalLedger(lifetime: .seconds(10), lastSent: Instant(nanoseconds: 0))
            func at(_ seconds: Double) -> Instant { Instant(nanoseconds: Int64(seconds * 1e9)) }
            #expect(ledger.count(sent: at(2.5), answered: at(2.6)) == at(12.5))
            // Sent in time, answered too late: the servers may have begun to end it.
            #expect(ledger.count(sent: at(22), answered: at(22.4)) == nil)
            // So long a gap is only had where nothing is led: what the one before has done by itself ends then.
            #expect(ledger.count(sent: at(19), answered: at(21)) == at(22.5) - .milliseconds(220))
            // An older one that is answered late says no more than what it was sent for.
            #expect(ledger.count(sent: at(18), answered: at(21)) == at(28))
            #expect(ledger.lastSent == at(19))
            // What leads nothing goes without a proof for less than three quarters of a lifetime.
            #expect(ledger.isFresh(at: at(26)) && !ledger.isFresh(at: at(26.5)))
            #expect(ledger.expiry == at(29))
            #expect(!RenewalLedger(lifetime: .seconds(10), lastSent: at(0)).isFresh(at: at(1)))
        }

        @Test func checksBindTheSessionToTheNode() async throws {
            let server = try await ConsulServer.standalone()
            defer { server.stop() }
            let port = server.ports.http
            let check = "{\"ID\":\"disk\",\"Name\":\"disk\",\"TTL\":\"600s\",\"Status\":\"critical\"}"
            _ = ConsulFiles.request("PUT", "/v1/agent/check/register", body: check, port: port)
            let root = root()
            let store = try openConsul([server.address], root: root) { $0.checks = ["disk"] }
            // The agent tells the servers a little later.
            var refusal: StoreError?
            _ = await eventually(within: .seconds(10)) {
                do {
                    let session = try await self.open(store)
                    await session.close(abandon: false)
                } catch { refusal = error as? StoreError }
                return refusal?.message.contains("critical") ?? false
            }
            #expect(refusal?.code == .misconfigured)
            #expect(refusal?.message.contains("consul.checks") ?? false)
            _ = ConsulFiles.request("PUT", "/v1/agent/check/pass/disk", port: port)
            var session: (any StoreSession)?
            _ = await eventually(within: .seconds(10)) {
                session = try? await self.open(store, lifetime: .seconds(60))
                return session != nil
            }
            let opened = try #require(session)
            let log = SignalLog(store)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(opened.id))).isCommitted)
            guard case .proven(_, let promised) = await opened.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            let other = try openConsul([server.address], root: root, member: "pg2")
            let rival = try await open(other, lifetime: .seconds(60))
            // Ended by Consul long before what was proven. Nobody can have the entry for all that.
            _ = ConsulFiles.request("PUT", "/v1/agent/check/fail/disk", port: port)
            #expect(await log.first(after: 0, within: .seconds(10)) { $0 == .sessionLost } != nil)
            #expect(SystemClock.now() < promised)
            #expect(await opened.renew(holding: true, within: .seconds(5)).isGone)
            let start = SystemClock.now()
            let refused = await commit(
                other, if: [.absent("leader")], within: .milliseconds(500),
                .create("leader", bytes("pg2"), .session(rival.id)))
            #expect(refused == .refused(nil))
            #expect(SystemClock.now() - start < .seconds(3))
            let outcome = await commit(
                other, if: [.absent("leader")], within: .seconds(30),
                .create("leader", bytes("pg2"), .session(rival.id)))
            #expect(outcome.isCommitted)
            #expect(SystemClock.now() >= promised)
            await other.close()
            await store.close()
        }

        @Test func whatAClosedSessionHadIsFreeAtOnce() async throws {
            let server = try await SharedConsul.shared.server()
            let root = root()
            let first = try openConsul([server.address], root: root)
            let session = try await open(first, lifetime: .seconds(60))
            let writes: [StoreWrite] = ["leader", "members/pg1"].map { .create($0, bytes("pg1"), .session(session.id)) }
            #expect(
                await first.commit(
                    StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: writes), within: .seconds(5)
                ).isCommitted)
            await session.close(abandon: false)
            await first.close()
            let second = try openConsul([server.address], root: root)
            let again = try await open(second, lifetime: .seconds(60))
            #expect(
                await commit(second, within: .seconds(1), .create("members/pg1", [], .session(again.id))).isCommitted)
            #expect(await commit(second, within: .seconds(1), .create("leader", [], .session(again.id))).isCommitted)
            #expect(try await second.read(.all, .linearizable, within: .seconds(5)).entries.count == 2)
            await again.close(abandon: false)
            await second.close()
        }

        // MARK: Patroni beside us

        @Test func patronisOwnRequestsAndOursSeeEachOther() async throws {
            let server = try await SharedConsul.shared.server()
            let port = server.ports.http
            let root = root()
            let tree = "/v1/kv" + root
            let store = try openConsul([server.address], root: root)
            let session = try await open(store, lifetime: .seconds(20))
            // Patroni: a session, its member, the leader entry by acquire.
            let created = try #require(
                ConsulFiles.request(
                    "PUT", "/v1/session/create",
                    body:
                        "{\"name\":\"demo-pg9\",\"ttl\":\"10.0s\",\"lockdelay\":\"0.001s\",\"behavior\":\"delete\",\"checks\":[]}",
                    port: port))
            let id = try #require(created.split(separator: "\"").map { String($0) }.last { $0.count == 36 })
            #expect(
                ConsulFiles.request("PUT", tree + "members/pg9?acquire=\(id)", body: "{}", port: port)?
                    .hasSuffix("true") == true)
            #expect(
                ConsulFiles.request("PUT", tree + "leader?acquire=\(id)", body: "pg9", port: port)?.hasSuffix("true")
                    == true)
            let seen = try await store.read(.all, .linearizable, within: .seconds(5))
            #expect(seen.text("leader") == "pg9")
            #expect(seen["leader"]?.owner == SessionID(id))
            #expect(seen["members/pg9"]?.owner == SessionID(id))
            let create = StoreWrite.create("leader", bytes("pg1"), .session(session.id))
            #expect(await commit(store, if: [.absent("leader")], create).isRefused)
            #expect(await commit(store, .put("leader", bytes("pg1"), .session(session.id))).isRefused)
            // Its release: delete by index.
            let index = try #require(seen["leader"]?.version.number)
            #expect(
                ConsulFiles.request("DELETE", tree + "leader?cas=\(index)", port: port)?.hasSuffix("true") == true)
            #expect(await commit(store, if: [.absent("leader")], create).isCommitted)
            // It cannot take ours, and takes it once we have released it.
            #expect(
                ConsulFiles.request("PUT", tree + "leader?acquire=\(id)", body: "pg9", port: port)?.hasSuffix("false")
                    == true)
            guard case .proven = await session.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            #expect(await session.releaseLeader(within: .seconds(5)).isCommitted)
            #expect(
                ConsulFiles.request("PUT", tree + "leader?acquire=\(id)", body: "pg9", port: port)?.hasSuffix("true")
                    == true)
            #expect(await session.renew(holding: true, within: .seconds(5)).isGone)
            await session.close(abandon: false)
            await store.close()
        }

        @Test func theLargestValueFits() async throws {
            let server = try await SharedConsul.shared.server()
            let store = try openConsul([server.address], root: root())
            let big = [UInt8](repeating: 0xFE, count: store.limits.bytesPerValue)
            #expect(await commit(store, .put("history", big, .permanent)).isCommitted)
            #expect(
                try await store.read(.keys(["history"]), .linearizable, within: .seconds(5))["history"]?.value == big)
            // Two of them do not, and that is said before anything is sent.
            guard
                case .notSent(let error) = await commit(
                    store, .put("history", big, .permanent), .put("config", big, .permanent))
            else { throw CaseFailure("sent what is too large") }
            #expect(error.code == .tooLarge)
            // 64 operations are taken, of which a creation may need two.
            let names = (0..<60).map { "members/m\($0)" }
            let session = try await open(store)
            let writes = names.map { StoreWrite.put($0, bytes("{}"), .session(session.id)) }
            let outcome = await store.commit(
                StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: writes), within: .seconds(5))
            #expect(outcome.isCommitted)
            let creations = names.map { StoreWrite.create($0, bytes("{}"), .session(session.id)) }
            guard
                case .notSent = await store.commit(
                    StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: creations),
                    within: .seconds(5))
            else { throw CaseFailure("sent what is too much") }
            await session.close(abandon: false)
            await store.close()
        }

        @Test func aWrongDatacenterIsNamed() async throws {
            let server = try await SharedConsul.shared.server()
            let store = try openConsul([server.address], root: root()) { $0.datacenter = "nowhere" }
            await #expect { _ = try await self.open(store) } throws: {
                ($0 as? StoreError)?.code == .misconfigured && "\($0)".contains("consul.dc")
            }
            guard case .notSent = await commit(store, .put("config", [], .permanent)) else {
                throw CaseFailure("sent nowhere")
            }
            await store.close()
        }

        @Test func staleReadsForGlimpsesNeverGoBack() async throws {
            let server = try await SharedConsul.shared.server()
            let root = root()
            let store = try openConsul([server.address], root: root) { $0.consistency = .stale }
            let log = SignalLog(store)
            for number in 0..<10 {
                guard
                    case .committed(let revision, _) = await commit(
                        store, .put("config", bytes("\(number)"), .permanent))
                else { throw CaseFailure("not committed") }
                let snapshot = try await store.read(.all, .atLeast(revision), within: .seconds(5))
                #expect(snapshot.revision >= revision)
                #expect(snapshot.text("config") == "\(number)")
            }
            #expect(await log.first(after: 0, within: .seconds(5)) { $0.isNews } != nil)
            await store.close()
        }
    }
#endif
