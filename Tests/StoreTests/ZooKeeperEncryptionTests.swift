#if ZooKeeper
    import ClusterModel
    import ConfigurationTree
    import Glibc
    import Logging
    import PluginInterfaces
    import StoreConformance
    import Synchronization
    import Testing

    @testable import ZooKeeperStore

    /// An ensemble of three that demands certificates of its clients, and who has some.
    struct EncryptedEnsemble: Sendable {
        let certificates: TestCertificates
        let client: TestCertificates.Pair
        let ensemble: ZooKeeperEnsemble

        private static let starting = Task { try await started() }

        static func started() async throws -> EncryptedEnsemble {
            let certificates = try TestCertificates()
            let server = try certificates.make("server")
            let client = try certificates.make("member")
            let encryption = ZooKeeperServer.Encryption(authority: certificates.authority, pair: server.both)
            let ensemble = try await ZooKeeperEnsemble.started(tick: 200, encryption: encryption)
            return EncryptedEnsemble(certificates: certificates, client: client, ensemble: ensemble)
        }

        static var shared: EncryptedEnsemble { get async throws { try await starting.value } }

        var settings: EncryptionSettings {
            EncryptionSettings(
                authorityFile: certificates.authority, certificateFile: client.certificate, keyFile: client.key,
                keyPassword: nil, verifies: true, verifiesNames: true)
        }

        func open(
            _ addresses: [String], root: String, member: String = "pg1",
            logger: Logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            change: (inout EncryptionSettings) -> Void = { _ in }
        ) throws -> ZooKeeperClusterStore {
            var encryption = settings
            change(&encryption)
            return try openZooKeeper(encrypted: addresses, root: root, member: member, logger: logger) {
                $0.encryption = encryption
                $0.tick = .milliseconds(200)
            }
        }
    }

    extension ZooKeeperInTurn {
        @Suite(.serialized) struct ZooKeeperEncryptionConformance {
            /// Each client of a case hangs on another of three servers.
            @Test(arguments: ZooKeeperStoreConformance.cases) func conformsThroughTLS(_ storeCase: StoreCase)
                async throws
            {
                let encrypted = try await EncryptedEnsemble.shared
                let root = "/service/case\(nextNumber())/"
                try await storeCase.run(
                    StoreUnderTest(
                        makeStore: {
                            let address = encrypted.ensemble.secureAddresses[Int(nextNumber() % 3)]
                            return try encrypted.open([address], root: root)
                        }, lifetime: .seconds(2), expiryLateness: .seconds(1), signalLateness: .seconds(3),
                        endsWithoutRenewal: false))
            }

            /// The faults are between the forwarder and the server.
            @Test(arguments: StoreCases.behindProxy) func conformsThroughTLSBehindAProxy(
                _ storeCase: StoreCase
            ) async throws {
                let encrypted = try await EncryptedEnsemble.shared
                let server = try encrypted.ensemble.leader()
                let proxy = try FaultProxy(to: server.peer.securePort)
                defer { proxy.close() }
                let root = "/service/case\(nextNumber())/"
                try await storeCase.run(
                    StoreUnderTest(
                        makeStore: { try encrypted.open([server.secureAddress], root: root) }, lifetime: .seconds(4),
                        expiryLateness: .seconds(1), signalLateness: .seconds(3), endsWithoutRenewal: false,
                        proxy: proxy,
                        makeStoreBehindProxy: { try encrypted.open([proxy.address], root: root) }))
            }
        }
    }

    extension ZooKeeperInTurn {
        @Suite(.serialized) struct ZooKeeperEncryptionTests {
            private func root() -> String { "/service/tls\(nextNumber())/" }

            private func session(
                _ store: ZooKeeperClusterStore, within: Duration = .seconds(10)
            ) async throws -> any StoreSession {
                try await store.openSession(SessionRequest(lifetime: .seconds(4), name: "pg1"), within: within)
            }

            private func commit(_ store: any CoordinationStore, _ writes: StoreWrite...) async -> CommitOutcome {
                await store.commit(
                    StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: writes), within: .seconds(5)
                )
            }

            /// Why a store cannot be reached.
            private func refusal(_ store: ZooKeeperClusterStore) async -> String {
                var text = "it was reached"
                do {
                    _ = try await session(store, within: .seconds(3))
                } catch {
                    text = "\(error)"
                }
                await store.close()
                return text
            }

            @Test func theLeaderIsFoundThroughTLS() async throws {
                let encrypted = try await EncryptedEnsemble.shared
                let store = try encrypted.open(encrypted.ensemble.secureAddresses, root: root())
                let session = try await session(store)
                #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
                guard case .proven(let sent, let expiry) = await session.renew(holding: true, within: .seconds(5))
                else {
                    throw CaseFailure("not proven at the leader")
                }
                #expect(expiry == sent + session.granted)
                #expect(session.intervalsBehind == 0)
                await store.close()
            }

            @Test func aLostConnectionIsNoticedAtOnce() async throws {
                let encrypted = try await EncryptedEnsemble.shared
                for fault in [FaultProxy.Fault.cut, .reset] {
                    let proxy = try FaultProxy(to: encrypted.ensemble.leader().peer.securePort)
                    defer { proxy.close() }
                    let store = try encrypted.open([proxy.address], root: root())
                    let log = SignalLog(store)
                    let session = try await session(store)
                    #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
                    await proxy.set(fault)
                    // The library would find out by itself after two thirds of the lifetime.
                    #expect(await log.first(after: 0, within: .seconds(1)) { $0.isDisconnected } != nil, "\(fault)")
                    await proxy.set(.none)
                    #expect(
                        await eventually(within: .seconds(4)) {
                            await session.renew(holding: true, within: .seconds(1)).isProven
                        })
                    await store.close()
                }
            }

            @Test func aFrozenServerIsLeftForOneThatAnswersThroughTLS() async throws {
                let encrypted = try await EncryptedEnsemble.started()
                let ensemble = encrypted.ensemble
                defer { ensemble.stop() }
                let store = try encrypted.open(ensemble.secureAddresses, root: root())
                let session = try await session(store)
                #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
                let leader = try ensemble.leader()
                leader.freeze()
                defer { leader.thaw() }
                let isBack = await eventually(within: .seconds(4)) {
                    if await session.renew(holding: true, within: .milliseconds(300)).isProven { return true }
                    return (try? await store.read(.keys(["leader"]), .linearizable, within: .milliseconds(300))) != nil
                }
                #expect(isBack)
                #expect(try await store.read(.all, .linearizable, within: .seconds(5))["leader"]?.owner == session.id)
                await store.close()
            }

            @Test func whatIsWrongWithCertificatesIsSaid() async throws {
                let encrypted = try await EncryptedEnsemble.shared
                let address = [try #require(encrypted.ensemble.secureAddresses.first)]
                let strangers = try TestCertificates()
                let stranger = try strangers.make("stranger")

                let wrongAuthority = await refusal(
                    try encrypted.open(address, root: root()) { $0.authorityFile = strangers.authority })
                #expect(wrongAuthority.contains("not signed by zookeeper.cacert"), "\(wrongAuthority)")
                #expect(wrongAuthority.contains(address[0]), "\(wrongAuthority)")

                let none = await refusal(
                    try encrypted.open(address, root: root()) {
                        $0.certificateFile = nil
                        $0.keyFile = nil
                    })
                #expect(none.contains("zookeeper.cert"), "\(none)")

                let foreign = await refusal(
                    try encrypted.open(address, root: root()) {
                        $0.certificateFile = stranger.certificate
                        $0.keyFile = stranger.key
                    })
                #expect(foreign.contains("zookeeper.cert"), "\(foreign)")

                let plain = await refusal(try encrypted.open(encrypted.ensemble.addresses, root: root()))
                #expect(plain.contains("secureClientPort"), "\(plain)")

                // Nobody is asked for a certificate who does not check one.
                let trusting = try encrypted.open(address, root: root()) {
                    $0.authorityFile = strangers.authority
                    $0.verifies = false
                    $0.verifiesNames = false
                }
                _ = try await session(trusting)
                await trusting.close()
            }

            @Test func serversMustHaveGoodCertificates() async throws {
                let encrypted = try await EncryptedEnsemble.shared
                for (name, alternatives, days, sign) in [
                    ("elsewhere", "DNS:elsewhere.example", 1, "for another host"),
                    ("expired", "IP:127.0.0.1", -1, "has expired"),
                ] {
                    let pair = try encrypted.certificates.make(name, alternatives: alternatives, days: days)
                    let server = try await ZooKeeperServer.standalone(
                        encryption: .init(authority: encrypted.certificates.authority, pair: pair.both))
                    defer { server.stop() }
                    let why = await refusal(try encrypted.open([server.secureAddress], root: root()))
                    #expect(why.contains(sign), "\(why)")
                    guard days > 0 else { continue }
                    // The authority alone vouches for it where that is enough.
                    let lenient = try encrypted.open([server.secureAddress], root: root()) { $0.verifiesNames = false }
                    _ = try await session(lenient)
                    await lenient.close()
                }
            }

            @Test func namesAreCheckedAsTheyAreConfigured() async throws {
                let encrypted = try await EncryptedEnsemble.shared
                let port = try #require(encrypted.ensemble.servers.first).peer.securePort
                let store = try encrypted.open(["localhost:\(port)"], root: root())
                _ = try await session(store)
                await store.close()
            }

            @Test func filesThatCannotBeUsedAreNamed() async throws {
                let encrypted = try await EncryptedEnsemble.shared
                let certificates = encrypted.certificates
                func problem(_ change: (inout EncryptionSettings) -> Void) -> EncryptionProblem? {
                    var settings = encrypted.settings
                    change(&settings)
                    do throws(EncryptionProblem) {
                        _ = try EncryptionContext(settings)
                        return nil
                    } catch {
                        return error
                    }
                }
                #expect(problem { _ in } == nil)
                let missing = problem { $0.authorityFile = "/nonexistent/ca.pem" }
                #expect(missing?.key == "cacert" && missing?.message.contains("/nonexistent/ca.pem") == true)
                let empty = certificates.directory + "/empty"
                try writeFile(empty, "nothing\n")
                #expect(problem { $0.certificateFile = empty }?.message.contains("holds no certificate") == true)
                #expect(problem { $0.keyFile = empty }?.key == "key")
                let expired = try certificates.make("late", days: -1)
                let late = problem {
                    $0.certificateFile = expired.certificate
                    $0.keyFile = expired.key
                }
                #expect(late?.message.contains("has expired") == true)
                let other = try certificates.make("other")
                #expect(problem { $0.keyFile = other.key }?.message.contains("belong together") == true)

                let locked = try certificates.make("locked", password: "open sesame")
                let without = problem {
                    $0.certificateFile = locked.certificate
                    $0.keyFile = locked.key
                }
                #expect(without?.message.contains("set key_password") == true, "\(without as Any)")
                let wrong = problem {
                    $0.certificateFile = locked.certificate
                    $0.keyFile = locked.key
                    $0.keyPassword = Secret("wrong words")
                }
                #expect(wrong?.message.contains("check key_password") == true)
                #expect(wrong?.message.contains("wrong words") == false)
                let store = try encrypted.open(encrypted.ensemble.secureAddresses, root: root()) {
                    // Certificate and key in one file, as the key's absence says.
                    $0.certificateFile = locked.both
                    $0.keyFile = nil
                    $0.keyPassword = Secret("open sesame")
                }
                _ = try await session(store)
                await store.close()
            }

            @Test func nobodyElseGetsThroughTheForwarder() async throws {
                let encrypted = try await EncryptedEnsemble.shared
                let lines = Mutex<[String]>([])
                let logger = Logger(label: "test") { _ in LineLog { line in lines.withLock { $0.append(line) } } }
                let store = try encrypted.open(encrypted.ensemble.secureAddresses, root: root(), logger: logger)
                let session = try await session(store)
                let entrance = try #require(store.route.addresses().first)
                // We ourselves may ask.
                #expect(fourLetters("srvr", host: entrance.host, port: entrance.port)?.contains("Mode: ") == true)
                // Another process of the same user may not.
                let (_, output) = try runShell(
                    """
                    exec timeout 3 bash -c 'exec 3<>/dev/tcp/\(entrance.host)/\(entrance.port); echo srvr >&3; cat <&3' 2>/dev/null
                    """)
                #expect(output == "")
                #expect(
                    await eventually(within: .seconds(2)) {
                        lines.withLock { $0 }.contains { $0.contains("another process") }
                    })
                #expect(await session.renew(holding: false, within: .seconds(5)) != .gone(""))
                await store.close()
                // The port is gone with the store.
                #expect(
                    await eventually(within: .seconds(2)) {
                        fourLetters("srvr", host: entrance.host, port: entrance.port) == nil
                    })
            }

            @Test func certificatesAreIdentitiesInAccessLists() async throws {
                let encrypted = try await EncryptedEnsemble.shared
                let other = try encrypted.certificates.make("somebody")
                let root = "/tls\(nextNumber())/demo/"
                let address = encrypted.ensemble.secureAddresses
                let owner = try openZooKeeper(encrypted: address, root: root) {
                    $0.encryption = encrypted.settings
                    $0.accessList = [AccessRule(scheme: "x509", identity: "CN=member", permissions: .all)]
                }
                let session = try await session(owner)
                #expect(await commit(owner, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
                #expect(await session.renew(holding: true, within: .seconds(5)) != .gone(""))
                let stranger = try encrypted.open(address, root: root) {
                    $0.certificateFile = other.certificate
                    $0.keyFile = other.key
                }
                await #expect { _ = try await stranger.read(.all, .linearizable, within: .seconds(5)) } throws: {
                    ($0 as? StoreError)?.code == .notAuthorized
                }
                await stranger.close()
                // `acl: creator` says the same without spelling it out.
                let creatorRoot = "/tls\(nextNumber())/demo/"
                let creator = try openZooKeeper(encrypted: address, root: creatorRoot) {
                    $0.encryption = encrypted.settings
                    $0.accessList = [.creator]
                }
                #expect(await commit(creator, .put("config", bytes("{}"), .permanent)).isCommitted)
                let again = try encrypted.open(address, root: creatorRoot)
                #expect(try await again.read(.all, .linearizable, within: .seconds(5)).text("config") == "{}")
                await again.close()
                await creator.close()
                await owner.close()
            }
        }
    }

    /// A log of lines.
    struct LineLog: LogHandler {
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug
        let write: @Sendable (String) -> Void

        init(_ write: @escaping @Sendable (String) -> Void) {
            self.write = write
        }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) { write("\(event.level): \(event.message)") }
    }
#endif
