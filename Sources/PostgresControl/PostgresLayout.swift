import Glibc

/// A text that is never printed: descriptions and mirrors of it show that it is hidden.
public struct Password: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    private let text: String

    public init(_ text: String) {
        self.text = text
    }

    /// The text itself, for the one place that needs it.
    public func reveal() -> String { text }

    public var description: String { "<hidden>" }
    public var debugDescription: String { "<hidden>" }
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// One setting of PostgreSQL's, or one libpq connection option, by its name.
public struct ServerSetting: Hashable, Sendable {
    public var name: String
    public var value: String

    public init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// How one role connects.
public struct RoleLogin: Hashable, Sendable {
    public var user: String
    public var password: Password?
    /// libpq's options: `sslmode`, `sslcert` and the like, without passwords.
    public var options: [ServerSetting]
    public var sslPassword: Password?

    public init(
        user: String, password: Password? = nil, options: [ServerSetting] = [], sslPassword: Password? = nil
    ) {
        self.user = user
        self.password = password
        self.options = options
        self.sslPassword = sslPassword
    }
}

/// Where a starting server listens.
public enum ListeningScope: Hashable, Sendable {
    /// As configured.
    case configured
    /// Nowhere but on a Unix socket in a private directory (mode 0700): nobody else can reach the server.
    case privateSocket(directory: String)
}

/// Where and how the local server is to be reached.
public struct ServerEndpoint: Hashable, Sendable {
    /// A name, an address or a socket directory; nil: libpq's default socket directory.
    public var host: String?
    public var port: Int

    public init(host: String?, port: Int) {
        self.host = host
        self.port = port
    }

    public var isSocket: Bool { host?.hasPrefix("/") ?? true }
}

/// One PostgreSQL server as it is configured: everything this module needs to know of the settings.
public struct PostgresLayout: Hashable, Sendable {
    public var dataDirectory: String
    /// Where `postgresql.conf` and its companions are; the data directory unless configured otherwise.
    public var configDirectory: String
    /// nil: programs are found along PATH.
    public var binDirectory: String?
    /// Other names of programs, by their usual name.
    public var binaryNames: [String: String]
    /// The text for `listen_addresses`.
    public var listenAddresses: String
    public var port: Int
    /// The address that is advertised.
    public var connectHost: String
    public var connectPort: Int
    public var useUnixSocket: Bool
    /// The parameter `unix_socket_directories`, when set.
    public var unixSocketDirectories: String?
    public var database: String
    /// The scope; becomes `cluster_name`.
    public var clusterName: String
    public var memberName: String
    public var stateDirectory: String
    /// libpq's password file that this module overwrites.
    public var passfile: String
    public var superuser: RoleLogin
    public var replication: RoleLogin
    /// nil: the superuser does it.
    public var rewind: RoleLogin?
    /// The effective parameters for the present role, without the controlled ones.
    public var parameters: [ServerSetting]
    /// The parameters that go onto the command line as well (`max_connections` and the like; without
    /// `listen_addresses`, `port` and `cluster_name`, which come from the fields above).
    public var controlledParameters: [ServerSetting]
    /// The whole content of pg_hba.conf; nil: the file stays as it is.
    public var hbaLines: [String]?
    public var identLines: [String]?
    /// Included instead of `<base>.base.conf`.
    public var customConf: String?
    public var configBaseName: String
    /// Standby settings of the user (`restore_command`, `recovery_min_apply_delay`).
    public var recoveryConf: [ServerSetting]
    public var usePgRewind: Bool
    public var useSlots: Bool
    public var kerberosServiceName: String?
    public var pgCtlTimeout: Duration

    public init(dataDirectory: String, stateDirectory: String, clusterName: String, memberName: String) {
        self.dataDirectory = dataDirectory
        self.configDirectory = dataDirectory
        self.binaryNames = [:]
        self.listenAddresses = "127.0.0.1"
        self.port = 5432
        self.connectHost = "127.0.0.1"
        self.connectPort = 5432
        self.useUnixSocket = false
        self.database = "postgres"
        self.clusterName = clusterName
        self.memberName = memberName
        self.stateDirectory = stateDirectory
        self.passfile = stateDirectory + "/pgpass"
        self.superuser = RoleLogin(user: "postgres")
        self.replication = RoleLogin(user: "replicator")
        self.parameters = []
        self.controlledParameters = []
        self.configBaseName = "postgresql"
        self.recoveryConf = []
        self.usePgRewind = false
        self.useSlots = true
        self.pgCtlTimeout = .seconds(60)
    }

    /// The path or name under which a program is started: `program("pg_rewind")`.
    public func program(_ name: String) -> String {
        let file = binaryNames[name] ?? name
        guard let binDirectory, !file.contains("/") else { return file }
        return binDirectory.hasSuffix("/") ? binDirectory + file : binDirectory + "/" + file
    }

    /// The program's absolute path, looked up along PATH where no directory is configured; nil: it is not there.
    public func programPath(_ name: String) -> String? {
        let file = program(name)
        if file.contains("/") { return access(file, X_OK) == 0 ? file : nil }
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
        for directory in path.split(separator: ":") where access("\(directory)/\(file)", X_OK) == 0 {
            return "\(directory)/\(file)"
        }
        return nil
    }

    /// Where the local server is to be reached while it listens in the given way.
    public func endpoint(_ scope: ListeningScope = .configured) -> ServerEndpoint {
        if case .privateSocket(let directory) = scope { return ServerEndpoint(host: directory, port: port) }
        if useUnixSocket {
            guard let unixSocketDirectories else { return ServerEndpoint(host: nil, port: port) }
            for part in unixSocketDirectories.split(separator: ",") {
                let directory = String(part.trimmed)
                if directory.hasPrefix("/") { return ServerEndpoint(host: directory, port: port) }
            }
        }
        return ServerEndpoint(host: localAddress, port: port)
    }

    /// The first address that the server listens on and that can be connected to.
    private var localAddress: String {
        let addresses = listenAddresses.split(separator: ",").map { String($0.trimmed) }
        guard let first = addresses.first, !first.isEmpty else { return connectHost }
        switch first {
        case "*", "0.0.0.0": return "127.0.0.1"
        case "::": return "::1"
        default: return first
        }
    }

    public var mainConfigFile: String { configDirectory + "/" + configBaseName + ".conf" }
    public var baseConfigFile: String { configDirectory + "/" + configBaseName + ".base.conf" }

    /// The role that pg_rewind connects with.
    public var rewindLogin: RoleLogin { rewind ?? superuser }

    /// The parameter's effective value by name, wherever it is configured.
    public func parameter(_ name: String) -> String? {
        (parameters + controlledParameters).last { $0.name.lowercased() == name.lowercased() }?.value
    }
}

extension StringProtocol {
    /// Without spaces, tabs and line ends around it.
    var trimmed: SubSequence {
        func isSpace(_ character: Character) -> Bool {
            character == " " || character == "\t" || character == "\n" || character == "\r" || character == "\r\n"
        }
        guard let first = firstIndex(where: { !isSpace($0) }), let last = lastIndex(where: { !isSpace($0) }) else {
            return self[startIndex..<startIndex]
        }
        return self[first...last]
    }
}
