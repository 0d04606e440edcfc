#if Consul
    import ConfigurationTree
    import Glibc

    extension ConsulSettings {
        /// Reads the section; nil settings when a complaint is an error.
        static func read(
            _ section: ConfigurationNode, path: String
        ) -> (settings: ConsulSettings?, complaints: [ConfigurationComplaint]) {
            let reader = ConfigurationReader(section, path: path)
            var settings = ConsulSettings(endpoints: [])
            settings.readEndpoints(reader)
            settings.readEncryption(reader)
            settings.readToken(reader)
            settings.datacenter = reader.string("dc")
            settings.consistency =
                reader.choice(
                    "consistency",
                    [
                        "default": ConsulConsistency.usual, "consistent": ConsulConsistency.consistent,
                        "stale": ConsulConsistency.stale,
                    ]) ?? .usual
            settings.checks = reader.stringList("checks")?.filter { !$0.isEmpty } ?? []
            settings.readService(reader)
            let complaints = reader.finish()
            return (complaints.contains { $0.severity == .error } ? nil : settings, complaints)
        }

        // MARK: Where

        private mutating func readEndpoints(_ reader: ConfigurationReader) {
            let scheme = reader.choice("scheme", ["http": false, "https": true])
            let port = reader.int("port", in: 1...65535)
            let given = ["url", "hosts", "host"].filter(reader.has)
            if given.count > 1 {
                reader.complain(given[1], "cannot be given along with \(given[0]); remove one of the two")
            }
            if let url = reader.string("url") {
                guard let endpoint = Self.endpoint(url: url) else {
                    reader.complain(
                        "url", "is no URL of Consul's API; write http://host:port or https://host:port, without a path")
                    return
                }
                if let scheme, scheme != endpoint.isEncrypted {
                    reader.complain("scheme", "contradicts the url; remove one of the two")
                }
                endpoints = [endpoint]
                return
            }
            let isEncrypted = scheme ?? false
            let key = given.first ?? "host"
            let texts = key == "hosts" ? reader.stringList(key) ?? [] : [reader.string("host") ?? "127.0.0.1"]
            reader.allow("url", "host", "hosts")
            for text in texts {
                guard var endpoint = Self.endpoint(text, isEncrypted: isEncrypted) else {
                    reader.complain(
                        key,
                        "'\(text)' is no host; write host, host:port, an IPv4 address or [IPv6]:port (port 1 to 65535)"
                    )
                    continue
                }
                // As in Patroni, a port of its own wins.
                if let port { endpoint.port = port }
                if !endpoints.contains(endpoint) { endpoints.append(endpoint) }
            }
            if texts.isEmpty { reader.complain(key, "names no host; name one, such as 127.0.0.1:8500") }
        }

        /// `http://host:port`, with nothing behind that but a slash; nil for anything else.
        static func endpoint(url: String) -> ConsulEndpoint? {
            let isEncrypted: Bool
            var rest: Substring
            if url.lowercased().hasPrefix("http://") {
                (isEncrypted, rest) = (false, url.dropFirst(7))
            } else if url.lowercased().hasPrefix("https://") {
                (isEncrypted, rest) = (true, url.dropFirst(8))
            } else {
                return nil
            }
            if rest.hasSuffix("/") { rest = rest.dropLast() }
            return endpoint(String(rest), isEncrypted: isEncrypted)
        }

        /// `host`, `host:port`, `::1`, `[::1]`, `[::1]:8500`; nil for anything else.
        static func endpoint(_ text: String, isEncrypted: Bool) -> ConsulEndpoint? {
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
                guard host.contains(":") else { return nil }
            } else if let colon = host.firstIndex(of: ":") {
                // Two colons and no brackets: an IPv6 address by itself.
                if !host[host.index(after: colon)...].contains(":") {
                    port = host[host.index(after: colon)...]
                    host = host[..<colon]
                }
            }
            let isHost = host.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"),
                    UInt8(ascii: ":"):
                    true
                default: false
                }
            }
            guard !host.isEmpty, isHost else { return nil }
            if host.contains(":") {
                var address = in6_addr()
                guard inet_pton(AF_INET6, String(host), &address) == 1 else { return nil }
            }
            var endpoint = ConsulEndpoint(
                isEncrypted: isEncrypted, host: String(host), port: ConsulEndpoint.defaultPort)
            if let port {
                guard port.utf8.allSatisfy({ (48...57).contains($0) }), let number = Int(port),
                    (1...65535).contains(number)
                else { return nil }
                endpoint.port = number
            }
            return endpoint
        }

        // MARK: Security

        private mutating func readEncryption(_ reader: ConfigurationReader) {
            encryption.verifies = reader.bool("verify") ?? true
            encryption.authorityPath = reader.string("cacert")
            encryption.certificatePath = reader.string("cert")
            encryption.keyPath = reader.string("key")
            if encryption.keyPath != nil, encryption.certificatePath == nil {
                reader.complain("key", "needs cert as well: the file of the certificate that the key belongs to")
            }
            let isEncrypted = endpoints.contains(where: \.isEncrypted)
            for key in ["cacert", "cert", "key"] where reader.has(key) && !isEncrypted {
                reader.warn(key, "has no effect without TLS: set scheme to https, or a url that begins with https://")
            }
            if isEncrypted, !encryption.verifies {
                reader.warn("verify", "is off: whoever can intercept the connection can pretend to be Consul")
            }
        }

        private mutating func readToken(_ reader: ConfigurationReader) {
            guard let secret = reader.secret("token"), !secret.value.isEmpty else { return }
            // It becomes a header's value.
            guard secret.value.utf8.allSatisfy({ (33...126).contains($0) }) else {
                reader.complain("token", "holds spaces, control characters or others that no token of Consul has")
                return
            }
            token = secret
        }

        // MARK: Service

        private mutating func readService(_ reader: ConfigurationReader) {
            let isWanted = reader.bool("register_service", default: false)
            var service = ConsulServiceSettings()
            service.tags = reader.stringList("service_tags")?.filter { !$0.isEmpty } ?? []
            if let text = reader.string("service_check_interval") {
                if let interval = Self.interval(text) {
                    service.checkInterval = interval
                } else {
                    reader.complain(
                        "service_check_interval",
                        "'\(text)' is no length of time that Consul knows; write one such as 5s")
                }
            }
            service.checkServerName = reader.string("service_check_tls_server_name")
            if isWanted { self.service = service }
        }

        /// A length of time as Consul reads it (`5s`, `1m30s`, `500ms`); a bare number counts as seconds.
        static func interval(_ text: String) -> String? {
            if let seconds = UInt32(text) { return seconds > 0 ? "\(seconds)s" : nil }
            var rest = text.utf8[...]
            var isPositive = false
            while !rest.isEmpty {
                let number = rest.prefix { (48...57).contains($0) || $0 == UInt8(ascii: ".") }
                guard number.count <= 12, let value = Double(String(decoding: number, as: UTF8.self)) else {
                    return nil
                }
                isPositive = isPositive || value > 0
                rest = rest.dropFirst(number.count)
                let unit = rest.prefix { !(48...57).contains($0) && $0 != UInt8(ascii: ".") }
                guard ["ns", "us", "ms", "s", "m", "h"].contains(String(decoding: unit, as: UTF8.self)) else {
                    return nil
                }
                rest = rest.dropFirst(unit.count)
            }
            return isPositive ? text : nil
        }
    }
#endif
