import ClusterModel
import Glibc

/// Where a test's members coordinate.
enum StoreKind: String, CaseIterable, Sendable {
    case embedded
    case zooKeeper
}

/// What of a member a fault hits.
enum Victim: String, Sendable {
    case agent, guardProcess, postmaster
}

/// A cluster of real agents with real PostgreSQL servers, on loopback, in a directory of its own.
///
/// Everything here blocks; it is used from one thread, see `onThread`.
final class TestCluster {
    /// One member: its files, ports and processes.
    final class Member {
        let name: String
        let restPort: Int
        let postgresPort: Int
        let directory: String
        fileprivate(set) var agent: LocalProcess?

        fileprivate init(name: String, directory: String) throws {
            self.name = name
            self.restPort = try LocalPorts.take()
            self.postgresPort = try LocalPorts.take()
            self.directory = "\(directory)/\(name)"
        }

        var dataDirectory: String { "\(directory)/data" }
        var configuration: String { "\(directory)/\(name).yml" }
        var log: String { "\(directory)/agent.log" }
        var agentPid: pid_t? { agent.flatMap { $0.isRunning ? $0.pid : nil } }
        var guardPid: pid_t? { livingPid(inFile: "\(directory)/data.matriarch/guard.lock") }
        var postmasterPid: pid_t? { livingPid(inFile: "\(dataDirectory)/postmaster.pid") }
    }

    let environment: SystemEnvironment
    let store: StoreKind
    let directory: String
    let members: [Member]
    let ttl: Int
    private(set) var zooKeepers: [ZooKeeperServer] = []
    private let password = String(UInt64.random(in: .min ... .max), radix: 16)

