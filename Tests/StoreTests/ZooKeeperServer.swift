#if ZooKeeper
    import ClusterModel
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Synchronization

    /// A ZooKeeper server for tests: Debian's, on a free loopback port, with its data in a directory of its own.
    final class ZooKeeperServer: Sendable {
        struct Peer: Sendable {
            var number: Int
            var clientPort: Int
            var quorumPort: Int
            var electionPort: Int
            /// For TLS; 0: none.
            var securePort = 0
            var isObserver = false
        }

        /// What a server encrypts with. Clients must show a certificate of the same authority.
        struct Encryption: Sendable {
            var authority: String
            /// Key and certificate in one file.
            var pair: String
        }

        let peer: Peer
        private let configuration: String
        private let properties: [String]
        private let process: ServerProcess

        /// Debian's package; its manifest names the rest of the class path, but for two that TLS needs.
        static let archive = "/usr/share/java/zookeeper.jar"
        static let classPath = archive + ":/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar"

        /// - Parameter properties: system properties of the virtual machine, `name=value`.
        init(
            peer: Peer, ensemble: [Peer] = [], tick: Int, syncLimit: Int = 5, extra: [String] = [],
            encryption: Encryption? = nil, properties: [String] = []
        ) throws {
            self.peer = peer
            self.properties = properties
            process = try ServerProcess("zookeeper")
            let directory = process.directory
            var lines = [
                "tickTime=\(tick)", "dataDir=\(directory)/data", "clientPort=\(peer.clientPort)",
                "clientPortAddress=127.0.0.1", "admin.enableServer=false", "initLimit=50",
                "maxClientCnxns=0",
            ]
            lines += ensemble.map {
                "server.\($0.number)=127.0.0.1:\($0.quorumPort):\($0.electionPort)" + ($0.isObserver ? ":observer" : "")
            }
            if peer.isObserver { lines.append("peerType=observer") }
            if let encryption {
                lines += [
                    "secureClientPort=\(peer.securePort)", "secureClientPortAddress=127.0.0.1",
                    "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory", "ssl.clientAuth=need",
                    "ssl.keyStore.type=PEM", "ssl.keyStore.location=\(encryption.pair)", "ssl.trustStore.type=PEM",
                    "ssl.trustStore.location=\(encryption.authority)",
                    "authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider",
                ]
            }
            if !extra.contains(where: { $0.hasPrefix("syncLimit=") }) { lines.append("syncLimit=\(syncLimit)") }
            lines += extra
            configuration = lines.joined(separator: "\n") + "\n"
            guard mkdir(directory + "/data", 0o700) == 0 else { throw CaseFailure("cannot make the data directory") }
            try writeFile(directory + "/zoo.cfg", configuration)
            try writeFile(directory + "/data/myid", "\(peer.number)\n")
        }

        /// A server that is alone, started and serving.
        static func standalone(
            tick: Int = 100, extra: [String] = [], encryption: Encryption? = nil
        ) async throws -> ZooKeeperServer {
            let ports = try freePorts(2)
            let peer = Peer(number: 1, clientPort: ports[0], quorumPort: 0, electionPort: 0, securePort: ports[1])
            let server = try ZooKeeperServer(peer: peer, tick: tick, extra: extra, encryption: encryption)
            try server.start()
            try await server.waitUntilServing()
            return server
        }

        var address: String { "127.0.0.1:\(peer.clientPort)" }
        var secureAddress: String { "127.0.0.1:\(peer.securePort)" }

        var directory: String { process.directory }
        /// The virtual machine's process.
        var pid: pid_t? { process.pid }

        /// A transaction is not forced to the disk (`zookeeper.forceSync`, Administrator's Guide, unsafe options): what a
        /// killed server had written is there for its successor all the same, and a disk that others keep busy for seconds
        /// is not what these tests are about.
        func start() throws {
            guard access(Self.archive, R_OK) == 0 else {
                throw CaseFailure("\(Self.archive) is missing: apt-get install libzookeeper-java")
            }
            try process.start(
                "java -Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData "
                    + "-Dzookeeper.forceSync=no -cp \(Self.classPath) "
                    + properties.map { "-D\($0) " }.joined()
                    + "org.apache.zookeeper.server.quorum.QuorumPeerMain \(directory)/zoo.cfg")
        }

        func kill() { process.kill() }
        func freeze() { process.freeze() }
        func thaw() { process.thaw() }
        func stop() { process.stop() }

        func waitUntilServing(within limit: Duration = .seconds(30)) async throws {
            let isServing = await eventually(within: limit) { mode != nil }
            guard isServing else {
                throw CaseFailure("ZooKeeper does not serve: " + process.log)
            }
        }

        /// `standalone`, `leader`, `follower`; nil while it does not serve.
        var mode: String? {
            let answer = fourLetters("srvr", port: peer.clientPort)
            return answer?.split(separator: "\n").first { $0.hasPrefix("Mode: ") }.map { String($0.dropFirst(6)) }
        }

        /// The last transaction's number.
        var zxid: UInt64? {
            let answer = fourLetters("srvr", port: peer.clientPort)
            let line = answer?.split(separator: "\n").first { $0.hasPrefix("Zxid: 0x") }
            return line.flatMap { UInt64($0.dropFirst(8), radix: 16) }
        }

        /// How many packets it received from its clients so far.
        var received: Int? {
            let answer = fourLetters("srvr", port: peer.clientPort)
            return answer?.split(separator: "\n").first { $0.hasPrefix("Received: ") }.flatMap { Int($0.dropFirst(10)) }
        }
    }

    /// Three servers with one leader.
    final class ZooKeeperEnsemble: Sendable {
        let servers: [ZooKeeperServer]

        init(
            tick: Int = 200, syncLimit: Int = 5, observers: Int = 0, encryption: ZooKeeperServer.Encryption? = nil,
            properties: [String] = []
        ) throws {
            let ports = try freePorts((3 + observers) * 4)
            let peers = (0..<(3 + observers)).map { index in
                ZooKeeperServer.Peer(
                    number: index + 1, clientPort: ports[index * 4], quorumPort: ports[index * 4 + 1],
                    electionPort: ports[index * 4 + 2], securePort: ports[index * 4 + 3], isObserver: index >= 3)
            }
            servers = try peers.map {
                try ZooKeeperServer(
                    peer: $0, ensemble: peers, tick: tick, syncLimit: syncLimit, encryption: encryption,
                    properties: properties)
            }
        }

        static func started(
            tick: Int = 200, syncLimit: Int = 5, observers: Int = 0, encryption: ZooKeeperServer.Encryption? = nil,
            properties: [String] = []
        ) async throws -> ZooKeeperEnsemble {
            let ensemble = try ZooKeeperEnsemble(
                tick: tick, syncLimit: syncLimit, observers: observers, encryption: encryption, properties: properties)
            for server in ensemble.servers { try server.start() }
            for server in ensemble.servers { try await server.waitUntilServing() }
            return ensemble
        }

        var addresses: [String] { servers.map(\.address) }
        var secureAddresses: [String] { servers.map(\.secureAddress) }

        func leader() throws -> ZooKeeperServer {
            guard let leader = servers.first(where: { $0.mode == "leader" }) else { throw CaseFailure("no leader") }
            return leader
        }

        func followers() -> [ZooKeeperServer] { servers.filter { $0.mode == "follower" } }

        func stop() {
            for server in servers { server.stop() }
        }
    }

    /// A four-letter word's answer; half a second at most.
    func fourLetters(_ word: String, host: String = "127.0.0.1", port: Int) -> String? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var limit = timeval(tv_sec: 0, tv_usec: 500_000)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        guard inet_pton(AF_INET, host, &address.sin_addr) == 1 else { return nil }
        let isConnected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard isConnected, send(descriptor, word, word.utf8.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL)) > 0 else {
            return nil
        }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count <= 0 { break }
            answer += buffer.prefix(count)
        }
        return answer.isEmpty ? nil : String(decoding: answer, as: UTF8.self)
    }
#endif
