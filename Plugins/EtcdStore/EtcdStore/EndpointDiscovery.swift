#if Etcd
    import ClusterModel
    import PluginInterfaces

    /// Finds endpoints: in DNS, and in what members say of themselves.
    struct EndpointDiscovery: Sendable {
        let settings: EtcdSettings
        let http: GatewayClient

        /// The services that a domain may offer, in Patroni's order. The last two are members' own ports, which tell where
        /// the members take clients.
        static let services: [(name: String, isSecure: Bool, isForMembers: Bool)] = [
            ("_etcd-client-ssl", true, false), ("_etcd-client", false, false), ("_etcd-ssl", true, false),
            ("_etcd", false, false), ("_etcd-server-ssl", true, true), ("_etcd-server", false, true),
        ]

        /// The endpoints of the first service that the domain has.
        func resolve(_ domain: ServiceDomain, until deadline: Instant) async throws(StoreError) -> [Endpoint] {
            let resolver = settings.nameServers.map { DNSResolver(servers: $0) } ?? .system()
            var lastError: StoreError?
            for service in Self.services {
                let name = service.name + (domain.suffix.map { "-" + $0 } ?? "") + "._tcp." + domain.name
                let records: [ServiceRecord]
                do throws(StoreError) {
                    records = try await resolver.services(name, until: deadline)
                } catch {
                    // Nobody to ask: the other names will fare no better.
                    lastError = error
                    break
                }
                let places = records.map {
                    Endpoint(isSecure: service.isSecure, host: $0.target, port: Int($0.port))
                }
                let found = service.isForMembers ? await clientEndpoints(of: places, until: deadline) : places
                if !found.isEmpty { return found }
            }
            throw lastError
                ?? StoreError(
                    .unreachable,
                    "DNS names no etcd servers for \(domain.name): there should be SRV records such as "
                        + "_etcd-client._tcp.\(domain.name); see etcd3.srv and etcd3.srv_suffix")
        }

        /// Asks members on the ports they have for each other.
        private func clientEndpoints(of members: [Endpoint], until deadline: Instant) async -> [Endpoint] {
            for member in members {
                let limit = min(deadline, SystemClock.now() + .seconds(2))
                guard let list = try? await http.get("/members", at: member, until: limit) else { continue }
                let found = Self.endpoints(list.array ?? [], requiringTLS: member.isSecure).found
                if !found.isEmpty { return found }
            }
            return []
        }

        /// What a list of members says: where clients are served; and what was left out for want of TLS.
        static func clientEndpoints(
            _ body: JSONObject, requiringTLS: Bool
        ) -> (found: [Endpoint], refused: [Endpoint]) {
            endpoints(body["members"]?.array ?? [], requiringTLS: requiringTLS)
        }

        private static func endpoints(
            _ members: [JSONValue], requiringTLS: Bool
        ) -> (found: [Endpoint], refused: [Endpoint]) {
            var found: [Endpoint] = []
            var refused: [Endpoint] = []
            // A learner serves no clients.
            for member in members where member["isLearner"]?.bool != true {
                for text in (member["clientURLs"]?.array ?? []).compactMap(\.string) {
                    // `unix:` and the like are left out. What listens on every address has not said where.
                    guard let endpoint = Endpoint(text, secureByDefault: false), endpoint.host != "0.0.0.0",
                        endpoint.host != "::"
                    else { continue }
                    if requiringTLS, !endpoint.isSecure {
                        refused.append(endpoint)
                    } else if !found.contains(endpoint) {
                        found.append(endpoint)
                    }
                }
            }
            return (found, refused)
        }
    }
#endif
