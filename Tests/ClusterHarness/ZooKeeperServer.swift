package import Glibc

/// A real ZooKeeper, alone or as a server of an ensemble, on a port and in a directory of its own.
package final class ZooKeeperServer: StoreServer {
    package let name: String
    package let host: Host
    package let port: Int
    private let directory: String
    private let account: String?
    private var process: LocalProcess?

    static let jar = "/usr/share/java/zookeeper.jar"

    /// Starts a single server (tick 500 ms) and waits until it serves.
    package static func single(directory: String, account: String?) throws -> ZooKeeperServer {
        let server = try ZooKeeperServer(
            number: nil, host: .loopback, directory: directory, account: account, ensemble: [])
        try server.start()
        try waitUntil("ZooKeeper serves", within: 30) { server.mode != nil }
        return server
    }

    /// Starts an ensemble, on loopback or a server on each of these hosts, and waits until it has a leader.
    package static func ensemble(of count: Int, directory: String, account: String?, hosts: [Host] = []) throws
        -> [ZooKeeperServer]
    {
        let hosts = hosts.isEmpty ? Array(repeating: Host.loopback, count: count) : hosts
        var lines: [String] = []
        for (number, host) in zip(1..., hosts) {
            lines.append("server.\(number)=\(host.address):\(try LocalPorts.take()):\(try LocalPorts.take())")
        }
        let servers = try zip(1..., hosts).map { number, host in
            try ZooKeeperServer(number: number, host: host, directory: directory, account: account, ensemble: lines)
        }
        for server in servers { try server.start() }
        try waitUntil("the ensemble has a leader and followers", within: 60) {
            let modes = servers.map(\.mode)
            return modes.count { $0 == "leader" } == 1 && modes.count { $0 == "follower" } == count - 1
        }
        return servers
    }

    private init(number: Int?, host: Host, directory: String, account: String?, ensemble: [String]) throws {
        self.name = "zk\(number ?? 1)"
        self.host = host
        self.port = try LocalPorts.take()
        self.directory = "\(directory)/zookeeper\(number.map { String($0) } ?? "")"
        self.account = account
        try makeDirectory(self.directory, account: account)
        try makeDirectory("\(self.directory)/data", account: account)
        if let number { try writePrivate("\(number)\n", to: "\(self.directory)/data/myid", account: account) }
        var text = """
            tickTime=500
            dataDir=\(self.directory)/data
            clientPort=\(port)
            clientPortAddress=\(host.address)
            admin.enableServer=false
            4lw.commands.whitelist=srvr,ruok,mntr

            """
        if !ensemble.isEmpty { text += "initLimit=20\nsyncLimit=10\n" + ensemble.joined(separator: "\n") + "\n" }
        try writePrivate(text, to: "\(self.directory)/zoo.cfg", account: account)
    }

    /// Starts it, or starts it again after its end.
    package func start() throws {
        let places: [String] = ["/usr/bin/java", "/usr/local/bin/java"]
        let java = places.first { access($0, X_OK) == 0 } ?? "/usr/bin/java"
        process = try LocalProcess(
            "ZooKeeper",
            [
                java, "-Xmx192m", "-XX:+UseSerialGC", "-cp", Self.jar,
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", "\(directory)/zoo.cfg",
            ], account: account, directory: directory, log: "\(directory)/zookeeper.log", on: host)
    }

    /// `standalone`, `leader`, `follower`; nil when it does not serve.
    package var mode: String? {
        guard let connection = try? LocalConnection(host: host, port: port, within: 1),
            let bytes = try? connection.exchange("srvr")
        else { return nil }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
            .first { $0.hasPrefix("Mode: ") }.map { String($0.dropFirst(6)) }
    }

    package var pid: pid_t? { process?.pid }
    package var dataDirectory: String { "\(directory)/data" }
    package var isRunning: Bool { process?.isRunning ?? false }

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
        process.send(SIGTERM)
        if (try? process.waitForEnd(within: 5)) == nil {
            process.send(SIGKILL)
            try? process.waitForEnd(within: 5)
        }
    }
}
