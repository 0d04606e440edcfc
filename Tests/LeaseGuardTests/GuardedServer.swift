import CLeaseGuard
import ClusterModel
import Glibc
import Synchronization
import Testing

@testable import LeaseGuard

/// A real guard with a real PostgreSQL in a directory of their own, and everything that a test does to them.
final class GuardedServer: Sendable {
    /// Under a sanitizer the guard of the same build is no use (its memory cannot be locked, its libraries are not found):
    /// `MATRIARCH_GUARD` then names another.
    static let program = getenv("MATRIARCH_GUARD").map { String(cString: $0) } ?? GuardClient.defaultExecutable
    static let binaries = "/usr/lib/postgresql/15/bin"

    let base: String
    var data: String { base + "/data" }
    var state: String { base + "/state" }
    var launcher: String { base + "/launch" }
    let term = Fence(era: 1, number: 7)
    private let pids = Mutex<Set<Int32>>([])

    private init(base: String) {
        self.base = base
    }

    /// A cluster made by `initdb` once; each test gets a copy.
    private static let template = Mutex<Task<String, any Error>?>(nil)

    private static let templatePath = Mutex<String?>(nil)

    /// The template serves every test of the process, so nobody but the process's end can remove it.
    private static func removeAtExit(_ path: String) {
        templatePath.withLock { $0 = path }
        atexit {
            if let path = GuardedServer.templatePath.withLock({ $0 }) { _ = system("rm -rf \(path)") }
        }
    }

    private static func newDirectory() async throws -> String {
        var name = Array("/tmp/leaseguard-XXXXXX".utf8CString)
        guard mkdtemp(&name) != nil else { throw Shell.Failure(description: "mkdtemp: \(errno)") }
        let path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if Shell.isRoot { try await Shell.run("chown postgres:postgres \(path)") }
        return path
    }

    private static func templateDirectory() async throws -> String {
        let task = template.withLock { task in
            if let task { return task }
            let new = Task {
                let base = try await newDirectory()
                removeAtExit(base)
                try await Shell.runAsAccount(
                    "\(binaries)/initdb -D \(base)/data -A trust -U postgres -N --no-locale -E UTF8")
                let settings = [
                    "listen_addresses = ''", "fsync = off", "shared_buffers = 8MB",
                    "logging_collector = off", "hot_standby = on", "wal_level = replica",
                ]
                let text = settings.joined(separator: "\n")
                try await Shell.run("cat >> \(base)/data/postgresql.conf <<'EOF'\n\(text)\nEOF\n")
                return base
            }
            task = new
            return new
        }
        return try await task.value
    }

    static func make(guardOptions: String = "", standby: Bool = false) async throws -> GuardedServer {
        let template = try await templateDirectory()
        let server = GuardedServer(base: try await newDirectory())
        try await Shell.run("cp \(program) \(server.base)/matriarch-guard && chmod 755 \(server.base)/matriarch-guard")
        // The tests' own account may be root, the guard's never is.
        let script = """
            #!/bin/sh
            exec \(Shell.account)\(server.base)/matriarch-guard \(guardOptions) "$@"
            """
        try await Shell.run("cat > \(server.launcher) <<'EOF'\n\(script)\nEOF\nchmod 755 \(server.launcher)")
        try await Shell.run("cp -a \(template)/data \(server.data)")
        if standby { try await Shell.runAsAccount("touch \(server.data)/standby.signal") }
        return server
    }

    /// Runs a test on a server and leaves nothing behind, whatever happened.
    static func with(
        guardOptions: String = "", standby: Bool = false, _ body: (GuardedServer) async throws -> Void
    ) async throws {
        let server = try await make(guardOptions: guardOptions, standby: standby)
        do {
            try await body(server)
        } catch {
            let log = (try? await Shell.run("cat \(server.state)/guard.log \(server.base)/postgres.log")) ?? ""
            await server.remove()
            Issue.record("\(error)\n\(log)")
            return
        }
        await server.remove()
    }

    private func remove() async {
        if let pid = guardPID() { kill(pid, SIGKILL) }
        for pid in processes(in: data) { kill(pid, SIGKILL) }
        _ = try? await eventually { processes(in: self.data).isEmpty }
        _ = try? await Shell.run("rm -rf \(base)")
    }