    /// Makes the files; nothing runs yet but the store.
    init(
        _ store: StoreKind, members count: Int = 3, ttl: Int = 4, ensemble: Int = 1
    ) throws {
        environment = try SystemEnvironment.read()
        self.store = store
        self.ttl = ttl
        let place = SystemEnvironment.variable("MATRIARCH_WORK") ?? SystemEnvironment.variable("TMPDIR") ?? "/tmp"
        var template = Array("\(place)/system.XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw SystemFailure("cannot make a directory") }
        directory = String(cString: made)
        try makeDirectory(directory, mode: 0o755, account: environment.account)
        let directory = directory
        members = try (1...count).map { try Member(name: "pg\($0)", directory: directory) }
        do {
            if store == .zooKeeper {
                zooKeepers =
                    ensemble > 1
                    ? try ZooKeeperServer.ensemble(of: ensemble, directory: directory, account: environment.account)
                    : [try ZooKeeperServer.single(directory: directory, account: environment.account)]
            }
            for member in members { try writeConfiguration(member) }
        } catch {
            end()
            throw error
        }
    }

    /// Runs a test on a started cluster of three, and cleans up whatever happens. When it fails, the error tells the
    /// members' last words.
    static func with<Result: Sendable>(
        _ store: StoreKind, ttl: Int = 4, ensemble: Int = 1, _ body: @escaping @Sendable (TestCluster) throws -> Result
    ) async throws -> Result {
        try await onThread {
            let cluster = try TestCluster(store, ttl: ttl, ensemble: ensemble)
            do {
                try cluster.startAll()
                let result = try body(cluster)
                try cluster.stopAll()
                cluster.end()
                return result
            } catch {
                let words = cluster.lastWords()
                cluster.end()
                throw SystemFailure("[\(store)] \(error)\n\(words)")
            }
        }
    }

    private func writeConfiguration(_ member: Member) throws {
        try makeDirectory(member.directory, account: environment.account)
        // With an ensemble the members hang on followers: the leader's freezing must reach them indirectly.
        let followers = zooKeepers.filter { $0.mode == "follower" }
        let hosts = (followers.isEmpty ? zooKeepers : followers).map { "127.0.0.1:\($0.port)" }
        let section =
            store == .embedded
            ? "embedded:\n  path: \(directory)/store.db"
            : "zookeeper:\n  hosts: [\(hosts.map { "'\($0)'" }.joined(separator: ", "))]"
        try writePrivate(
            """
            scope: demo
            name: \(member.name)
            restapi:
              listen: 127.0.0.1:\(member.restPort)
              connect_address: 127.0.0.1:\(member.restPort)
            \(section)
            bootstrap:
              dcs:
                ttl: \(ttl)
                loop_wait: 1
                retry_timeout: 1
                postgresql:
                  use_pg_rewind: true
              initdb:
                - encoding: UTF8
                - data-checksums
              pg_hba:
                - host all all 127.0.0.1/32 scram-sha-256
                - host replication replicator 127.0.0.1/32 scram-sha-256
            postgresql:
              listen: 127.0.0.1:\(member.postgresPort)
              connect_address: 127.0.0.1:\(member.postgresPort)
              data_dir: \(member.dataDirectory)
              bin_dir: \(environment.postgres)
              pgpass: \(member.directory)/pgpass
              authentication:
                superuser: {username: postgres, password: '\(password)'}
                replication: {username: replicator, password: '\(password)'}
                rewind: {username: rewinder, password: '\(password)'}
              parameters:
                unix_socket_directories: \(member.directory)
                shared_buffers: 16MB
                max_connections: 40

            """, to: member.configuration, account: environment.account)
    }

    // MARK: Starting and stopping

    /// Starts all agents and waits until one leads and the others stream.
    func startAll(within seconds: Double = 90) throws {
        for member in members { try start(member) }
        try waitUntilHealthy(within: seconds)
    }

    func start(_ member: Member) throws {
        member.agent = try LocalProcess(
            "agent of \(member.name)", ["\(environment.programs)/matriarch", "run", member.configuration],
            account: environment.account, directory: member.directory, log: member.log)
    }

    /// One leader that is writable, everybody else streaming from it.
    func waitUntilHealthy(within seconds: Double = 60) throws {
        try waitUntil("one member leads and \(members.count - 1) stream", within: seconds, every: 0.1) {
            let rows = try list()
            let leaders = rows.filter { $0["role"]?.string == "leader" }
            let streaming = rows.count { $0["state"]?.string == "streaming" }
            guard leaders.count == 1, streaming == members.count - 1, let leader = try? leader() else {
                throw SystemFailure(rows.map { $0.summary }.joined(separator: ", "))
            }
            return try isWritable(leader)
        }
    }

    /// SIGTERM to the agents, the replicas first; every process must end by itself.
    func stopAll() throws {
        let last = try? leader()
        for member in members where member !== last { try stop(member) }
        if let last { try stop(last) }
        for member in members {
            try waitUntil("the guard of \(member.name) is gone", within: 5) { member.guardPid == nil }
            try check(member.postmasterPid == nil, "PostgreSQL of \(member.name) outlived its agent")
        }
    }

    func stop(_ member: Member) throws {
        guard let agent = member.agent, agent.isRunning else { return }
        agent.send(SIGTERM)
        try agent.waitForEnd(within: 40)
        try check(agent.exitStatus == 0, "the agent of \(member.name) ended with \(agent.exitStatus ?? -1)")
    }

    /// Ends whatever is left and removes the directory.
    func end() {
        for pid in processesOfDirectory() { kill(pid, SIGKILL) }
        for server in zooKeepers { server.stop() }
        for member in members { _ = try? member.agent?.waitForEnd(within: 5) }
        _ = try? waitUntil("nothing is left", within: 10) {
            let left = processesOfDirectory()
            for pid in left { kill(pid, SIGKILL) }
            return left.isEmpty
        }
        if !environment.keeps { removeTree(directory) }
    }

    /// Processes that work in the cluster's directory: agents, guards, servers, scripts.
    private func processesOfDirectory() -> [pid_t] {
        guard let proc = opendir("/proc") else { return [] }
        defer { closedir(proc) }
        var result: [pid_t] = []
        while let entry = readdir(proc) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let pid = pid_t(name), pid != getpid(), isAlive(pid) else { continue }
            let works = link("/proc/\(pid)/cwd")?.hasPrefix(directory) ?? false
            let named = (readText("/proc/\(pid)/cmdline") ?? "").contains(directory + "/")
            let isZooKeeper = zooKeepers.contains { $0.pid == pid }
            if (works || named) && !isZooKeeper { result.append(pid) }
        }
        return result
    }

