import ClusterModel
package import Glibc

/// A real etcd, alone or as a member of a cluster.
package final class EtcdServer: StoreServer {
    package let name: String
    package let host: Host
    package let port: Int
    private let peerPort: Int
    private let directory: String
    private let account: String?
    private var cluster: [String] = []
    private var process: LocalProcess?

    private static let program = "/usr/bin/etcd"

    /// Starts a single server, or one on each of these hosts, and waits until they serve.
    package static func started(_ count: Int, directory: String, account: String?, hosts: [Host] = []) throws
        -> [EtcdServer]
    {
        let hosts = hosts.isEmpty ? Array(repeating: Host.loopback, count: count) : hosts
        let servers = try zip(1..., hosts).map { number, host in
            try EtcdServer(number: number, host: host, directory: directory, account: account)
        }
        let cluster = servers.map { "\($0.name)=\($0.peerURL)" }
        for server in servers {
            server.cluster = cluster
            try server.start()
        }
        try waitUntil("etcd serves", within: 60) {
            let modes = servers.map(\.mode)
            return count == 1
                ? modes == ["standalone"]
                : modes.count { $0 == "leader" } == 1 && modes.count { $0 == "follower" } == count - 1
        }
        return servers
    }

    private init(number: Int, host: Host, directory: String, account: String?) throws {
        name = "etcd\(number)"
        self.host = host
        port = try LocalPorts.take()
        peerPort = try LocalPorts.take()
        self.directory = "\(directory)/\(name)"
        self.account = account
        try makeDirectory(self.directory, account: account)
        try makeDirectory("\(self.directory)/data", account: account)
    }

    private var peerURL: String { "http://\(host.address):\(peerPort)" }

    package func start() throws {
        process = try LocalProcess(
            "etcd",
            [
                Self.program, "--name", name, "--data-dir", "\(directory)/data",
                "--listen-client-urls", "http://\(address)", "--advertise-client-urls", "http://\(address)",
                "--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL,
                "--initial-cluster", cluster.joined(separator: ","), "--initial-cluster-token", cluster.joined(),
                // Leases of two seconds and more; a new leader within one.
                "--heartbeat-interval", "50", "--election-timeout", "500", "--logger", "zap", "--log-level", "warn",
                "--log-outputs", "stderr",
            ], account: account, directory: directory, log: "\(directory)/etcd.log", on: host)
    }

    package var mode: String? {
        guard
            let answer = try? LocalHTTP.call(
                "POST", host: host, port: port, "/v3/maintenance/status", body: [:], within: 1), answer.status == 200,
            let status = answer.json, let leader = status["leader"]?.string,
            let member = status["header"]?["member_id"]?.string
        else { return nil }
        if cluster.count == 1 { return "standalone" }
        return leader == member ? "leader" : "follower"
    }

    package var pid: pid_t? { process?.pid }
    package var dataDirectory: String { "\(directory)/data" }

    package func freeze() { process?.send(SIGSTOP) }
    package func thaw() { process?.send(SIGCONT) }

    package func kill() throws {
        process?.send(SIGKILL)
        try process?.waitForEnd(within: 5)
    }

    package func stop() {
        guard let process else { return }
        process.send(SIGCONT)
        process.send(SIGTERM)
        if (try? process.waitForEnd(within: 5)) == nil {
            process.send(SIGKILL)
            try? process.waitForEnd(within: 5)
        }
    }
}
