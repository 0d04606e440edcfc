public import ClusterModel
public import ConfigurationTree

/// The local configuration of one agent, checked: file and environment, defaults filled in.
public struct Settings: Sendable, Equatable {
    /// The cluster's name.
    public var scope: String
    /// This member's name, unique in the cluster.
    public var name: String
    /// The prefix of all keys in the store, without slashes at its ends; `service` by default.
    public var namespace: String = "service"
    public var log = LogSettings()
    public var restAPI = RESTAPISettings()
    public var control = ControlSettings()
    /// Nil when the file has no `bootstrap` section: this member then never bootstraps a cluster.
    public var bootstrap: BootstrapSettings?
    public var postgresql = PostgresSettings()
    public var watchdog = WatchdogSettings()
    /// As written: order and value types kept. Not yet filtered for publication.
    public var tags = Tags()
    /// Ours: the directory for saved sessions, sockets, grants and markers; `<data_dir>.matriarch` by default.
    public var stateDirectory: String = ""
    /// The one store section.
    public var store: StoreSection
    /// Ours: the `guard` section.
    public var guardProcess = GuardSettings()
    /// The whole merged tree, for plugins' own top-level sections and for showing.
    public var tree: ConfigurationNode

    public init(scope: String, name: String, store: StoreSection, tree: ConfigurationNode? = nil) {
        self.scope = scope
        self.name = name
        self.store = store
        self.tree = tree ?? ConfigurationNode(.map([]), at: SourceMark(source: "built-in defaults"))
    }
}

extension Settings: CustomStringConvertible, CustomReflectable {
    /// Names only: the tree holds passwords as they were written.
    public var description: String { "Settings(scope: \(scope), name: \(name), store: \(store.name))" }
    public var customMirror: Mirror { Mirror(self, children: ["scope": scope, "name": name, "store": store.name]) }
}

/// The section that names the coordination store, decoded by the store's plugin.
public struct StoreSection: Sendable, Equatable {
    /// The section's name, which is the plugin's: `zookeeper`, `embedded`.
    public var name: String
    public var node: ConfigurationNode

    public init(name: String, node: ConfigurationNode) {
        self.name = name
        self.node = node
    }
}

extension StoreSection: CustomStringConvertible, CustomReflectable {
    public var description: String { "StoreSection(\(name))" }
    public var customMirror: Mirror { Mirror(self, children: ["name": name]) }
}

/// What an operator's command needs of a configuration: no PostgreSQL, perhaps no scope nor name.
public struct OperatorSettings: Sendable, Equatable {
    public var scope: String?
    public var name: String?
    public var namespace: String = "service"
    public var control = ControlSettings()
    public var store: StoreSection

    public init(store: StoreSection) {
        self.store = store
    }
}

/// `host:port`. The host is as written: a name, an address (IPv6 without its brackets), `*` or empty for all.
public struct HostPort: Hashable, Sendable, CustomStringConvertible {
    public var host: String
    public var port: Int

    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// With brackets around an IPv6 address.
    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Whether this stands for every address of the host, and so says nothing to a peer.
    public var isWildcard: Bool { ["", "*", "0.0.0.0", "::"].contains(host) }
}

/// A user name with its password, for basic authentication.
public struct BasicCredentials: Hashable, Sendable {
    public var username: String
    public var password: Secret

    public init(username: String, password: Secret) {
        self.username = username
        self.password = password
    }
}

/// A name with a text: a header, a logger's level.
public struct NamedText: Hashable, Sendable {
    public var name: String
    public var value: String

    public init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// One long option of a PostgreSQL program: `--name` or `--name=value`.
public struct CommandOption: Hashable, Sendable, CustomStringConvertible {
    /// Without the dashes.
    public var name: String
    public var value: String?

    public init(name: String, value: String? = nil) {
        self.name = name
        self.value = value
    }

    /// As an argument: `--data-checksums`, `--encoding=UTF8`.
    public var description: String { value.map { "--\(name)=\($0)" } ?? "--\(name)" }
}

/// `log`.
public struct LogSettings: Sendable, Equatable {
    /// How a line is written.
    public enum Kind: Sendable, Equatable { case plain, json }

