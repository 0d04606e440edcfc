#if Consul
    import ClusterModel
    import ConfigurationTree
    import Logging
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import ConsulStore

    /// A client of servers under test.
    func openConsul(
        _ addresses: [String], root: String, member: String = "pg1",
        change: (inout ConsulSettings) -> Void = { _ in }
    ) throws -> ConsulClusterStore {
        var settings = ConsulSettings(
            endpoints: addresses.compactMap { ConsulSettings.endpoint($0, isEncrypted: false) })
        change(&settings)
        return try ConsulClusterStore(
            settings, root: root, scope: "demo", memberName: member,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    @Suite struct ConsulStoreConformance {
        @Test(arguments: StoreCases.all) func conforms(_ storeCase: StoreCase) async throws {
            let server = try await SharedConsul.shared.server()
            let root = "/service/case\(nextNumber())/"
            try await storeCase.run(Self.underTest([server.address], root))
        }

        /// Sessions of two seconds, which Consul ends after four, with a lock delay of two more.
        static func underTest(
            _ addresses: [String], _ root: String, lifetime: Duration = .seconds(6)
        ) -> StoreUnderTest {
            StoreUnderTest(
                makeStore: { try openConsul(addresses, root: root) }, lifetime: lifetime,
                expiryLateness: lifetime / 3 + .milliseconds(1500), signalLateness: .seconds(3),
                endsWithoutRenewal: true)
        }
    }

    /// The cases that need more than a server: a network that fails, servers that end and begin.
    @Suite(.serialized) struct ConsulNetworkConformance {
        @Test(arguments: StoreCases.behindProxy) func conformsBehindAProxy(_ storeCase: StoreCase) async throws {
            let server = try await SharedConsul.shared.server()
            let proxy = try FaultProxy(to: server.ports.http)
            defer { proxy.close() }
            let root = "/service/case\(nextNumber())/"
            var test = ConsulStoreConformance.underTest([server.address], root)
            test.proxy = proxy
            test.makeStoreBehindProxy = { try openConsul([proxy.address], root: root) }
            try await storeCase.run(test)
        }

        @Test(arguments: StoreCases.restarts) func conformsAcrossRestarts(_ storeCase: StoreCase) async throws {
            let server = try await ConsulServer.standalone()
            defer { server.stop() }
            var test = ConsulStoreConformance.underTest([server.address], "/service/demo/", lifetime: .seconds(30))
            test.restartServer = {
                server.kill()
                try server.start()
                try await server.waitUntilServing()
            }
            try await storeCase.run(test)
        }
    }
#endif
