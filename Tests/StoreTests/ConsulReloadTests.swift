#if Consul
    import ClusterModel
    import ConfigurationTree
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import ConsulStore

    /// What a reload changes while a session lasts, on servers that insist on tokens and certificates.
    @Suite(.timeLimit(.minutes(2)), .serialized) struct ConsulReloadTests {
        private func commit(_ store: any CoordinationStore, _ writes: StoreWrite...) async -> CommitOutcome {
            await store.commit(
                StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: writes), within: .seconds(5))
        }

        private func open(_ pairs: KeyValuePairs<String, String>) throws -> ConsulClusterStore {
            let (settings, _) = ConsulSettings.read(section(pairs), path: "consul")
            let wanted = try #require(settings)
            return try openConsul([], root: "/service/demo/") { $0 = wanted }
        }

        /// A holder of the lease, whose watch is up.
        private func holder(_ store: ConsulClusterStore) async throws -> (any StoreSession, SignalLog) {
            let log = SignalLog(store)
            var opened: (any StoreSession)?
            _ = await eventually(within: .seconds(20)) {
                opened = try? await store.openSession(
                    SessionRequest(lifetime: .seconds(30), name: "pg1"), within: .seconds(5))
                return opened != nil
            }
            let session = try #require(opened)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(session.id))).isCommitted)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            return (session, log)
        }

        /// The lease goes on, and the watch tells what is new.
        private func goesOn(
            _ store: ConsulClusterStore, _ session: any StoreSession, _ log: SignalLog, _ text: String
        ) async throws {
            #expect(await session.renew(holding: true, within: .seconds(5)).isProven, "\(text)")
            let isHeard = await eventually(within: .seconds(15)) {
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

        @Test func anotherToken() async throws {
            let guarded = try await ConsulSecurityTests.Guarded.started()
            let server = guarded.server
            defer { server.stop() }
            let rules = """
                key_prefix "service/demo/" { policy = "write" } session_prefix "" { policy = "write" }
                """
            let first = try await guarded.token("first", rules)
            let second = try await guarded.token("second", rules)
            let readOnly = try await guarded.token(
                "read",
                "key_prefix \"service/demo/\" { policy = \"read\" } session_prefix \"\" { policy = \"write\" }")
            let keysOnly = try await guarded.token("keys", "key_prefix \"service/demo/\" { policy = \"write\" }")
            let store = try open(["host": server.address, "token": first])
            let (session, log) = try await holder(store)
            #expect(
                try warnings(await store.reconfigure(section(["host": server.address, "token": second]))) == "")
            // The former one is taken away.
            #expect(try guarded.delete(first))
            try await Task.sleep(for: .milliseconds(300))
            try await goesOn(store, session, log, "second")

            for token in [nil, "99999999-2222-3333-4444-555555555555", readOnly, keysOnly] {
                let pairs: KeyValuePairs = ["host": server.address, "token": token ?? ""]
                let refused = try refusal(await store.reconfigure(section(pairs)))
                #expect(refused.contains("c.yml:7:3: consul") && refused.contains("key_prefix"), "\(refused)")
                #expect(token.map { !refused.contains($0) } ?? true)
            }
            let elsewhere = try refusal(
                await store.reconfigure(section(["host": server.address, "token": second, "dc": "mars"])))
            #expect(elsewhere.contains("consul"), "\(elsewhere)")
            #expect(
                try warnings(
                    await store.reconfigure(
                        section(["host": server.address, "token": second, "dc": "dc1", "register_service": "true"]))
                )
                .contains("consul.register_service: cannot change while the agent runs"))
            try await goesOn(store, session, log, "refused")
            await session.close(abandon: false)
            await store.close()
        }

        @Test func anotherHost() async throws {
            let cluster = try await ConsulCluster.started()
            defer { cluster.stop() }
            let leader = try cluster.leader()
            let followers = try cluster.followers()
            let store = try open(["host": followers[0].address])
            let (session, log) = try await holder(store)
            #expect(try warnings(await store.reconfigure(section(["host": leader.address]))) == "")
            #expect(store.client.endpoint.port == leader.ports.http)
            followers[0].freeze()
            try await goesOn(store, session, log, "leader")
            // Another cluster, which does not know the session; and nobody at all.
            let stranger = try await SharedConsul.shared.server()
            let foreign = try refusal(await store.reconfigure(section(["host": stranger.address])))
            #expect(foreign.contains("does not know this agent's session"), "\(foreign)")
            let dead = try refusal(await store.reconfigure(section(["host": "127.0.0.1:\(try freePorts(1)[0])"])))
            #expect(dead.contains("what the section named so far answers"), "\(dead)")
            try await goesOn(store, session, log, "still")
            await session.close(abandon: false)
            await store.close()
        }

        @Test func certificatesAreReadAgain() async throws {
            let place = try ConsulSecurityTests.makeCertificates()
            defer { removeTree(place) }
            let server = try await ConsulServer.standalone(
                isEncrypted: true, extra: ConsulSecurityTests.encrypted(place))
            defer { server.stop() }
            func install(_ name: String) throws {
                for kind in ["crt", "key"] {
                    try writeFile("\(place)/ours.\(kind)", try readFile("\(place)/\(name).\(kind)"))
                }
            }
            try install("client")
            let pairs: KeyValuePairs = [
                "url": "https://127.0.0.1:\(server.ports.http)", "cacert": "\(place)/ca.crt",
                "cert": "\(place)/ours.crt", "key": "\(place)/ours.key",
            ]
            let store = try open(pairs)
            let (session, log) = try await holder(store)
            try install("server")
            #expect(try warnings(await store.reconfigure(section(pairs))) == "")
            try await goesOn(store, session, log, "other certificate")
            try install("stranger")
            let refused = try refusal(await store.reconfigure(section(pairs)))
            #expect(refused.contains("what the section named so far answers"), "\(refused)")
            try writeFile("\(place)/ours.key", "nonsense")
            let broken = try refusal(await store.reconfigure(section(pairs)))
            #expect(broken.contains("ours.key"), "\(broken)")
            try await goesOn(store, session, log, "refused")
            await session.close(abandon: false)
            await store.close()
        }
    }
#endif
