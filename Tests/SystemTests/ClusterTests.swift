import ClusterHarness
import ClusterModel
import Glibc
import Testing

/// Real clusters of three, real faults. One at a time: each measures times.
@Suite(.serialized) struct ClusterTests {
    @Test(
        "Three members bootstrap one cluster, and stop cleanly", .timeLimit(.minutes(5)), arguments: StoreKind.allCases)
    func bootstrap(store: StoreKind) async throws {
        try await TestCluster.with(store) { cluster in
            let began = wallNow()
            let leader = try cluster.leader()
            let rows = try cluster.list()
            try check(rows.count == 3, "three members are listed")
            for member in cluster.members {
                try check(
                    try cluster.query(member, "select system_identifier from pg_control_system()")
                        == cluster.query(leader, "select system_identifier from pg_control_system()"),
                    "\(member.name) is of the same cluster")
            }
            // An hour's grace: the decisions are from before this line.
            let start = began + .seconds(-3600)
            try cluster.requireExplained(leader, Rules.bootstrapped, since: start)
            try cluster.requireExplained(leader, Rules.acquired, facts: ["fence"], since: start)
            let table = try cluster.matriarch(["list"])
            try check(table.status == 0 && table.output.contains("| \(leader.name)"), "list: \(table.output)")
            try check(!table.output.contains("unfenced"), "every member is guarded: \(table.output)")
            try Self.consultDoctor(cluster, leader)
        }
    }

    /// Beside a member that runs, `matriarch doctor` finds nothing that is wrong, and what it knows of the store's servers.
    private static func consultDoctor(_ cluster: TestCluster, _ member: TestCluster.Member) throws {
        let result = try CommandResult.run(
            ["\(cluster.environment.programs)/matriarch", "doctor", member.configuration, "--format", "json"],
            account: cluster.environment.account, directory: cluster.directory, within: 60)
        guard result.status == 0, let start = result.output.firstIndex(of: "["),
            let rows = try? JSONValue.parse(String(result.output[start...])).array
        else { throw SystemFailure("matriarch doctor: \(result.status) \(result.output)") }
        func texts(_ area: String) -> String {
            rows.filter { $0["area"]?.string == area }.compactMap { $0["finding"]?.string }.joined(separator: "\n")
        }
        for (area, words) in [
            ("guard", ["the guard runs"]), ("ports", ["taken, by the agent that runs", "taken, by the PostgreSQL"]),
            ("lease", ["ttl \(cluster.ttl) s", "SIGKILL at"]), ("store", ["was read in", "\(member.name) leads"]),
        ] {
            for word in words where !texts(area).contains(word) {
                throw SystemFailure("doctor does not say '\(word)': \(texts(area))")
            }
        }
        let own =
            switch cluster.store {
            case .embedded: "no member of another host can join"
            case .zooKeeper: "stands alone"
            case .etcd: "etcd "
            case .consul: "Consul "
            }
        try check(texts("store").contains(own), "doctor says of the store's servers: \(texts("store"))")
    }

    @Test(
        "The primary's agent, guard and PostgreSQL killed: another leads, the old one comes back as a replica",
        .timeLimit(.minutes(15)), arguments: StoreKind.allCases)
    func killEverything(store: StoreKind) async throws {
        try await TestCluster.with(store) { cluster in
            try Faults.rounds(cluster, "kill all") { writers, old, since in
                let hit = clockNow()
                try cluster.killAll(old)
                let new = try cluster.waitForLeader(otherThan: old, within: Double(cluster.ttl) * 3 + 15)
                let first = try writers.waitForWrite(after: hit, on: new.name, within: 15)
                tell(
                    "\(store): writes again \(milliseconds(first.acknowledged - hit)) ms after the kill (ttl \(cluster.ttl) s)"
                )
                try cluster.requireExplained(new, Rules.acquired, facts: ["fence"], since: since)
                try cluster.requireExplained(new, Rules.leaderGone, since: since)
                try cluster.requireExplained(new, Rules.promoted, facts: ["fence"], since: since)
                try cluster.start(old)
                try cluster.waitUntilStreams(old)
                return .mayLose
            }
        }
    }

    @Test(
        "The postmaster alone killed: it is started again in place, the leader stays", .timeLimit(.minutes(10)),
        arguments: StoreKind.allCases)
    func killPostmaster(store: StoreKind) async throws {
        try await TestCluster.with(store) { cluster in
            try Faults.rounds(cluster, "kill postmaster") { writers, leader, since in
                let hit = clockNow()
                try cluster.send(SIGKILL, to: leader, .postmaster)
                let first = try writers.waitForWrite(after: hit + 0.001, within: 30)
                tell("\(store): writes again \(milliseconds(first.acknowledged - hit)) ms after the kill")
                try check(first.member == leader.name, "\(first.member) leads instead of \(leader.name)")
                try cluster.requireExplained(leader, Rules.crashed, since: since)
                // A server that crashes again and again is given up for another: each round hits another member.
                try cluster.waitUntilHealthy()
                let moved = try cluster.matriarch(["switchover", "--force"])
                try check(moved.status == 0, "matriarch switchover: \(moved.output)")
                return .mustKeep
            }
        }
    }

