#if Etcd
    import ConfigurationTree

    extension EtcdSettings {
        /// Reads the section; nil settings when a complaint is an error.
        static func read(
            _ section: ConfigurationNode, path: String
        ) -> (settings: EtcdSettings?, complaints: [ConfigurationComplaint]) {
            let reader = ConfigurationReader(section, path: path)
            var settings = EtcdSettings(endpoints: [])
            settings.readPlaces(reader)
            settings.readCredentials(reader)
            settings.readCertificates(reader)
            settings.connectTimeout = reader.duration(
                "connect_timeout", in: .milliseconds(50) ... .seconds(60), default: settings.connectTimeout)
            let complaints = reader.finish()
            return (complaints.contains { $0.severity == .error } ? nil : settings, complaints)
        }

        // MARK: Places

        /// Patroni's order: of several keys that name the servers the first of these counts.
        private static let places = ["proxy", "url", "hosts", "host", "srv"]

        private mutating func readPlaces(_ reader: ConfigurationReader) {
            let isSecure = reader.choice("protocol", ["http": false, "https": true]) ?? false
            let domainKey = ["srv", "discovery_srv", "srv_domain"].first { reader.has($0) } ?? "srv"
            reader.allow("port", "srv_suffix", "discovery_srv", "srv_domain", "use_proxies")
            reader.allow(Self.places)
            let present = Self.places.filter { reader.has($0 == "srv" ? domainKey : $0) }
            guard let chosen = present.first else {
                reader.complainMissing(
                    "hosts", "name the servers, such as [etcd1:2379, etcd2:2379, etcd3:2379]")
                return
            }
            for other in present.dropFirst() {
                reader.warn(
                    other == "srv" ? domainKey : other,
                    "has no effect beside \(chosen); give one of \(Self.places.joined(separator: ", "))")
            }
            usesProxies = chosen == "proxy" || reader.bool("use_proxies", default: false)
            switch chosen {
            case "proxy", "url": readURL(chosen, reader, isSecure)
            case "hosts": readHosts(reader, isSecure)
            case "host": readHost(reader, isSecure)
            default: readDomain(domainKey, reader)
            }
            if reader.has("port"), chosen != "host" {
                reader.warn("port", "has no effect without host; write the port behind each server")
            }
            if reader.has("srv_suffix"), chosen != "srv" {
                reader.warn("srv_suffix", "has no effect without srv")
            }
        }

        private mutating func readURL(_ key: String, _ reader: ConfigurationReader, _ isSecure: Bool) {
            guard let text = reader.string(key) else { return }
            guard let location = EndpointText(text), location.isWithoutPath,
                let endpoint = Endpoint(location, secureByDefault: isSecure)
            else {
                // Without the text itself: it may hold a password.
                reader.complain(key, "is no address of a server; write http://host:port or https://host:port")
                return
            }
            endpoints = [endpoint]
            username = location.user
            password = location.password
        }

        private mutating func readHosts(_ reader: ConfigurationReader, _ isSecure: Bool) {
            guard let texts = reader.stringList("hosts") else { return }
            if texts.allSatisfy(\.isEmpty) {
                reader.complain("hosts", "names no server; name them, such as [etcd1:2379, etcd2:2379, etcd3:2379]")
            }
            let elements = reader.node("hosts")?.elements ?? []
            for (index, text) in texts.enumerated() where !text.isEmpty {
                guard let endpoint = Endpoint(text, secureByDefault: isSecure) else {
                    let isListed = elements.indices.contains(index)
                    reader.complain(
                        at: isListed ? elements[index].mark : reader.node("hosts")?.mark ?? reader.node.mark,
                        path: reader.path(of: "hosts") + (isListed ? "[\(index)]" : ""), Self.advice(text))
                    continue
                }
                if !endpoints.contains(endpoint) { endpoints.append(endpoint) }
            }
            if endpoints.contains(where: \.isSecure), endpoints.contains(where: { !$0.isSecure }) {
                reader.complain(
                    "hosts", "some servers are to be reached with TLS and some without; give all the same scheme")
            }
        }

        private mutating func readHost(_ reader: ConfigurationReader, _ isSecure: Bool) {
            let port = reader.int("port", in: 1...65535, default: Endpoint.defaultPort)
            guard let text = reader.string("host") else { return }
            if let endpoint = Endpoint(text, secureByDefault: isSecure, defaultPort: port) {
                endpoints = [endpoint]
            } else {
                reader.complain("host", Self.advice(text))
            }
        }

        private static func advice(_ text: String) -> String {
            let shown = text.contains("@") ? "this" : "'\(text.prefix(80))'"
            return "\(shown) is no server; write host, host:port, [IPv6]:port (port 1 to 65535), "
                + "or that with http:// or https:// before it"
        }

        private mutating func readDomain(_ key: String, _ reader: ConfigurationReader) {
            let suffix = reader.string("srv_suffix")
            guard let text = reader.string(key) else { return }
            guard DNSMessage.encodedName(text) != nil else {
                reader.complain(key, "'\(text.prefix(80))' is no domain's name")
                return
            }
            if let suffix, suffix.contains(".") || DNSMessage.encodedName("_etcd-server-ssl-" + suffix) == nil {
                reader.complain("srv_suffix", "'\(suffix.prefix(80))' cannot be a part of a DNS name")
                return
            }
            domain = ServiceDomain(name: text, suffix: suffix)
        }

        // MARK: Security

        private mutating func readCredentials(_ reader: ConfigurationReader) {
            if let name = reader.string("username") {
                if let inURL = username, inURL != name {
                    reader.complain("username", "is not the user's name in the url; give one of the two")
                }
                if username != name { password = nil }
                username = name
            }
            if let secret = reader.secret("password") { password = secret }
            if username != nil, password == nil {
                reader.complain("username", "needs a password as well: etcd's users log in with one")
            }
            if username == nil, password != nil {
                reader.complain("password", "needs a username as well")
            }
        }

        private mutating func readCertificates(_ reader: ConfigurationReader) {
            caPath = reader.string("cacert")
            certificatePath = reader.string("cert")
            keyPath = reader.string("key")
            if keyPath != nil, certificatePath == nil {
                reader.complain("key", "needs cert as well, the certificate that belongs to the key")
            }
            guard !endpoints.isEmpty, !endpoints.contains(where: \.isSecure) else { return }
            for key in ["cacert", "cert", "key"] where reader.has(key) {
                reader.warn(
                    key, "has no effect without TLS: set protocol to https, or write https:// before the servers")
            }
        }
    }
#endif
