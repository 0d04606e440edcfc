#if Consul
    import ClusterModel
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Synchronization

    /// A server of Consul for tests: on free loopback ports, with its data in a directory of its own.
    ///
    /// It dies with the tests: a shell beside it waits for the end of a connection that only this process holds open.
    final class ConsulServer: Sendable {
        struct Ports: Hashable, Sendable {
            var http: Int
            var serf: Int
            var server: Int

            static func free(_ count: Int) throws -> [Ports] {
                let ports = try ConsulFiles.freePorts(count * 3)
                return (0..<count).map {
                    Ports(http: ports[$0 * 3], serf: ports[$0 * 3 + 1], server: ports[$0 * 3 + 2])
                }
            }
        }

        let number: Int
        let ports: Ports
        let directory: String
        private struct Process {
            var shell: pid_t
            var pipe: Int32
        }
        private let process = Mutex<Process?>(nil)

        /// `extra` are members of the configuration's object; `sessionMinimum` lets sessions be short.
        init(
            number: Int = 1, ports: Ports, cluster: [Ports] = [], sessionMinimum: String = "500ms",
            isServer: Bool = true,
            isEncrypted: Bool = false, extra: JSONObject = [:]
        ) throws {
            self.number = number
            self.ports = ports
            directory = try ConsulFiles.temporaryDirectory()
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
            try ConsulFiles.write(directory + "/consul.json", JSONValue.object(configuration).serialized())
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

        deinit {
            stop()
        }

        var address: String { "127.0.0.1:\(ports.http)" }
        /// By which the servers name each other: the leader is told by that.
        var serverAddress: String { "127.0.0.1:\(ports.server)" }

        var pid: pid_t? {
            guard let text = try? ConsulFiles.read(directory + "/pid") else { return nil }
            return pid_t(text.filter { !$0.isWhitespace })
        }

        func start() throws {
            unlink(directory + "/pid")
            unlink(directory + "/keep")
            var ends: [Int32] = [0, 0]
            // No child may inherit our end, or it would keep the server alive.
            let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw CaseFailure("no pair of sockets") }
            let script = """
                command -v consul >/dev/null || exit 1
                GOMAXPROCS=2 consul agent -config-file=\(directory)/consul.json </dev/null >>\(directory)/log 2>&1 &
                echo $! >\(directory)/pid.new && mv \(directory)/pid.new \(directory)/pid
                cat >/dev/null
                kill -CONT $! 2>/dev/null
                kill -KILL $! 2>/dev/null
                wait $! 2>/dev/null
                [ -e \(directory)/keep ] || rm -rf \(directory)
                """
            var actions = posix_spawn_file_actions_t()
            posix_spawn_file_actions_init(&actions)
            defer { posix_spawn_file_actions_destroy(&actions) }
            posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
            var child: pid_t = 0
            var arguments: [UnsafeMutablePointer<CChar>?] = []
            for argument in ["sh", "-c", script] { arguments.append(strdup(argument)) }
            arguments.append(nil)
            defer { for argument in arguments { free(argument) } }
            let code = posix_spawn(&child, "/bin/sh", &actions, nil, arguments, environ)
            close(ends[0])
            guard code == 0 else {
                close(ends[1])
                throw CaseFailure("cannot start sh: \(code)")
            }
            let started = Process(shell: child, pipe: ends[1])
            process.withLock { $0 = started }
        }

        /// Ends the process without a word; its data stay.
        func kill() {
            let running = process.withLock { process in
                defer { process = nil }
                return process
            }
            guard let running else { return }
            try? ConsulFiles.write(directory + "/keep", "")
            close(running.pipe)
            var status: Int32 = 0
            let deadline = SystemClock.now() + .seconds(10)
            while waitpid(running.shell, &status, WNOHANG) == 0 {
                if SystemClock.now() > deadline {
                    if let pid { _ = Glibc.kill(pid, SIGKILL) }
                    _ = Glibc.kill(running.shell, SIGKILL)
                }
                usleep(2000)
            }
        }

        /// Stops the process; returns when all of its threads stand.
        func freeze() {
            guard let pid else { return }
            _ = Glibc.kill(pid, SIGSTOP)
            let deadline = SystemClock.now() + .seconds(5)
            while !stands(pid), SystemClock.now() < deadline { usleep(500) }
        }

        private func stands(_ pid: Int32) -> Bool {
            guard let tasks = opendir("/proc/\(pid)/task") else { return true }
            defer { closedir(tasks) }
            while let entry = readdir(tasks) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                    String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                }
                guard Int32(name) != nil, let stat = try? ConsulFiles.read("/proc/\(pid)/task/\(name)/stat"),
                    let state = stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].dropFirst(2).first
                else { continue }
                if state != "T" { return false }
            }
            return true
        }

        func thaw() { if let pid { _ = Glibc.kill(pid, SIGCONT) } }

        /// Ends the process and removes its files.
        func stop() {
            kill()
            ConsulFiles.removeTree(directory)
        }

        /// Whom it takes for the leader; nil while it knows none.
        var leader: String? {
            guard let answer = ConsulFiles.get("/v1/status/leader", port: ports.http), answer.count > 2 else {
                return nil
            }
            return answer.filter { $0 != "\"" }
        }

        var log: String { (try? ConsulFiles.read(directory + "/log")) ?? "no log" }

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

    /// Files, ports and the simplest of requests, for servers under test.
    enum ConsulFiles {
        /// Ports that nobody listens on now, all different.
        static func freePorts(_ count: Int) throws -> [Int] {
            var sockets: [Int32] = []
            defer { for socket in sockets { close(socket) } }
            var ports: [Int] = []
            for _ in 0..<count {
                let (descriptor, port) = try listener(backlog: nil)
                sockets.append(descriptor)
                ports.append(port)
            }
            return ports
        }

        /// A socket bound to a free loopback port, listening if a backlog is given.
        static func listener(backlog: Int32?) throws -> (descriptor: Int32, port: Int) {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { throw CaseFailure("no socket") }
            var address = loopback(port: 0)
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isBound = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                    bind(descriptor, generic, length) == 0 && getsockname(descriptor, generic, &length) == 0
                }
            }
            guard isBound, backlog.map({ listen(descriptor, $0) == 0 }) ?? true else {
                close(descriptor)
                throw CaseFailure("no free port")
            }
            return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
        }

        static func connect(port: Int) -> Int32? {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { return nil }
            let address = loopback(port: port)
            let isConnected = withUnsafePointer(to: address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                }
            }
            if isConnected { return descriptor }
            close(descriptor)
            return nil
        }

        private static func loopback(port: Int) -> sockaddr_in {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            return address
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

        static func temporaryDirectory() throws -> String {
            var template = Array("/tmp/matriarch-consul-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { throw CaseFailure("no temporary directory") }
            return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }

        /// Removes a directory and what is in it; follows no links.
        static func removeTree(_ path: String) {
            if let directory = opendir(path) {
                while let entry = readdir(directory) {
                    let isDirectory = entry.pointee.d_type == UInt8(DT_DIR)
                    let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                    }
                    if name == "." || name == ".." { continue }
                    if isDirectory { removeTree(path + "/" + name) } else { unlink(path + "/" + name) }
                }
                closedir(directory)
            }
            rmdir(path)
        }

        static func write(_ path: String, _ text: String) throws {
            guard let file = fopen(path, "w") else { throw CaseFailure("cannot write \(path)") }
            defer { fclose(file) }
            fputs(text, file)
        }

        static func read(_ path: String) throws -> String {
            guard let file = fopen(path, "r") else { throw CaseFailure("cannot read \(path)") }
            defer { fclose(file) }
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = fread(&buffer, 1, buffer.count, file)
                if count == 0 { return String(decoding: bytes, as: UTF8.self) }
                bytes += buffer.prefix(count)
            }
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
