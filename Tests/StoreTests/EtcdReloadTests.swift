#if Etcd
    import ClusterModel
    import ConfigurationTree
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import EtcdStore

    /// What a reload changes while a session lasts, on servers that insist on users and certificates.
    @Suite(.timeLimit(.minutes(2)), .serialized) struct EtcdReloadTests {
        private func commit(_ store: any CoordinationStore, _ writes: StoreWrite...) async -> CommitOutcome {
            await store.commit(
                StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: writes), within: .seconds(5))
        }

        /// A holder of the lease, whose watch is up.
        private func holder(_ store: EtcdCoordinationStore) async throws -> (any StoreSession, SignalLog) {
            let log = SignalLog(store)
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(10), name: "pg1"), within: .seconds(5))
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            return (session, log)
        }

        /// The lease goes on, and the watch tells what is new.
        private func goesOn(
            _ store: EtcdCoordinationStore, _ session: any StoreSession, _ log: SignalLog, _ text: String
        ) async throws {
            #expect(await session.renew(holding: true, within: .seconds(5)).isProven, "\(text)")
            let isHeard = await eventually(within: .seconds(10)) {
                let count = log.count
                guard await commit(store, .put("config", bytes(text), .permanent)).isCommitted else { return false }
                return await log.first(after: count, within: .seconds(2)) { $0.isNews } != nil
            }
            #expect(isHeard, "\(text)")
            let seen = try await store.read(.all, .linearizable, within: .seconds(5))
            #expect(seen.text("config") == text)
            #expect(seen["leader"]?.owner == session.id)
            #expect(await !log.has(.sessionLost))
        }

        @Test func anotherUserAndAnotherPassword() async throws {
            let server = try await EtcdServer.single()
            defer { server.stop() }
            try await EtcdSecurityTests.addUsers(server)
            let host = "127.0.0.1:\(server.place.clientPort)"
            let store = try openEtcd([server.endpoint], root: "/service/demo/") {
                $0.username = "pg"
                $0.password = Secret("pg-secret")
            }
            let (session, log) = try await holder(store)
            let login = try await server.call("/v3/auth/authenticate", ["name": "root", "password": "root-secret"])
            var root = Secret(try #require(login["token"]?.string))

            // Changed at the server first: what was logged in stays that until its token is refused.
            try await server.call(
                "/v3/auth/user/changepw", ["name": "pg", "password": "newer-secret"], token: root)
            #expect(
                try warnings(
                    await store.reconfigure(
                        section(["host": host, "username": "pg", "password": "newer-secret"]))) == "")
            try await goesOn(store, session, log, "password")

            // A user of its own, with the same role.
            let again = try await server.call("/v3/auth/authenticate", ["name": "root", "password": "root-secret"])
            root = Secret(try #require(again["token"]?.string))
            try await server.call("/v3/auth/user/add", ["name": "other", "password": "other-secret"], token: root)
            try await server.call("/v3/auth/user/grant", ["user": "other", "role": "cluster"], token: root)
            #expect(
                try warnings(
                    await store.reconfigure(
                        section(["host": host, "username": "other", "password": "other-secret"]))) == "")
            try await server.call("/v3/auth/user/delete", ["name": "pg"], token: root)
            try await goesOn(store, session, log, "user")

            // What would cost the lease is refused, with the place and without the secret.
            let wrong = try refusal(
                await store.reconfigure(section(["host": host, "username": "other", "password": "hunter2"])))
            #expect(wrong.contains("c.yml:7:3: etcd3.password"), "\(wrong)")
            #expect(!wrong.contains("hunter2") && !wrong.contains("other-secret"))
            let nobody = try refusal(await store.reconfigure(section(["host": host])))
            #expect(nobody.contains("etcd3"), "\(nobody)")
            try await server.call("/v3/auth/user/add", ["name": "reader", "password": "r"], token: root)
            try await server.call("/v3/auth/role/add", ["name": "reader"], token: root)
            try await server.call(
                "/v3/auth/role/grant",
                [
                    "name": "reader",
                    "perm": [
                        "permType": "READ", "key": .string(Base64.encode(bytes("/service/"))),
                        "range_end": .string(Base64.encode(bytes("/service0"))),
                    ],
                ], token: root)
            try await server.call("/v3/auth/user/grant", ["user": "reader", "role": "reader"], token: root)
            let reader = try refusal(
                await store.reconfigure(section(["host": host, "username": "reader", "password": "r"])))
            #expect(reader.contains("etcd3.username") && reader.contains("write"), "\(reader)")
            try await goesOn(store, session, log, "refused")
            await session.close(abandon: false)
            await store.close()
        }

        @Test func certificatesAreReadAgain() async throws {
            let certificates = try await EtcdCertificates.make()
            var options = EtcdServer.Options()
            options.certificates = certificates
            let server = try await EtcdServer.single(options)
            defer { server.stop() }
            let directory = try makeTemporaryDirectory("etcd-reload")
            defer { removeTree(directory) }
            func install(_ name: String) throws {
                for kind in ["crt", "key"] {
                    try writeFile("\(directory)/client.\(kind)", try readFile(certificates.path("\(name).\(kind)")))
                }
            }
            try install("client")
            let pairs: KeyValuePairs = [
                "hosts": "https://127.0.0.1:\(server.place.clientPort)", "cacert": certificates.path("ca.crt"),
                "cert": "\(directory)/client.crt", "key": "\(directory)/client.key",
            ]
            let (settings, _) = EtcdSettings.read(section(pairs), path: "etcd3")
            let wanted = try #require(settings)
            let store = try openEtcd([], root: "/service/demo/") { $0 = wanted }
            let (session, log) = try await holder(store)
            // Nothing has changed: not even the watch is begun anew.
            let before = store.cluster.http
            #expect(try warnings(await store.reconfigure(section(pairs))) == "")
            #expect(store.cluster.http === before)
            // The files have: one that the servers accept, then one that they do not.
            try install("server")
            #expect(try warnings(await store.reconfigure(section(pairs))) == "")
            #expect(store.cluster.http !== before)
            try await goesOn(store, session, log, "other certificate")
            try install("other")
            let refused = try refusal(await store.reconfigure(section(pairs)))
            #expect(refused.contains("the servers named so far answer"), "\(refused)")
            try writeFile("\(directory)/client.key", "nonsense")
            let broken = try refusal(await store.reconfigure(section(pairs)))
            #expect(broken.contains("c.yml:7:3: etcd3.key"), "\(broken)")
            try await goesOn(store, session, log, "refused")
            await session.close(abandon: false)
            await store.close()
        }

        @Test func otherServersOfTheSameCluster() async throws {
            let ensemble = try await EtcdEnsemble.started()
            defer { ensemble.stop() }
            let hosts = ensemble.servers.map { "127.0.0.1:\($0.place.clientPort)" }
            let store = try openEtcd([ensemble.endpoints[0]], root: "/service/demo/") { $0.usesProxies = true }
            let (session, log) = try await holder(store)
            #expect(
                try warnings(
                    await store.reconfigure(
                        section(["hosts": hosts[1] + "," + hosts[2], "use_proxies": "true"]))) == "")
            ensemble.servers[0].kill()
            let isProven = await eventually(within: .seconds(8)) {
                await session.renew(holding: true, within: .seconds(2)).isProven
            }
            #expect(isProven)
            try await goesOn(store, session, log, "others")
            #expect(!store.cluster.order.contains(ensemble.endpoints[0]))
            // Servers of another cluster, and nobody at all.
            let stranger = try await EtcdServer.single()
            defer { stranger.stop() }
            let foreign = try refusal(
                await store.reconfigure(section(["host": "127.0.0.1:\(stranger.place.clientPort)"])))
            #expect(foreign.contains("servers of another store"), "\(foreign)")
            let dead = try refusal(await store.reconfigure(section(["host": "127.0.0.1:\(try freePorts(1)[0])"])))
            #expect(dead.contains("the servers named so far answer"), "\(dead)")
            try await goesOn(store, session, log, "still")
            // Where nobody answers either way, what is new counts.
            ensemble.servers[1].freeze()
            ensemble.servers[2].freeze()
            #expect(try warnings(await store.reconfigure(section(["hosts": hosts[2] + "," + hosts[1]]))) == "")
            ensemble.servers[1].thaw()
            ensemble.servers[2].thaw()
            let isBack = await eventually(within: .seconds(20)) {
                await session.renew(holding: true, within: .seconds(2)).isProven
            }
            #expect(isBack)
            await session.close(abandon: false)
            await store.close()
        }
    }
#endif
