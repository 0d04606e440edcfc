#if Consul
    import ClusterModel
    import Glibc
    import PluginInterfaces
    import StoreConformance

    /// A server of Consul for tests: on free loopback ports, with its data in a directory of its own.
    final class ConsulServer: Sendable {
        struct Ports: Hashable, Sendable {
            var http: Int
            var serf: Int
            var server: Int

            static func free(_ count: Int) throws -> [Ports] {
                let ports = try freePorts(count * 3)
                return (0..<count).map {
                    Ports(http: ports[$0 * 3], serf: ports[$0 * 3 + 1], server: ports[$0 * 3 + 2])
                }
            }
        }

        let number: Int
        let ports: Ports
        private let process: ServerProcess

        /// `extra` are members of the configuration's object; `sessionMinimum` lets sessions be short.
        init(
            number: Int = 1, ports: Ports, cluster: [Ports] = [], sessionMinimum: String = "500ms",
            isServer: Bool = true,
            isEncrypted: Bool = false, extra: JSONObject = [:]
        ) throws {
            self.number = number
            self.ports = ports
            process = try ServerProcess("consul")
            let directory = process.directory
            var own: JSONObject = [
                "dns": -1, "grpc": -1, "serf_wan": -1, "serf_lan": .integer(Int64(ports.serf)),
                "server": .integer(Int64(ports.server)), "http": .integer(Int64(isEncrypted ? -1 : ports.http)),
            ]
            if isEncrypted { own["https"] = .integer(Int64(ports.http)) }
            var configuration: JSONObject = [
                "data_dir": .string(directory + "/data"), "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1",
                "node_name": .string("n\(number)"), "ports": .object(own), "disable_update_check": true,
                "log_level": "warn", "performance": ["raft_multiplier": 1], "server": .bool(isServer),
                "session_ttl_min": .string(sessionMinimum), "disable_remote_exec": true,
            ]
            if isServer { configuration["bootstrap_expect"] = .integer(Int64(max(1, cluster.count))) }
            let others = cluster.filter { $0 != ports }.map { JSONValue.string("127.0.0.1:\($0.serf)") }
            if !others.isEmpty {
                configuration["retry_join"] = .array(others)
                configuration["retry_interval"] = "1s"
            }
            for (key, value) in extra.members { configuration[key] = value }
            try writeFile(directory + "/consul.json", JSONValue.object(configuration).serialized())
        }

        /// A server that is alone, started and with itself as its leader.
        static func standalone(
            sessionMinimum: String = "500ms", isEncrypted: Bool = false, extra: JSONObject = [:]
        ) async throws -> ConsulServer {
            let server = try ConsulServer(
                ports: try Ports.free(1)[0], sessionMinimum: sessionMinimum, isEncrypted: isEncrypted, extra: extra)
            try server.start()
            if !isEncrypted { try await server.waitUntilServing() }
            return server
        }

        var address: String { "127.0.0.1:\(ports.http)" }
        /// By which the servers name each other: the leader is told by that.
        var serverAddress: String { "127.0.0.1:\(ports.server)" }

        var directory: String { process.directory }
        var pid: pid_t? { process.pid }
        var log: String { process.log }

        func start() throws {
            try process.start("GOMAXPROCS=2 consul agent -config-file=\(directory)/consul.json")
        }

        func kill() { process.kill() }
        func freeze() { process.freeze() }
        func thaw() { process.thaw() }
        func stop() { process.stop() }

        /// Whom it takes for the leader; nil while it knows none.
        var leader: String? {
            guard let answer = ConsulFiles.get("/v1/status/leader", port: ports.http), answer.count > 2 else {
                return nil
            }
            return answer.filter { $0 != "\"" }
        }

        func waitUntilServing(within limit: Duration = .seconds(30)) async throws {
            // The leader is known before it serves consistent reads.
            let isServing = await eventually(within: limit) {
                leader != nil && ConsulFiles.get("/v1/kv/?keys&consistent", port: ports.http) != nil
            }
            guard isServing else { throw CaseFailure("Consul does not serve: " + log) }
        }
    }

    /// Three servers with one leader.
    final class ConsulCluster: Sendable {
        let servers: [ConsulServer]

        init(sessionMinimum: String = "500ms") throws {
            let ports = try ConsulServer.Ports.free(3)
            servers = try ports.enumerated().map {
                try ConsulServer(
                    number: $0.offset + 1, ports: $0.element, cluster: ports, sessionMinimum: sessionMinimum)
            }
        }

        static func started(sessionMinimum: String = "500ms") async throws -> ConsulCluster {
            let cluster = try ConsulCluster(sessionMinimum: sessionMinimum)
            for server in cluster.servers { try server.start() }
            for server in cluster.servers { try await server.waitUntilServing(within: .seconds(60)) }
            return cluster
        }

        /// The server that the others take for the leader.
        func leader() throws -> ConsulServer {
            for server in servers {
                if let address = server.leader, let found = servers.first(where: { $0.serverAddress == address }) {
                    return found
                }
            }
            throw CaseFailure("no leader")
        }

        func followers() throws -> [ConsulServer] {
            let leader = try leader()
            return servers.filter { $0 !== leader }
        }

        func stop() {
            for server in servers { server.stop() }
        }
    }

    /// One server for the cases that do it no harm; it dies with the test process.
    actor SharedConsul {
        static let shared = SharedConsul()
        private var starting: Task<ConsulServer, any Error>?

        func server() async throws -> ConsulServer {
            let task = starting ?? Task { try await ConsulServer.standalone() }
            starting = task
            return try await task.value
        }
    }

    /// The simplest of requests, and of commands.
    enum ConsulFiles {
        static func connect(port: Int) -> Int32? {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { return nil }
            let isConnected = withLoopback(port) { Glibc.connect(descriptor, $0, $1) == 0 }
            if isConnected { return descriptor }
            close(descriptor)
            return nil
        }

        /// The body of a 200; a second at most.
        static func get(_ path: String, port: Int) -> String? {
            guard let answer = request("GET", path, port: port), answer.hasPrefix("HTTP/1.1 200"),
                let end = answer.firstRange(of: "\r\n\r\n")
            else { return nil }
            return String(answer[end.upperBound...])
        }

        /// The whole answer; two seconds at most.
        static func request(_ method: String, _ path: String, body: String = "", port: Int, token: String? = nil)
            -> String?
        {
            guard let descriptor = connect(port: port) else { return nil }
            defer { close(descriptor) }
            var limit = timeval(tv_sec: 2, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            let head = token.map { "X-Consul-Token: \($0)\r\n" } ?? ""
            let text =
                "\(method) \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\(head)Content-Length: \(body.utf8.count)\r\n\r\n"
                + body
            guard send(descriptor, text, text.utf8.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL)) > 0 else {
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

        /// Runs a command of the shell; its status.
        static func shell(_ script: String) throws -> Int32 {
            var child: pid_t = 0
            var arguments: [UnsafeMutablePointer<CChar>?] = ["sh", "-c", script].map { (text: String) in strdup(text) }
            arguments.append(nil)
            defer { for argument in arguments { free(argument) } }
            guard posix_spawn(&child, "/bin/sh", nil, nil, arguments, environ) == 0 else {
                throw CaseFailure("cannot start sh")
            }
            var status: Int32 = 0
            while waitpid(child, &status, 0) < 0, errno == EINTR {}
            return status
        }
    }
#endif