    /// Python's levels, which Patroni's files name.
    public enum Level: Int, Sendable, Comparable, CaseIterable {
        case debug = 10
        case info = 20
        case warning = 30
        case error = 40
        case critical = 50

        public static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }
    }

    /// A logger with a level of its own.
    public struct Logger: Sendable, Equatable {
        public var name: String
        public var level: Level

        public init(name: String, level: Level) {
            self.name = name
            self.level = level
        }
    }

    public var kind = Kind.plain
    public var level = Level.info
    public var tracebackLevel = Level.error
    /// Python's notation (`%(asctime)s %(levelname)s: %(message)s`), a text, or for json a list; nil: the default.
    public var format: ConfigurationNode?
    public var dateFormat: String?
    /// Added to each json record.
    public var staticFields = JSONObject()
    public var maximumQueueSize = 1000
    /// Nil: standard error.
    public var directory: String?
    public var fileCount = 4
    public var fileSize = 25_000_000
    /// The log file's mode; nil: 0640, less what the umask forbids.
    public var fileMode: Int?
    public var loggers: [Logger] = []
    public var deduplicatesHeartbeat = false

    public init() {}
}

/// `restapi`.
public struct RESTAPISettings: Sendable, Equatable {
    /// Whether clients must show a certificate.
    public enum ClientVerification: Sendable, Equatable { case none, optional, required }
    /// How much the `Server` header tells.
    public enum ServerTokens: Sendable, Equatable { case original, minimal, productOnly }

    public var listen = HostPort(host: "127.0.0.1", port: 8008)
    /// What is advertised to the peers; `listen` when not given.
    public var connectAddress = HostPort(host: "127.0.0.1", port: 8008)
    public var authentication: BasicCredentials?
    /// TLS is on when this is given.
    public var certificateFile: String?
    public var keyFile: String?
    public var keyFilePassword: Secret?
    public var caFile: String?
    public var ciphers: String?
    public var clientVerification = ClientVerification.none
    public var allowlist: [String] = []
    public var allowlistIncludesMembers = false
    public var httpExtraHeaders: [NamedText] = []
    public var httpsExtraHeaders: [NamedText] = []
    public var requestQueueSize = 5
    public var threadPoolSize = 5
    public var serverTokens = ServerTokens.original

    /// Whether the API speaks TLS.
    public var usesTLS: Bool { certificateFile != nil }

    public init() {}
}

/// `ctl`: how an operator's commands and the agent's own calls speak to the members' APIs.
///
/// Credentials and CA file that the section leaves out are taken from `restapi`, as Patroni does.
public struct ControlSettings: Sendable, Equatable {
    public var authentication: BasicCredentials?
    public var isInsecure = false
    public var caFile: String?
    public var certificateFile: String?
    public var keyFile: String?
    public var keyFilePassword: Secret?

    public init() {}
}

/// `bootstrap`.
public struct BootstrapSettings: Sendable, Equatable {
    /// The first dynamic configuration of a new cluster, as JSON; empty when not given.
    public var dynamic = JSONObject()
    /// The same with its places.
    public var dynamicNode: ConfigurationNode?
    public var method = "initdb"
    public var initdb: [CommandOption] = []
    /// Sections of methods by name (`bootstrap.<method>`, `initdb` too), decoded by the method's plugin.
    public var methods: [String: ConfigurationNode] = [:]
    /// Lines for `pg_hba.conf`, used when `postgresql.pg_hba` is not set; nil when not given.
    public var pgHBA: [String]?
    /// `post_bootstrap`, or its old name `post_init`.
    public var postBootstrap: String?

    public init() {}
}

/// `watchdog`.
public struct WatchdogSettings: Sendable, Equatable {
    public enum Mode: Sendable, Equatable { case off, automatic, required }

    public var mode = Mode.automatic
    public var device = "/dev/watchdog"
    /// Seconds; -1: the timeout is half of `ttl`.
    public var safetyMargin = 5
    /// `default` or `testing`.
    public var driver = "default"

    public init() {}
}

/// `guard`, ours: the process that stops PostgreSQL when the lease's deadline passes.
public struct GuardSettings: Sendable, Equatable {
    /// The guard's executable; nil: `matriarch-guard` beside the agent's own executable, then along `PATH`.
    public var executable: String?

    public init() {}
}
