/// Which environment variables are configuration, and which key each one sets.
enum EnvironmentVariables {
    /// What a variable's text is.
    enum Form {
        case text
        /// `a,b`, `'a','b'`, `[a, b]`.
        case list
        /// `{a: b}` or bare `a: b, c: d`.
        case map
        /// YAML of any shape.
        case yaml
    }

    struct Variable {
        /// Without its prefix.
        var name: String
        /// The path of the key it sets.
        var path: [String]
        var form: Form
    }

    /// All known ones without prefix, those of known store plugins included.
    ///
    /// A store that is not in the table gets `<SECTION>_<KEY>` for any key: see `variable(named:stores:)`.
    static let table: [String: Variable] = {
        var table: [String: Variable] = [:]
        func add(_ prefix: String, _ path: [String], _ names: [String], lists: Set<String> = [], maps: Set<String> = [])
        {
            for name in names {
                let full = prefix + name
                let form: Form = lists.contains(name) ? .list : maps.contains(name) ? .map : .text
                table[full] = Variable(name: full, path: path + [name.lowercased()], form: form)
            }
        }
        func alias(_ name: String, _ path: [String]) {
            table[name] = Variable(name: name, path: path, form: .text)
        }
        add("", [], ["NAME", "NAMESPACE", "SCOPE", "THREAD_POOL_SIZE", "THREAD_STACK_SIZE", "STATE_DIR"])
        add(
            "LOG_", ["log"],
            [
                "TYPE", "LEVEL", "TRACEBACK_LEVEL", "FORMAT", "DATEFORMAT", "STATIC_FIELDS", "MAX_QUEUE_SIZE", "DIR",
                "MODE", "FILE_SIZE", "FILE_NUM", "LOGGERS", "DEDUPLICATE_HEARTBEAT_LOGS",
            ], maps: ["STATIC_FIELDS", "LOGGERS"])
        table["LOG_FORMAT"]?.form = .yaml
        alias("LOGLEVEL", ["log", "level"])
        alias("LOGFORMAT", ["log", "format"])
        alias("LOG_DATEFMT", ["log", "dateformat"])
        add(
            "RESTAPI_", ["restapi"],
            [
                "LISTEN", "CONNECT_ADDRESS", "CERTFILE", "KEYFILE", "KEYFILE_PASSWORD", "CAFILE", "CIPHERS",
                "VERIFY_CLIENT", "HTTP_EXTRA_HEADERS", "HTTPS_EXTRA_HEADERS", "ALLOWLIST",
                "ALLOWLIST_INCLUDE_MEMBERS", "REQUEST_QUEUE_SIZE", "THREAD_POOL_SIZE", "SERVER_TOKENS",
            ], lists: ["ALLOWLIST"], maps: ["HTTP_EXTRA_HEADERS", "HTTPS_EXTRA_HEADERS"])
        add("CTL_", ["ctl"], ["INSECURE", "CACERT", "CERTFILE", "KEYFILE", "KEYFILE_PASSWORD"])
        for section in ["restapi", "ctl"] {
            add(section.uppercased() + "_", [section, "authentication"], ["USERNAME", "PASSWORD"])
        }
        add(
            "POSTGRESQL_", ["postgresql"],
            ["LISTEN", "CONNECT_ADDRESS", "PROXY_ADDRESS", "CONFIG_DIR", "DATA_DIR", "PGPASS", "BIN_DIR"])
        for program in PostgresProgram.allCases where program != .pgWaldump {
            alias("POSTGRESQL_BIN_" + program.rawValue.uppercased(), ["postgresql", "bin_name", program.rawValue])
        }
        for role in ["superuser", "replication", "rewind"] {
            add(
                role.uppercased() + "_", ["postgresql", "authentication", role],
                [
                    "USERNAME", "PASSWORD", "SSLMODE", "SSLCERT", "SSLKEY", "SSLPASSWORD", "SSLROOTCERT", "SSLCRL",
                    "SSLCRLDIR", "GSSENCMODE", "CHANNEL_BINDING", "SSLNEGOTIATION",
                ])
        }
        for store in ["etcd", "etcd3"] {
            add(
                store.uppercased() + "_", [store],
                [
                    "HOST", "HOSTS", "PORT", "USE_PROXIES", "PROTOCOL", "SRV", "SRV_SUFFIX", "URL", "PROXY", "CACERT",
                    "CERT", "KEY", "USERNAME", "PASSWORD",
                ], lists: ["HOSTS"])
        }
        add(
            "ZOOKEEPER_", ["zookeeper"],
            [
                "HOSTS", "USE_SSL", "CACERT", "CERT", "KEY", "KEY_PASSWORD", "VERIFY", "SET_ACLS", "AUTH_DATA",
                "SYNC_LIMIT", "TICK_TIME",
            ], lists: ["HOSTS"], maps: ["SET_ACLS", "AUTH_DATA"])
        add("EXHIBITOR_", ["exhibitor"], ["HOSTS", "PORT"], lists: ["HOSTS"])
        add(
            "CONSUL_", ["consul"],
            [
                "HOST", "PORT", "URL", "TOKEN", "VERIFY", "CACERT", "CERT", "KEY", "DC", "CONSISTENCY", "CHECKS",
                "REGISTER_SERVICE", "SERVICE_TAGS", "SERVICE_CHECK_INTERVAL", "SERVICE_CHECK_TLS_SERVER_NAME",
            ], lists: ["CHECKS", "SERVICE_TAGS"])
        add(
            "KUBERNETES_", ["kubernetes"],
            [
                "NAMESPACE", "LABELS", "SCOPE_LABEL", "ROLE_LABEL", "LEADER_LABEL_VALUE", "FOLLOWER_LABEL_VALUE",
                "STANDBY_LEADER_LABEL_VALUE", "TMP_ROLE_LABEL", "USE_ENDPOINTS", "POD_IP", "PORTS", "CONTEXT",
                "CACERT", "BYPASS_API_SERVICE", "RETRIABLE_HTTP_CODES", "BOOTSTRAP_LABELS",
            ], lists: ["RETRIABLE_HTTP_CODES"], maps: ["LABELS", "BOOTSTRAP_LABELS"])
        table["KUBERNETES_PORTS"]?.form = .yaml
        add(
            "RAFT_", ["raft"],
            ["SELF_ADDR", "BIND_ADDR", "PARTNER_ADDRS", "DATA_DIR", "PASSWORD"], lists: ["PARTNER_ADDRS"])
        add("CITUS_", ["citus"], ["GROUP", "DATABASE"])
        add("GUARD_", ["guard"], ["EXECUTABLE"])
        return table
    }()

    /// Whether a name is an old spelling of another one.
    static func isLegacy(_ name: String) -> Bool {
        ["LOGLEVEL", "LOGFORMAT", "LOG_DATEFMT"].contains(name)
    }

    /// The known variable of a name (without prefix); any key of a store section that the table does not list.
    static func variable(named name: String, stores: [String]) -> Variable? {
        if let known = table[name] { return known }
        for store in stores {
            let prefix = store.uppercased() + "_"
            let isTabled = table.values.contains { $0.path.first == store }
            if !isTabled, name.hasPrefix(prefix), name.count > prefix.count {
                return Variable(name: name, path: [store, name.dropFirst(prefix.count).lowercased()], form: .text)
            }
        }
        return nil
    }
}
