import ClusterModel
import Foundation
import Logging
import PluginInterfaces
import Synchronization

@testable import PostgresControl

/// Runs programs as an ordinary account, since PostgreSQL refuses to run as root.
enum TestAccount {
    static let isRoot = getuid() == 0

    static func wrapped(_ executable: String, _ arguments: [String]) -> (String, [String]) {
        guard isRoot else { return (executable, arguments) }
        return (
            "/usr/bin/setpriv",
            ["--reuid=postgres", "--regid=postgres", "--init-groups", executable] + arguments
        )
    }

    /// Gives a directory to the account that the server runs under.
    static func own(_ path: String) {
        guard isRoot else { return }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/chown")
        process.arguments = ["-R", "postgres:postgres", path]
        process.standardError = FileHandle.nullDevice
        try? process.run()
        process.waitUntilExit()
    }
}

/// Starts the server directly; everything under `directory` belongs to the server's account before it looks.
final class TestControl: PostmasterControl {
    let directory: String
    private let started = Mutex<[Int32]>([])

    init(directory: String) {
        self.directory = directory
    }

    func start(_ command: ServerCommand) async throws(PostgresError) -> Int32 {
        TestAccount.own(directory)
        let process = Process()
        let (executable, arguments) = TestAccount.wrapped(command.executable, command.arguments)
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        var environment = ProcessInfo.processInfo.environment
        environment.merge(command.environment) { $1 }
        process.environment = environment
        process.currentDirectoryURL = URL(fileURLWithPath: command.workingDirectory)
        let log = command.logFile ?? directory + "/server.log"
        if !FileManager.default.fileExists(atPath: log) {
            _ = FileManager.default.createFile(atPath: log, contents: nil)
        }
        guard let handle = FileHandle(forWritingAtPath: log) else { throw PostgresError(.file, "no log \(log)") }
        handle.seekToEndOfFile()
        process.standardOutput = handle
        process.standardError = handle
        do {
            try process.run()
        } catch {
            throw PostgresError(.program, "\(error)")
        }
        let processID = process.processIdentifier
        started.withLock { $0.append(processID) }
        return processID
    }

    func signal(_ number: Int32, to process: RunningPostmaster) async throws(PostgresError) {
        TestAccount.own(directory)
        guard kill(process.processID, number) == 0 else { throw PostgresError(.program, "no process") }
    }
}

/// One PostgreSQL 15 in a directory of its own.
final class TestServer: Sendable {
    static let binaries = "/usr/lib/postgresql/15/bin"
    static var isAvailable: Bool { FileManager.default.isExecutableFile(atPath: binaries + "/postgres") }

    let root: String
    let layout: PostgresLayout
    let control: TestControl
    let logger: Logger
    let postmaster: Postmaster