    @Test(
        "The primary's agent stopped for longer than the lease, a statement running: one writer",
        .timeLimit(.minutes(15)),
        arguments: StoreKind.allCases)
    func stopAgent(store: StoreKind) async throws {
        try await Faults.freeze(store, [.agent], explainedBy: Rules.leaseOver)
    }

    @Test(
        "The primary's guard stopped for longer than the lease, a statement running: one writer",
        .timeLimit(.minutes(15)),
        arguments: StoreKind.allCases)
    func stopGuard(store: StoreKind) async throws {
        try await Faults.freeze(store, [.guardProcess], explainedBy: Rules.guardTrouble)
    }

    @Test(
        "The primary's agent and guard stopped for longer than the lease, a statement running: one writer",
        .timeLimit(.minutes(15)), arguments: StoreKind.allCases)
    func stopBoth(store: StoreKind) async throws {
        try await Faults.freeze(store, [.agent, .guardProcess], explainedBy: Rules.leaseOver + Rules.guardTrouble)
    }

    @Test(
        "An ensemble's leader frozen while the members hang on followers: one writer", .timeLimit(.minutes(15)),
        arguments: StoreKind.allCases.filter(\.hasServers))
    func freezeEnsembleLeader(store: StoreKind) async throws {
        try await TestCluster.with(store, ensemble: 3) { cluster in
            for round in 1...cluster.environment.rounds {
                let writers = try Writers(cluster)
                let holder = try cluster.leader()
                let since = wallNow()
                guard let frozen = cluster.storeServers.first(where: { $0.mode == "leader" }) else {
                    throw SystemFailure("the ensemble has no leader")
                }
                try writers.beginLongStatement(on: holder, seconds: 5)
                let hit = clockNow()
                frozen.freeze()
                pauseFor(Double(cluster.ttl) * 2 + 2)
                frozen.thaw()
                try cluster.waitUntilHealthy(within: 90)
                try writers.waitForWrite(after: clockNow(), within: 30)
                try writers.stop()
                let all = writers.acknowledgements
                try Writers.requireOneWriter(all)
                let lost = try writers.lost(all, on: try cluster.leader())
                tell(
                    "ensemble, round \(round): \(all.count) acknowledged, \(lost) lost, "
                        + "\(milliseconds(Writers.gap(all, around: hit))) ms without writes")
                let leader = try cluster.leader()
                // An ensemble that elects a new leader soon enough costs the holder nothing, and nothing is to be explained.
                if leader !== holder {
                    try cluster.requireExplained(leader, Rules.acquired, facts: ["fence"], since: since)
                }
            }
        }
    }

    @Test(
        "matriarch switchover and POST /switchover move the leadership and lose nothing", .timeLimit(.minutes(10)),
        arguments: StoreKind.allCases)
    func switchover(store: StoreKind) async throws {
        try await TestCluster.with(store) { cluster in
            try Faults.rounds(cluster, "switchover by command") { writers, old, since in
                let candidate = cluster.members.first { $0 !== old } ?? old
                let hit = clockNow()
                let result = try cluster.matriarch(["switchover", "--candidate", candidate.name, "--force"])
                try check(result.status == 0, "matriarch switchover: \(result.output)")
                try check(try cluster.leader() === candidate, "\(candidate.name) does not lead: \(result.output)")
                try writers.waitForWrite(after: clockNow(), on: candidate.name, within: 10)
                tell(
                    "\(store): \(milliseconds(Writers.gap(writers.acknowledgements, around: hit))) ms without writes (command)"
                )
                try cluster.requireExplained(old, Rules.switchoverBegun, since: since)
                try cluster.requireExplained(old, Rules.handedOver, facts: ["fence"], since: since)
                try cluster.requireExplained(candidate, Rules.acquired, facts: ["fence"], since: since)
                return .mustKeep
            }
            try Faults.rounds(cluster, "switchover by REST") { writers, old, since in
                let hit = clockNow()
                let answer = try LocalHTTP.call(
                    "POST", port: old.restPort, "/switchover", body: ["leader": .string(old.name)], within: 60)
                try check(answer.status == 200, "POST /switchover: \(answer.status) \(answer.body)")
                let new = try cluster.waitForLeader(otherThan: old, within: 10)
                try check(answer.body.contains(new.name), "the answer names the new leader: \(answer.body)")
                try writers.waitForWrite(after: clockNow(), on: new.name, within: 10)
                tell(
                    "\(store): \(milliseconds(Writers.gap(writers.acknowledgements, around: hit))) ms without writes (REST)"
                )
                try cluster.requireExplained(new, Rules.acquired, facts: ["fence"], since: since)
                return .mustKeep
            }
        }
    }