    private func link(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = buffer.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return -1 }
            return readlink(path, base.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }

    // MARK: Faults

    func pid(_ member: Member, _ victim: Victim) throws -> pid_t {
        let pid =
            switch victim {
            case .agent: member.agentPid
            case .guardProcess: member.guardPid
            case .postmaster: member.postmasterPid
            }
        guard let pid else { throw SystemFailure("\(member.name) has no \(victim) that runs") }
        return pid
    }

    func send(_ signal: Int32, to member: Member, _ victims: Victim...) throws {
        let pids = try victims.map { try pid(member, $0) }
        for pid in pids { kill(pid, signal) }
    }

    /// Everything of a member at once: as if its host had gone.
    func killAll(_ member: Member) throws {
        var pids = [try pid(member, .agent), try pid(member, .guardProcess), try pid(member, .postmaster)]
        pids += descendants(of: pids[2])
        for pid in pids { kill(pid, SIGKILL) }
        try waitUntil("\(member.name) is dead", within: 5) { !pids.contains(where: isAlive) && member.agentPid == nil }
    }

    // MARK: Looking

    /// The rows of `GET /cluster` of whichever member answers.
    func list() throws -> [ClusterRow] {
        var trouble: [String] = []
        for member in members {
            do {
                let answer = try LocalHTTP.call("GET", port: member.restPort, "/cluster", within: 2)
                if answer.status == 200, let rows = answer.json?["members"]?.array {
                    return rows.compactMap { $0.object.map(ClusterRow.init) }
                }
                trouble.append("\(member.name): \(answer.status)")
            } catch {
                trouble.append("\(member.name): \(error)")
            }
        }
        throw SystemFailure("no member answers: \(trouble.joined(separator: "; "))")
    }

    /// The member that says of itself that it leads (`GET /primary` is 200).
    func leader() throws -> Member {
        let leaders = members.filter {
            (try? LocalHTTP.call("GET", port: $0.restPort, "/primary", within: 2))?.status == 200
        }
        guard leaders.count == 1, let leader = leaders.first else {
            throw SystemFailure("leaders: \(leaders.map(\.name))")
        }
        return leader
    }

    /// Another leader than this member.
    func waitForLeader(otherThan old: Member, within seconds: Double) throws -> Member {
        try waitUntil("another member than \(old.name) leads and takes writes", within: seconds, every: 0.02) {
            let leader = try leader()
            guard leader !== old else { throw SystemFailure("\(old.name) leads still") }
            return try isWritable(leader) ? leader : nil
        }
    }

    func isWritable(_ member: Member) throws -> Bool {
        try query(member, "select not pg_is_in_recovery()") == "t"
    }

    /// Waits until a member streams from the leader.
    func waitUntilStreams(_ member: Member, within seconds: Double = 60) throws {
        try waitUntil("\(member.name) streams", within: seconds, every: 0.1) {
            try query(member, "select count(*) from pg_stat_wal_receiver where status = 'streaming'") == "1"
        }
    }

    /// One value of one row.
    func query(_ member: Member, _ text: String) throws -> String {
        let session = try Session(connectionString(member))
        return try session.value(text)
    }

    func connectionString(_ member: Member, name: String = "test") -> String {
        "host=127.0.0.1 port=\(member.postgresPort) user=postgres password=\(password) dbname=postgres "
            + "connect_timeout=3 application_name=\(name)"
    }

    // MARK: The program