    /// All members of a test share one root directory.
    init(root: String, name: String, change: (inout PostgresLayout) -> Void = { _ in }) {
        self.root = root
        let data = root + "/" + name
        var layout = PostgresLayout(
            dataDirectory: data, stateDirectory: root + "/" + name + ".state", clusterName: "test", memberName: name)
        layout.binDirectory = Self.binaries
        layout.port = Self.freePort()
        layout.connectPort = layout.port
        layout.superuser = RoleLogin(user: "postgres", password: Password("super: secret\\'"))
        layout.replication = RoleLogin(user: "replicator", password: Password("repl:secret"))
        layout.rewind = RoleLogin(user: "rewinder", password: Password("rewind secret"))
        layout.parameters = [
            ServerSetting("unix_socket_directories", root), ServerSetting("fsync", "off"),
            ServerSetting("shared_buffers", "16MB"), ServerSetting("wal_keep_size", "64MB"),
        ]
        layout.controlledParameters = [
            ServerSetting("wal_level", "replica"), ServerSetting("hot_standby", "on"),
            ServerSetting("max_connections", "30"), ServerSetting("max_wal_senders", "10"),
            ServerSetting("max_replication_slots", "10"), ServerSetting("wal_log_hints", "on"),
        ]
        layout.hbaLines = [
            "local all all trust", "host all all 127.0.0.1/32 scram-sha-256",
            "host replication replicator 127.0.0.1/32 scram-sha-256",
        ]
        layout.usePgRewind = true
        change(&layout)
        var logger = Logger(label: "test.\(name)")
        logger.logLevel = .critical
        self.layout = layout
        self.logger = logger
        self.control = TestControl(directory: root)
        self.postmaster = Postmaster(layout: layout, control: control, logger: logger)
        try? FileManager.default.createDirectory(
            atPath: layout.stateDirectory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }

    static func makeRoot() throws -> String {
        let root = "/tmp/matriarch-test-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: root, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        return root
    }

    /// A port that is free now and that no outgoing connection takes while its server is down: below the range from
    /// which the kernel gives those theirs.
    static func freePort() -> Int {
        for _ in 0..<200 {
            let port = Int.random(in: 20_000..<32_000)
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = UInt16(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let bound = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if bound == 0 { return port }
        }
        return 0
    }

    /// Runs a program as the server's account and collects its lines.
    @Sendable static func run(
        _ command: PluginCommand, _ onLine: (@Sendable (String) -> Void)?
    ) async -> CommandEnd {
        await withCheckedContinuation { waiter in
            DispatchQueue.global().async {
                let process = Process()
                let (executable, arguments) = TestAccount.wrapped(command.executable, command.arguments)
                process.executableURL = URL(fileURLWithPath: executable)
                process.arguments = arguments
                process.environment = ProcessInfo.processInfo.environment.merging(command.environment) { $1 }
                process.currentDirectoryURL = URL(fileURLWithPath: "/")
                let pipe = Pipe()
                process.standardOutput = pipe
                process.standardError = pipe
                do {
                    try process.run()
                } catch {
                    return waiter.resume(returning: .notStarted("\(error)"))
                }
                let data = pipe.fileHandleForReading.readDataToEndOfFile()
                process.waitUntilExit()
                for line in String(decoding: data, as: UTF8.self).split(separator: "\n") { onLine?(String(line)) }
                waiter.resume(
                    returning: process.terminationReason == .exit
                        ? .exited(process.terminationStatus) : .signalled(process.terminationStatus))
            }
        }
    }

    /// Runs a program of PostgreSQL's; fails the test with its output.
    func program(_ name: String, _ arguments: [String], environment: [String: String] = [:]) async throws {
        try await perform(PluginCommand(layout.program(name), arguments, environment: environment))
    }

    func perform(_ command: PluginCommand) async throws {
        TestAccount.own(root)
        let lines = LineCollector()
        let end = await Self.run(command, { lines.append($0) })
        if !end.isSuccess { throw TestFailure("\(command.executable) \(end.explanation): \(lines.lines)") }
    }

    func initialize() async throws {
        let file = root + "/password"
        try "super: secret\\'".write(toFile: file, atomically: true, encoding: .utf8)
        try await program(
            "initdb",
            [
                "-D", layout.dataDirectory, "-U", "postgres", "--pwfile=\(file)", "-A", "scram-sha-256", "-N", "-E",
                "UTF8",
            ])
    }

    func files() async throws -> PostgresConfigurationFiles {
        PostgresConfigurationFiles(
            layout: layout, catalog: try await SettingsCatalog.load(layout: layout, run: Self.run))
    }

    @discardableResult
    func start(_ role: PostgresConfigurationFiles.Role) async throws -> RunningPostmaster {
        let outcome = try await files().prepareStart(as: role)
        if !outcome.warnings.isEmpty { throw TestFailure("\(outcome.warnings)") }
        var isStandby = false
        if case .standby = role { isStandby = true }
        let process = try await postmaster.start(asStandby: isStandby)
        let started = try await postmaster.waitUntilAccepting(process, within: .seconds(60))
        guard started == .accepting else { throw TestFailure("the start ended as \(started): \(log)") }
        return process
    }

    var log: String { (try? String(contentsOfFile: root + "/server.log", encoding: .utf8)) ?? "" }
    var monitor: PostgresMonitor { PostgresMonitor(layout: layout, logger: logger) }
    var operations: PostgresOperations { PostgresOperations(layout: layout, logger: logger) }
    var endpoint: ServerEndpoint { ServerEndpoint(host: "127.0.0.1", port: layout.port) }

    func sql(_ statement: String, within time: Duration = .seconds(20)) async throws -> String? {
        let connection = try await PostgresConnection.connect(ConnectionTarget(local: layout), within: time)
        let result = try await connection.simpleQuery(statement, within: time)
        await connection.close()
        return result.value
    }

    /// Makes this member a copy of another.
    func clone(from other: TestServer) async throws {
        try Passfile.write(layout.passfile, Passfile.entries(layout))
        let target = ConnectionTarget(
            endpoint: other.endpoint, login: layout.replication, applicationName: layout.memberName)
        try await program(
            "pg_basebackup",
            [
                "-D", layout.dataDirectory, "-X", "stream", "-c", "fast", "-N", "-d",
                target.connectionString(passfile: layout.passfile),
            ])
    }

    /// The signal that promotes, given as the guard gives it.
    func promote() throws {
        _ = FileManager.default.createFile(atPath: layout.dataDirectory + "/promote", contents: Data())
        TestAccount.own(layout.dataDirectory + "/promote")
        guard let process = postmaster.running() else {
            throw TestFailure("\(layout.memberName) does not run; its log: \(log.suffix(3000))")
        }
        kill(process.processID, SIGUSR1)
    }

    /// Waits for a condition on the server's samples.
    @discardableResult
    func sampled(
        within time: Duration = .seconds(30), _ condition: @Sendable (PostgresSample) -> Bool
    ) async throws -> PostgresSample {
        let monitor = self.monitor
        let until = SystemClock.now() + time
        var last = "nothing"
        while SystemClock.now() < until {
            switch await monitor.sample(within: .seconds(2)) {
            case .success(let sample):
                if condition(sample) {
                    await monitor.disconnect()
                    return sample
                }
                last = "\(sample)"
            case .failure(let error): last = "\(error)"
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw TestFailure("the condition was not met in time; last: \(last); log: \(log.suffix(3000))")
    }

    /// Ends the server at once, whatever its state.
    func kill9() async throws {
        guard let process = postmaster.running() else { return }
        kill(process.processID, SIGSTOP)
        let children =
            (try? String(
                contentsOfFile: "/proc/\(process.processID)/task/\(process.processID)/children", encoding: .utf8)) ?? ""
        kill(process.processID, SIGKILL)
        for child in children.split(separator: " ") { if let number = Int32(child) { kill(number, SIGKILL) } }
        _ = try await Postmaster.waitForExit(of: process, within: .seconds(10))
        for child in children.split(separator: " ").compactMap({ Int32($0) }) {
            if let running = RunningPostmaster(processID: child) {
                _ = try await Postmaster.waitForExit(of: running, within: .seconds(10))
            }
        }
    }
}

struct TestFailure: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Runs a test in a root directory of its own, and ends every server in it afterwards.
func withServers(
    _ names: [String], change: (inout PostgresLayout) -> Void = { _ in },
    _ body: @Sendable ([TestServer]) async throws -> Void
) async throws {
    let root = try TestServer.makeRoot()
    let servers = names.map { TestServer(root: root, name: $0, change: change) }
    var failure: (any Error)?
    do {
        try await body(servers)
    } catch {
        failure = error
    }
    for server in servers {
        if let process = server.postmaster.running() {
            kill(process.processID, SIGCONT)
            try? await server.kill9()
        }
    }
    try? FileManager.default.removeItem(atPath: root)
    if let failure { throw failure }
}
