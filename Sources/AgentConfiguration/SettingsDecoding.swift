import ClusterModel
import ConfigurationTree

/// Decodes the merged local tree into settings, with every complaint there is.
struct SettingsDecoding {
    /// Names of store sections that Patroni knows. Without a plugin for it, such a section is an error that says so.
    static let recognisedStores = ["etcd3", "etcd", "consul", "kubernetes", "raft", "exhibitor", "zookeeper"]
    /// Reserved by Patroni to stand for no synchronous standby.
    static let reservedName = "__patroni_strict_sync_replica_placeholder__"

    let reader: ConfigurationReader
    let knownStores: [String]

    static func decode(
        _ tree: ConfigurationNode, knownStores: [String]
    ) -> (settings: Settings?, complaints: [ConfigurationComplaint]) {
        let reader = ConfigurationReader(tree)
        // With a list or a text for a file, a row of missing keys would only hide what is wrong.
        if reader.complaints.containsError { return (nil, reader.complaints) }
        let settings = SettingsDecoding(reader: reader, knownStores: knownStores).settings()
        let complaints = reader.finish()
        return (complaints.containsError ? nil : settings, complaints)
    }

    /// What an operator's command needs. Other sections are neither read nor complained of.
    static func decodeForOperator(
        _ tree: ConfigurationNode, knownStores: [String], store: StoreSection?
    ) -> (settings: OperatorSettings?, complaints: [ConfigurationComplaint]) {
        let reader = ConfigurationReader(tree)
        if reader.complaints.containsError { return (nil, reader.complaints) }
        let decoding = SettingsDecoding(reader: reader, knownStores: knownStores)
        var settings = OperatorSettings(store: store ?? decoding.store() ?? StoreSection(name: "", node: tree))
        settings.scope = reader.string("scope")
        settings.name = reader.string("name")
        settings.namespace = decoding.namespace()
        settings.control = decoding.control(decoding.rest(required: false))
        return (reader.complaints.containsError ? nil : settings, reader.complaints)
    }

    private func settings() -> Settings {
        var name = ""
        if !reader.has("name"), let old = reader.node["postgresql"]?["name"]?.text, !old.isEmpty {
            reader.allow("name")
            name = old
        } else {
            name = reader.requiredString("name", "this member's name, unique in the cluster")
        }
        check(name: name)
        var settings = Settings(
            scope: reader.requiredString("scope", "the cluster's name, the same on all members"), name: name,
            store: store() ?? StoreSection(name: "", node: reader.node), tree: reader.node)
        settings.namespace = namespace()
        settings.log = log()
        settings.restAPI = rest(required: true)
        settings.control = control(settings.restAPI)
        settings.bootstrap = bootstrap()
        settings.postgresql = postgresql()
        settings.watchdog = watchdog()
        settings.tags = tags()
        let directory = settings.postgresql.dataDirectory
        settings.stateDirectory = reader.string("state_dir", default: Self.withoutSlash(directory) + ".matriarch")
        if let section = reader.reader(for: "guard") {
            settings.guardProcess.executable = section.string("executable")
        }
        // Patroni's own pools: accepted, without meaning here.
        reader.allow("thread_pool_size", "thread_stack_size")
        if reader.has("citus") { reader.warn("citus", "is not supported by this build; ignored") }
        for key in ["ttl", "loop_wait", "retry_timeout", "standby_cluster"] where reader.has(key) {
            reader.allow(key)
            reader.warn(
                key,
                "is set for the whole cluster, in the dynamic configuration (bootstrap.dcs for a new one); ignored here"
            )
        }
        reader.allow("citus")
        return settings
    }

    private func check(name: String) {
        if name == Self.reservedName { reader.complain("name", "'\(name)' is reserved; choose another name") }
        if name.contains("/") || name.unicodeScalars.contains(where: { $0.value < 32 || $0.value == 127 }) {
            reader.complain("name", "a member's name has neither slashes nor control characters")
        }
    }

