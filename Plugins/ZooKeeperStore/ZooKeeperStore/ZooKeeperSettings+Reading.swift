#if ZooKeeper
    import ConfigurationTree
    import Glibc

    extension ZooKeeperSettings {
        /// Reads the section; nil settings when a complaint is an error.
        static func read(
            _ section: ConfigurationNode, path: String
        ) -> (settings: ZooKeeperSettings?, complaints: [ConfigurationComplaint]) {
            let reader = ConfigurationReader(section, path: path)
            var settings = ZooKeeperSettings(servers: [])
            settings.readHosts(reader)
            settings.encryption = EncryptionSettings.read(reader)
            settings.readCredentials(reader)
            settings.readAccessList(reader)
            settings.connectTimeout = reader.duration(
                "connect_timeout", in: .milliseconds(50) ... .seconds(60), default: settings.connectTimeout)
            settings.tick = reader.duration(
                "tick_time", defaultUnit: .milliseconds, in: .milliseconds(10) ... .seconds(60))
            settings.syncLimit = reader.int("sync_limit", in: 1...1000)
            if settings.syncLimit != nil, settings.tick == nil, !reader.has("tick_time") {
                reader.complain(
                    "sync_limit", "needs tick_time as well: set it to the servers' tickTime in milliseconds")
            }
            settings.isBehindProxy = reader.bool("behind_proxy", default: false)
            let complaints = reader.finish()
            return (complaints.contains { $0.severity == .error } ? nil : settings, complaints)
        }

        // MARK: Hosts

        private mutating func readHosts(_ reader: ConfigurationReader) {
            guard var texts = reader.stringList("hosts") else {
                if !reader.has("hosts") {
                    reader.complainMissing("hosts", "name the servers, such as [zk1:2181, zk2:2181, zk3:2181]")
                }
                readChroot(reader, besides: nil)
                return
            }
            var suffix: String?
            if let last = texts.last, let slash = last.firstIndex(of: "/") {
                suffix = String(last[slash...])
                texts[texts.count - 1] = String(last[..<slash])
            }
            if texts.allSatisfy(\.isEmpty) {
                reader.complain("hosts", "names no server; name them, such as [zk1:2181, zk2:2181, zk3:2181]")
            }
            var seen: Set<ServerAddress> = []
            for text in texts where !text.isEmpty {
                if text.contains("/") {
                    reader.complain("hosts", "'\(text)': only the last host may be followed by a path, valid for all")
                } else if let server = Self.server(text) {
                    if seen.insert(server).inserted { servers.append(server) }
                } else {
                    reader.complain(
                        "hosts",
                        "'\(text)' is no server; write host, host:port, an IPv4 address or [IPv6]:port (port 1 to 65535)"
                    )
                }
            }
            readChroot(reader, besides: suffix)
        }

        /// `host`, `host:port`, `[::1]`, `[::1]:2181`; nil for anything else.
        static func server(_ text: String) -> ServerAddress? {
            var host = text[...]
            var port: Substring?
            if host.first == "[" {
                guard let end = host.firstIndex(of: "]") else { return nil }
                let rest = host[host.index(after: end)...]
                if rest.first == ":" {
                    port = rest.dropFirst()
                } else if !rest.isEmpty {
                    return nil
                }
                host = host[..<end].dropFirst()
            } else if let colon = host.firstIndex(of: ":") {
                // Two colons and no brackets: an IPv6 address by itself.
                if host[host.index(after: colon)...].contains(":") {
                    port = nil
                } else {
                    port = host[host.index(after: colon)...]
                    host = host[..<colon]
                }
            }
            let isHost = host.unicodeScalars.allSatisfy { scalar in
                scalar.value > 32 && scalar.value != 127 && !scalar.properties.isWhitespace && scalar != ","
                    && scalar != "@"
            }
            guard !host.isEmpty, isHost else { return nil }
            guard let port else { return ServerAddress(host: String(host), port: 2181) }
            guard port.allSatisfy(\.isNumber), let number = Int(port), (1...65535).contains(number) else { return nil }
            return ServerAddress(host: String(host), port: number)
        }

        private mutating func readChroot(_ reader: ConfigurationReader, besides suffix: String?) {
            let key = reader.string("chroot")
            if let key, let suffix, Self.normalized(key) != Self.normalized(suffix) {
                reader.complain(
                    "chroot", "'\(key)', but hosts end with '\(suffix)'; give one of the two, or the same twice")
            }
            guard let text = key ?? suffix else { return }
            guard text.hasPrefix("/") else {
                reader.complain("chroot", "'\(text)' must be an absolute path, such as /databases")
                return
            }
            let parts = text.split(separator: "/")
            if parts.contains(where: { $0 == "." || $0 == ".." }) {
                reader.complain(key == nil ? "hosts" : "chroot", "'\(text)': ZooKeeper knows no '.' and '..' in paths")
            }
            chroot = Self.normalized(text)
        }

        private static func normalized(_ path: String) -> String {
            path.split(separator: "/").map { "/" + $0 }.joined()
        }

        // MARK: Security

        /// What SASL needs and does not have.
        private static var whyNoSASL: String {
            let remedy = "use digest with user:password in auth_data, or certificates (use_ssl, cert, key)"
            guard let all = dlopen(nil, RTLD_NOW) else { return "cannot be used; \(remedy)" }
            defer { dlclose(all) }
            return dlsym(all, "zookeeper_init_sasl") == nil
                ? "cannot be used: this system's ZooKeeper client library (libzookeeper_mt) exports no zookeeper_init_sasl, "
                    + "for it was built without SASL, as Debian's is; \(remedy)"
                : "is not supported yet, although this system's ZooKeeper client library could; \(remedy)"
        }

        private mutating func readCredentials(_ reader: ConfigurationReader) {
            // Not Patroni's, but what other clients call it: not to be passed over.
            if reader.bool("use_sasl", default: false) { reader.complain("use_sasl", Self.whyNoSASL) }
            for (scheme, secret) in reader.stringMap("auth_data") ?? [] {
                let path = reader.path(of: "auth_data") + "." + scheme
                func complain(_ message: String) {
                    let mark = reader.node("auth_data")?[scheme]?.mark ?? reader.node.mark
                    reader.complain(at: mark, path: path, message)
                }
                switch scheme {
                case "digest" where !secret.contains(":"):
                    complain("must have the form user:password")
                case "x509":
                    complain(
                        "needs no entry here: with use_ssl, the servers take the identity from the certificate that "
                            + "cert names")
                case "sasl":
                    complain(Self.whyNoSASL)
                default:
                    credentials.append(Credential(scheme: scheme, secret: Secret(secret)))
                }
            }
        }

        private mutating func readAccessList(_ reader: ConfigurationReader) {
            // Ours: nodes that only who has our credentials may touch, without spelling out who that is.
            let kind = reader.choice("acl", ["world": AccessRule.world, "creator": AccessRule.creator])
            guard let pairs = reader.map("set_acls"), !pairs.isEmpty else {
                if let kind { accessList = [kind] }
                if kind == .creator, credentials.isEmpty, encryption?.certificateFile == nil {
                    reader.complain(
                        "acl",
                        "'creator' needs credentials: set auth_data, such as {digest: user:password}, or a certificate "
                            + "(use_ssl, cert, key)")
                }
                return
            }
            if kind != nil { reader.complain("acl", "cannot be given along with set_acls; remove one of the two") }
            accessList = pairs.compactMap { Self.rule($0, reader) }
        }

        /// One principal with its permissions, as Patroni writes them.
        private static func rule(_ pair: ConfigurationNode.Pair, _ reader: ConfigurationReader) -> AccessRule? {
            let path = reader.path(of: "set_acls") + "." + pair.key
            let elements = pair.value.text.map { [$0] } ?? pair.value.elements.compactMap(\.text)
            var permissions: AccessPermissions = []
            for name in elements {
                guard let known = AccessPermissions.names.first(where: { $0.name == name.uppercased() }) else {
                    let names = AccessPermissions.names.map(\.name).joined(separator: ", ")
                    reader.complain(at: pair.value.mark, path: path, "'\(name)' is no permission; there are \(names)")
                    return nil
                }
                permissions.formUnion(known.permission)
            }
            if permissions.isEmpty {
                reader.complain(at: pair.value.mark, path: path, "needs a list of permissions, such as [ALL]")
                return nil
            }
            guard let colon = pair.key.firstIndex(of: ":") else {
                return AccessRule(scheme: "x509", identity: pair.key, permissions: permissions)
            }
            let scheme = String(pair.key[..<colon])
            return AccessRule(
                scheme: scheme, identity: String(pair.key[pair.key.index(after: colon)...]), permissions: permissions)
        }
    }
#endif