    func connect(launch: Bool = true, within: Duration = .seconds(10)) async throws -> GuardClient {
        try await GuardClient.connect(stateDirectory: state, executable: launcher, launch: launch, within: within)
    }

    func guardPID() -> Int32? {
        guard let file = fopen(state + "/guard.lock", "r") else { return nil }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 32)
        guard fgets(&line, 31, file) != nil else { return nil }
        let pid = atoi(line)
        return pid > 1 ? pid : nil
    }

    func startRequest(_ mode: GuardMode, term: Fence? = nil) -> PostmasterStart {
        PostmasterStart(
            executable: Self.binaries + "/postgres", arguments: ["-D", data, "-k", base],
            environment: ["PATH": "/usr/bin:/bin", "LC_ALL": "C"], logFile: base + "/postgres.log",
            dataDirectory: data, mode: mode, term: term)
    }

    /// Deadlines with Q that far from now, K 300 ms and E' 450 ms later.
    func deadline(_ quit: Duration, term: Fence? = nil) -> GuardDeadline {
        let now = BootClock.now
        return GuardDeadline(
            term: term ?? self.term, quit: now + quit, kill: now + quit + .milliseconds(300),
            end: now + quit + .milliseconds(450), granted: quit + .milliseconds(600))
    }

    /// Starts a primary and waits until it answers; then arms the deadline that far from now and has it enforced.
    @discardableResult
    func startPrimary(_ client: GuardClient, quit: Duration) async throws -> GuardDeadline {
        // Started unenforced, so that a loaded machine's slow start does not use up the deadline under test.
        _ = try await client.start(startRequest(.paused))
        try await answers()
        let deadline = deadline(quit)
        try #require(client.arm(deadline))
        try await client.setMode(.primary, term: term)
        return deadline
    }

    func psql(_ statement: String) async throws -> String {
        try await Shell.run(
            "PGCONNECT_TIMEOUT=5 \(Self.binaries)/psql -X -A -t -h \(base) -U postgres -d postgres -c \"\(statement)\"")
    }

    func answers(within: Duration = .seconds(20)) async throws {
        try await eventually(within) { (try? await self.psql("select 1")) != nil }
    }

    /// A session in the middle of a statement; ends by itself.
    func busySession() async throws -> Task<String?, Never> {
        let task = Task { try? await self.psql("select pg_sleep(30)") }
        try await eventually {
            ((try? await self.psql("select count(*) from pg_stat_activity where query like 'select pg_sleep%'")) ?? "")
                .hasPrefix("1")
        }
        return task
    }
}

struct TooLate: Error {}

/// Waits for a condition, looking at it every few milliseconds.
func eventually(_ within: Duration = .seconds(10), _ condition: () async -> Bool) async throws {
    let until = BootClock.now + within
    while !(await condition()) {
        if BootClock.now > until { throw TooLate() }
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// Collects the reports of a connection, so that a test can wait for one of them.
final class Reports: Sendable {
    private final class Box: Sendable {
        let seen = Mutex<[(GuardReport, Instant)]>([])
    }

    private let box: Box
    private let task: Task<Void, Never>

    init(_ client: GuardClient) {
        let stream = client.reports
        let box = Box()
        self.box = box
        task = Task {
            for await report in stream { box.seen.withLock { $0.append((report, BootClock.now)) } }
        }
    }

    deinit { task.cancel() }

    var all: [GuardReport] { box.seen.withLock { $0.map(\.0) } }

    /// When the first report came that fits.
    @discardableResult
    func wait(_ within: Duration = .seconds(10), for fits: (GuardReport) -> Bool) async throws -> Instant {
        let until = BootClock.now + within
        while true {
            if let found = box.seen.withLock({ $0.first { fits($0.0) } }) { return found.1 }
            if BootClock.now > until { throw Shell.Failure(description: "no such report among \(all)") }
            try await Task.sleep(for: .milliseconds(3))
        }
    }
}

extension GuardReport {
    static func refused(_ verdict: mg_verdict, armed: Fence?) -> GuardReport {
        .refused(String(cString: mg_verdict_text(verdict)), armed: armed)
    }
}
