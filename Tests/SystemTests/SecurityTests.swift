import ClusterHarness
import ClusterModel
import Glibc
import Synchronization
import Testing

/// Real clusters in which everything that may have a password has one, run by agents whose umask forbids nothing.
@Suite(.serialized) struct SecurityTests {
    @Test(
        "Passwords and tokens are seen nowhere, and nothing can be written by everybody", .timeLimit(.minutes(5)),
        arguments: [StoreKind.zooKeeper, .consul])
    func secrets(store: StoreKind) async throws {
        var plan = ClusterPlan(store)
        plan.hasSecrets = true
        plan.umask = 0
        try await TestCluster.with(plan, starts: false) { cluster in
            let secrets = cluster.secrets
            try check(Set(secrets.values).count == 5, "five different secrets: \(secrets.keys.sorted())")
            let watch = CommandLineWatch(cluster.directory)
            defer { watch.stop() }
            try cluster.startAll()
            var said = try Self.useEverything(cluster)
            watch.stop()
            try check(watch.count > 0, "no command line was seen")
            said["command lines"] = watch.all

            for member in cluster.members {
                for path in [
                    "/", "/config", "/patroni", "/decisions", "/cluster", "/history", "/metrics", "/primary",
                    "/nonsense",
                ] {
                    let answer = try LocalHTTP.call("GET", port: member.restPort, path)
                    said["GET \(path) of \(member.name)"] = answer.body
                }
            }
            for (place, text) in said {
                for (purpose, secret) in secrets where text.contains(secret) {
                    throw SystemFailure("the password for \(purpose) is in \(place)")
                }
            }
            for file in Files.all(below: cluster.directory) {
                try Self.judge(file, secrets, isLog: file.path.hasSuffix(".log"))
            }
        }
    }

    /// Whatever an operator does, and what goes wrong; all that was said, by what said it.
    private static func useEverything(_ cluster: TestCluster) throws -> [String: String] {
        var said: [String: String] = [:]
        let first = cluster.members[0]
        func run(_ arguments: String..., fails: Bool = false) throws {
            let program = "\(cluster.environment.programs)/matriarch"
            let result = try CommandResult.run(
                [program] + arguments, account: cluster.environment.account, directory: cluster.directory, within: 60)
            said[arguments.joined(separator: " ")] = result.output
            try check((result.status != 0) == fails, "matriarch \(arguments): \(result.status) \(result.output)")
        }
        let file = first.configuration
        try run("list", "-c", file)
        try run("doctor", file, "--format", "json")
        try run("validate", file)
        try run("show-config", "-c", file)
        try run("edit-config", "-c", file, "--set", "maximum_lag_on_failover=2000000", "--force")
        try run("store", "backup", "-c", file)
        try run("switchover", "-c", file, "--force")
        try cluster.waitUntilHealthy()
        // A copy, with everything that is run for it.
        let leader = try cluster.leader()
        guard let replica = cluster.members.first(where: { $0 !== leader }) else { throw SystemFailure("no replica") }
        try run("reinit", "-c", file, "demo", replica.name, "--force", "--wait")
        try cluster.waitUntilHealthy()
        try run("restart", "-c", file, "demo", replica.name, "--force")
        try run("reload", "-c", file, "demo", "--force")
        try cluster.killAll(leader)
        _ = try cluster.waitForLeader(otherThan: leader, within: 60)
        try cluster.start(leader)
        try cluster.waitUntilHealthy()
        // Refusals.
        let answer = try LocalHTTP.call("POST", port: first.restPort, "/restart", body: [:])
        try check(answer.status == 401, "without a password: \(answer.status)")
        said["POST /restart without a password"] = answer.body
        try run("history", "-c", file)
        try run("explain", "-c", file, "--all", "--last", "100000")
        // A password that is wrong, at the store and at the server.
        if let secret = cluster.secrets["store"], let text = readText(file) {
            let other = "\(cluster.directory)/other.yml"
            try writePrivate(
                text.replacing(secret, with: "wrong-\(secret.dropFirst(6))"), to: other,
                account: cluster.environment.account)
            let program = "\(cluster.environment.programs)/matriarch"
            let result = try CommandResult.run(
                [program, "doctor", other, "--timeout", "3"], account: cluster.environment.account,
                directory: cluster.directory, within: 60)
            said["doctor with a wrong token"] = result.output
            unlink(other)
        }
        return said
    }

