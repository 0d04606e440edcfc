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
        var settings = ZooKeeperSettings(servers: addresses.compactMap { ZooKeeperSettings.server($0) })
        change(&settings)
        let paths = KeyPaths(root: root, chroot: settings.chroot, memberName: member)
        return ZooKeeperClusterStore(
            settings, paths: paths, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    @Suite struct ZooKeeperStoreConformance {
        // ZooKeeper takes no characters beyond U+FFFF in names: that case is below, for the names it does take.
        static let cases = StoreCases.all.filter { $0.name != "odd names and values" }

        @Test(arguments: cases) func conforms(_ storeCase: StoreCase) async throws {
            let server = try await SharedZooKeeper.shared.server()
            let root = "/service/case\(nextNumber())/"
            try await storeCase.run(
                StoreUnderTest(
                    makeStore: { openZooKeeper([server.address], root: root) }, lifetime: .milliseconds(1500),
                    expiryLateness: .seconds(1), signalLateness: .seconds(3), endsWithoutRenewal: false))
        }
    }
#endif
