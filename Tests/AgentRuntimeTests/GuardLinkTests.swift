import ClusterHarness
import ClusterModel
import Glibc
import HighAvailability
import LeaseGuard
import Logging
import Synchronization
import Testing

@testable import AgentRuntime

/// What the machine is told through a real guard.
@Suite struct GuardLinkTests {
    /// A guard that was killed leaves a postmaster that is still ending when the next guard comes: it cannot be adopted
    /// any more, and its end must be told all the same. Here the guard refuses for another reason (the path), for as
    /// long as the test likes.
    @Test(.timeLimit(.minutes(1)))
    func theEndOfAServerThatCannotBeAdoptedIsTold() async throws {
        let place = try Place()
        defer { place.remove() }
        let server = try place.startServer()
        let told = Told()
        let link = GuardLink(
            stateDirectory: place.state, executable: place.launcher, dataDirectory: place.relativeData,
            longestTerm: .seconds(300),
            logger: Logger(label: "test")
        ) { told.add($0) }
        let work = Task { await link.run { told.first($0) } }
        defer { work.cancel() }

        try await onThread {
            try waitUntil("the running server is told", within: 15) {
                told.servers.contains { if case .running = $0 { true } else { false } }
            }
            kill(server, SIGKILL)
            try place.waitForEnd()
            try waitUntil("its end is told, and that the guard is ready", within: 20) {
                guard case .down? = told.servers.last else { return false }
                return told.isReady
            }
        }
        work.cancel()
        await work.value
    }

    /// What came from the link.
    private final class Told: Sendable {
        private let events = Mutex<(servers: [ServerFacts], isReady: Bool)>(([], false))

        var servers: [ServerFacts] { events.withLock { $0.servers } }
        var isReady: Bool { events.withLock { $0.isReady } }

        func first(_ server: ServerFacts) { events.withLock { $0.servers.append(server) } }

        func add(_ event: Event) {
            switch event {
            case .server(let server): events.withLock { $0.servers.append(server) }
            case .guardReady: events.withLock { $0.isReady = true }
            default: break
            }
        }
    }

    /// A data directory with a process in it that `postmaster.pid` calls its postmaster.
    private final class Place: @unchecked Sendable {
        let base: String
        var state: String { base + "/state" }
        /// Starts the guard as an ordinary account.
        var launcher: String { base + "/launch" }
        /// PostgreSQL's account; nil: whoever runs the tests.
        private let account: String? = getuid() == 0 ? "postgres" : nil
        private var data: String { base + "/data" }
        /// Used by one thread at a time: the test's, then its waiting one.
        private var process: LocalProcess?

        init() throws {
            var template = Array("\(SystemEnvironment.workPlace)/guardlink.XXXXXX".utf8CString)
            guard let made = mkdtemp(&template) else { throw SystemFailure("cannot make a directory") }
            base = String(cString: made)
            try makeDirectory(base, mode: 0o755, account: account)
            try makeDirectory(state, account: account)
            try makeDirectory(data, account: account)
            let become = account.map { "/usr/bin/setpriv --reuid=\($0) --regid=\($0) --init-groups -- " } ?? ""
            try writePrivate(
                "#!/bin/sh\nexec \(become)\(GuardClient.defaultExecutable) \"$@\"\n", to: launcher, account: nil)
            chmod(launcher, 0o755)
        }

        /// The guard takes absolute paths only.
        var relativeData: String {
            let here = linkTarget("/proc/self/cwd") ?? "/"
            return String(repeating: "../", count: here.split(separator: "/").count) + data.dropFirst()
        }

        func startServer() throws -> pid_t {
            let process = try LocalProcess(
                "sleep", ["/bin/sleep", "60"], account: account, directory: data, log: "/dev/null")
            self.process = process
            try waitUntil("it works in the data directory", within: 5) {
                linkTarget("/proc/\(process.pid)/cwd") == data
                    && (readText("/proc/\(process.pid)/comm") ?? "") == "sleep\n"
            }
            let started = wallNow().seconds
            try writePrivate(
                "\(process.pid)\n\(data)\n\(started)\n5432\n\n\n\nready\n", to: data + "/postmaster.pid",
                account: account)
            return process.pid
        }

        func waitForEnd() throws { try process?.waitForEnd(within: 5) }

        func remove() {
            process?.send(SIGKILL)
            if let pid = livingPid(inFile: state + "/guard.lock") { kill(pid, SIGKILL) }
            removeTree(base)
        }
    }
}
