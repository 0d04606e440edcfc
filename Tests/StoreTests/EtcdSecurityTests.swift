#if Etcd
    import ClusterModel
    import ConfigurationTree
    import Logging
    import PluginInterfaces
    import StoreConformance
    import Synchronization
    import Testing

    @testable import EtcdStore

    /// TLS with certificates on both sides, users with passwords and their tokens.
    @Suite(.timeLimit(.minutes(3))) struct EtcdSecurityTests {
        /// A server with users: root, and one that may do everything below `/service/`.
        private func guarded(_ options: EtcdServer.Options = EtcdServer.Options()) async throws -> EtcdServer {
            let server = try await EtcdServer.single(options)
            try await Self.addUsers(server)
            return server
        }

        static func addUsers(_ server: EtcdServer) async throws {
            let start = Base64.encode(bytes("/service/"))
            let end = Base64.encode(bytes("/service0"))
            try await server.call("/v3/auth/role/add", ["name": "root"])
            try await server.call("/v3/auth/role/add", ["name": "cluster"])
            try await server.call(
                "/v3/auth/role/grant",
                [
                    "name": "cluster",
                    "perm": ["permType": "READWRITE", "key": .string(start), "range_end": .string(end)],
                ])
            for (user, role) in [("root", "root"), ("pg", "cluster")] {
                try await server.call(
                    "/v3/auth/user/add", ["name": .string(user), "password": .string(user + "-secret")])
                try await server.call("/v3/auth/user/grant", ["user": .string(user), "role": .string(role)])
            }
            try await server.call("/v3/auth/enable", [:])
        }

        private func user(_ settings: inout EtcdSettings) {
            settings.username = "pg"
            settings.password = Secret("pg-secret")
        }

        private func put(_ store: EtcdCoordinationStore, _ text: String) async -> CommitOutcome {
            await store.commit(
                StoreTransaction(
                    id: TransactionID(nextNumber()), compares: [], writes: [.put("config", bytes(text), .permanent)]),
                within: .seconds(5))
        }

        @Test func withCertificatesAndUsers() async throws {
            let certificates = try await EtcdCertificates.make()
            var options = EtcdServer.Options()
            options.certificates = certificates
            let server = try await guarded(options)
            defer { server.stop() }
            for storeCase in StoreCases.all {
                try await storeCase.run(
                    .etcd([server.endpoint]) { settings in
                        certificates.apply(to: &settings)
                        settings.username = "pg"
                        settings.password = Secret("pg-secret")
                    })
            }
        }

        @Test func aCertificateThatNamesSomebodyIsExplained() async throws {
            let certificates = try await EtcdCertificates.make()
            var options = EtcdServer.Options()
            options.certificates = certificates
            let server = try await guarded(options)
            defer { server.stop() }
            let store = try openEtcd([server.endpoint], root: "/service/x/") {
                certificates.apply(to: &$0)
                $0.certificatePath = certificates.path("server.crt")
                $0.keyPath = certificates.path("server.key")
                user(&$0)
            }
            do throws(StoreError) {
                _ = try await store.read(.all, .linearizable, within: .seconds(5))
                throw StoreError(.closed, "it was read")
            } catch {
                #expect(error.code == .notAuthorized)
                #expect(error.message.contains("etcd3.cert"), "\(error)")
            }
            await store.close()
        }

        @Test func withTheWrongCertificates() async throws {
            let certificates = try await EtcdCertificates.make()
            var options = EtcdServer.Options()
            options.certificates = certificates
            let server = try await EtcdServer.single(options)
            defer { server.stop() }
            func attempt(_ change: (inout EtcdSettings) -> Void) async throws -> StoreError {
                let store = try openEtcd([server.endpoint], root: "/service/x/", change: change)
                let before = SystemClock.now()
                var caught: StoreError?
                do throws(StoreError) {
                    _ = try await store.read(.all, .linearizable, within: .seconds(5))
                } catch {
                    caught = error
                }
                #expect(SystemClock.now() - before < .seconds(4))
                await store.close()
                return try #require(caught)
            }
            // An authority that has not signed the server's certificate.
            let unknown = try await attempt {
                certificates.apply(to: &$0)
                $0.caPath = certificates.path("other.crt")
            }
            #expect(unknown.message.contains("etcd3.cacert"), "\(unknown)")
            // No certificate of our own.
            let nobody = try await attempt { $0.caPath = certificates.path("ca.crt") }
            #expect(nobody.code == .unreachable, "\(nobody)")
            // A name that the certificate does not have.
            var elsewhere = server.endpoint
            elsewhere.host = "127.0.0.2"
            #expect(elsewhere.url == "https://127.0.0.2:\(server.place.clientPort)")
            // No TLS at all.
            let store = try openEtcd(
                [Endpoint(isSecure: false, host: "127.0.0.1", port: server.place.clientPort)], root: "/service/x/")
            await #expect(throws: StoreError.self) { try await store.read(.all, .linearizable, within: .seconds(3)) }
            await store.close()
        }

        @Test func withTheWrongPassword() async throws {
            let server = try await guarded()
            defer { server.stop() }
            for (name, password) in [("pg", "wrong"), ("nobody", "pg-secret"), (nil, nil)] as [(String?, String?)] {
                let store = try openEtcd([server.endpoint], root: "/service/x/") {
                    $0.username = name
                    $0.password = password.map { Secret($0) }
                }
                do throws(StoreError) {
                    _ = try await store.read(.all, .linearizable, within: .seconds(5))
                    throw StoreError(.closed, "it was read")
                } catch {
                    #expect(error.code == .notAuthorized, "\(error)")
                    #expect(error.message.contains("etcd3.username"))
                    #expect(!error.message.contains("pg-secret") && !error.message.contains("wrong"))
                }
                guard case .notSent(let error) = await put(store, "x") else { throw CaseFailure("not refused") }
                #expect(error.code == .notAuthorized)
                await store.close()
            }
            // Outside of what the role may do.
            let store = try openEtcd([server.endpoint], root: "/elsewhere/x/", change: user)
            guard case .notSent(let error) = await put(store, "x") else { throw CaseFailure("not refused") }
            #expect(error.code == .notAuthorized)
            await store.close()
        }

        @Test func tokensThatExpire() async throws {
            var options = EtcdServer.Options()
            options.extra = ["--auth-token-ttl", "1"]
            let server = try await guarded(options)
            defer { server.stop() }
            let store = try openEtcd([server.endpoint], root: "/service/x/", change: user)
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(10), name: "pg1"), within: .seconds(5))
            let log = SignalLog(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            for round in 0..<3 {
                try await Task.sleep(for: .milliseconds(2200))
                let count = log.count
                #expect(await put(store, "\(round)").isCommitted)
                #expect(await log.first(after: count, within: .seconds(5)) { $0.isNews } != nil)
                try await Task.sleep(for: .milliseconds(2200))
                #expect(await session.renew(holding: false, within: .seconds(5)).isProven)
                try await Task.sleep(for: .milliseconds(2200))
                #expect(try await store.read(.all, .linearizable, within: .seconds(5)).text("config") == "\(round)")
            }
            await session.close(abandon: false)
            await store.close()
        }

        @Test func tokensThatARestartForgets() async throws {
            let server = try await guarded()
            defer { server.stop() }
            let store = try openEtcd([server.endpoint], root: "/service/x/", change: user)
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(30), name: "pg1"), within: .seconds(5))
            #expect(await put(store, "1").isCommitted)
            server.kill()
            try server.start()
            try await server.waitUntilServing()
            let reached = await eventually(within: .seconds(10)) { await put(store, "2").isCommitted }
            #expect(reached)
            #expect(await session.renew(holding: false, within: .seconds(5)).isProven)
            await session.close(abandon: false)
            await store.close()
        }

        @Test func usersThatComeLaterAndGo() async throws {
            let server = try await EtcdServer.single()
            defer { server.stop() }
            // Users are configured, and there are none yet.
            let store = try openEtcd([server.endpoint], root: "/service/x/", change: user)
            #expect(await put(store, "before").isCommitted)
            try await Self.addUsers(server)
            #expect(await put(store, "with").isCommitted)
            // A change of any user makes tokens old.
            let login = try await server.call(
                "/v3/auth/authenticate", ["name": "root", "password": "root-secret"])
            let token = Secret(try #require(login["token"]?.string))
            try await server.call("/v3/auth/user/add", ["name": "other", "password": "x"], token: token)
            #expect(await put(store, "after").isCommitted)
            let again = try await server.call(
                "/v3/auth/authenticate", ["name": "root", "password": "root-secret"])
            try await server.call("/v3/auth/disable", [:], token: Secret(try #require(again["token"]?.string)))
            #expect(await put(store, "without").isCommitted)
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).text("config") == "without")
            await store.close()
        }

        @Test func noSecretIsShown() async throws {
            let server = try await guarded()
            defer { server.stop() }
            let lines = Mutex<[String]>([])
            let logger = {
                var logger = Logger(label: "test") { _ in LineLogHandler { line in lines.withLock { $0.append(line) } }
                }
                logger.logLevel = .trace
                return logger
            }()
            var settings = EtcdSettings(endpoints: [server.endpoint])
            user(&settings)
            let store = try EtcdCoordinationStore(settings, keys: EtcdKeys(root: "/service/x/"), logger: logger)
            let log = SignalLog(store)
            _ = try await store.openSession(SessionRequest(lifetime: .seconds(3), name: "pg1"), within: .seconds(5))
            #expect(await put(store, "1").isCommitted)
            server.kill()
            let outcome = await put(store, "2")
            #expect(!outcome.isCommitted)
            #expect(
                await log.first(after: 0, within: .seconds(5)) { if case .disconnected = $0 { true } else { false } }
                    != nil)
            await store.close()
            let all = lines.withLock { $0 }.joined(separator: "\n") + "\(outcome) \(settings) \(store.cluster.settings)"
            #expect(!all.contains("pg-secret"))
            #expect(all.contains("15247"), "the release has no warning")
        }
    }

    /// Hands lines on.
    private struct LineLogHandler: LogHandler {
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        let take: @Sendable (String) -> Void

        init(_ take: @escaping @Sendable (String) -> Void) { self.take = take }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) { take("\(event.message)") }
    }
#endif
