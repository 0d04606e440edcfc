package import Glibc

/// A real Consul server, alone, on ports and in a directory of its own.
///
/// Its sessions may be as short as a test's lease needs; a real one's last ten seconds at least.
package final class ConsulServer: StoreServer {
    package let name = "consul"
    package let host: Host
    package let port: Int
    private let directory: String
    private let account: String?
    private let token: String?
    private var process: LocalProcess?

    /// Starts a server and waits until it leads itself. With a token, which may do everything, nobody else may do anything.
    package static func single(
        directory: String, account: String?, host: Host = .loopback, token: String? = nil
    ) throws -> ConsulServer {
        let server = try ConsulServer(host: host, directory: directory, account: account, token: token)
        try server.start()
        try waitUntil("Consul serves", within: 30) { server.isServing }
        return server
    }

    private init(host: Host, directory: String, account: String?, token: String?) throws {
        self.host = host
        self.token = token
        port = try LocalPorts.take()
        self.directory = "\(directory)/consul"
        self.account = account
        try makeDirectory(self.directory, account: account)
        let access = token.map {
            """
            "primary_datacenter": "dc1", "acl": {"enabled": true, "default_policy": "deny",
             "tokens": {"master": "\($0)", "agent": "\($0)"}},
            """
        }
        try writePrivate(
            """
            {\(access ?? "")
             "data_dir": "\(self.directory)/data", "server": true, "bootstrap_expect": 1, "node_name": "consul",
             "bind_addr": "\(host.address)", "client_addr": "\(host.address)", "session_ttl_min": "300ms",
             "performance": {"raft_multiplier": 1}, "disable_update_check": true, "log_level": "warn",
             "ports": {"http": \(port), "serf_lan": \(try LocalPorts.take()), "server": \(try LocalPorts.take()),
                       "dns": -1, "grpc": -1, "serf_wan": -1}}
            """, to: "\(self.directory)/consul.json", account: account)
    }

    /// Starts it, or starts it again after its end.
    package func start() throws {
        let places: [String] = ["/usr/bin/consul", "/usr/local/bin/consul"]
        let program = places.first { access($0, X_OK) == 0 } ?? "/usr/bin/consul"
        process = try LocalProcess(
            "Consul", [program, "agent", "-config-file=\(directory)/consul.json"], account: account,
            directory: directory, log: "\(directory)/consul.log", on: host)
    }

    /// Whether it leads, and knows that nobody else does.
    package var isServing: Bool {
        // Without the right token everything is hidden, and the answer is the same.
        (try? LocalHTTP.call("GET", host: host, port: port, "/v1/kv/?keys&consistent", within: 1))
            .map { $0.status == 200 || $0.status == 404 } ?? false
    }

    package var mode: String? { isServing ? "standalone" : nil }
    package var pid: pid_t? { process?.pid }

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