    /// Runs `matriarch` as an operator does; the first living member's file names the cluster.
    func matriarch(_ arguments: [String], within seconds: Double = 60) throws -> CommandResult {
        let urls = members.map { "http://127.0.0.1:\($0.restPort)" }.joined(separator: ",")
        return try CommandResult.run(
            ["\(environment.programs)/matriarch"] + arguments + ["--url", urls], account: environment.account,
            directory: directory, within: seconds)
    }

    /// What the members decided, oldest first, as `matriarch explain` tells it.
    func explain(since: WallTime? = nil) throws -> [ExplainedDecision] {
        let result = try matriarch(["explain", "--all", "--last", "100000", "--format", "json"])
        try check(result.status == 0, "matriarch explain: \(result.output)")
        // What is said on the error stream (a member that does not answer) stands before the document.
        guard let start = result.output.firstIndex(of: "["),
            let rows = try? JSONValue.parse(String(result.output[start...])).array
        else { throw SystemFailure("matriarch explain: no JSON: \(result.output)") }
        return rows.compactMap(ExplainedDecision.init).filter { decision in since.map { decision.at >= $0 } ?? true }
    }

    /// Requires that a member gave one of these rules as its reason, with these facts.
    @discardableResult
    func requireExplained(
        _ member: Member, _ rules: [String], facts: [String] = [], since: WallTime
    ) throws -> ExplainedDecision {
        try waitUntil(
            "\(member.name) explains itself by \(rules.joined(separator: " or ")) with the facts \(facts)", within: 15,
            every: 0.3
        ) {
            let own = try explain(since: since).filter { $0.member == member.name }
            if let found = own.last(where: { decision in
                rules.contains(decision.rule) && facts.allSatisfy { decision.facts[$0] != nil }
            }) {
                return found
            }
            throw SystemFailure("it tells: \(own.suffix(25).map(\.summary).joined(separator: "; "))")
        }
    }

    /// For a failed test: the table, and the ends of the logs.
    func lastWords() -> String {
        var text = (try? list().map(\.summary).joined(separator: ", ")) ?? "nobody answers GET /cluster"
        for member in members {
            let lines = (readText(member.log) ?? "").split(separator: "\n")
            text += "\n--- \(member.name) (agent \(member.agentPid ?? 0), guard \(member.guardPid ?? 0), postmaster "
            text += "\(member.postmasterPid ?? 0)), its last lines:\n" + lines.suffix(25).joined(separator: "\n")
            // A crash is told with the stack of the thread that crashed, above the registers.
            let crash = lines.filter { $0.contains("Fatal error") || $0.contains("Program crashed") }
            let stack = lines.drop { !($0.hasPrefix("Thread ") && $0.contains("crashed")) }.prefix(25)
            if !crash.isEmpty { text += "\n--- it crashed:\n" + (crash + stack).joined(separator: "\n") }
        }
        if let told = try? matriarch(["explain", "--all", "--last", "30"], within: 10).output {
            text += "\n--- matriarch explain --all --last 30:\n\(told)"
        }
        if environment.keeps { text += "\nkept: \(directory)" }
        return text
    }
}

/// A row of `GET /cluster`.
struct ClusterRow {
    var object: JSONObject

    subscript(key: String) -> JSONValue? { object[key] }

    var summary: String {
        "\(object["name"]?.string ?? "?"): \(object["role"]?.string ?? "?"), \(object["state"]?.string ?? "?")"
    }
}

/// A decision as `matriarch explain --format json` tells it.
struct ExplainedDecision {
    var member: String
    var at: WallTime
    var rule: String
    var text: String
    var facts: JSONObject

    init?(_ value: JSONValue) {
        guard let member = value["member"]?.string, let rule = value["rule"]?.string,
            let at = value["at"]?.string.flatMap(WallTime.parse)
        else { return nil }
        self.member = member
        self.rule = rule
        self.at = at.time
        text = value["text"]?.string ?? ""
        facts = value["facts"]?.object ?? JSONObject()
    }

    var summary: String { "\(at.iso8601(fractionDigits: 3)) \(rule) \(JSONValue.object(facts).serialized())" }
}

func wallNow() -> WallTime {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return WallTime(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
}
