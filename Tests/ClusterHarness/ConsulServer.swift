import ClusterModel
package import Glibc

/// A real Consul server, alone or one of a cluster.
///
/// Its sessions may be as short as a test's lease needs; a real one's last ten seconds at least.
package final class ConsulServer: StoreServer {
    package let name: String
    package let host: Host
    package let port: Int
    private let serfPort: Int
    private let raftPort: Int
    private let count: Int
    private let directory: String
    private let account: String?
    private let token: String?
    private var process: LocalProcess?

    /// Starts a single server, or one on each of these hosts, and waits until they serve. With a token, which may do
    /// everything, nobody else may do anything.
    package static func started(
        _ count: Int, directory: String, account: String?, hosts: [Host] = [], token: String? = nil
    ) throws -> [ConsulServer] {
        let hosts = hosts.isEmpty ? Array(repeating: Host.loopback, count: count) : hosts
        let servers = try zip(1..., hosts).map { number, host in
            try ConsulServer(
                number: number, of: count, host: host, directory: directory, account: account, token: token)
        }
        for server in servers {
            try server.writeConfiguration(servers.filter { $0 !== server })
            try server.start()
        }
        try waitUntil("Consul serves", within: 60) {
            let modes = servers.map(\.mode)
            return count == 1
                ? modes == ["standalone"]
                : modes.count { $0 == "leader" } == 1 && modes.count { $0 == "follower" } == count - 1
        }
        return servers
    }

    private init(
        number: Int, of count: Int, host: Host, directory: String, account: String?, token: String?
    ) throws {
        name = "consul\(number)"
        self.count = count
        self.host = host
        self.token = token
        port = try LocalPorts.take()
        serfPort = try LocalPorts.take()
        raftPort = try LocalPorts.take()
        self.directory = "\(directory)/\(name)"
        self.account = account
        try makeDirectory(self.directory, account: account)
    }

    private func writeConfiguration(_ others: [ConsulServer]) throws {
        let access = token.map {
            """
            "primary_datacenter": "dc1", "acl": {"enabled": true, "default_policy": "deny",
             "tokens": {"master": "\($0)", "agent": "\($0)"}},
            """
        }
        let others = others.map { "\"\($0.host.address):\($0.serfPort)\"" }.joined(separator: ", ")
        try writePrivate(
            """
            {\(access ?? "")
             "data_dir": "\(directory)/data", "server": true, "bootstrap_expect": \(count),
             "node_name": "\(name)", "bind_addr": "\(host.address)", "client_addr": "\(host.address)",
             "retry_join": [\(others)], "retry_interval": "1s", "session_ttl_min": "300ms",
             "performance": {"raft_multiplier": 1}, "disable_update_check": true, "log_level": "warn",
             "ports": {"http": \(port), "serf_lan": \(serfPort), "server": \(raftPort),
                       "dns": -1, "grpc": -1, "serf_wan": -1}}
            """, to: "\(directory)/consul.json", account: account)
    }

    /// Starts it, or starts it again after its end.
    package func start() throws {
        let places: [String] = ["/usr/bin/consul", "/usr/local/bin/consul"]
        let program = places.first { access($0, X_OK) == 0 } ?? "/usr/bin/consul"
        process = try LocalProcess(
            "Consul", [program, "agent", "-config-file=\(directory)/consul.json"], account: account,
            directory: directory, log: "\(directory)/consul.log", on: host)
    }

    /// What a majority answered through it, and which of the servers leads them.
    package var mode: String? {
        // Without the right token everything is hidden, and the answer is the same.
        guard
            let answer = try? LocalHTTP.call("GET", host: host, port: port, "/v1/kv/?keys&consistent", within: 1),
            answer.status == 200 || answer.status == 404
        else { return nil }
        if count == 1 { return "standalone" }
        guard let leader = try? LocalHTTP.call("GET", host: host, port: port, "/v1/status/leader", within: 1) else {
            return nil
        }
        return leader.json?.string == "\(host.address):\(raftPort)" ? "leader" : "follower"
    }

    package var pid: pid_t? { process?.pid }
    package var dataDirectory: String { "\(directory)/data" }

    package func freeze() { process?.send(SIGSTOP) }
    package func thaw() { process?.send(SIGCONT) }

    /// Ends it at once, as a lost host would.
    package func kill() throws {
        process?.send(SIGKILL)
        try process?.waitForEnd(within: 5)
    }

    package func stop() {
        guard let process else { return }
        process.send(SIGCONT)
        process.send(SIGKILL)
        try? process.waitForEnd(within: 5)
    }
}