    private func namespace() -> String {
        let text = reader.string("namespace", default: "service", allowEmpty: true)
        return text.split(separator: "/", omittingEmptySubsequences: true).joined(separator: "/")
    }

    // MARK: Store

    private func store() -> StoreSection? {
        let names = knownStores + Self.recognisedStores.filter { !knownStores.contains($0) }
        reader.allow(names)
        var present = reader.node.pairs.filter { names.contains($0.key) }
        // `zookeeper:` with nothing below counts only where no other section does.
        if present.contains(where: { !$0.value.isNull }) { present.removeAll { $0.value.isNull } }
        guard let pair = present.first else {
            reader.complain(
                at: reader.node.mark, path: "",
                "no store is configured; give one of these sections: \(knownStores.joined(separator: ", "))")
            return nil
        }
        if present.count > 1 {
            for other in present.dropFirst() {
                reader.complain(
                    at: other.keyMark, path: other.key,
                    "a second store beside '\(pair.key)' (\(pair.keyMark)); a cluster has exactly one, remove either")
            }
            return nil
        }
        guard knownStores.contains(pair.key) else {
            reader.complain(at: pair.keyMark, path: pair.key, unsupported(pair.key))
            return nil
        }
        guard pair.value.isMap || pair.value.isNull else {
            reader.complain(pair.key, "expected a mapping (name: value), found \(pair.value.kind)")
            return nil
        }
        let node = pair.value.isMap ? pair.value : ConfigurationNode(.map([]), at: pair.keyMark)
        return StoreSection(name: pair.key, node: node)
    }

    /// Why a section that Patroni knows is of no use here.
    private func unsupported(_ name: String) -> String {
        if name == "etcd", knownStores.contains("etcd3") {
            return
                "etcd's v2 API is not supported, and gone from etcd itself; name the section etcd3 to speak v3 to the "
                + "same servers (a cluster whose members still use v2 has to be moved to v3 first: v3 does not see its keys)"
        }
        return "this store is not supported by this build; it has: \(knownStores.joined(separator: ", "))"
    }

    // MARK: Log

    private static let levels: KeyValuePairs<String, LogSettings.Level> = [
        "DEBUG": .debug, "INFO": .info, "WARNING": .warning, "ERROR": .error, "CRITICAL": .critical, "WARN": .warning,
        "FATAL": .critical, "NOTSET": .debug,
    ]

    private func log() -> LogSettings {
        var result = LogSettings()
        guard let section = reader.reader(for: "log") else { return result }
        result.kind = section.choice("type", ["plain": .plain, "json": .json]) ?? .plain
        result.level = section.choice("level", Self.levels) ?? .info
        result.tracebackLevel = section.choice("traceback_level", Self.levels) ?? .error
        result.format = section.node("format")
        result.dateFormat = section.string("dateformat")
        result.staticFields = JSONObject(
            (section.map("static_fields") ?? []).map { (key: $0.key, value: $0.value.json) })
        result.maximumQueueSize = section.int("max_queue_size", in: 1 ... .max, default: 1000)
        result.directory = section.string("dir")
        result.fileCount = section.int("file_num", in: 0...10_000, default: 4)
        result.fileSize = section.int("file_size", in: 1 ... .max, unit: .bytes, default: 25_000_000)
        result.fileMode = section.int("mode", in: 0...0o7777)
        for pair in section.map("loggers") ?? [] {
            let loggers = section.reader(
                for: ConfigurationNode(.map([pair]), at: pair.keyMark), path: section.path(of: "loggers"))
            if let level = loggers.choice(pair.key, Self.levels) {
                result.loggers.append(.init(name: pair.key, level: level))
            }
        }
        result.deduplicatesHeartbeat = section.bool("deduplicate_heartbeat_logs", default: false)
        return result
    }

    // MARK: REST API and its clients

