import ConfigurationTree

/// Decodes `postgresql`, as it stands in a file, in the dynamic configuration, or in the union of both.
struct PostgresDecoding {
    /// Where the section comes from.
    enum Layer {
        case local, dynamic
        /// Local over dynamic: both were checked before.
        case effective
    }

    /// What only the local configuration says.
    static let localKeys: Set<String> = [
        "connect_address", "proxy_address", "listen", "config_dir", "data_dir", "pgpass", "authentication",
    ]
    static let credentialOptions = [
        "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir", "gssencmode", "channel_binding",
        "sslnegotiation",
    ]
    static let forbiddenBasebackup: Set<String> = [
        "pgdata", "format", "wal-method", "xlog-method", "gzip", "version", "dbname", "host", "port", "username",
        "password",
    ]
    static let forbiddenRewind: Set<String> = [
        "target-pgdata", "source-pgdata", "source-server", "write-recovery-conf", "dry-run", "restore-target-wal",
        "config-file", "no-ensure-shutdown", "version", "help",
    ]

    let reader: ConfigurationReader
    let layer: Layer
    private var settings = PostgresSettings()

    static func decode(_ reader: ConfigurationReader, _ layer: Layer) -> PostgresSettings {
        var decoding = PostgresDecoding(reader: reader, layer: layer)
        decoding.run()
        return decoding.settings
    }

    private init(reader: ConfigurationReader, layer: Layer) {
        self.reader = reader
        self.layer = layer
    }

    private mutating func run() {
        if layer == .dynamic {
            for key in Self.localKeys.sorted() where reader.has(key) {
                reader.warn(key, "belongs into each member's own file and is ignored in the dynamic configuration")
            }
            reader.allow(Self.localKeys)
        } else {
            place()
            settings.authentication = authentication()
        }
        if layer == .local, reader.has("use_slots") {
            reader.warn(
                "use_slots", "is set for the whole cluster, in the dynamic configuration; ignored in a local file")
        }
        files()
        parameters()
        methods()
        behaviour()
    }

    // MARK: Where it is

    private mutating func place() {
        listen()
        if let address = reader.hostPort("connect_address", defaultPort: settings.port) {
            settings.connectAddress = address
            if address.isWildcard {
                reader.complain("connect_address", "'\(address.host)' is no address that a peer can connect to")
            }
        } else {
            let first = HostPort(host: settings.listenAddresses.first ?? "", port: settings.port)
            settings.connectAddress =
                first.isWildcard ? HostPort(host: "127.0.0.1", port: first.port) : first
            if first.isWildcard, !reader.has("connect_address"), reader.has("listen") {
                reader.complain(
                    "connect_address",
                    "missing; with listen '\(first.host)' the peers must be told an address, host:port")
            }
        }
        settings.proxyAddress = reader.hostPort("proxy_address", defaultPort: settings.port)
        settings.dataDirectory = reader.requiredString("data_dir", "PostgreSQL's data directory")
        settings.configDirectory = reader.string("config_dir", default: settings.dataDirectory)
        settings.binDirectory = reader.string("bin_dir", allowEmpty: true).flatMap { $0.isEmpty ? nil : $0 }
        if let names = reader.reader(for: "bin_name") {
            for program in PostgresProgram.allCases where program != .pgWaldump {
                settings.binaryNames[program] = names.string(program.rawValue)
            }
        }
        settings.database = reader.string("database", default: "postgres")
        settings.pgpass = reader.string("pgpass")
        settings.kerberosServiceName = reader.string("krbsrvname")
    }

    private mutating func listen() {
        let text = reader.requiredString("listen", "addresses to listen on: address[,address]:port, '*:5432'")
        guard !text.isEmpty, let (hosts, port) = reader.splitHostPort("listen", text, defaultPort: 5432) else { return }
        settings.port = port
        settings.listenAddresses = hosts.split(separator: ",").map { part in
            var host = part.drop(while: \.isWhitespace)
            if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
            return String(host)
        }
        if settings.listenAddresses.isEmpty { settings.listenAddresses = ["*"] }
    }

    private func authentication() -> PostgresAuthentication {
        var result = PostgresAuthentication()
        if reader.has("authentication"), let section = reader.reader(for: "authentication") {
            result.superuser = credentials("superuser", in: section) ?? PostgresCredentials()
            result.replication = credentials("replication", in: section) ?? PostgresCredentials()
            result.rewind = credentials("rewind", in: section)
            if result.replication.username == nil {
                section.complain(
                    section.has("replication") ? "replication.username" : "replication",
                    "missing; standbys connect as this role: {username: ..., password: ...}")
            }
            reader.allow("superuser", "replication", "pg_rewind")
        } else {
            // The sections' places in files of long ago.
            result.superuser = credentials("superuser", in: reader) ?? PostgresCredentials()
            result.replication = credentials("replication", in: reader) ?? PostgresCredentials()
            result.rewind = credentials("pg_rewind", in: reader)
            reader.allow("authentication")
            if result.replication.username == nil {
                reader.complain(
                    "authentication", "missing; give at least replication: {username: ..., password: ...}")
            }
        }
        return result
    }

    private func credentials(_ key: String, in section: ConfigurationReader) -> PostgresCredentials? {
        guard section.has(key), let role = section.reader(for: key) else {
            section.allow(key)
            return nil
        }
        var result = PostgresCredentials(username: role.string("username"), password: role.secret("password"))
        for option in Self.credentialOptions {
            if let value = role.string(option) { result.options.append(NamedText(name: option, value: value)) }
        }
        result.sslPassword = role.secret("sslpassword")
        return result
    }

    // MARK: What is written into files

