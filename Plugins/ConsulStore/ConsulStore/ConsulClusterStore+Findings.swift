#if Consul
    import ClusterModel
    import PluginInterfaces

    extension ConsulClusterStore {
        /// The oldest release that this is tested on.
        private static let oldest = (1, 8)

        func findings(within limit: Duration) async -> [StoreFinding] {
            let deadline = SystemClock.now() + limit
            var found: [StoreFinding] = []
            let call = ConsulCall.get("/v1/agent/self", for: "ask for its release")
            switch await client.call(call, within: limit) {
            case .failure(let failure): return [StoreFinding(.error, failure.error.message)]
            case .success(let answer) where answer.status == 403:
                found.append(
                    StoreFinding(.fine, "\(client.endpoint) does not tell its release to this token (agent:read)"))
            case .success(let answer):
                let facts = try? JSONValue.parse(answer.body)
                found.append(Self.judge(release: facts?["Config"]?["Version"]?.string, at: client.endpoint))
            }
            let peers = ConsulCall.get("/v1/status/peers", for: "ask who the servers are")
            if case .success(let answer) = await client.call(peers, within: deadline - SystemClock.now()),
                answer.status == 200, let servers = (try? JSONValue.parse(answer.body))?.array, servers.count < 3
            {
                found.append(
                    StoreFinding(
                        .warning,
                        servers.count == 1
                            ? "there is one Consul server: when it fails, nobody can lead"
                            : "there are \(servers.count) Consul servers: when one fails, nobody can lead",
                        remedy: "run three servers, or five"))
            }
            return found
        }

        static func judge(release: String?, at endpoint: ConsulEndpoint) -> StoreFinding {
            let parts = (release ?? "").split(separator: ".").map { Int($0.prefix { $0.isNumber }) }
            guard let release, parts.count >= 2, let major = parts[0], let minor = parts[1] else {
                return StoreFinding(.warning, "\(endpoint) does not tell its release", remedy: "is it Consul?")
            }
            if (major, minor) < oldest {
                return StoreFinding(
                    .warning, "\(endpoint) is Consul \(release)",
                    remedy: "upgrade to \(oldest.0).\(oldest.1) or later, which this is tested on")
            }
            return StoreFinding(.fine, "Consul \(release) at \(endpoint)")
        }
    }
#endif
