#if Etcd
    import ClusterModel
    import ConfigurationTree
    import Glibc
    import Logging
    import PluginInterfaces
    import StoreConformance
    import Synchronization

    @testable import EtcdStore

    /// Small things that tests with real servers need.
    enum EtcdBench {
        /// Ports that nobody listens on now, all different.
        static func freePorts(_ count: Int) throws -> [Int] {
            var sockets: [Int32] = []
            defer { for socket in sockets { close(socket) } }
            var ports: [Int] = []
            for _ in 0..<count {
                let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
                guard descriptor >= 0 else { throw CaseFailure("no socket") }
                sockets.append(descriptor)
                guard bind(descriptor, port: 0), let port = port(of: descriptor) else {
                    throw CaseFailure("no free port")
                }
                ports.append(port)
            }
            return ports
        }

        static func bind(_ descriptor: Int32, port: Int) -> Bool {
            withLoopback(port) { Glibc.bind(descriptor, $0, $1) == 0 }
        }

        static func port(of descriptor: Int32) -> Int? {
            var address = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isKnown = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) == 0 }
            }
            return isKnown ? Int(UInt16(bigEndian: address.sin_port)) : nil
        }

        static func withLoopback<R>(_ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            return withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        }

        static func makeDirectory(_ name: String) throws -> String {
            var template = Array("/tmp/matriarch-\(name)-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { throw CaseFailure("no temporary directory") }
            return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }

        static func write(_ path: String, _ text: String) throws {
            guard let file = fopen(path, "w") else { throw CaseFailure("cannot write \(path)") }
            defer { fclose(file) }
            fputs(text, file)
        }

        static func read(_ path: String) -> String? {
            guard let file = fopen(path, "r") else { return nil }
            defer { fclose(file) }
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = fread(&buffer, 1, buffer.count, file)
                if count == 0 { return String(decoding: bytes, as: UTF8.self) }
                bytes += buffer.prefix(count)
            }
        }

        /// Runs a program and waits for it, off the cooperative threads; its output goes to a file.
        static func run(_ program: String, _ arguments: [String], output: String = "/dev/null") async throws {
            let code = await withCheckedContinuation { (continuation: CheckedContinuation<Int32, Never>) in
                let thread = Box { continuation.resume(returning: spawnAndWait(program, arguments, output)) }
                thread.start()
            }
            guard code == 0 else {
                throw CaseFailure("\(program) \(arguments.first ?? "") ended with \(code): \(read(output) ?? "")")
            }
        }

        private static func spawnAndWait(_ program: String, _ arguments: [String], _ output: String) -> Int32 {
            var actions = posix_spawn_file_actions_t()
            posix_spawn_file_actions_init(&actions)
            defer { posix_spawn_file_actions_destroy(&actions) }
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
            posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
            posix_spawn_file_actions_adddup2(&actions, 1, 2)
            var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) }
            words.append(nil)
            defer { for word in words { free(word) } }
            var child: pid_t = 0
            let code = posix_spawnp(&child, program, &actions, nil, words, environ)
            guard code == 0 else { return code }
            var status: Int32 = 0
            while waitpid(child, &status, 0) < 0 && errno == EINTR {}
            return status
        }

        /// A thread of its own for what blocks.
        final class Box: Sendable {
            private let body: @Sendable () -> Void

            init(_ body: @escaping @Sendable () -> Void) { self.body = body }

            func start() {
                var thread = pthread_t()
                let context = Unmanaged.passRetained(self).toOpaque()
                let code = pthread_create(
                    &thread, nil,
                    { context in
                        if let context { Unmanaged<Box>.fromOpaque(context).takeRetainedValue().body() }
                        return nil
                    }, context)
                if code == 0 { pthread_detach(thread) } else { Unmanaged<Box>.fromOpaque(context).release() }
            }
        }
    }

    /// An etcd server for tests: Debian's, on free loopback ports, with its data in a directory of its own.
    ///
    /// It dies with the tests: a shell beside it waits for the end of a connection that only this process holds open.
    final class EtcdServer: Sendable {
        struct Place: Hashable, Sendable {
            var name: String
            var clientPort: Int
            var peerPort: Int

            var peerURL: String { "http://127.0.0.1:\(peerPort)" }
        }

        struct Options: Sendable {
            /// Milliseconds; the shortest lease is one and a half times this, rounded up to a second.
            var election = 500
            var heartbeat = 50
            var certificates: EtcdCertificates?
            var extra: [String] = []
        }

        let place: Place
        let options: Options
        let directory: String
        private let arguments: [String]
        private struct Process {
            var shell: pid_t
            var pipe: Int32
        }
        private let process = Mutex<Process?>(nil)

        static let program = "/usr/bin/etcd"

        init(
            _ place: Place, cluster: [Place], token: String, options: Options = Options(), isNew: Bool = true
        ) throws {
            self.place = place
            self.options = options
            directory = try EtcdBench.makeDirectory("etcd")
            let scheme = options.certificates == nil ? "http" : "https"
            var arguments = [
                "--name", place.name, "--data-dir", directory + "/data",
                "--listen-client-urls", "\(scheme)://127.0.0.1:\(place.clientPort)",
                "--advertise-client-urls", "\(scheme)://127.0.0.1:\(place.clientPort)",
                "--listen-peer-urls", place.peerURL, "--initial-advertise-peer-urls", place.peerURL,
                "--initial-cluster", cluster.map { "\($0.name)=\($0.peerURL)" }.joined(separator: ","),
                "--initial-cluster-token", token, "--initial-cluster-state", isNew ? "new" : "existing",
                "--heartbeat-interval", String(options.heartbeat), "--election-timeout", String(options.election),
                "--unsafe-no-fsync", "--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn",
            ]
            if let certificates = options.certificates {
                arguments += [
                    "--cert-file", certificates.path("server.crt"), "--key-file", certificates.path("server.key"),
                    "--trusted-ca-file", certificates.path("ca.crt"), "--client-cert-auth",
                ]
            }
            self.arguments = arguments + options.extra
        }

        /// A server that is alone, started and serving.
        static func single(_ options: Options = Options()) async throws -> EtcdServer {
            let ports = try EtcdBench.freePorts(2)
            let place = Place(name: "etcd1", clientPort: ports[0], peerPort: ports[1])
            let server = try EtcdServer(place, cluster: [place], token: "t\(ports[0])", options: options)
            try server.start()
            try await server.waitUntilServing()
            return server
        }

        deinit {
            stop()
        }

        var endpoint: Endpoint {
            Endpoint(isSecure: options.certificates != nil, host: "127.0.0.1", port: place.clientPort)
        }

        var pid: pid_t? { EtcdBench.read(directory + "/pid").flatMap { pid_t($0.filter { !$0.isWhitespace }) } }

        func start() throws {
            guard access(Self.program, X_OK) == 0 else {
                throw CaseFailure("\(Self.program) is missing: apt-get install etcd-server")
            }
            unlink(directory + "/pid")
            unlink(directory + "/keep")
            var ends: [Int32] = [0, 0]
            // No child may inherit our end, or it would keep the server alive.
            let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw CaseFailure("no pair of sockets") }
            let quoted = arguments.map { "'\($0)'" }.joined(separator: " ")
            let script = """
                \(Self.program) \(quoted) </dev/null >>\(directory)/log 2>&1 &
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
            var words: [UnsafeMutablePointer<CChar>?] = ["sh", "-c", script].map { (word: String) in strdup(word) }
            words.append(nil)
            defer { for word in words { free(word) } }
            let code = posix_spawn(&child, "/bin/sh", &actions, nil, words, environ)
            close(ends[0])
            guard code == 0 else {
                close(ends[1])
                throw CaseFailure("cannot start sh: \(code)")
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
            try? EtcdBench.write(directory + "/keep", "")
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

        /// Ends the process and removes its files.
        func stop() {
            kill()
            if directory.hasPrefix("/tmp/matriarch-etcd-") { Self.remove(directory) }
        }

        private static func remove(_ path: String) {
            if let directory = opendir(path) {
                while let entry = readdir(directory) {
                    let isDirectory = entry.pointee.d_type == UInt8(DT_DIR)
                    let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                    }
                    if name == "." || name == ".." { continue }
                    if isDirectory { remove(path + "/" + name) } else { unlink(path + "/" + name) }
                }
                closedir(directory)
            }
            rmdir(path)
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
                guard Int32(name) != nil, let stat = EtcdBench.read("/proc/\(pid)/task/\(name)/stat"),
                    let state = stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].dropFirst(2).first
                else { continue }
                if state != "T" { return false }
            }
            return true
        }

        func thaw() { if let pid { _ = Glibc.kill(pid, SIGCONT) } }

        var settings: EtcdSettings {
            var settings = EtcdSettings(endpoints: [endpoint])
            options.certificates?.apply(to: &settings)
            return settings
        }

        /// Calls the server as an administrator would, with no regard for what the store does.
        @discardableResult
        func call(_ path: String, _ body: JSONValue, token: Secret? = nil) async throws -> JSONObject {
            let http = try GatewayClient(settings)
            return try await http.post(
                path, body, at: endpoint, token: token, until: SystemClock.now() + .seconds(5))
        }

        struct Status: Sendable {
            var header: AnswerHeader
            var leader: UInt64
            var isLeader: Bool { leader == header.member }
        }

        var status: Status? {
            get async {
                guard let object = try? await call("/v3/maintenance/status", [:]),
                    let header = AnswerHeader(object["header"])
                else { return nil }
                return Status(header: header, leader: object["leader"]?.unsigned ?? 0)
            }
        }

        func waitUntilServing(within limit: Duration = .seconds(30)) async throws {
            let isServing = await eventually(within: limit) { await (status?.leader ?? 0) != 0 }
            guard isServing else {
                throw CaseFailure("etcd does not serve: " + (EtcdBench.read(directory + "/log") ?? "no log"))
            }
        }

    }

    /// Three servers with one leader.
    final class EtcdEnsemble: Sendable {
        let servers: [EtcdServer]
        let token: String

        init(_ options: EtcdServer.Options = EtcdServer.Options()) throws {
            let ports = try EtcdBench.freePorts(6)
            let places = (0..<3).map { index in
                EtcdServer.Place(
                    name: "etcd\(index + 1)", clientPort: ports[index * 2], peerPort: ports[index * 2 + 1])
            }
            let token = "t\(ports[0])"
            self.token = token
            servers = try places.map { try EtcdServer($0, cluster: places, token: token, options: options) }
        }

        static func started(_ options: EtcdServer.Options = EtcdServer.Options()) async throws -> EtcdEnsemble {
            let ensemble = try EtcdEnsemble(options)
            for server in ensemble.servers { try server.start() }
            for server in ensemble.servers { try await server.waitUntilServing() }
            return ensemble
        }

        var endpoints: [Endpoint] { servers.map(\.endpoint) }

        /// The leader, as the others see it.
        func leader() async throws -> EtcdServer {
            var found: EtcdServer?
            _ = await eventually(within: .seconds(10)) {
                for server in servers where await server.status?.isLeader == true { found = server }
                return found != nil
            }
            guard let found else { throw CaseFailure("no leader") }
            return found
        }

        func stop() {
            for server in servers {
                server.thaw()
                server.stop()
            }
        }
    }

    /// Certificates made for one test run: an authority, a server for the loopback addresses, a client.
    final class EtcdCertificates: Sendable {
        let directory: String

        private init(_ directory: String) { self.directory = directory }

        deinit {
            for name in [
                "ca.crt", "ca.key", "server.crt", "server.key", "client.crt", "client.key", "other.crt", "other.key",
                "server.csr", "client.csr", "ca.srl", "server.ext", "log",
            ] { unlink(path(name)) }
            rmdir(directory)
        }

        func path(_ name: String) -> String { directory + "/" + name }

        static func make() async throws -> EtcdCertificates {
            let made = EtcdCertificates(try EtcdBench.makeDirectory("etcd-tls"))
            func openssl(_ arguments: String...) async throws {
                try await EtcdBench.run("openssl", arguments, output: made.path("log"))
            }
            try EtcdBench.write(
                made.path("server.ext"),
                "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
            for name in ["ca", "other"] {
                try await openssl(
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=\(name)", "-keyout", made.path(name + ".key"), "-out", made.path(name + ".crt"))
            }
            for name in ["server", "client"] {
                try await openssl(
                    "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                    // etcd's gateway takes no client that has a name, once there are users.
                    name == "client" ? "/O=matriarch" : "/CN=\(name)", "-keyout", made.path(name + ".key"), "-out",
                    made.path(name + ".csr"))
                try await openssl(
                    "x509", "-req", "-in", made.path(name + ".csr"), "-CA", made.path("ca.crt"), "-CAkey",
                    made.path("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", made.path("server.ext"), "-out",
                    made.path(name + ".crt"))
            }
            return made
        }

        func apply(to settings: inout EtcdSettings) {
            settings.caPath = path("ca.crt")
            settings.certificatePath = path("client.crt")
            settings.keyPath = path("client.key")
        }
    }

    /// A client of some endpoints.
    func openEtcd(
        _ endpoints: [Endpoint], root: String, change: (inout EtcdSettings) -> Void = { _ in }
    ) throws -> EtcdCoordinationStore {
        var settings = EtcdSettings(endpoints: endpoints)
        change(&settings)
        return try EtcdCoordinationStore(
            settings, keys: EtcdKeys(root: root), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }
#endif