    @Test(
        "SIGTERM to the primary's agent hands the leadership over and loses nothing", .timeLimit(.minutes(10)),
        arguments: StoreKind.allCases)
    func terminate(store: StoreKind) async throws {
        try await TestCluster.with(store) { cluster in
            try Faults.rounds(cluster, "SIGTERM") { writers, old, since in
                let hit = clockNow()
                try cluster.send(SIGTERM, to: old, .agent)
                let new = try cluster.waitForLeader(otherThan: old, within: 30)
                try writers.waitForWrite(after: clockNow(), on: new.name, within: 10)
                tell(
                    "\(store): \(milliseconds(Writers.gap(writers.acknowledgements, around: hit))) ms without writes (SIGTERM)"
                )
                try cluster.requireExplained(new, Rules.acquired, facts: ["fence"], since: since)
                try waitUntil("the old agent ends", within: 30) { old.agentPid == nil }
                try check(old.agent?.exitStatus == 0, "the agent ended with \(old.agent?.exitStatus ?? -1)")
                try check(old.postmasterPid == nil, "PostgreSQL outlived its agent's SIGTERM")
                try cluster.start(old)
                try cluster.waitUntilStreams(old)
                return .mustKeep
            }
        }
    }

    @Test(
        "A stock patronictl shows the cluster", .timeLimit(.minutes(5)),
        .enabled(if: SystemEnvironment.variable("MATRIARCH_PATRONICTL") != nil))
    func stockPatronictl() async throws {
        try await TestCluster.with(.zooKeeper) { cluster in
            guard let program = SystemEnvironment.variable("MATRIARCH_PATRONICTL") else { return }
            let leader = try cluster.leader()
            let result = try CommandResult.run(
                [program, "-c", cluster.members[0].configuration, "list", "--format", "json"],
                directory: cluster.directory, within: 30)
            try check(result.status == 0, "patronictl list: \(result.output)")
            guard let start = result.output.firstIndex(of: "["),
                let rows = try? JSONValue.parse(String(result.output[start...])).array
            else { throw SystemFailure("patronictl list: \(result.output)") }
            try check(rows.count == 3, "patronictl lists three members: \(result.output)")
            for row in rows {
                let isLeader = row["Member"]?.string == leader.name
                try check(row["Role"]?.string == (isLeader ? "Leader" : "Replica"), "roles: \(result.output)")
                try check(row["State"]?.string == (isLeader ? "running" : "streaming"), "states: \(result.output)")
            }
        }
    }
}

/// What the tests of faults have in common.
enum Faults {
    /// What may become of acknowledged writes (asynchronous replication).
    enum Durability: Sendable {
        case mayLose, mustKeep
    }

    /// Runs a fault so many times, with writers on every member, on a cluster that is healthy before and after, and
    /// judges what was acknowledged.
    static func rounds(
        _ cluster: TestCluster, _ name: String,
        _ body: (_ writers: Writers, _ leader: TestCluster.Member, _ since: WallTime) throws -> Durability
    ) throws {
        for round in 1...max(1, cluster.environment.rounds) {
            try cluster.waitUntilHealthy()
            let writers = try Writers(cluster)
            let leader = try cluster.leader()
            let since = wallNow()
            let durability: Durability
            do {
                durability = try body(writers, leader, since)
                try cluster.waitUntilHealthy(within: 90)
            } catch {
                try? writers.stop()
                try Writers.requireOneWriter(writers.acknowledgements)
                throw SystemFailure("\(name), round \(round): \(error)")
            }
            try writers.stop()
            let all = writers.acknowledgements
            try Writers.requireOneWriter(all)
            let lost = try writers.lost(all, on: try cluster.leader())
            tell("\(cluster.store): \(name), round \(round): \(all.count) acknowledged, \(lost) lost")
            if durability == .mustKeep { try check(lost == 0, "\(name): \(lost) acknowledged writes are lost") }
        }
    }

    /// Stops processes of the primary for longer than the lease, with a five-second statement running on it.
    static func freeze(_ store: StoreKind, _ victims: [Victim], explainedBy rules: [String]) async throws {
        try await TestCluster.with(store) { cluster in
            let name = "SIGSTOP of " + victims.map(\.rawValue).joined(separator: " and ")
            try rounds(cluster, name) { writers, old, since in
                try writers.beginLongStatement(on: old, seconds: 5)
                pauseFor(0.2)
                let pids = try victims.map { try cluster.pid(old, $0) }
                let hit = clockNow()
                for pid in pids { kill(pid, SIGSTOP) }
                // Whatever stops the server, somebody takes writes again: another member, or the old one restarted.
                pauseFor(Double(cluster.ttl) * 2)
                for pid in pids { kill(pid, SIGCONT) }
                let first = try writers.waitForWrite(after: hit + Double(cluster.ttl), within: 60)
                try cluster.waitUntilHealthy(within: 90)
                tell(
                    "\(store): \(name): \(milliseconds(Writers.gap(writers.acknowledgements, around: hit))) ms without "
                        + "writes, then \(first.member) (was \(old.name))")
                try cluster.requireExplained(old, rules, since: since)
                let leader = try cluster.leader()
                if leader !== old {
                    try cluster.requireExplained(leader, Rules.acquired, facts: ["fence"], since: since)
                }
                return .mayLose
            }
        }
    }
}
