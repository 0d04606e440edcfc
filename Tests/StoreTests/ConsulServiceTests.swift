#if Consul
    import ClusterModel
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import ConsulStore

    /// The member in Consul's catalogue.
    @Suite struct ConsulServiceTests {
        private func member(
            _ state: String = "running", _ role: String = "primary", url: String = "postgres://10.0.0.2:5432/postgres"
        ) -> JSONValue {
            [
                "conn_url": .string(url), "api_url": "https://10.0.0.2:8008/patroni", "state": .string(state),
                "role": .string(role), "version": "4.1.5",
            ]
        }

        private func wish(
            _ member: JSONValue, _ settings: ConsulServiceSettings = ConsulServiceSettings()
        ) -> ServiceRecord.Wish {
            ServiceRecord.wish(
                member: member, scope: "My.Cluster_1 ü", name: "pg1", settings: settings, lifetime: .seconds(15))
        }

        @Test(arguments: [
            ("demo", "demo"), ("My Cluster_1.a", "my-cluster-1-a"), ("a/b", "au0047b"), ("größe", "gru0246u0223e"),
            (String(repeating: "x", count: 300), String(repeating: "x", count: 230)),
        ])
        func names(_ scope: String, _ name: String) {
            #expect(ServiceRecord.name(scope: scope) == name)
        }

        @Test func recordsFollowPatronis() throws {
            let settings = ConsulServiceSettings(tags: ["blue"], checkInterval: "7s", checkServerName: "pg1.internal")
            guard case .register(let record) = wish(member(), settings) else { throw CaseFailure("not registered") }
            #expect(record["ID"]?.string == "My.Cluster_1 ü/pg1")
            #expect(record["Name"]?.string == "my-cluster-1-u0252")
            #expect(record["Address"]?.string == "10.0.0.2")
            #expect(record["Port"]?.integer == 5432)
            #expect(record["Tags"] == ["blue", "primary", "master"])
            #expect(record["EnableTagOverride"]?.bool == true)
            #expect(record["Check"]?["HTTP"]?.string == "https://10.0.0.2:8008/primary")
            #expect(record["Check"]?["Interval"]?.string == "7s")
            #expect(record["Check"]?["DeregisterCriticalServiceAfter"]?.string == "150000ms")
            #expect(record["Check"]?["TLSServerName"]?.string == "pg1.internal")
            guard
                case .register(let standby) = wish(member("running", "standby_leader", url: "postgres://[::1]:5433/x"))
            else { throw CaseFailure("not registered") }
            #expect(standby["Tags"] == ["standby-leader"])
            #expect(standby["Check"]?["HTTP"]?.string == "https://10.0.0.2:8008/standby-leader")
            #expect(standby["Address"]?.string == "::1")
            #expect(standby["Port"]?.integer == 5433)
            #expect(wish(member("stopped", "demoted")) == .deregister)
            for (state, role) in [("starting", "replica"), ("running", "demoted"), ("running", "uninitialized")] {
                #expect(wish(member(state, role)) == .nothing)
            }
            #expect(wish(member(url: "nonsense")) == .nothing)
            #expect(wish([]) == .nothing)
        }

        @Test func theCatalogueFollowsTheMember() async throws {
            let server = try await ConsulServer.standalone()
            defer { server.stop() }
            let store = try openConsul([server.address], root: "/service/demo/") {
                $0.service = ConsulServiceSettings(tags: ["blue"])
            }
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(20), name: "pg1"), within: .seconds(10))
            func services() throws -> JSONValue {
                try JSONValue.parse(ConsulFiles.get("/v1/agent/services", port: server.ports.http) ?? "{}")
            }
            func publish(_ state: String, _ role: String) async {
                let value = bytes(member(state, role).serialized())
                let outcome = await store.commit(
                    StoreTransaction(
                        id: TransactionID(nextNumber()), compares: [],
                        writes: [
                            .put("members/pg1", value, .session(session.id)), .put("members/pg2", [], .permanent),
                        ]), within: .seconds(5))
                #expect(outcome.isCommitted)
            }
            await publish("starting", "replica")
            await publish("running", "replica")
            #expect(
                try await eventually(within: .seconds(20)) {
                    try services()["demo/pg1"]?["Tags"] == ["blue", "replica"]
                })
            #expect(try services()["demo/pg1"]?["Service"]?.string == "demo")
            #expect(try services()["demo/pg1"]?["Port"]?.integer == 5432)
            await publish("running", "primary")
            #expect(
                try await eventually(within: .seconds(20)) {
                    try services()["demo/pg1"]?["Tags"] == ["blue", "primary", "master"]
                })
            let checks = try JSONValue.parse(ConsulFiles.get("/v1/agent/checks", port: server.ports.http) ?? "{}")
            #expect(checks["service:demo/pg1"]?["Definition"] != nil)
            // One that is stopping stays until it has stopped.
            await publish("stopping", "demoted")
            #expect(try services()["demo/pg1"] != nil)
            await publish("stopped", "demoted")
            #expect(try await eventually(within: .seconds(20)) { try services()["demo/pg1"] == nil })
            await session.close(abandon: false)
            await store.close()
        }

        @Test func anAgentThatIsAwayIsToldLater() async throws {
            let server = try await ConsulServer.standalone()
            defer { server.stop() }
            let proxy = try FaultProxy(to: server.ports.http)
            defer { proxy.close() }
            let store = try openConsul([proxy.address], root: "/service/demo/") {
                $0.service = ConsulServiceSettings()
            }
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(20), name: "pg1"), within: .seconds(10))
            // The answer to the commit gets through, what comes after it does not.
            await proxy.set(.slow(.milliseconds(200)))
            async let outcome = store.commit(
                StoreTransaction(
                    id: TransactionID(nextNumber()), compares: [],
                    writes: [.put("members/pg1", bytes(member().serialized()), .session(session.id))]),
                within: .seconds(5))
            #expect(await outcome.isCommitted)
            await proxy.set(.cut)
            try await Task.sleep(for: .milliseconds(500))
            await proxy.set(.none)
            let isThere = await eventually(within: .seconds(8)) {
                ConsulFiles.get("/v1/agent/services", port: server.ports.http)?.contains("demo/pg1") ?? false
            }
            #expect(isThere)
            await session.close(abandon: false)
            await store.close()
        }
    }
#endif