    private static func judge(_ file: Files.Entry, _ secrets: [String: String], isLog: Bool) throws {
        // PostgreSQL's own sockets take connections of everybody; what comes of them it decides itself.
        if file.isSocket, file.path.contains("/.s.PGSQL.") { return }
        // The store's data are not ours.
        if file.path.contains("/consul/data") || file.path.contains("/zookeeper/") { return }
        let mode = String(file.mode, radix: 8)
        try check(file.mode & 0o002 == 0, "\(file.path) can be written by everybody (\(mode))")
        guard file.isRegular else { return }
        for (purpose, secret) in secrets where Files.holds(file.path, secret) {
            try check(!isLog, "the password for \(purpose) is in the log \(file.path)")
            try check(
                file.mode & 0o077 == 0, "\(file.path) holds the password for \(purpose) and has the mode \(mode)")
        }
    }
}

/// Command lines of all processes, looked at all the time.
private final class CommandLineWatch: Sendable {
    private struct State {
        var seen: Set<String> = []
        var isStopped = false
        var isRunning = true
    }

    private let state = Mutex(State())

    /// - Parameter directory: only processes that have to do with it count.
    init(_ directory: String) {
        let box = Unmanaged.passRetained(self)
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { pointer in
                if let pointer { Unmanaged<CommandLineWatch>.fromOpaque(pointer).takeRetainedValue().run() }
                return nil
            }, box.toOpaque())
        if code == 0 {
            pthread_detach(thread)
        } else {
            box.release()
            state.withLock { $0.isRunning = false }
        }
    }

    var count: Int { state.withLock { $0.seen.count } }
    var all: String { state.withLock { $0.seen.joined(separator: "\n") } }

    func stop() {
        state.withLock { $0.isStopped = true }
        let deadline = clockNow() + 5
        while state.withLock({ $0.isRunning }), clockNow() < deadline { usleep(2000) }
    }

    private func run() {
        while !state.withLock({ $0.isStopped }) {
            for name in Files.names(in: "/proc") where name.allSatisfy(\.isNumber) {
                guard let text = readText("/proc/\(name)/cmdline"), !text.isEmpty else { continue }
                state.withLock { _ = $0.seen.insert(text.replacing("\0", with: " ")) }
            }
            usleep(10_000)
        }
        state.withLock { $0.isRunning = false }
    }
}

/// What is in directories.
private enum Files {
    struct Entry {
        var path: String
        var mode: UInt32
        var isRegular: Bool
        var isSocket: Bool
    }

    static func names(in path: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var found: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { found.append(name) }
        }
        return found
    }

    /// Whether a text is somewhere in a file, whatever else that holds.
    static func holds(_ path: String, _ text: String) -> Bool {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_size > 0 else { return false }
        let size = Int(status.st_size)
        guard let start = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
            return false
        }
        defer { munmap(start, size) }
        let length = text.utf8.count
        let end = start + size - length
        guard let first = text.utf8.first, end >= start else { return false }
        var next = start
        while next <= end, let found = memchr(next, Int32(first), end - next + 1) {
            if memcmp(found, text, length) == 0 { return true }
            next = found + 1
        }
        return false
    }

    /// Everything, links left out.
    static func all(below path: String) -> [Entry] {
        var found: [Entry] = []
        for name in names(in: path) {
            let place = path + "/" + name
            var status = stat()
            guard lstat(place, &status) == 0 else { continue }
            let kind = status.st_mode & S_IFMT
            if kind == S_IFLNK { continue }
            found.append(
                Entry(
                    path: place, mode: status.st_mode & 0o777, isRegular: kind == S_IFREG, isSocket: kind == S_IFSOCK))
            if kind == S_IFDIR { found += all(below: place) }
        }
        return found
    }
}