    private mutating func files() {
        settings.pgHBA = reader.lines("pg_hba")
        settings.pgHBAPrimary = reader.lines("pg_hba_primary")
        settings.pgHBAReplica = reader.lines("pg_hba_replica")
        settings.pgHBAStandbyLeader = reader.lines("pg_hba_standby_leader")
        settings.pgIdent = reader.lines("pg_ident")
        settings.pgIdentPrimary = reader.lines("pg_ident_primary")
        settings.pgIdentReplica = reader.lines("pg_ident_replica")
        settings.pgIdentStandbyLeader = reader.lines("pg_ident_standby_leader")
        for key in ["pg_hba", "pg_hba_primary", "pg_hba_replica", "pg_hba_standby_leader"]
        where reader.lines(key)?.isEmpty == true {
            reader.complain(key, "is an empty list: nobody could connect; remove the key to leave pg_hba.conf alone")
        }
        settings.customConf = reader.string("custom_conf")
        settings.configBaseName = reader.string("config_base_name", default: "postgresql")
        if let recovery = reader.parameters("recovery_conf") {
            let owned = recovery.names.filter { name in
                let name = name.lowercased()
                return name.hasPrefix("recovery_target") && name != "recovery_target_timeline"
                    || ["primary_conninfo", "primary_slot_name"].contains(name)
            }
            settings.recoveryConf = recovery
            for name in owned {
                settings.recoveryConf[name] = nil
                reader.warn("recovery_conf", "'\(name)' is set by the agent; ignored here")
            }
        }
    }

    private mutating func parameters() {
        settings.parameters = reader.parameters("parameters") ?? ParameterList()
        settings.parametersPrimary = roleParameters("parameters_primary")
        settings.parametersReplica = roleParameters("parameters_replica")
        settings.parametersStandbyLeader = roleParameters("parameters_standby_leader")
        if layer == .local {
            for name in settings.parameters.names where ControlledParameters.isControlled(name) {
                settings.parameters[name] = nil
                reader.complain(
                    .warning, at: mark(of: name, in: "parameters"),
                    path: reader.path(of: "parameters") + "." + name,
                    ControlledParameters.isDerived(name)
                        ? "is set by the agent from listen and scope; ignored here"
                        : "has to be the same on all members: it is set in the dynamic configuration; ignored here")
            }
        }
    }

    private func roleParameters(_ key: String) -> ParameterList? {
        guard var list = reader.parameters(key) else { return nil }
        for name in list.names where ControlledParameters.isControlled(name) {
            list[name] = nil
            reader.complain(
                .warning, at: mark(of: name, in: key), path: reader.path(of: key) + "." + name,
                "is controlled by the agent and cannot differ by role; ignored")
        }
        return list
    }

    private func mark(of name: String, in key: String) -> SourceMark {
        let section = reader.node[key]
        return section?.pairs.last { $0.key.lowercased() == name.lowercased() }?.keyMark ?? section?.mark
            ?? reader.node.mark
    }

    // MARK: Methods, scripts, switches

    private mutating func methods() {
        let key = reader.has("create_replica_methods") ? "create_replica_methods" : "create_replica_method"
        reader.allow("create_replica_methods", "create_replica_method")
        if let methods = reader.stringList(key) {
            if methods.isEmpty { reader.complain(key, "is an empty list; [basebackup] is the default") }
            settings.createReplicaMethods = methods
        }
        settings.basebackup =
            reader.options("basebackup", forbidden: Self.forbiddenBasebackup, .warning, program: "pg_basebackup") ?? []
        settings.rewind =
            reader.options("rewind", forbidden: Self.forbiddenRewind, .warning, program: "pg_rewind") ?? []
        let wanted = Set(settings.createReplicaMethods)
        for pair in reader.node.pairs {
            // A method that is not in use stays in the file, known by its command.
            guard
                wanted.contains(pair.key) || pair.key == "basebackup"
                    || (pair.value["command"] != nil && pair.key != "parameters")
            else { continue }
            reader.allow(pair.key)
            settings.methods[pair.key] = pair.value
            if pair.key != "basebackup", !pair.value.isMap, !pair.value.isNull {
                reader.complain(pair.key, "expected a mapping (command: ...), found \(pair.value.kind)")
            }
        }
        settings.callbacksNode = reader.node("callbacks")
        if let callbacks = reader.reader(for: "callbacks") {
            settings.callbacks.onStart = callbacks.string("on_start")
            settings.callbacks.onStop = callbacks.string("on_stop")
            settings.callbacks.onRestart = callbacks.string("on_restart")
            settings.callbacks.onReload = callbacks.string("on_reload")
            settings.callbacks.onRoleChange = callbacks.string("on_role_change")
        }
        settings.prePromote = reader.string("pre_promote")
        settings.beforeStop = reader.string("before_stop")
    }

    private mutating func behaviour() {
        settings.usesUnixSocket = reader.bool("use_unix_socket", default: false)
        settings.usesUnixSocketForReplication = reader.bool("use_unix_socket_repl", default: false)
        settings.usesPgRewind = reader.bool("use_pg_rewind", default: false)
        settings.usesSlots = reader.bool("use_slots", default: true)
        settings.removesDataDirectoryOnRewindFailure = reader.bool(
            "remove_data_directory_on_rewind_failure", default: false)
        settings.removesDataDirectoryOnDivergedTimelines = reader.bool(
            "remove_data_directory_on_diverged_timelines", default: false)
        settings.pgCtlTimeout = reader.duration(
            "pg_ctl_timeout", in: .seconds(1) ... .seconds(86_400 * 365), default: .seconds(60))
    }
}
