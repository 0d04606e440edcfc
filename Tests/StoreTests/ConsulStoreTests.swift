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
#endif
