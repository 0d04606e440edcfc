#if Etcd
    import ClusterModel
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import EtcdStore

    /// One server for the cases that do it no harm; it dies with the test process.
    actor SharedEtcd {
        static let shared = SharedEtcd()
        private var starting: Task<EtcdServer, any Error>?

        func server() async throws -> EtcdServer {
            let task = starting ?? Task { try await EtcdServer.single() }
            starting = task
            return try await task.value
        }
    }

    /// A cluster of three for the same.
    actor SharedEtcdEnsemble {
        static let shared = SharedEtcdEnsemble()
        private var starting: Task<EtcdEnsemble, any Error>?

        func ensemble() async throws -> EtcdEnsemble {
            let task = starting ?? Task { try await EtcdEnsemble.started() }
            starting = task
            return try await task.value
        }
    }

    extension StoreUnderTest {
        /// Some endpoints of etcd, under a root of their own.
        static func etcd(
            _ endpoints: [Endpoint], change: @escaping @Sendable (inout EtcdSettings) -> Void = { _ in }
        ) -> StoreUnderTest {
            let root = "/service/case\(nextNumber())/"
            return StoreUnderTest(
                makeStore: { try openEtcd(endpoints, root: root, change: change) }, lifetime: .seconds(6),
                // Leases are looked through twice a second.
                expiryLateness: .milliseconds(2500), signalLateness: .seconds(3), endsWithoutRenewal: true)
        }
    }

    @Suite struct EtcdStoreConformance {
        @Test(arguments: StoreCases.all) func conforms(_ storeCase: StoreCase) async throws {
            let server = try await SharedEtcd.shared.server()
            try await storeCase.run(.etcd([server.endpoint]))
        }
    }

    @Suite struct EtcdEnsembleConformance {
        @Test(arguments: StoreCases.all) func conforms(_ storeCase: StoreCase) async throws {
            let ensemble = try await SharedEtcdEnsemble.shared.ensemble()
            // Each client begins at another member.
            let root = "/service/case\(nextNumber())/"
            let endpoints = ensemble.endpoints
            var test = StoreUnderTest.etcd(endpoints)
            test.makeStore = {
                let first = Int(nextNumber() % 3)
                return try openEtcd(Array(endpoints[first...] + endpoints[..<first]), root: root)
            }
            try await storeCase.run(test)
        }
    }

    /// The cases that need more than a server: a network that fails, servers that end and begin.
    @Suite(.serialized) struct EtcdNetworkConformance {
        @Test(arguments: StoreCases.behindProxy) func conformsBehindAProxy(_ storeCase: StoreCase) async throws {
            let server = try await SharedEtcd.shared.server()
            let proxy = try FaultProxy(to: server.place.clientPort)
            defer { proxy.close() }
            let root = "/service/case\(nextNumber())/"
            let endpoint = Endpoint(isSecure: false, host: "127.0.0.1", port: proxy.port)
            var test = StoreUnderTest.etcd([])
            test.makeStore = { try openEtcd([server.endpoint], root: root) }
            test.proxy = proxy
            // Or it would find out what the server's own address is.
            test.makeStoreBehindProxy = { try openEtcd([endpoint], root: root) { $0.usesProxies = true } }
            try await storeCase.run(test)
        }

        @Test(arguments: StoreCases.restarts) func conformsAcrossRestarts(_ storeCase: StoreCase) async throws {
            let server = try await EtcdServer.single()
            defer { server.stop() }
            var test = StoreUnderTest.etcd([server.endpoint])
            test.lifetime = .seconds(30)
            test.restartServer = {
                server.kill()
                try server.start()
                try await server.waitUntilServing()
            }
            try await storeCase.run(test)
        }
    }
#endif
