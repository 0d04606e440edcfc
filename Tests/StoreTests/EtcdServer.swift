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
        /// Runs a program and waits for it, off the cooperative threads; its output goes to a file.
        static func run(_ program: String, _ arguments: [String], output: String = "/dev/null") async throws {
            let code = await withCheckedContinuation { (continuation: CheckedContinuation<Int32, Never>) in
                let thread = Box { continuation.resume(returning: spawnAndWait(program, arguments, output)) }
                thread.start()
            }
            guard code == 0 else {
                let said = (try? readFile(output)) ?? ""
                throw CaseFailure("\(program) \(arguments.first ?? "") ended with \(code): \(said)")
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
        private let arguments: [String]
        private let process: ServerProcess

        static let program = "/usr/bin/etcd"

        init(
            _ place: Place, cluster: [Place], token: String, options: Options = Options(), isNew: Bool = true
        ) throws {
            self.place = place
            self.options = options
            process = try ServerProcess("etcd")
            let scheme = options.certificates == nil ? "http" : "https"
            var arguments = [
                "--name", place.name, "--data-dir", process.directory + "/data",
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
            let ports = try freePorts(2)
            let place = Place(name: "etcd1", clientPort: ports[0], peerPort: ports[1])
            let server = try EtcdServer(place, cluster: [place], token: "t\(ports[0])", options: options)
            try server.start()
            try await server.waitUntilServing()
            return server
        }

        var endpoint: Endpoint {
            Endpoint(isSecure: options.certificates != nil, host: "127.0.0.1", port: place.clientPort)
        }

        var directory: String { process.directory }
        var pid: pid_t? { process.pid }

        func start() throws {
            guard access(Self.program, X_OK) == 0 else {
                throw CaseFailure("\(Self.program) is missing: apt-get install etcd-server")
            }
            try process.start(([Self.program] + arguments.map { "'\($0)'" }).joined(separator: " "))
        }

        func kill() { process.kill() }
        func freeze() { process.freeze() }
        func thaw() { process.thaw() }
        func stop() { process.stop() }

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
                throw CaseFailure("etcd does not serve: " + process.log)
            }
        }
    }

    /// Three servers with one leader.
    final class EtcdEnsemble: Sendable {
        let servers: [EtcdServer]
        let token: String

        init(_ options: EtcdServer.Options = EtcdServer.Options()) throws {
            let ports = try freePorts(6)
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
            let made = EtcdCertificates(try makeTemporaryDirectory("etcd-tls"))
            func openssl(_ arguments: String...) async throws {
                try await EtcdBench.run("openssl", arguments, output: made.path("log"))
            }
            try writeFile(
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
