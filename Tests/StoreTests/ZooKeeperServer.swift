#if ZooKeeper
    import ClusterModel
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Synchronization

    /// A ZooKeeper server for tests: Debian's, on a free loopback port, with its data in a directory of its own.
    ///
    /// It dies with the tests: a shell beside it waits for the end of a connection that only this process holds open.
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
        let directory: String
        private let configuration: String
        private let properties: [String]
        private struct Process {
            var shell: pid_t
            var pipe: Int32
        }
        private let process = Mutex<Process?>(nil)

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
            directory = try makeTemporaryDirectory("zookeeper")
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

        deinit {
            stop()
        }

        var address: String { "127.0.0.1:\(peer.clientPort)" }
        var secureAddress: String { "127.0.0.1:\(peer.securePort)" }

        /// The virtual machine's process.
        var pid: pid_t? {
            guard let text = try? readFile(directory + "/pid") else { return nil }
            return pid_t(text.filter { !$0.isWhitespace })
        }

        func start() throws {
            guard access(Self.archive, R_OK) == 0 else {
                throw CaseFailure("\(Self.archive) is missing: apt-get install zookeeper")
            }
            unlink(directory + "/pid")
            unlink(directory + "/keep")
            var ends: [Int32] = [0, 0]
            // No child may inherit our end, or it would keep the server alive; a pipe cannot be had like that at once.
            let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw CaseFailure("no pair of sockets") }
            // Connections of the tests' own would outlive their end in the server's process: they are closed first.
            let script = """
                for file in /proc/$$/fd/*; do
                    [ "${file##*/}" -gt 2 ] && [ "${file##*/}" -ne 255 ] && eval "exec ${file##*/}>&-"
                done
                java -Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -cp \(Self.classPath) \
                \(properties.map { "-D" + $0 }.joined(separator: " ")) \
                org.apache.zookeeper.server.quorum.QuorumPeerMain \(directory)/zoo.cfg \
                </dev/null >>\(directory)/log 2>&1 &
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
            for argument in ["bash", "-c", script] { arguments.append(strdup(argument)) }
            arguments.append(nil)
            defer { for argument in arguments { free(argument) } }
            let code = posix_spawn(&child, "/bin/bash", &actions, nil, arguments, environ)
            close(ends[0])
            guard code == 0 else {
                close(ends[1])
                throw CaseFailure("cannot start bash: \(code)")
            }
            let started = Process(shell: child, pipe: ends[1])
            process.withLock { $0 = started }
        }

        /// Ends the process without a word.
        func kill() {
            let running = process.withLock { process in
                defer { process = nil }
                return process
            }
            guard let running else { return }
            // Without this file the shell takes the data away as well: so it does when the tests end.
            try? writeFile(directory + "/keep", "")
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

        /// Stops the process; returns when all of its threads stand. On a busy machine the first of them to take the signal
        /// may take its time, and the others serve until then.
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
                guard Int32(name) != nil, let stat = try? readFile("/proc/\(pid)/task/\(name)/stat"),
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
            removeTree(directory)
        }

        func waitUntilServing(within limit: Duration = .seconds(30)) async throws {
            let isServing = await eventually(within: limit) { mode != nil }
            guard isServing else {
                throw CaseFailure("ZooKeeper does not serve: " + ((try? readFile(directory + "/log")) ?? "no log"))
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

    // MARK: Small things

    /// Ports that nobody listens on now, all different.
    func freePorts(_ count: Int) throws -> [Int] {
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        var ports: [Int] = []
        for _ in 0..<count {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { throw CaseFailure("no socket") }
            sockets.append(descriptor)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isBound = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                    bind(descriptor, generic, length) == 0 && getsockname(descriptor, generic, &length) == 0
                }
            }
            guard isBound else { throw CaseFailure("no free port") }
            ports.append(Int(UInt16(bigEndian: address.sin_port)))
        }
        return ports
    }

    func makeTemporaryDirectory(_ name: String) throws -> String {
        var template = Array("/tmp/matriarch-\(name)-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw CaseFailure("no temporary directory") }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Removes a directory and what is in it; follows no links.
    func removeTree(_ path: String) {
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

    func writeFile(_ path: String, _ text: String) throws {
        guard let file = fopen(path, "w") else { throw CaseFailure("cannot write \(path)") }
        defer { fclose(file) }
        fputs(text, file)
    }

    func readFile(_ path: String) throws -> String {
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
