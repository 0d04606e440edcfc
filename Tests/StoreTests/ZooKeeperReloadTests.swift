#if ZooKeeper
    import ClusterModel
    import ConfigurationTree
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Synchronization
    import Testing

    @testable import ZooKeeperStore

    extension ZooKeeperInTurn {
        /// What a reload changes while a session lasts.
        @Suite(.serialized) struct ZooKeeperReloadTests {
            private func commit(_ store: any CoordinationStore, _ writes: StoreWrite...) async -> CommitOutcome {
                await store.commit(
                    StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: writes), within: .seconds(5)
                )
            }

            private func server(of store: ZooKeeperClusterStore) -> String? {
                guard let connection = store.currentConnection, case .connected = connection.phase else { return nil }
                return connection.state.withLock { $0.server }.map { connection.route.shown($0) }
            }

            @Test func theSessionOutlivesItsServersPlaceInTheList() async throws {
                let ensemble = try await ZooKeeperEnsemble.started(tick: 500)
                defer { ensemble.stop() }
                let addresses = ensemble.addresses
                let store = openZooKeeper([addresses[0]], root: "/service/demo/") { $0.tick = .milliseconds(500) }
                let log = SignalLog(store)
                let session = try await store.openSession(
                    SessionRequest(lifetime: .seconds(10), name: "pg1"), within: .seconds(10))
                #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
                #expect(server(of: store) == addresses[0])

                // More of them: nothing happens to the connection.
                let all = addresses.joined(separator: ",")
                #expect(try warnings(await store.reconfigure(section(["hosts": all, "tick_time": "500"]))) == "")
                try await Task.sleep(for: .milliseconds(300))
                #expect(server(of: store) == addresses[0])
                #expect(await log.first(after: 0, within: .zero) { $0.isDisconnected } == nil)

                // Without the one that is connected: another, and the same session.
                let others = addresses[1] + "," + addresses[2]
                let start = SystemClock.now()
                #expect(try warnings(await store.reconfigure(section(["hosts": others, "tick_time": "500"]))) == "")
                let isMoved = await eventually(within: .seconds(5)) {
                    server(of: store).map { addresses.dropFirst().contains($0) } ?? false
                }
                #expect(isMoved)
                #expect(SystemClock.now() - start < .seconds(3))
                let isProven = await eventually(within: .seconds(8)) {
                    await session.renew(holding: true, within: .seconds(2)).isProven
                }
                #expect(isProven)
                #expect(try await store.read(.all, .linearizable, within: .seconds(5))["leader"]?.owner == session.id)

                // A list changed while the connection stayed counts when it is lost: the library's own list is the old one.
                let current = try #require(server(of: store))
                let index = try #require(addresses.firstIndex(of: current))
                let kept = current + "," + addresses[0]
                #expect(try warnings(await store.reconfigure(section(["hosts": kept, "tick_time": "500"]))) == "")
                ensemble.servers[index].kill()
                let isAtTheThird = await eventually(within: .seconds(8)) {
                    guard server(of: store) == addresses[0] else { return false }
                    return await session.renew(holding: true, within: .seconds(2)).isProven
                }
                #expect(isAtTheThird, "at \(server(of: store) ?? "nobody")")
                #expect(await !log.has(.sessionLost))
                await session.close(abandon: false)
                await store.close()
            }

            @Test func whatCannotBeTakenIsSaid() async throws {
                let server = try await SharedZooKeeper.shared.server()
                let store = openZooKeeper([server.address], root: "/service/reload\(nextNumber())/")
                let session = try await store.openSession(
                    SessionRequest(lifetime: .milliseconds(1500), name: "pg1"), within: .seconds(10))
                #expect(await commit(store, .put("config", bytes("{}"), .permanent)).isCommitted)
                guard case .refused(let complaints) = await store.reconfigure(section(["hosts": "zk1:none"])) else {
                    throw CaseFailure("nonsense was taken")
                }
                #expect(complaints.contains { $0.description.contains("c.yml:7:3: zookeeper.hosts") })
                let bad: KeyValuePairs = ["hosts": "elsewhere:1", "use_ssl": "true", "cacert": "/nonexistent/ca.pem"]
                guard case .refused(let reasons) = await store.reconfigure(section(bad)) else {
                    throw CaseFailure("a missing file was taken")
                }
                #expect(reasons.contains { $0.description.contains("c.yml:7:3: zookeeper.cacert: cannot read") })
                // Nothing has changed.
                #expect(store.route.hosts == server.address)
                #expect(!store.route.isEncrypted)
                let text = try warnings(
                    await store.reconfigure(
                        section([
                            "hosts": server.address, "chroot": "/other", "behind_proxy": "true", "tick_time": "100",
                        ])))
                for key in ["chroot", "behind_proxy", "tick_time"] {
                    #expect(text.contains("zookeeper.\(key): cannot change while the agent runs"), "\(text)")
                }
                let isProven = await eventually(within: .seconds(3)) {
                    await session.renew(holding: false, within: .seconds(1)).isProven
                }
                #expect(isProven)
                await session.close(abandon: false)
                await store.close()
            }

            @Test func certificatesAreReadAgain() async throws {
                let encrypted = try await EncryptedEnsemble.shared
                let strangers = try TestCertificates()
                defer { withExtendedLifetime(strangers) {} }
                let stranger = try strangers.make("stranger")
                let directory = try makeTemporaryDirectory("reload")
                defer { removeTree(directory) }
                let path = directory + "/member.pem"
                try writeFile(path, try readFile(stranger.both))
                let keys: KeyValuePairs = [
                    "hosts": encrypted.ensemble.secureAddresses.joined(separator: ","), "use_ssl": "true",
                    "cacert": encrypted.certificates.authority, "cert": path, "tick_time": "200",
                ]
                let settings = try #require(ZooKeeperSettings.read(section(keys), path: "zookeeper").settings)
                let store = try openZooKeeper(
                    encrypted: [], root: "/service/reload\(nextNumber())/", change: { $0 = settings })
                await #expect(throws: StoreError.self) {
                    _ = try await store.openSession(
                        SessionRequest(lifetime: .seconds(4), name: "pg1"), within: .seconds(2))
                }
                try writeFile(path, try readFile(encrypted.client.both))
                #expect(try warnings(await store.reconfigure(section(keys))) == "")
                let session = try await store.openSession(
                    SessionRequest(lifetime: .seconds(4), name: "pg1"), within: .seconds(10))
                #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
                // Where nodes are closed to all but the certificate's owner, it is not given up under a session.
                let closed = try openZooKeeper(
                    encrypted: [], root: "/service/reload\(nextNumber())/",
                    change: {
                        $0 = settings
                        $0.accessList = [.creator]
                    })
                let plain: KeyValuePairs = ["hosts": encrypted.ensemble.addresses.joined(separator: ",")]
                guard case .refused(let why) = await closed.reconfigure(section(plain)) else {
                    throw CaseFailure("the certificate was given up")
                }
                #expect(why.contains { $0.path == "zookeeper.use_ssl" })
                await closed.close()
                // A file that is being written: the old one stays in force, and the session as it is.
                try writeFile(path, "-----BEGIN CERTIFICATE-----\n")
                guard case .refused(let reasons) = await store.reconfigure(section(keys)) else {
                    throw CaseFailure("half a certificate was taken")
                }
                #expect(reasons.contains { $0.path == "zookeeper.cert" })
                let isProven = await eventually(within: .seconds(4)) {
                    await session.renew(holding: true, within: .seconds(1)).isProven
                }
                #expect(isProven)
                await session.close(abandon: false)
                await store.close()
            }

            @Test func encryptionIsTurnedOnUnderASession() async throws {
                let encrypted = try await EncryptedEnsemble.shared
                let ensemble = encrypted.ensemble
                let store = openZooKeeper(ensemble.addresses, root: "/service/reload\(nextNumber())/") {
                    $0.tick = .milliseconds(200)
                }
                let log = SignalLog(store)
                let session = try await store.openSession(
                    SessionRequest(lifetime: .seconds(4), name: "pg1"), within: .seconds(10))
                #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
                for (hosts, isEncrypted) in [(ensemble.secureAddresses, true), (ensemble.addresses, false)] {
                    let keys: KeyValuePairs = [
                        "hosts": hosts.joined(separator: ","), "use_ssl": "\(isEncrypted)", "tick_time": "200",
                        "cacert": encrypted.certificates.authority, "cert": encrypted.client.both,
                    ]
                    _ = try warnings(await store.reconfigure(section(keys)))
                    let isMoved = await eventually(within: .seconds(4)) { hosts.contains(server(of: store) ?? "") }
                    #expect(isMoved, "TLS \(isEncrypted): at \(server(of: store) ?? "nobody")")
                    let isProven = await eventually(within: .seconds(4)) {
                        await session.renew(holding: true, within: .seconds(1)).isProven
                    }
                    #expect(isProven)
                }
                #expect(await !log.has(.sessionLost))
                #expect(try await store.read(.all, .linearizable, within: .seconds(5))["leader"]?.owner == session.id)
                await session.close(abandon: false)
                await store.close()
            }
        }
    }

    extension StoreSignal {
        var isDisconnected: Bool {
            if case .disconnected = self { return true }
            return false
        }
    }
#endif
