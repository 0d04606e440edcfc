#if ZooKeeper
    import ClusterModel
    import Logging
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import ZooKeeperStore

    /// One server for the cases that do it no harm; it dies with the test process.
    actor SharedZooKeeper {
        static let shared = SharedZooKeeper()
        private var starting: Task<ZooKeeperServer, any Error>?

        func server() async throws -> ZooKeeperServer {
            let task = starting ?? Task { try await ZooKeeperServer.standalone(tick: 100) }
            starting = task
            return try await task.value
        }
    }

    /// A client of a server or an ensemble.
    func openZooKeeper(
        _ addresses: [String], root: String, member: String = "pg1",
        change: (inout ZooKeeperSettings) -> Void = { _ in }
    ) -> ZooKeeperClusterStore {
        do {
            return try openZooKeeper(encrypted: addresses, root: root, member: member, change: change)
        } catch {
            preconditionFailure("nothing can fail without encryption: \(error)")
        }
    }

    /// The same, where reading certificates may fail.
    func openZooKeeper(
        encrypted addresses: [String], root: String, member: String = "pg1",
        logger: Logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
        change: (inout ZooKeeperSettings) -> Void = { _ in }
    ) throws -> ZooKeeperClusterStore {
        var settings = ZooKeeperSettings(servers: addresses.compactMap { ZooKeeperSettings.server($0) })
        change(&settings)
        let paths = KeyPaths(root: root, chroot: settings.chroot, memberName: member)
        return try ZooKeeperClusterStore(settings, paths: paths, logger: logger)
    }

    /// Three servers for the same.
    actor SharedEnsemble {
        static let shared = SharedEnsemble()
        private var starting: Task<ZooKeeperEnsemble, any Error>?

        func ensemble() async throws -> ZooKeeperEnsemble {
            let task = starting ?? Task { try await ZooKeeperEnsemble.started(tick: 100) }
            starting = task
            return try await task.value
        }
    }

    /// Suites that start ensembles: one after the other, or they would starve each other's servers.
    @Suite(.serialized) struct ZooKeeperInTurn {}

    @Suite struct ZooKeeperStoreConformance {
        // ZooKeeper takes no characters beyond U+FFFF in names, and its client keeps sessions by itself.
        static let cases = StoreCases.excluding(StoreCases.namesBeyondU_FFFF, StoreCases.unrenewed)

        @Test(arguments: cases) func conforms(_ storeCase: StoreCase) async throws {
            let server = try await SharedZooKeeper.shared.server()
            let root = "/service/case\(nextNumber())/"
            try await storeCase.run(
                StoreUnderTest(
                    makeStore: { openZooKeeper([server.address], root: root) }, lifetime: .milliseconds(1500),
                    expiryLateness: .seconds(1), signalLateness: .seconds(3), endsWithoutRenewal: false))
        }

        /// Each client of a case hangs on another server, the leader and followers by turns.
        @Test(arguments: cases) func conformsOnAnEnsemble(_ storeCase: StoreCase) async throws {
            let ensemble = try await SharedEnsemble.shared.ensemble()
            let root = "/service/case\(nextNumber())/"
            try await storeCase.run(
                StoreUnderTest(
                    makeStore: {
                        let address = ensemble.addresses[Int(nextNumber() % 3)]
                        return openZooKeeper([address], root: root) { $0.tick = .milliseconds(100) }
                    }, lifetime: .milliseconds(1500), expiryLateness: .seconds(1), signalLateness: .seconds(3),
                    endsWithoutRenewal: false))
        }
    }

    extension ZooKeeperInTurn {
        @Suite(.serialized) struct ZooKeeperNetworkConformance {
            private static let server = Task { try await ZooKeeperServer.standalone(tick: 200) }

            @Test(arguments: StoreCases.behindProxy) func conformsBehindAProxy(_ storeCase: StoreCase) async throws {
                let server = try await Self.server.value
                let proxy = try FaultProxy(to: server.peer.clientPort)
                defer { proxy.close() }
                let root = "/service/case\(nextNumber())/"
                try await storeCase.run(
                    StoreUnderTest(
                        makeStore: { openZooKeeper([server.address], root: root) }, lifetime: .seconds(4),
                        expiryLateness: .seconds(1), signalLateness: .seconds(3), endsWithoutRenewal: false,
                        proxy: proxy,
                        makeStoreBehindProxy: { openZooKeeper([proxy.address], root: root) }))
            }

            @Test(arguments: StoreCases.restarts) func conformsAcrossRestarts(_ storeCase: StoreCase) async throws {
                let server = try await ZooKeeperServer.standalone(tick: 1000)
                defer { server.stop() }
                try await storeCase.run(
                    StoreUnderTest(
                        makeStore: { openZooKeeper([server.address], root: "/service/demo/") }, lifetime: .seconds(20),
                        expiryLateness: .seconds(2), signalLateness: .seconds(3), endsWithoutRenewal: false,
                        restartServer: {
                            server.kill()
                            try server.start()
                            try await server.waitUntilServing()
                        }))
            }
        }
    }
#endif
