// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let httpClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioHTTP = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let serviceLifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let systemPackage = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")

func core(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func plugin(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(
        name: name, dependencies: ["ClusterModel", "ConfigurationTree", "PluginInterfaces", logging] + dependencies,
        path: "Plugins/\(name)/\(name)", swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

let package = Package(
    name: "matriarch",
    products: [
        .executable(name: "matriarch", targets: ["matriarch"]),
        .executable(name: "matriarch-guard", targets: ["matriarch-guard"]),
        .library(name: "ClusterModel", targets: ["ClusterModel"]),
        .library(name: "HighAvailability", targets: ["HighAvailability"]),
        .library(name: "PluginInterfaces", targets: ["PluginInterfaces", "ConfigurationTree", "ClusterModel"]),
        .library(name: "MatriarchMain", targets: ["MatriarchMain"]),
        .library(name: "BuiltInPlugins", targets: ["BuiltInPlugins"]),
        .library(name: "StoreConformance", targets: ["StoreConformance"]),
    ],
    traits: [
        .trait(name: "ZooKeeper", description: "The ZooKeeper store; needs libzookeeper_mt."),
        .trait(name: "Etcd", description: "The etcd store, over its v3 JSON gateway."),
        .trait(name: "Consul", description: "The Consul store."),
        .default(enabledTraits: ["ZooKeeper", "Etcd", "Consul"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.14.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0", traits: []),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0", traits: []),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.5.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2", traits: []),
    ],
    targets: [
        // C: system libraries and the few Linux calls that Swift cannot spell.
        .systemLibrary(
            name: "CLibPQ", path: "Sources/CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(
            name: "CLibYAML", path: "Sources/CLibYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
        .target(name: "CLeaseGuard", path: "Sources/CLeaseGuard"),

        // The core, from what a cluster is to what a person sees.
        core("ClusterModel"),
        core("HighAvailability", ["ClusterModel"]),
        core("Simulation", ["ClusterModel", "HighAvailability"]),
        core("ConfigurationTree"),
        core("PluginInterfaces", ["ClusterModel", "ConfigurationTree", logging]),
        core("AgentConfiguration", ["ClusterModel", "ConfigurationTree", "CLibYAML"]),
        core("ClusterStore", ["ClusterModel", "PluginInterfaces"]),
        core(
            "ChildProcesses",
            ["ClusterModel", "ConfigurationTree", "PluginInterfaces", subprocess, systemPackage, logging]),
        core("PostgresControl", ["ClusterModel", "PluginInterfaces", "CLibPQ", logging]),
        core(
            "PeerClient",
            ["ClusterModel", "PluginInterfaces", httpClient, nioCore, nioHTTP, nioPosix, nioSSL, logging]),
        core("LeaseGuard", ["ClusterModel", "CLeaseGuard", logging]),
        // Plain C. The flag keeps the linker from adding Swift's runtime, which would cost the guard its small locked memory.
        .executableTarget(
            name: "matriarch-guard", dependencies: ["CLeaseGuard"], path: "Sources/matriarch-guard",
            linkerSettings: [.unsafeFlags(["-enable-experimental-feature", "Embedded"])]),
        core(
            "AgentRuntime",
            [
                "ClusterModel", "HighAvailability", "PluginInterfaces", "AgentConfiguration", "ClusterStore",
                "PostgresControl", "ChildProcesses", "PeerClient", "LeaseGuard", logging, serviceLifecycle,
            ]),
        core(
            "RESTServer",
            [
                "ClusterModel", "HighAvailability", "ConfigurationTree", "PluginInterfaces", hummingbirdCore, httpTypes,
                nioCore, nioHTTP, nioPosix, nioSSL, logging, serviceLifecycle,
            ]),
        core(
            "OperatorCLI",
            [
                "ClusterModel", "HighAvailability", "AgentConfiguration", "ConfigurationTree", "ClusterStore",
                "LeaseGuard", "PluginInterfaces", "PeerClient", argumentParser, logging,
            ]),
        core(
            "MatriarchMain",
            [
                "ClusterModel", "HighAvailability", "PluginInterfaces", "AgentConfiguration", "ClusterStore",
                "PostgresControl", "PeerClient", "LeaseGuard", "AgentRuntime", "RESTServer", "OperatorCLI",
                argumentParser, logging, serviceLifecycle,
            ]),
        .executableTarget(
            name: "matriarch-simulate",
            dependencies: ["Simulation", "ClusterModel", "HighAvailability", argumentParser], swiftSettings: strict),
        .executableTarget(
            name: "matriarch", dependencies: ["MatriarchMain", "BuiltInPlugins"], swiftSettings: strict),

        // Plugins: nothing above knows them, the executable aside.
        .systemLibrary(
            name: "CZooKeeper", path: "Plugins/ZooKeeperStore/CZooKeeper",
            providers: [.apt(["libzookeeper-mt-dev"])]),
        .systemLibrary(
            name: "CSQLite", path: "Plugins/EmbeddedStore/CSQLite", pkgConfig: "sqlite3",
            providers: [.apt(["libsqlite3-dev"])]),
        plugin(
            "ZooKeeperStore",
            [.target(name: "CZooKeeper", condition: .when(traits: ["ZooKeeper"])), nioCore, nioPosix, nioSSL, nioTLS]),
        plugin("ConsulStore", [httpClient, nioCore, nioHTTP, nioPosix, nioSSL]),
        plugin("EmbeddedStore", ["CSQLite"]),
        plugin("EtcdStore", [httpClient, nioCore, nioHTTP, nioPosix, nioSSL]),
        plugin("InitDBBootstrap", ["ChildProcesses"]),
        plugin("BaseBackupReplica", ["ChildProcesses"]),
        plugin("ScriptHooks", ["ChildProcesses"]),
        .target(
            name: "BuiltInPlugins",
            dependencies: [
                "PluginInterfaces", "ZooKeeperStore", "EtcdStore", "ConsulStore", "EmbeddedStore", "InitDBBootstrap",
                "BaseBackupReplica", "ScriptHooks",
            ],
            path: "Plugins/BuiltIn", swiftSettings: strict),

        // Tests, one folder per target.
        tests("ClusterModelTests", ["ClusterModel"]),
        tests("HighAvailabilityTests", ["HighAvailability", "ClusterModel", "Simulation"]),
        tests("SimulationTests", ["Simulation", "HighAvailability", "ClusterModel"]),
        tests("AgentConfigurationTests", ["AgentConfiguration", "ConfigurationTree", "ClusterModel"]),
        tests("ClusterStoreTests", ["ClusterStore", "ClusterModel", "PluginInterfaces"]),
        tests("ChildProcessesTests", ["ChildProcesses", "PluginInterfaces", logging]),
        tests("LeaseGuardTests", ["LeaseGuard", "ClusterModel", "CLeaseGuard", logging]),
        tests("PostgresControlTests", ["PostgresControl", "ClusterModel", "PluginInterfaces", logging]),
        tests("PeerClientTests", ["PeerClient", "ClusterModel", "RESTServer", "HighAvailability", logging]),
        tests(
            "RESTServerTests",
            [
                "RESTServer", "ClusterModel", "ConfigurationTree", "HighAvailability", "PeerClient", "PluginInterfaces",
                logging, serviceLifecycle,
            ]),
        tests(
            "OperatorCLITests",
            [
                "OperatorCLI", "AgentConfiguration", "ClusterModel", "ConfigurationTree", "PluginInterfaces",
                argumentParser,
            ]),
        // What every store must do: a product, for the tests of stores that are not ours.
        .target(
            name: "StoreConformance", dependencies: ["ClusterModel", "PluginInterfaces"],
            path: "Tests/StoreConformance", swiftSettings: strict),
        tests(
            "StoreTests",
            [
                "StoreConformance", "PluginInterfaces", "ClusterModel", "ConfigurationTree", "ZooKeeperStore",
                "EtcdStore", "ConsulStore",
                "EmbeddedStore", logging,
            ]),
        tests(
            "PluginTests",
            [
                "PluginInterfaces", "ClusterModel", "ConfigurationTree", "InitDBBootstrap", "BaseBackupReplica",
                "ScriptHooks", "ChildProcesses", logging,
            ]),
        tests(
            "AgentRuntimeTests",
            [
                "AgentConfiguration", "AgentRuntime", "ClusterHarness", "ClusterModel",
                "HighAvailability", "LeaseGuard", "PeerClient",
                "PluginInterfaces", logging,
            ]),
        tests("SystemTests", ["ClusterHarness", "ClusterModel"]),
        tests("FaultTests", ["fault-campaign", "ClusterHarness", "ClusterModel"]),

        // Real clusters, and what is done to them.
        .target(name: "CClusterHarness", path: "Tests/CClusterHarness"),
        .target(
            name: "ClusterHarness", dependencies: ["ClusterModel", "CLibPQ", "CClusterHarness"],
            path: "Tests/ClusterHarness", swiftSettings: strict),
        .executableTarget(
            name: "fault-campaign", dependencies: ["ClusterHarness", "ClusterModel", argumentParser],
            path: "Tests/FaultCampaign", exclude: ["README.md"], swiftSettings: strict),
        // The fuzzing targets over the inputs that are kept; `Tests/Fuzzing` is a package of its own beside that.
        .testTarget(
            name: "CorpusTests",
            dependencies: [
                "ClusterModel", "HighAvailability", "ConfigurationTree", "PluginInterfaces", "AgentConfiguration",
                "ClusterStore", "ChildProcesses", "PostgresControl", "PeerClient", "LeaseGuard", "CLeaseGuard",
                "AgentRuntime", "RESTServer", "OperatorCLI", "CLibPQ", "ZooKeeperStore", "EtcdStore", "ConsulStore",
                "EmbeddedStore",
                "BaseBackupReplica", "ScriptHooks", logging,
            ], path: "Tests/Fuzzing/Targets", swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
