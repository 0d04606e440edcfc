#if ZooKeeper
    import ClusterModel
    import ConfigurationTree
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import ZooKeeperStore

    /// What goes wrong with servers, credentials and sessions; each test on a server of its own or a root of its own.
    @Suite(.serialized) struct ZooKeeperFailureTests {
        private func root() -> String { "/service/failure\(nextNumber())/" }

        private func session(
            _ store: ZooKeeperClusterStore, lifetime: Duration = .milliseconds(1500), resume: [UInt8]? = nil
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

        // MARK: Servers

        @Test func aServerThatIsDownAtTheStartIsReportedInTimeAndFoundLater() async throws {
            let ports = try freePorts(1)
            let peer = ZooKeeperServer.Peer(number: 1, clientPort: ports[0], quorumPort: 0, electionPort: 0)
            let server = try ZooKeeperServer(peer: peer, tick: 100)
            defer { server.stop() }
            let store = openZooKeeper([server.address], root: root())
            let start = SystemClock.now()
            await #expect {
                _ = try await store.openSession(
                    SessionRequest(lifetime: .seconds(1), name: "pg1"), within: .milliseconds(600))
            } throws: {
                ($0 as? StoreError)?.code == .unreachable && "\($0)".contains(server.address)
            }
            #expect(SystemClock.now() - start < .milliseconds(2500))
            await #expect { _ = try await store.read(.all, .linearizable, within: .milliseconds(300)) } throws: {
                ($0 as? StoreError)?.code == .unreachable
            }
            try server.start()
            let isOpen = await eventually(within: .seconds(20)) {
                (try? await store.openSession(SessionRequest(lifetime: .seconds(1), name: "pg1"), within: .seconds(1)))
                    != nil
            }
            #expect(isOpen)
            await store.close()
        }

        @Test func namesThatDoNotResolveAreReported() async throws {
            let store = openZooKeeper(["no-such-host.invalid:2181"], root: root())
            await #expect {
                _ = try await store.openSession(SessionRequest(lifetime: .seconds(1), name: "pg1"), within: .seconds(1))
            } throws: { ($0 as? StoreError)?.code == .unreachable }
            await store.close()
        }

        @Test func aFrozenServerMakesCallsUnknownThenFailAtOnceAndTheSessionExpires() async throws {
            let server = try await ZooKeeperServer.standalone(tick: 100)
            defer { server.stop() }
            let store = openZooKeeper([server.address], root: root())
            let log = SignalLog(store)
            let session = try await session(store)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            server.freeze()
            let sent = SystemClock.now()
            guard
                case .unknown(let error) = await commit(
                    store, within: .milliseconds(300), .create("config", [], .permanent))
            else { throw CaseFailure("a frozen server answered") }
            #expect(error.code == .timedOut)
            #expect(SystemClock.now() - sent < .seconds(2))
            // The library gives the connection up after two thirds of the lifetime.
            #expect(
                await log.first(after: 0, within: .seconds(4)) { if case .disconnected = $0 { true } else { false } }
                    != nil)
            let asked = SystemClock.now()
            guard case .notSent(let later) = await commit(store, .put("config", [], .permanent)) else {
                throw CaseFailure("sent while unconnected")
            }
            #expect(later.code == .unreachable)
            guard case .unknown = await session.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("renewed while unconnected")
            }
            await #expect(throws: StoreError.self) { try await store.read(.all, .linearizable, within: .seconds(5)) }
            await #expect(throws: StoreError.self) {
                try await session.resolve(TransactionID(1), .all, within: .seconds(5))
            }
            guard case .notSent = await session.releaseLeader(within: .seconds(5)) else {
                throw CaseFailure("released while unconnected")
            }
            #expect(SystemClock.now() - asked < .seconds(2))
            #expect(await !log.has(.sessionLost))
            // Nobody reports the expiry before a server speaks again.
            try await Task.sleep(for: session.granted)
            server.thaw()
            var isGone = false
            let isOver = await eventually(within: .seconds(10)) {
                switch await session.renew(holding: true, within: .seconds(1)) {
                case .gone:
                    isGone = true
                    return true
                case .proven: return true
                case .unknown: return false
                }
            }
            #expect(isOver)
            // A server that slept itself may meet the client before it looks for expired sessions. Then all is well.
            if isGone {
                #expect(await log.first(after: 0, within: .seconds(2)) { $0 == .sessionLost } != nil)
                await session.close(abandon: true)
            } else {
                await store.close()
                return
            }
            let again = try await self.session(store)
            #expect(again.id != session.id)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(again.id))).isCommitted)
            await store.close()
        }

        @Test func aKilledServerLosesNothingAndNothingIsSentTwice() async throws {
            let server = try await ZooKeeperServer.standalone(tick: 200)
            defer { server.stop() }
            let store = openZooKeeper([server.address], root: root())
            let log = SignalLog(store)
            let session = try await session(store, lifetime: .seconds(4))
            #expect(await commit(store, .create("sync", bytes("0"), .permanent)).isCommitted)
            server.freeze()
            async let outcome = commit(store, within: .seconds(3), .create("config", bytes("1"), .permanent))
            try await Task.sleep(for: .milliseconds(50))
            server.kill()
            guard case .unknown(let error) = await outcome else { throw CaseFailure("answered by a dead server") }
            #expect(error.code == .unreachable || error.code == .timedOut)
            #expect(
                await log.first(after: 0, within: .seconds(2)) { if case .disconnected = $0 { true } else { false } }
                    != nil)
            let count = log.count
            try server.start()
            #expect(await log.first(after: count, within: .seconds(10)) { $0 == .connected } != nil)
            let snapshot = try await session.resolve(TransactionID(1), .all, within: .seconds(5))
            #expect(snapshot.text("sync") == "0")
            #expect([nil, "1"].contains(snapshot.text("config")))
            #expect(snapshot["config"]?.version.number ?? 0 == 0)
            await store.close()
        }

        // MARK: Credentials

        @Test func nodesOfTheirCreatorAreClosedToOthers() async throws {
            let server = try await SharedZooKeeper.shared.server()
            // The parents are closed as well: a namespace of its own.
            let root = "/closed\(nextNumber())/demo/"
            let owner = openZooKeeper([server.address], root: root) {
                $0.credentials = [Credential(scheme: "digest", secret: Secret("matriarch:secret"))]
                $0.accessList = [.creator]
            }
            let session = try await session(owner)
            #expect(await commit(owner, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            #expect(await commit(owner, .put("config", bytes("{}"), .permanent)).isCommitted)
            guard case .proven = await session.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            for secret in [nil, "matriarch:wrong"] {
                let other = openZooKeeper([server.address], root: root) {
                    $0.credentials = secret.map { [Credential(scheme: "digest", secret: Secret($0))] } ?? []
                }
                await #expect { _ = try await other.read(.all, .linearizable, within: .seconds(5)) } throws: {
                    ($0 as? StoreError)?.code == .notAuthorized && "\($0)".contains("zookeeper.auth_data")
                        && !"\($0)".contains("wrong")
                }
                guard case .notSent(let error) = await commit(other, .put("config", bytes("x"), .permanent)) else {
                    throw CaseFailure("written without being allowed to")
                }
                #expect(error.code == .notAuthorized)
                guard case .notSent(let create) = await commit(other, .create("sync", bytes("x"), .permanent)) else {
                    throw CaseFailure("created without being allowed to")
                }
                #expect(create.code == .notAuthorized)
                await other.close()
            }
            // The same credentials elsewhere do.
            let peer = openZooKeeper([server.address], root: root) {
                $0.credentials = [Credential(scheme: "digest", secret: Secret("matriarch:secret"))]
                $0.accessList = [.creator]
            }
            #expect(try await peer.read(.all, .linearizable, within: .seconds(5)).text("config") == "{}")
            await peer.close()
            await owner.close()
        }

        /// `set_acls`, as Patroni writes it: one principal may do everything, another may look.
        @Test func permissionsAreThoseOfTheList() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let root = "/listed\(nextNumber())/demo/"
            func principal(_ secret: String) throws -> String {
                let user = secret.prefix { $0 != ":" }
                let script = "printf '%s' '\(secret)' | openssl dgst -binary -sha1 | openssl base64"
                return user + ":" + (try runShell(script)).output.filter { !$0.isWhitespace }
            }
            let rules = [
                AccessRule(scheme: "digest", identity: try principal("matriarch:secret"), permissions: .all),
                AccessRule(scheme: "digest", identity: try principal("viewer:looking"), permissions: .read),
            ]
            func open(_ secret: String?) -> ZooKeeperClusterStore {
                openZooKeeper([server.address], root: root) {
                    $0.credentials = secret.map { [Credential(scheme: "digest", secret: Secret($0))] } ?? []
                    $0.accessList = rules
                }
            }
            let owner = open("matriarch:secret")
            let session = try await session(owner)
            #expect(await commit(owner, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            #expect(await commit(owner, .put("config", bytes("{}"), .permanent)).isCommitted)
            #expect(await session.renew(holding: true, within: .seconds(5)) != .gone(""))
            let viewer = open("viewer:looking")
            #expect(try await viewer.read(.all, .linearizable, within: .seconds(5)).text("config") == "{}")
            for write: StoreWrite in [.put("config", bytes("x"), .permanent), .delete("leader")] {
                guard case .notSent(let error) = await commit(viewer, write) else {
                    throw CaseFailure("written by who may look only")
                }
                #expect(error.code == .notAuthorized)
            }
            let nobody = open(nil)
            await #expect(throws: StoreError.self) {
                try await nobody.read(.all, .linearizable, within: .seconds(5))
            }
            #expect(try await owner.read(.all, .linearizable, within: .seconds(5)).text("config") == "{}")
            for store in [owner, viewer, nobody] { await store.close() }
        }

        @Test func aSchemeThatTheServersDoNotKnowIsNamed() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let store = openZooKeeper([server.address], root: root()) {
                $0.credentials = [Credential(scheme: "nosuch", secret: Secret("a:b"))]
            }
            let failed = await eventually(within: .seconds(5)) {
                do {
                    let session = try await store.openSession(
                        SessionRequest(lifetime: .seconds(1), name: "pg1"), within: .seconds(2))
                    _ = await session.renew(holding: false, within: .seconds(1))
                    _ = try await store.read(.all, .linearizable, within: .seconds(1))
                } catch let error as StoreError {
                    return error.code == .notAuthorized && error.message.contains("nosuch")
                } catch {}
                return false
            }
            #expect(failed)
            await store.close()
        }

        // MARK: Names, chroot, watches

        @Test func theChrootIsCreatedAndUsed() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let chroot = "/a\(nextNumber())/b"
            let store = openZooKeeper([server.address], root: "/service/demo/") { $0.chroot = chroot }
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).entries.isEmpty)
            #expect(await commit(store, .put("optime/leader", bytes("1"), .permanent)).isCommitted)
            let plain = openZooKeeper([server.address], root: chroot + "/service/demo/")
            #expect(
                try await plain.read(.all, .linearizable, within: .seconds(5)).entries.map(\.key) == ["optime/leader"])
            await plain.close()
            await store.close()
        }

        @Test func namesThatZooKeeperDoesNotTakeAreRefusedInWords() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let store = openZooKeeper([server.address], root: root())
            for name in ["members/a b", "members/größe", "members/日本", "members/x%2Fy", "members/'--;"] {
                #expect(await commit(store, .create(name, bytes("{}"), .permanent)).isCommitted, "\(name)")
            }
            for name in ["members/🐘", "members/..", "members//x", "members/\u{1}"] {
                guard case .notSent(let error) = await commit(store, .create(name, bytes("{}"), .permanent)) else {
                    throw CaseFailure("\(name) was taken")
                }
                #expect(error.code == .misconfigured, "\(name): \(error)")
            }
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).entries.count == 5)
            await store.close()
        }

        @Test func changesThatMatterAreSignalledAtOnce() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let root = root()
            let writer = openZooKeeper([server.address], root: root, member: "pg1")
            let watcher = openZooKeeper([server.address], root: root, member: "pg2")
            let session = try await session(writer)
            let log = SignalLog(watcher)
            // Before there is anything at all.
            _ = try await watcher.read(.all, .linearizable, within: .seconds(5))
            var writes: [(String, [StoreWrite])] = [
                ("leader", [.create("leader", bytes("pg1"), .session(session.id))]),
                ("member", [.create("members/pg1", bytes("{}"), .session(session.id))]),
                ("member gone", [.delete("members/pg1")]),
            ]
            for key in ["config", "failover", "initialize", "sync"] {
                writes += [
                    (key, [.put(key, bytes("1"), .permanent)]), ("\(key) again", [.put(key, bytes("2"), .permanent)]),
                ]
                writes += [("\(key) gone", [.delete(key)])]
            }
            writes.append(("leader gone", [.delete("leader")]))
            for (name, write) in writes {
                _ = try await watcher.read(.all, .linearizable, within: .seconds(5))
                let count = log.count
                let outcome = await writer.commit(
                    StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: write), within: .seconds(5))
                #expect(outcome.isCommitted, "\(name)")
                #expect(await log.first(after: count, within: .seconds(2)) { $0 == .changed(nil) } != nil, "\(name)")
            }
            await writer.close()
            await watcher.close()
        }

        @Test func anIdleClientSendsHeartbeatsOnly() async throws {
            let server = try await ZooKeeperServer.standalone(tick: 200)
            defer { server.stop() }
            let store = openZooKeeper([server.address], root: root())
            let session = try await session(store, lifetime: .seconds(3))
            #expect(await commit(store, .create("members/pg1", bytes("{}"), .session(session.id))).isCommitted)
            _ = try await store.read(.all, .linearizable, within: .seconds(5))
            let before = try #require(server.zxid)
            let packets = try #require(server.received)
            try await Task.sleep(for: .seconds(3))
            #expect(server.zxid == before)
            // A heartbeat each third of the lifetime, and our own questions here.
            #expect(try #require(server.received) - packets <= 8)
            await store.close()
        }

        // MARK: Proofs

        @Test func aProofIsATransactionThatChangesNothing() async throws {
            let server = try await ZooKeeperServer.standalone(tick: 200)
            defer { server.stop() }
            let store = openZooKeeper([server.address], root: root())
            let session = try await session(store, lifetime: .seconds(3))
            #expect(session.renewalInterval == session.granted / 4)
            #expect(await commit(store, .create("members/pg1", bytes("{}"), .session(session.id))).isCommitted)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            let snapshot = try await store.read(.all, .linearizable, within: .seconds(5))
            let log = SignalLog(store)
            let before = try #require(server.zxid)
            let start = SystemClock.now()
            guard case .proven(let sent, let expiry) = await session.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            #expect(expiry == sent + session.granted)
            #expect(sent >= start && sent <= SystemClock.now())
            #expect(server.zxid == before + 1)
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).entries == snapshot.entries)
            #expect(await !log.has(.changed(nil)))
            await store.close()
        }

        @Test func heartbeatsAloneWriteNothing() async throws {
            let server = try await ZooKeeperServer.standalone(tick: 100, extra: ["syncLimit=1"])
            defer { server.stop() }
            let root = root()
            let store = openZooKeeper([server.address], root: root) {
                $0.tick = .milliseconds(100)
                $0.syncLimit = 1
            }
            let session = try await session(store, lifetime: .seconds(2))
            #expect(session.renewalInterval == session.granted / 10)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            #expect(await commit(store, .create("members/pg1", bytes("{}"), .session(session.id))).isCommitted)
            let before = try #require(server.zxid)
            for _ in 0..<3 {
                guard case .proven(let sent, let expiry) = await session.renew(holding: true, within: .seconds(5))
                else {
                    throw CaseFailure("not proven")
                }
                // Three ticks and an interval less than the lifetime.
                #expect(expiry == sent + session.granted - .milliseconds(500))
            }
            #expect(server.zxid == before)
            let hand = openZooKeeper([server.address], root: root, member: "hand")
            #expect(await commit(hand, .delete("leader")).isCommitted)
            #expect(await session.renew(holding: true, within: .seconds(5)).isGone)
            #expect(await session.renew(holding: false, within: .seconds(5)).isProven)
            await hand.close()
            await store.close()
        }

        @Test func ownWritesNeverLookLikeAStrangers() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let store = openZooKeeper([server.address], root: root())
            let session = try await session(store)
            #expect(await commit(store, .create("members/pg1", bytes("{}"), .session(session.id))).isCommitted)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            async let writes: Void = {
                for number in 0..<100 {
                    let value = bytes("{\"n\":\(number)}")
                    #expect(await self.commit(store, .put("members/pg1", value, .session(session.id))).isCommitted)
                }
            }()
            for _ in 0..<100 {
                switch await session.renew(holding: true, within: .seconds(5)) {
                case .proven: break
                case .gone(let why): throw CaseFailure("gone: \(why)")
                case .unknown(let error): #expect(error.code == .timedOut)
                }
            }
            await writes
            await store.close()
        }

        @Test func anOlderInstanceWithTheSameSessionProvesNothing() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let root = root()
            let old = openZooKeeper([server.address], root: root)
            let oldSession = try await session(old)
            #expect(await commit(old, .create("members/pg1", bytes("{}"), .session(oldSession.id))).isCommitted)
            #expect(await commit(old, .create("leader", bytes("pg1"), .session(oldSession.id))).isCommitted)
            guard case .proven = await oldSession.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            let new = openZooKeeper([server.address], root: root)
            let newSession = try await session(new, resume: oldSession.resumption)
            #expect(newSession.isResumed)
            #expect(newSession.id == oldSession.id)
            // The two now take the connection from each other; the older one must not prove anything any more.
            let isOver = await eventually(within: .seconds(10)) {
                switch await oldSession.renew(holding: true, within: .seconds(1)) {
                case .gone(let why):
                    #expect(why.contains("another instance"))
                    return true
                case .unknown: return false
                case .proven:
                    Issue.record("an older instance proved the session")
                    return true
                }
            }
            #expect(isOver)
            await oldSession.close(abandon: true)
            let isProven = await eventually(within: .seconds(5)) {
                await newSession.renew(holding: true, within: .seconds(1)).isProven
            }
            #expect(isProven)
            await old.close()
            await new.close()
        }

        @Test func aSessionThatEndedWhileItsOwnerSleptIsNotResumed() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let root = root()
            let store = openZooKeeper([server.address], root: root)
            let first = try await session(store, lifetime: .milliseconds(300))
            let saved = try #require(first.resumption)
            #expect(saved.count == 24)
            await first.close(abandon: true)
            try await Task.sleep(for: .milliseconds(900))
            let log = SignalLog(store)
            let second = try await session(store, resume: saved)
            #expect(!second.isResumed)
            #expect(second.id != first.id)
            // The old one's end is part of the opening: told as a loss, it would be taken for the new one's.
            #expect(await log.first(after: 0, within: .milliseconds(300)) { $0 == .sessionLost } == nil)
            await second.close(abandon: false)
            await store.close()
        }

        @Test func aSecondSessionDoesNotEndTheFirst() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let root = root()
            let store = openZooKeeper([server.address], root: root)
            let first = try await session(store)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(first.id))).isCommitted)
            let second = try await session(store)
            #expect(second.id != first.id)
            let entry = try await store.read(.all, .linearizable, within: .seconds(5))["leader"]
            #expect(entry?.owner == first.id)
            await second.close(abandon: false)
            await store.close()
        }

        @Test func refusedCredentialsEndTheSessionForItsOwner() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let store = openZooKeeper([server.address], root: root())
            let log = SignalLog(store)
            let session = try await session(store)
            store.currentConnection?.receive(.authenticationFailed)
            #expect(await log.first(after: 0, within: .seconds(2)) { $0 == .sessionLost } != nil)
            #expect(await !session.renew(holding: false, within: .seconds(1)).isProven)
            await store.close()
        }

        @Test func aReaderNeedsNoSession() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let root = root()
            let store = openZooKeeper([server.address], root: root)
            // A call ends at once while there is no connection, and the first try to connect may fail.
            var isEmpty: Bool?
            _ = await eventually(within: .seconds(10)) {
                isEmpty = try? await store.read(.all, .linearizable, within: .seconds(5)).entries.isEmpty
                return isEmpty != nil
            }
            #expect(isEmpty == true)
            #expect(await commit(store, .put("failover", bytes("{}"), .permanent)).isCommitted)
            let outcome = await commit(store, .create("leader", bytes("x"), .session(SessionID("0x1"))))
            guard case .notSent(let error) = outcome else {
                throw CaseFailure("an entry for a strange session: \(outcome)")
            }
            #expect(error.code == .sessionLost)
            await store.close()
        }

        @Test func readsWhileTheClusterComesAndGoes() async throws {
            let server = try await SharedZooKeeper.shared.server()
            let root = root()
            let writer = openZooKeeper([server.address], root: root)
            let reader = openZooKeeper([server.address], root: root)
            async let writes: Void = {
                for number in 0..<40 {
                    let value = bytes(String(number))
                    _ = await self.commit(
                        writer, .put("config", value, .permanent), .put("members/a", value, .permanent),
                        .put("sync", value, .permanent))
                    if number % 4 == 3 {
                        _ = await self.commit(writer, .delete("config"), .delete("members/a"), .delete("sync"))
                    }
                }
            }()
            for _ in 0..<100 {
                let snapshot = try await reader.read(.all, .linearizable, within: .seconds(5))
                guard snapshot.isCut else { continue }
                #expect(snapshot.text("config") == snapshot.text("sync"))
                #expect(snapshot.text("config") == snapshot.text("members/a"))
                let some = try await reader.read(
                    .keys(["sync", "config", "leader"]), .linearizable, within: .seconds(5))
                if some.isCut { #expect(some.text("config") == some.text("sync")) }
            }
            await writes
            let last = try await reader.read(.all, .linearizable, within: .seconds(5))
            #expect(last.isCut)
            await writer.close()
            await reader.close()
        }
    }

    extension SignalLog {
        /// Whether a signal came so far.
        func has(_ signal: StoreSignal) async -> Bool { await first(after: 0, within: .zero) { $0 == signal } != nil }
    }
#endif
