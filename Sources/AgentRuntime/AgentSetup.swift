public import AgentConfiguration
import ClusterModel
import ConfigurationTree
import HighAvailability
import PeerClient
public import PluginInterfaces
import PostgresControl

/// What an agent is made of: the checked settings, the plugins, and where they came from.
public struct AgentSetup: Sendable {
    public var settings: Settings
    public var registry: PluginRegistry
    /// The configuration's path, to be read again on reload; nil: the environment alone.
    public var configurationPath: String?
    /// The environment as it was at the start.
    public var environment: [String: String]

    public init(
        settings: Settings, registry: PluginRegistry, configurationPath: String?, environment: [String: String]
    ) {
        self.settings = settings
        self.registry = registry
        self.configurationPath = configurationPath
        self.environment = environment
    }

    /// `/<namespace>/<scope>/` with single slashes.
    public var root: String {
        "/" + (settings.namespace + "/" + settings.scope).split(separator: "/").joined(separator: "/") + "/"
    }

    var identity: MemberIdentity {
        let postgres = settings.postgresql
        let scheme = settings.restAPI.usesTLS ? "https" : "http"
        return MemberIdentity(
            name: settings.name, scope: settings.scope,
            connURL: "postgres://\(postgres.connectAddress)/\(postgres.database)",
            apiURL: "\(scheme)://\(settings.restAPI.connectAddress)/patroni",
            proxyURL: postgres.proxyAddress.map { "postgres://\($0)/\(postgres.database)" },
            nonce: UInt64.random(in: 1 ... .max))
    }

    var peerClientSettings: PeerClientSettings {
        let control = settings.control
        var result = PeerClientSettings()
        result.username = control.authentication?.username
        result.password = control.authentication?.password.value
        result.certificatePath = control.certificateFile
        result.keyPath = control.keyFile
        result.keyPassword = control.keyFilePassword?.value
        result.caPath = control.caFile
        return result.betweenAgents
    }
}

/// The settings in force: local and dynamic together, in the forms that the parts of the agent want.
struct SettingsInForce: Sendable {
    var effective: EffectiveConfiguration
    var machine: MachineSettings
    var layout: PostgresLayout

    init(_ setup: AgentSetup, _ effective: EffectiveConfiguration) {
        self.effective = effective
        let dynamic = effective.dynamic
        self.machine = MachineSettings(
            ttl: effective.timing.ttl, loopWait: effective.timing.loopWait, retryTimeout: effective.timing.retryTimeout,
            maximumLagOnFailover: UInt64(max(0, dynamic.maximumLagOnFailover)),
            checkTimeline: dynamic.checksTimeline, maxTimelinesHistory: dynamic.maximumTimelinesHistory,
            primaryStartTimeout: dynamic.primaryStartTimeout, tags: setup.settings.tags,
            bootstrapConfiguration: setup.settings.bootstrap?.dynamic,
            hasPrePromote: effective.postgresql.prePromote != nil, usesRewind: effective.postgresql.usesPgRewind)
        self.layout = Self.layout(setup, effective)
    }

    private static func layout(_ setup: AgentSetup, _ effective: EffectiveConfiguration) -> PostgresLayout {
        let local = setup.settings.postgresql
        let postgres = effective.postgresql
        var layout = PostgresLayout(
            dataDirectory: local.dataDirectory, stateDirectory: setup.settings.stateDirectory,
            clusterName: setup.settings.scope, memberName: setup.settings.name)
        if !local.configDirectory.isEmpty { layout.configDirectory = local.configDirectory }
        layout.binDirectory = local.binDirectory
        layout.binaryNames = Dictionary(uniqueKeysWithValues: local.binaryNames.map { ($0.key.rawValue, $0.value) })
        layout.listenAddresses = local.listenAddresses.joined(separator: ",")
        layout.port = local.port
        layout.connectHost = local.connectAddress.host
        layout.connectPort = local.connectAddress.port
        layout.useUnixSocket = local.usesUnixSocket
        layout.database = postgres.database
        if let passfile = local.pgpass { layout.passfile = passfile }
        layout.superuser = login(local.authentication.superuser, default: "postgres")
        layout.replication = login(local.authentication.replication, default: "replicator")
        layout.rewind = local.authentication.rewind.map { login($0, default: "rewind_user") }
        layout.parameters = postgres.parameters.map { ServerSetting($0.name, $0.value) }
        layout.unixSocketDirectories = postgres.parameters["unix_socket_directories"]
        layout.controlledParameters = effective.controlled.commandLine
            .filter { !["listen_addresses", "port", "cluster_name"].contains($0.name) }
            .map { ServerSetting($0.name, $0.value) }
        let keep = effective.controlled.walKeep(majorVersion: 13)
        layout.controlledParameters.append(ServerSetting(keep.name, keep.value))
        layout.hbaLines = postgres.pgHBA ?? setup.settings.bootstrap?.pgHBA
        layout.identLines = postgres.pgIdent
        layout.customConf = postgres.customConf
        layout.configBaseName = postgres.configBaseName
        layout.recoveryConf = postgres.recoveryConf.map { ServerSetting($0.name, $0.value) }
        layout.usePgRewind = postgres.usesPgRewind
        // Slots come with the issue that manages them: a slot that nobody retires would fill the primary's disk.
        layout.useSlots = false
        layout.kerberosServiceName = postgres.kerberosServiceName
        layout.pgCtlTimeout = postgres.pgCtlTimeout
        return layout
    }

    private static func login(_ credentials: PostgresCredentials, default name: String) -> RoleLogin {
        RoleLogin(
            user: credentials.username ?? name, password: credentials.password.map { Password($0.value) },
            options: credentials.options.map { ServerSetting($0.name, $0.value) },
            sslPassword: credentials.sslPassword.map { Password($0.value) })
    }
}