    private func rest(required: Bool) -> RESTAPISettings {
        var result = RESTAPISettings()
        guard let section = reader.reader(for: "restapi") else {
            if required {
                reader.complainMissing("restapi", "give a section with at least listen: host:port")
            }
            return result
        }
        if required || section.has("listen") {
            if section.has("listen") {
                if let listen = section.hostPort("listen") { result.listen = listen }
            } else {
                section.allow("listen")
                section.complainMissing("listen", "the API's own address, host:port")
            }
        }
        if let address = section.hostPort("connect_address", defaultPort: result.listen.port) {
            result.connectAddress = address
            if address.isWildcard {
                section.complain("connect_address", "'\(address.host)' is no address that a peer can connect to")
            }
        } else {
            result.connectAddress = result.listen
            if required, result.listen.isWildcard, !section.has("connect_address"), section.has("listen") {
                section.complain(
                    "connect_address",
                    "missing; with listen '\(result.listen)' the peers must be told an address, host:port")
            }
        }
        result.authentication = section.credentials("authentication", oldKey: "auth")
        result.certificateFile = section.string("certfile", allowEmpty: true).flatMap { $0.isEmpty ? nil : $0 }
        result.keyFile = section.string("keyfile")
        result.keyFilePassword = section.secret("keyfile_password")
        result.caFile = section.string("cafile")
        result.ciphers = section.string("ciphers")
        result.clientVerification =
            section.choice("verify_client", ["none": .none, "optional": .optional, "required": .required]) ?? .none
        if result.clientVerification != .none, required {
            if result.certificateFile == nil {
                section.warn("verify_client", "has no effect without certfile: the API speaks no TLS")
            } else if result.caFile == nil {
                section.complain("verify_client", "needs cafile, which signs the clients' certificates")
            }
        }
        result.allowlist = section.stringList("allowlist") ?? []
        result.allowlistIncludesMembers = section.bool("allowlist_include_members", default: false)
        result.httpExtraHeaders = headers("http_extra_headers", in: section)
        result.httpsExtraHeaders = headers("https_extra_headers", in: section)
        result.requestQueueSize = section.int("request_queue_size", in: 1...65_535, default: 5)
        result.threadPoolSize = section.int("thread_pool_size", in: 1...65_535, default: 5)
        result.serverTokens =
            section.choice(
                "server_tokens", ["original": .original, "minimal": .minimal, "productonly": .productOnly]) ?? .original
        return result
    }

    private func headers(_ key: String, in section: ConfigurationReader) -> [NamedText] {
        let headers = section.namedTexts(key) ?? []
        for header in headers {
            let isToken = header.name.utf8.allSatisfy {
                $0 > 32 && $0 < 127 && !"()<>@,;:\\\"/[]?={}".utf8.contains($0)
            }
            if header.name.isEmpty || !isToken || header.value.contains(where: \.isNewline) {
                section.complain(
                    key, "'\(header.name.prefix(40))' is no header: a name without blanks, a value on one line")
            }
        }
        return headers
    }

    private func control(_ rest: RESTAPISettings) -> ControlSettings {
        var result = ControlSettings()
        if let section = reader.reader(for: "ctl") {
            result.authentication = section.credentials("authentication")
            result.isInsecure = section.bool("insecure", default: false)
            result.caFile = section.string("cacert")
            result.certificateFile = section.string("certfile")
            result.keyFile = section.string("keyfile")
            result.keyFilePassword = section.secret("keyfile_password")
        }
        result.authentication = result.authentication ?? rest.authentication
        result.caFile = result.caFile ?? rest.caFile
        return result
    }

    // MARK: Bootstrap

    private static let forbiddenInitdb: Set<String> = ["pgdata", "nosync", "pwfile", "sync-only", "version"]

