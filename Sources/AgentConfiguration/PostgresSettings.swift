public import ConfigurationTree

/// `postgresql`: locally configured, or the effective union of local and dynamic configuration.
public struct PostgresSettings: Sendable, Equatable {
    /// Addresses to listen on, as PostgreSQL takes them (`*`, names, addresses).
    public var listenAddresses: [String] = ["127.0.0.1"]
    public var port = 5432
    /// What is advertised; the first listen address when not given.
    public var connectAddress = HostPort(host: "127.0.0.1", port: 5432)
    public var proxyAddress: HostPort?
    public var dataDirectory = ""
    /// `config_dir`; the data directory when not given.
    public var configDirectory = ""
    /// Nil: programs are found along `PATH`.
    public var binDirectory: String?
    /// Other names for the programs.
    public var binaryNames: [PostgresProgram: String] = [:]
    /// The maintenance database.
    public var database = "postgres"
    /// The password file, which the agent overwrites; nil when not given: the runtime then puts it into the account's
    /// home as `pgpass`.
    public var pgpass: String?
    public var authentication = PostgresAuthentication()
    public var kerberosServiceName: String?
    public var usesUnixSocket = false
    public var usesUnixSocketForReplication = false
    /// `parameters`: values as PostgreSQL reads them. In an effective configuration without the controlled ones.
    public var parameters = ParameterList()
    public var parametersPrimary: ParameterList?
    public var parametersReplica: ParameterList?
    public var parametersStandbyLeader: ParameterList?
    /// The whole content of pg_hba.conf by lines; nil when not given.
    public var pgHBA: [String]?
    public var pgHBAPrimary: [String]?
    public var pgHBAReplica: [String]?
    public var pgHBAStandbyLeader: [String]?
    public var pgIdent: [String]?
    public var pgIdentPrimary: [String]?
    public var pgIdentReplica: [String]?
    public var pgIdentStandbyLeader: [String]?
    /// Included instead of `<base>.base.conf`.
    public var customConf: String?
    public var configBaseName = "postgresql"
    /// Standby settings; without recovery targets, `primary_conninfo` and `primary_slot_name`.
    public var recoveryConf = ParameterList()
    public var callbacks = CallbackSettings()
    /// The same as a node, for the plugin that decodes it.
    public var callbacksNode: ConfigurationNode?
    /// Tried in order; `["basebackup"]` when not given.
    public var createReplicaMethods: [String] = ["basebackup"]
    /// Sections of replica methods by name (`postgresql.<method>`, `basebackup` too), decoded by the method's plugin.
    public var methods: [String: ConfigurationNode] = [:]
    public var basebackup: [CommandOption] = []
    /// Further options of pg_rewind.
    public var rewind: [CommandOption] = []
    public var usesPgRewind = false
    public var usesSlots = true
    public var removesDataDirectoryOnRewindFailure = false
    public var removesDataDirectoryOnDivergedTimelines = false
    public var pgCtlTimeout: Duration = .seconds(60)
    public var prePromote: String?
    public var beforeStop: String?

    public init() {}

    /// The path or name under which a program is started.
    public func executable(_ program: PostgresProgram) -> String {
        let name = binaryNames[program] ?? program.rawValue
        guard let binDirectory, !name.contains("/") else { return name }
        return binDirectory.hasSuffix("/") ? binDirectory + name : binDirectory + "/" + name
    }
}

/// A program of PostgreSQL's that the agent runs.
public enum PostgresProgram: String, Sendable, CaseIterable {
    case pgCtl = "pg_ctl"
    case initdb
    case pgControldata = "pg_controldata"
    case pgBasebackup = "pg_basebackup"
    case postgres
    case pgIsready = "pg_isready"
    case pgRewind = "pg_rewind"
    /// Used when pg_rewind needs it; cannot be renamed by the configuration.
    case pgWaldump = "pg_waldump"
}

/// `postgresql.authentication`.
public struct PostgresAuthentication: Sendable, Equatable {
    public var superuser = PostgresCredentials()
    public var replication = PostgresCredentials()
    /// Nil: the superuser does it.
    public var rewind: PostgresCredentials?

    public init() {}
}

/// How one role connects.
public struct PostgresCredentials: Sendable, Equatable {
    public var username: String?
    public var password: Secret?
    /// `sslmode`, `sslcert` and the like, by libpq's names, in order; without `sslpassword`.
    public var options: [NamedText] = []
    public var sslPassword: Secret?

    public init(username: String? = nil, password: Secret? = nil) {
        self.username = username
        self.password = password
    }
}

/// `postgresql.callbacks`: command lines, split as a shell would.
public struct CallbackSettings: Sendable, Equatable {
    public var onStart: String?
    public var onStop: String?
    public var onRestart: String?
    public var onReload: String?
    public var onRoleChange: String?

    public init() {}

    /// The command for an action's name (`on_start`).
    public subscript(action: String) -> String? {
        switch action {
        case "on_start": onStart
        case "on_stop": onStop
        case "on_restart": onRestart
        case "on_reload": onReload
        case "on_role_change": onRoleChange
        default: nil
        }
    }
}

/// One PostgreSQL setting with its value as PostgreSQL's configuration file takes it, not yet quoted.
public struct PostgresParameter: Hashable, Sendable {
    public var name: String
    public var value: String

    public init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// PostgreSQL settings in the order they were written. Names are compared without regard to case.
public struct ParameterList: Sendable, Equatable, Sequence, ExpressibleByDictionaryLiteral {
    public private(set) var entries: [PostgresParameter]
    /// Where each is, by its name in lower case: a configuration may have any number of them.
    private var places: [String: Int] = [:]

    public init(_ entries: some Sequence<PostgresParameter> = []) {
        self.entries = []
        for entry in entries { self[entry.name] = entry.value }
    }

    public init(dictionaryLiteral elements: (String, String)...) {
        self.init(elements.map { PostgresParameter(name: $0.0, value: $0.1) })
    }

    public var isEmpty: Bool { entries.isEmpty }
    public var names: [String] { entries.map(\.name) }

    public func makeIterator() -> IndexingIterator<[PostgresParameter]> { entries.makeIterator() }

    public subscript(name: String) -> String? {
        get { places[name.lowercased()].map { entries[$0].value } }
        set {
            let key = name.lowercased()
            switch (places[key], newValue) {
            case (let index?, let value?): entries[index] = PostgresParameter(name: name, value: value)
            case (let index?, nil):
                entries.remove(at: index)
                places = places.filter { $0.key != key }.mapValues { $0 > index ? $0 - 1 : $0 }
            case (nil, let value?):
                places[key] = entries.count
                entries.append(PostgresParameter(name: name, value: value))
            case (nil, nil): break
            }
        }
    }

    /// These settings with others over them, by name.
    public func merging(_ others: ParameterList) -> ParameterList {
        var result = self
        for other in others { result[other.name] = other.value }
        return result
    }
}
