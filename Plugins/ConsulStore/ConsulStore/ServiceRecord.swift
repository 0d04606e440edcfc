#if Consul
    import ClusterModel

    /// What Consul's catalogue is told about a member, in Patroni's terms. Pure.
    enum ServiceRecord {
        /// What follows from a member's state.
        enum Wish: Hashable, Sendable {
            case register(JSONValue)
            case deregister
            /// Leaves what there is.
            case nothing
        }

        /// The service's name: as Patroni makes it of the scope.
        static func name(scope: String) -> String {
            var name = ""
            for scalar in scope.lowercased().unicodeScalars {
                switch scalar {
                case "a"..."z", "0"..."9", "-": name.unicodeScalars.append(scalar)
                case " ", ".", "_": name += "-"
                default:
                    let code = String(scalar.value)
                    name += "u" + String(repeating: "0", count: max(0, 4 - code.count)) + code
                }
            }
            return String(name.prefix(230))
        }

        static func identifier(scope: String, member: String) -> String { "\(scope)/\(member)" }

        /// What a member's entry asks for. `lifetime` is that of Consul's session.
        static func wish(
            member: JSONValue, scope: String, name memberName: String, settings: ConsulServiceSettings,
            lifetime: Duration
        ) -> Wish {
            let state = member["state"]?.string
            if state == "stopped" { return .deregister }
            guard state == "running", let role = member["role"]?.string,
                ["primary", "replica", "standby_leader"].contains(role),
                let (_, host, port) = member["conn_url"]?.string.flatMap(parts),
                let (scheme, apiHost, apiPort) = member["api_url"]?.string.flatMap(parts)
            else { return .nothing }
            let word = role.replacing("_", with: "-")
            var authority = apiHost.contains(":") ? "[\(apiHost)]" : apiHost
            if let apiPort { authority += ":\(apiPort)" }
            var check: JSONObject = [
                "HTTP": .string("\(scheme)://\(authority)/\(word)"), "Interval": .string(settings.checkInterval),
                "DeregisterCriticalServiceAfter": .string(GoDuration.text(lifetime * 10)),
            ]
            if let server = settings.checkServerName { check["TLSServerName"] = .string(server) }
            var tags = settings.tags + [word]
            // What it was called before, for those who still ask for that.
            if role == "primary" { tags.append("master") }
            var record: JSONObject = [
                "ID": .string(identifier(scope: scope, member: memberName)), "Name": .string(name(scope: scope)),
                "Address": .string(host), "Tags": .array(tags.map(JSONValue.string)), "EnableTagOverride": true,
                "Check": .object(check),
            ]
            if let port { record["Port"] = .integer(Int64(port)) }
            return .register(.object(record))
        }

        /// The scheme, the host without brackets and the port of a URL.
        static func parts(_ url: String) -> (scheme: String, host: String, port: Int?)? {
            guard let mark = url.firstRange(of: "://") else { return nil }
            let scheme = String(url[..<mark.lowerBound])
            var authority = url[mark.upperBound...].prefix { $0 != "/" && $0 != "?" && $0 != "#" }
            if let at = authority.lastIndex(of: "@") { authority = authority[authority.index(after: at)...] }
            var host = authority
            var port: Substring?
            if authority.first == "[" {
                guard let end = authority.firstIndex(of: "]") else { return nil }
                host = authority[..<end].dropFirst()
                let rest = authority[authority.index(after: end)...]
                if rest.first == ":" { port = rest.dropFirst() }
            } else if let colon = authority.lastIndex(of: ":") {
                host = authority[..<colon]
                port = authority[authority.index(after: colon)...]
            }
            guard !scheme.isEmpty, !host.isEmpty else { return nil }
            guard let port, !port.isEmpty else { return (scheme, String(host), nil) }
            guard let number = Int(port), (1...65535).contains(number) else { return nil }
            return (scheme, String(host), number)
        }
    }
#endif