    private func bootstrap() -> BootstrapSettings? {
        guard reader.has("bootstrap"), let section = reader.reader(for: "bootstrap") else {
            reader.allow("bootstrap")
            return nil
        }
        var result = BootstrapSettings()
        section.allow("dcs")
        if let node = section.node("dcs") {
            let (dynamic, complaints) = DynamicSettings.decode(node, path: section.path(of: "dcs"))
            section.adopt(complaints)
            if let dynamic {
                result.dynamic = dynamic.document
                section.adopt(dynamic.timing(allPeersOurs: true).complaints)
                section.adopt(
                    ControlledParameters.make(
                        scope: "", postgresql: PostgresSettings(), dynamic: dynamic.postgresqlNode
                    ).1.map { complaint in
                        var complaint = complaint
                        complaint.path = section.path(of: "dcs") + "." + complaint.path
                        return complaint
                    })
            }
            result.dynamicNode = node
        }
        result.method = section.string("method", default: "initdb")
        result.initdb =
            section.options("initdb", forbidden: Self.forbiddenInitdb, .error, program: "initdb") ?? []
        if section.has("initdb"), section.node["initdb"]?.elements.isEmpty == true,
            section.node["initdb"]?.isMap == false
        {
            section.complain("initdb", "is an empty list; remove the key for initdb's own defaults")
        }
        result.pgHBA = section.lines("pg_hba")
        if result.pgHBA?.isEmpty == true { section.complain("pg_hba", "is an empty list; remove the key") }
        let hook = section.has("post_bootstrap") ? "post_bootstrap" : "post_init"
        section.allow("post_bootstrap", "post_init")
        result.postBootstrap = section.string(hook)
        if section.has("users") {
            section.warn("users", "is no longer supported since Patroni 4.0; create roles in post_bootstrap; ignored")
        }
        section.allow("users")
        for pair in section.node.pairs
        where pair.key == result.method || pair.key == "initdb" || pair.value["command"] != nil {
            section.allow(pair.key)
            result.methods[pair.key] = pair.value
        }
        return result
    }

    // MARK: PostgreSQL, watchdog, tags

    private func postgresql() -> PostgresSettings {
        guard let section = reader.reader(for: "postgresql") else {
            reader.complainMissing("postgresql", "give a section with at least listen, data_dir and authentication")
            return PostgresSettings()
        }
        section.allow("name")
        return PostgresDecoding.decode(section, .local)
    }

    private func watchdog() -> WatchdogSettings {
        var result = WatchdogSettings()
        guard let section = reader.reader(for: "watchdog") else { return result }
        result.mode =
            section.choice(
                "mode",
                [
                    "off": .off, "automatic": .automatic, "required": .required, "auto": .automatic,
                    "require": .required, "disable": .off, "disabled": .off, "false": .off, "no": .off,
                ]) ?? .automatic
        result.device = section.string("device", default: "/dev/watchdog")
        result.safetyMargin = section.int("safety_margin", in: -1...86_400, default: 5)
        result.driver = section.string("driver", default: "default")
        return result
    }

    private func tags() -> Tags {
        guard let pairs = reader.map("tags") else { return Tags() }
        let tags = Tags(JSONObject(pairs.map { (key: $0.key, value: $0.value.json) }))
        func warn(_ key: String, _ message: String) {
            let pair = pairs.last { $0.key == key }
            reader.complain(.warning, at: pair?.value.mark ?? reader.node.mark, path: "tags.\(key)", message)
        }
        for (boolean, number) in [("nofailover", "failover_priority"), ("nosync", "sync_priority")] {
            let priority = tags.values[number]
            if let priority, priority.lenientInteger == nil {
                let mark = pairs.last { $0.key == number }?.value.mark ?? reader.node.mark
                reader.complain(at: mark, path: "tags.\(number)", "is not a whole number")
            }
            guard let value = tags.values[boolean], let priority = priority?.lenientInteger else { continue }
            let isOn = boolean == "nofailover" ? tags.isNoFailover : tags.isNoSync
            if isOn != (priority <= 0) {
                let shown = value.bool.map { $0 ? "True" : "False" } ?? value.string ?? value.serialized()
                warn(
                    number,
                    "Conflicting configuration between \(boolean): \(shown) and \(number): \(priority). "
                        + "Defaulting to \(boolean): \(shown)")
            }
        }
        return tags
    }

    private static func withoutSlash(_ path: String) -> String {
        let last = path.utf8.lastIndex { $0 != UInt8(ascii: "/") }
        guard let last else { return String(path.prefix(1)) }
        return String(path[...last])
    }
}
