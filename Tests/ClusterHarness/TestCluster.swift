package import ClusterModel
package import Glibc

/// A cluster of real agents with real PostgreSQL servers, on loopback or in networks of their own, in a directory of
/// its own.
///
/// Everything here blocks; it is used from one thread, see `onThread`. With networks, that thread is outside of them,
/// where the clients are.
package final class TestCluster {
    /// One member: its files, ports and processes.
    package final class Member {
        package let name: String
        /// From one on.
        package let number: Int
        package let host: Host
        package let restPort: Int
        package let postgresPort: Int
        package let directory: String
        package fileprivate(set) var agent: LocalProcess?

        fileprivate init(number: Int, host: Host?, directory: String) throws {
            name = "pg\(number)"
            self.number = number
            self.host = host ?? .loopback
            self.restPort = try LocalPorts.take()
            self.postgresPort = try LocalPorts.take()
            self.directory = "\(directory)/\(name)"
        }

        /// What its disk holds: the data directory, and the agent's state beside it.
        package var volume: String { "\(directory)/volume" }
        package var dataDirectory: String { "\(volume)/data" }
        package var configuration: String { "\(directory)/\(name).yml" }
        package var log: String { "\(directory)/agent.log" }
        package var agentPid: pid_t? { agent.flatMap { $0.isRunning ? $0.pid : nil } }
        package var guardPid: pid_t? { livingPid(inFile: "\(dataDirectory).matriarch/guard.lock") }
        package var postmasterPid: pid_t? { livingPid(inFile: "\(dataDirectory)/postmaster.pid") }
    }

    package let environment: SystemEnvironment
    package let plan: ClusterPlan
    package let directory: String
    package let members: [Member]
    package let network: Network?
    /// The store's servers; none where it has none.
    package private(set) var storeServers: [any StoreServer] = []
    /// Stores that the cluster may move to.
    private var otherServers: [any StoreServer] = []
    private var otherSections: [String] = []
    private var disks: [String] = []
    /// By member: its own ways to the store's servers.
    private var storeLinks: [String: [LinkProxy]] = [:]
    private let password = String(UInt64.random(in: .min ... .max), radix: 16)
    /// What must be seen nowhere, by what it is for.
    package private(set) var secrets: [String: String] = [:]

    package var store: StoreKind { plan.store }
    package var ttl: Int { plan.ttl }

    /// Makes the files; nothing runs yet but the store. Where the plan has networks, the calling thread is outside of
    /// them until the end.
    package init(_ plan: ClusterPlan) throws {
        environment = try SystemEnvironment.read()
        self.plan = plan
        var template = Array("\(SystemEnvironment.workPlace)/system.XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw SystemFailure("cannot make a directory") }
        directory = String(cString: made)
        Leftovers.register(directory)
        try makeDirectory(directory, mode: 0o755, account: environment.account)
        let directory = directory
        let network = plan.hasNetwork ? try Network() : nil
        self.network = network
        members = try (1...plan.members).map { number in
            try Member(number: number, host: try network?.addHost("pg\(number)"), directory: directory)
        }
        secrets["superuser"] = password
        if plan.hasSecrets {
            func secret() -> String { String(UInt64.random(in: UInt64.max / 2 ... .max), radix: 16) }
            for purpose in ["replication", "rewind", "restapi"] { secrets[purpose] = secret() }
            // Consul's are UUIDs.
            secrets["store"] =
                plan.store == .consul ? "\(secret().prefix(8))-aaaa-4bbb-8ccc-\(secret().prefix(12))" : secret()
        }
        do {
            if plan.store.hasServers {
                let prefix =
                    switch plan.store {
                    case .embedded, .zooKeeper: "zk"
                    case .etcd: "etcd"
                    case .consul: "consul"
                    }
                let hosts = try (1...plan.ensemble).compactMap { try network?.addHost("\(prefix)\($0)") }
                storeServers = try Self.startStore(plan, directory, environment.account, hosts, token: secrets["store"])
            }
            for member in members {
                try makeDirectory(member.directory, account: environment.account)
                try makeDirectory(member.volume, account: environment.account)
                if plan.hasStoreLinks {
                    storeLinks[member.name] = try storeServers.map { try LinkProxy(to: $0.port) }
                }
                if let bytes = plan.diskBytes { try mountDisk(at: member.volume, bytes) }
                try writeConfiguration(member)
            }
        } catch {
            end()
            throw error
        }
    }

    private static func startStore(
        _ plan: ClusterPlan, _ directory: String, _ account: String?, _ hosts: [Host], token: String?
    ) throws -> [any StoreServer] {
        switch plan.store {
        case .embedded: []
        case .zooKeeper:
            plan.ensemble > 1
                ? try ZooKeeperServer.ensemble(of: plan.ensemble, directory: directory, account: account, hosts: hosts)
                : [try ZooKeeperServer.single(directory: directory, account: account)]
        case .etcd: try EtcdServer.started(plan.ensemble, directory: directory, account: account, hosts: hosts)
        case .consul:
            try ConsulServer.started(
                plan.ensemble, directory: directory, account: account, hosts: hosts, token: token)
        }
    }

    /// Runs a test on a started cluster of three, and cleans up whatever happens. When it fails, the error tells the
    /// members' last words.
    package static func with<Result: Sendable>(
        _ store: StoreKind, ttl: Int = 4, ensemble: Int = 1, _ body: @escaping @Sendable (TestCluster) throws -> Result
    ) async throws -> Result {
        try await with(ClusterPlan(store, ttl: ttl, ensemble: ensemble), body)
    }

    /// The same with more to say of the cluster; `starts` is false where the test starts its members itself.
    package static func with<Result: Sendable>(
        _ plan: ClusterPlan, starts: Bool = true, _ body: @escaping @Sendable (TestCluster) throws -> Result
    ) async throws -> Result {
        try await onThread {
            let cluster = try TestCluster(plan)
            do {
                if starts { try cluster.startAll() }
                let result = try body(cluster)
                try cluster.stopAll()
                cluster.end()
                return result
            } catch {
                let words = cluster.lastWords()
                cluster.end()
                throw SystemFailure("[\(plan.store)] \(error)\n\(words)")
            }
        }
    }

    // MARK: Files

    /// The file whose presence makes the archive hang.
    package var archiveHang: String { "\(directory)/hang" }

    private func mountDisk(at path: String, _ bytes: UInt64) throws {
        try SmallDisk.mount(at: path, bytes: bytes, account: environment.account)
        disks.append(path)
        Leftovers.register(directory, disk: path)
    }

    private func writeConfiguration(_ member: Member) throws {
        let followers = plan.usesFollowersOnly ? storeServers.filter { $0.mode == "follower" } : []
        let servers = followers.isEmpty ? storeServers : followers
        let addresses =
            storeLinks[member.name]?.map { "\(Host.loopback.address):\($0.port)" } ?? servers.map(\.address)
        let list = addresses.map { "'\($0)'" }.joined(separator: ", ")
        let section =
            switch plan.store {
            case .embedded: "embedded:\n  path: \(directory)/store.db"
            case .zooKeeper:
                "zookeeper:\n  hosts: [\(list)]"
                    + (secrets["store"].map { "\n  auth_data: {digest: 'demo:\($0)'}" } ?? "")
            // Not past the proxies, or the followers, to the members that they would tell of.
            case .etcd: "etcd3:\n  hosts: [\(list)]\n  use_proxies: \(plan.hasStoreLinks || !followers.isEmpty)"
            // Each member knows the one agent on its own host: here one of the servers.
            case .consul:
                "consul:\n  host: '\(addresses[(member.number - 1) % addresses.count])'"
                    + (secrets["store"].map { "\n  token: '\($0)'" } ?? "")
            }
        let authentication =
            secrets["restapi"].map { "  authentication: {username: operator, password: '\($0)'}\n" } ?? ""
        var parameters = plan.parameters
        if plan.archives {
            // Answers as soon as the file is gone: a hanging archive that heals.
            parameters["archive_mode"] = "'on'"
            parameters["archive_command"] = "'while [ -e \(archiveHang) ]; do sleep 0.1; done'"
        }
        let more = parameters.sorted { $0.key < $1.key }.map { "    \($0.key): \($0.value)\n" }.joined()
        let address = member.host.address
        try writePrivate(
            """
            scope: demo
            name: \(member.name)
            restapi:
              listen: \(address):\(member.restPort)
              connect_address: \(address):\(member.restPort)
            \(authentication)\(section)
            bootstrap:
              dcs:
                ttl: \(ttl)
                loop_wait: \(plan.loopWait)
                retry_timeout: \(plan.retryTimeout)
                failsafe_mode: \(plan.hasFailsafe)
                postgresql:
                  use_pg_rewind: true
                  use_slots: \(plan.usesSlots)
              initdb:
                - encoding: UTF8
                - data-checksums
              pg_hba:
                - host all all 127.0.0.1/32 scram-sha-256
                - host replication replicator 127.0.0.1/32 scram-sha-256
                - host all all 10.77.0.0/24 scram-sha-256
                - host replication replicator 10.77.0.0/24 scram-sha-256
            postgresql:
              listen: \(address):\(member.postgresPort)
              connect_address: \(address):\(member.postgresPort)
              data_dir: \(member.dataDirectory)
              bin_dir: \(environment.postgres)
              pgpass: \(member.directory)/pgpass
              authentication:
                superuser: {username: postgres, password: '\(password)'}
                replication: {username: replicator, password: '\(secrets["replication"] ?? password)'}
                rewind: {username: rewinder, password: '\(secrets["rewind"] ?? password)'}
              parameters:
                unix_socket_directories: \(member.directory)
                shared_buffers: 16MB
                max_connections: 40
            \(more)
            """, to: member.configuration, account: environment.account)
    }

    // MARK: Another store

    /// Starts another store and returns a file that names it, as `matriarch store migrate --to` wants it.
    package func startOther(_ kind: StoreKind) throws -> String {
        let place = "\(directory)/other\(otherSections.count + 1)"
        try makeDirectory(place, account: environment.account)
        let servers = try Self.startStore(ClusterPlan(kind, ttl: ttl), place, environment.account, [], token: nil)
        otherServers += servers
        let list = servers.map { "'\($0.address)'" }.joined(separator: ", ")
        let section =
            switch kind {
            case .embedded: "embedded:\n  path: \(place)/store.db\n"
            case .zooKeeper: "zookeeper:\n  hosts: [\(list)]\n"
            case .etcd: "etcd3:\n  hosts: [\(list)]\n  use_proxies: false\n"
            case .consul: "consul:\n  host: '\(servers.first?.address ?? "")'\n"
            }
        otherSections.append(section)
        let path = "\(place)/store.yml"
        try writePrivate("scope: demo\n" + section, to: path, account: environment.account)
        return path
    }

    /// Puts the store section of a file into a member's configuration, in place of the one that it has.
    package func change(_ member: Member, toStoreOf path: String) throws {
        guard let text = readText(member.configuration), let new = readText(path) else {
            throw SystemFailure("cannot read \(member.configuration) or \(path)")
        }
        var lines: [Substring] = []
        var isSkipping = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if !line.hasPrefix(" ") {
                isSkipping = ["zookeeper:", "etcd3:", "consul:", "embedded:"].contains { line.hasPrefix($0) }
            }
            if !isSkipping { lines.append(line) }
        }
        let section = new.split(separator: "\n").drop { $0.hasPrefix("scope:") }
        try writePrivate(
            (section + lines).joined(separator: "\n") + "\n", to: member.configuration, account: environment.account)
    }

    /// Has a member's agent end as by SIGKILL at a step of a migration that it carries out.
    package func endAt(_ step: String, _ member: Member) throws {
        try writePrivate(
            step, to: "\(member.dataDirectory).matriarch/migration.test", account: environment.account)
    }

    /// SIGKILL to a member's agent alone; its guard and its server go on.
    package func killAgent(_ member: Member) throws {
        guard let agent = member.agent else { return }
        agent.send(SIGKILL)
        try agent.waitForEnd(within: 5)
    }

    /// A file that names the store that the first member's configuration does, for `store migrate` and `store clear`.
    package func fileOfStore() throws -> String {
        let path = "\(directory)/first-store.yml"
        guard let text = readText(members[0].configuration) else { throw SystemFailure("no configuration") }
        var lines: [Substring] = ["scope: demo"]
        var isTaking = false
        for line in text.split(separator: "\n") {
            if !line.hasPrefix(" ") {
                isTaking = ["zookeeper:", "etcd3:", "consul:", "embedded:"].contains { line.hasPrefix($0) }
            }
            if isTaking { lines.append(line) }
        }
        try writePrivate(lines.joined(separator: "\n") + "\n", to: path, account: environment.account)
        return path
    }

    /// Runs `matriarch` on a file instead of a member's API.
    package func matriarchWithoutURL(_ arguments: [String], within seconds: Double = 60) throws -> CommandResult {
        try CommandResult.run(
            ["\(environment.programs)/matriarch"] + arguments, account: environment.account, directory: directory,
            within: seconds)
    }

    package func migrationStatus(_ member: Member) -> JSONObject? {
        let answer = try? LocalHTTP.call(
            "GET", host: member.host, port: member.restPort, "/store/migration", within: 2)
        return answer?.json?.object
    }

    /// The program at work, to be ended by the test.
    package func startMatriarch(_ arguments: [String]) throws -> LocalProcess {
        let urls = members.map { "http://\($0.host.address):\($0.restPort)" }.joined(separator: ",")
        return try LocalProcess(
            "matriarch \(arguments.first ?? "")", ["\(environment.programs)/matriarch"] + arguments + ["--url", urls],
            account: environment.account, directory: directory, log: "\(directory)/command.log")
    }

    package func connectionString(_ member: Member, name: String = "test") -> String {
        "host=\(member.host.address) port=\(member.postgresPort) user=postgres password=\(password) dbname=postgres "
            + "connect_timeout=3 application_name=\(name)"
    }

    // MARK: The way to the store

    /// A way between a member and the store.
    package enum StoreDirection: Sendable {
        case both
        /// The member does not hear the store.
        case toMember
        /// The store does not hear the member.
        case toStore
    }

    /// Cuts members from the store, in their networks or in their proxies.
    package func cutFromStore(_ members: [Member], _ direction: StoreDirection = .both) throws {
        let hosts = members.map(\.host)
        let store = storeServers.map(\.host)
        if let network {
            if direction != .toStore { try network.cut(hosts, from: store) }
            if direction != .toMember { try network.cut(store, from: hosts) }
            return
        }
        for member in members {
            guard let links = storeLinks[member.name] else {
                throw SystemFailure("the way of \(member.name) to the store cannot be cut")
            }
            for link in links {
                switch direction {
                case .both: link.cut([.toServer, .toClient])
                case .toMember: link.cut([.toClient])
                case .toStore: link.cut([.toServer])
                }
            }
        }
    }

    /// Every answer of the store takes so long, where the members have proxies.
    package func slowStore(by seconds: Double) throws {
        try check(plan.hasStoreLinks, "the members have no proxies to the store")
        for link in storeLinks.values.joined() { link.delayAnswers(by: seconds) }
    }

    /// Everybody hears everybody again.
    package func healNetwork() throws {
        for link in storeLinks.values.joined() {
            link.cut([])
            link.delayAnswers(by: 0)
        }
        try network?.heal()
    }

    // MARK: Starting and stopping

    /// Starts all agents and waits until one leads and the others stream.
    package func startAll(within seconds: Double = 90) throws {
        for member in members { try start(member) }
        try waitUntilHealthy(within: seconds)
    }

    package func start(_ member: Member) throws {
        member.agent = try LocalProcess(
            "agent of \(member.name)", ["\(environment.programs)/matriarch", "run", member.configuration],
            account: environment.account, directory: member.directory, log: member.log, umask: plan.umask,
            on: member.host)
    }

    /// Starts a stock Patroni as the member's agent, with the same file.
    package func startPatroni(_ member: Member, _ program: String) throws {
        member.agent = try LocalProcess(
            "Patroni of \(member.name)", [program, member.configuration], account: environment.account,
            directory: member.directory, log: member.log, on: member.host)
    }

    /// SIGTERM to the agents, the replicas first; every process must end by itself.
    package func stopAll() throws {
        let last = try? leader()
        for member in members where member !== last { try stop(member) }
        if let last { try stop(last) }
        for member in members {
            try waitUntil("the guard of \(member.name) is gone", within: 5) { member.guardPid == nil }
            try check(member.postmasterPid == nil, "PostgreSQL of \(member.name) outlived its agent")
        }
        let left = try waitUntil("no process is left behind", within: 5) {
            let left = processes()
            if left.isEmpty { return left }
            throw SystemFailure(left.map(describeProcess).joined(separator: "; "))
        }
        try check(left.isEmpty, "processes are left behind")
    }

    package func stop(_ member: Member) throws {
        guard let agent = member.agent, agent.isRunning else { return }
        agent.send(SIGTERM)
        try agent.waitForEnd(within: 40)
        try check(agent.exitStatus == 0, "the agent of \(member.name) ended with \(agent.exitStatus ?? -1)")
    }

    /// Ends whatever is left and removes the directory.
    package func end() {
        for pid in processes() { kill(pid, SIGKILL) }
        for server in storeServers + otherServers { server.stop() }
        for link in storeLinks.values.joined() { link.close() }
        for member in members { _ = try? member.agent?.waitForEnd(within: 5) }
        try? network?.leave()
        Leftovers.clean(directory, disks: disks, keeps: environment.keeps)
    }

    /// Processes that work in the cluster's directory: agents, guards, servers, scripts; the store's not.
    package func processes() -> [pid_t] {
        let store = (storeServers + otherServers).compactMap(\.pid)
        return Leftovers.processes(of: directory).filter { !store.contains($0) }
    }
}
