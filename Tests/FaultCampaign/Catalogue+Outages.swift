import ClusterHarness
import ClusterModel
import Glibc

/// The store lost for long, emptied, set back, slow: with `failsafe_mode` the primary goes on, without it goes in time.
extension Catalogue {
    static let outages: [Fault] = lost + exchanged + partly

    // MARK: Parts

    /// What has to be the same after an outage that nobody was to notice.
    private struct Before {
        var postmaster: pid_t
        var receivers: [String: String]

        init(_ run: FaultRun) throws {
            postmaster = try run.cluster.pid(run.leader, .postmaster)
            receivers = try Before.receivers(run)
            _ = try run.cluster.query(
                run.leader, "select pg_create_physical_replication_slot('kept', true) is not null")
        }

        /// The process of each replica's receiver: another one has been detached meanwhile.
        static func receivers(_ run: FaultRun) throws -> [String: String] {
            var receivers: [String: String] = [:]
            for replica in run.replicas {
                receivers[replica.name] = try run.cluster.query(replica, "select pid from pg_stat_wal_receiver")
            }
            return receivers
        }

        func requireUnnoticed(_ run: FaultRun, gap limit: Double) throws {
            let now = try run.cluster.pid(run.leader, .postmaster)
            try check(now == postmaster, "the primary's PostgreSQL was started anew")
            try check(try run.cluster.isWritable(run.leader), "the primary is none any more")
            let after = try Before.receivers(run)
            try check(after == receivers, "a replica was detached: \(receivers) before, \(after) now")
            let slots = try run.cluster.query(
                run.leader, "select count(*) from pg_replication_slots where slot_name = 'kept'")
            try check(slots == "1", "the slot was dropped")
            let outside = run.writers.acknowledgements.filter { $0.place == .outside }
            let gap = Judgement.gap(outside, around: run.began ?? 0)
            try check(gap < limit, "no write was acknowledged for \(gap) s")
            run.note("longest time without a write \(gap) s")
            _ = try run.cluster.query(run.leader, "select pg_drop_replication_slot('kept') is null")
        }
    }

    private static func killStore(_ run: FaultRun) throws {
        for server in run.cluster.storeServers { try server.kill() }
    }

    private static func startStore(_ run: FaultRun) throws {
        for server in run.cluster.storeServers { try server.start() }
        try waitUntil("the store serves again", within: 60) {
            run.cluster.storeServers.contains { ["leader", "standalone"].contains($0.mode) }
        }
    }

    /// The members say that everything is as before: who leads is in the store, and `/failsafe` names everybody.
    private static func waitForKeys(_ run: FaultRun, within seconds: Double = 60) throws {
        try waitUntil("the store has every key again", within: seconds, every: 0.2) {
            let member = run.leader
            func get(_ path: String) throws -> LocalHTTP.Answer {
                try LocalHTTP.call("GET", host: member.host, port: member.restPort, path, within: 3)
            }
            let rows = try run.cluster.list()
            let leaders = rows.filter { $0["role"]?.string == "leader" }.compactMap { $0["name"]?.string }
            guard leaders == [member.name], rows.count == run.cluster.members.count else {
                throw SystemFailure(rows.map(\.summary).joined(separator: ", "))
            }
            guard try get("/config").json?["ttl"]?.integer == Int64(run.cluster.ttl) else {
                throw SystemFailure("no configuration")
            }
            guard try get("/failsafe").json?.object?.members.count == run.cluster.members.count else {
                throw SystemFailure("/failsafe does not name everybody")
            }
            let status = try get("/patroni").json
            guard status?["failsafe_mode_is_active"] == nil else { throw SystemFailure("the failsafe is not over") }
            return true
        }
    }

    private static func requireFailsafe(_ run: FaultRun, isActive: Bool = true) throws {
        try waitUntil("the failsafe is active", within: run.ttl) {
            let status = try LocalHTTP.call(
                "GET", host: run.leader.host, port: run.leader.restPort, "/patroni", within: 2
            ).json
            return status?["failsafe_mode_is_active"]?.bool == true
        }
    }

    /// Nothing that the old primary acknowledged was later than the end of its lease.
    private static func requireSilence(of member: TestCluster.Member, _ run: FaultRun, until instant: Double) throws {
        let last =
            run.writers.acknowledgements.filter { $0.member == member.name && $0.acknowledged < instant }
            .map(\.executed).max() ?? 0
        let after = last - (run.began ?? 0)
        try check(
            after < run.ttl, "\(member.name) acknowledged \(after) s after the store was lost: its lease was over")
        run.note("the primary was silent \(after) s after the store was lost")
    }

    // MARK: Lost

    private static func lostUnderFailsafe(_ name: String, _ title: String, seconds: Double?, isShort: Bool) -> Fault {
        Fault(
            name: name, title: title, group: .outage, needs: [.storeServers], setting: .failsafe, promise: .keepsAll,
            isShort: isShort
        ) { run in
            let before = try Before(run)
            run.begin([])
            try killStore(run)
            try requireFailsafe(run)
            run.last(seconds.map { $0 / run.ttl } ?? 5)
            try startStore(run)
            run.end()
            try run.waitForService(after: clockNow(), within: 10)
            try waitForKeys(run)
            try before.requireUnnoticed(run, gap: 1.5)
        }
    }

    private static let lost: [Fault] = [
        lostUnderFailsafe(
            "store-lost-5-failsafe", "The store lost for 5 leases, failsafe_mode on", seconds: nil, isShort: true),
        lostUnderFailsafe(
            "store-lost-600-failsafe", "The store lost for ten minutes, failsafe_mode on", seconds: 600,
            isShort: false),
        Fault(
            name: "store-lost", title: "The store lost for 3 leases, failsafe_mode off", group: .outage,
            needs: [.storeServers]
        ) { run in
            run.begin([])
            try killStore(run)
            run.last(3)
            try requireSilence(of: run.leader, run, until: clockNow())
            try startStore(run)
            run.end()
            try run.waitForService(after: clockNow(), within: 90)
        },
        Fault(
            name: "store-lost-member-missing-failsafe",
            title: "The store lost for 3 leases, failsafe_mode on and one member missing", group: .outage,
            needs: [.storeServers], setting: .failsafe
        ) { run in
            let replica = try run.replica(1)
            let agent = try run.cluster.pid(replica, .agent)
            run.begin([replica.name])
            kill(agent, SIGSTOP)
            defer { kill(agent, SIGCONT) }
            try killStore(run)
            run.last(3)
            try requireSilence(of: run.leader, run, until: clockNow())
            kill(agent, SIGCONT)
            try startStore(run)
            run.end()
            try run.waitForService(after: clockNow(), within: 90)
        },
    ]

    // MARK: Emptied, set back

    private static func era(_ run: FaultRun) throws -> UInt32 {
        let status = try LocalHTTP.call(
            "GET", host: run.leader.host, port: run.leader.restPort, "/patroni", within: 3
        ).json
        return status?[Member.ownField]?["term"]?.string.flatMap { Fence($0) }?.era ?? 0
    }

    /// The fault itself: the servers end, and come back with the data of then.
    private static func putBack(_ copies: [String], _ run: FaultRun) throws {
        run.begin([])
        try killStore(run)
        for (server, copy) in zip(run.cluster.storeServers, copies) { try server.replaceData(with: copy) }
        run.last(1)
        try startStore(run)
        run.end()
    }

    /// Sets the store back to before so many switchovers, after a change of the configuration, and waits until the last
    /// leader leads on without a restart.
    private static func setBack(_ run: FaultRun, switchovers: Int) throws {
        // The back-up: a moment in which the servers are down.
        let copies = run.cluster.storeServers.map { "\($0.dataDirectory).copy" }
        try killStore(run)
        for (server, copy) in zip(run.cluster.storeServers, copies) { try server.copyData(to: copy) }
        try startStore(run)
        try run.cluster.waitUntilHealthy()
        let first = try run.cluster.leader()
        for number in 1...switchovers {
            let candidate = try number % 2 == 0 ? first : run.replica(0)
            let moved = try run.cluster.matriarch(["switchover", "--candidate", candidate.name, "--force"])
            try check(moved.status == 0, "matriarch switchover: \(moved.output)")
            try run.cluster.waitUntilHealthy()
        }
        // On a slow machine the one that was asked for may have lost its first lease again.
        let leader = try run.cluster.leader()
        let mark = Int64(7_654_321)
        _ = try LocalHTTP.call(
            "PATCH", host: leader.host, port: leader.restPort, "/config",
            body: ["maximum_lag_on_failover": .integer(mark)], within: 10)
        // What the leader has not read again itself it cannot write again.
        try waitUntil("the leader has seen the change", within: 10) {
            try LocalHTTP.call("GET", host: leader.host, port: leader.restPort, "/config", within: 3)
                .json?["maximum_lag_on_failover"]?.integer == mark
        }
        try run.cluster.waitUntilHealthy()
        let postmaster = try run.cluster.pid(leader, .postmaster)
        try putBack(copies, run)
        try waitUntil("the last leader leads on, and the store says so", within: 120, every: 0.2) {
            let rows = try run.cluster.list()
            let leaders = rows.filter { $0["role"]?.string == "leader" }.compactMap { $0["name"]?.string }
            let known = try LocalHTTP.call(
                "GET", host: leader.host, port: leader.restPort, "/config", within: 3
            ).json?["maximum_lag_on_failover"]?.integer
            guard leaders == [leader.name], known == mark else {
                throw SystemFailure("leaders \(leaders), configuration \(known ?? 0)")
            }
            return true
        }
        try check(
            try run.cluster.pid(leader, .postmaster) == postmaster, "the primary's PostgreSQL was started anew")
    }

    private static let exchanged: [Fault] = [
        Fault(
            name: "store-emptied-failsafe", title: "Every server of the store emptied, failsafe_mode on",
            group: .outage, needs: [.storeServers], setting: .failsafe, promise: .keepsAll
        ) { run in
            let before = try Before(run)
            let era = try era(run)
            run.begin([])
            try killStore(run)
            try requireFailsafe(run)
            for server in run.cluster.storeServers { try server.replaceData(with: nil) }
            try startStore(run)
            run.end()
            try waitForKeys(run, within: 90)
            try before.requireUnnoticed(run, gap: 1.5)
            let now = try Self.era(run)
            try check(now > era, "the era did not rise: \(era) before, \(now) now")
        },
        Fault(
            name: "store-emptied", title: "Every server of the store emptied, failsafe_mode off", group: .outage,
            needs: [.storeServers]
        ) { run in
            run.begin([])
            try killStore(run)
            for server in run.cluster.storeServers { try server.replaceData(with: nil) }
            try startStore(run)
            run.end()
            try run.waitForService(after: clockNow() + 1, within: 90)
        },
        Fault(
            name: "store-set-back-failsafe",
            title: "The store set back to before a switchover and a change of the configuration, failsafe_mode on",
            group: .outage, needs: [.storeServers], setting: .failsafe, promise: .keepsAll
        ) { run in try setBack(run, switchovers: 1) },
        Fault(
            name: "store-set-back-own-term-failsafe",
            title: "The store set back to an earlier term of the same leader and session, failsafe_mode on",
            group: .outage, needs: [.storeServers], setting: .failsafe, promise: .keepsAll
        ) { run in try setBack(run, switchovers: 2) },
        Fault(
            name: "store-set-back", title: "The store set back to before a switchover, failsafe_mode off",
            group: .outage, needs: [.storeServers]
        ) { run in
            let copies = run.cluster.storeServers.map { "\($0.dataDirectory).copy" }
            try killStore(run)
            for (server, copy) in zip(run.cluster.storeServers, copies) { try server.copyData(to: copy) }
            try startStore(run)
            try run.cluster.waitUntilHealthy(within: 90)
            let leader = try run.cluster.leader()
            guard let candidate = run.cluster.members.first(where: { $0 !== leader }) else { return }
            let moved = try run.cluster.matriarch(["switchover", "--candidate", candidate.name, "--force"])
            try check(moved.status == 0, "matriarch switchover: \(moved.output)")
            try run.cluster.waitUntilHealthy()
            try putBack(copies, run)
            try run.waitForService(after: clockNow() + 1, within: 120)
        },
    ]

    // MARK: Only some without it, and slow

    private static func unnoticed(
        _ name: String, _ title: String, leases: Double,
        _ victims: @escaping @Sendable (FaultRun) throws -> [TestCluster.Member],
        _ body: @escaping @Sendable (FaultRun, [TestCluster.Member]) throws -> Void
    ) -> Fault {
        Fault(
            name: name, title: title, group: .outage, needs: [.storeServers], setting: .failsafe, promise: .keepsAll
        ) { run in
            let before = try Before(run)
            let members = try victims(run)
            try run.cut(members.map(\.name), leases: leases) { try body(run, members) }
            try waitForKeys(run)
            try before.requireUnnoticed(run, gap: 1.5)
        }
    }

    private static let partly: [Fault] = [
        unnoticed(
            "primary-from-store-failsafe",
            "The primary cut from the store for 3 leases, its session expired meanwhile, failsafe_mode on", leases: 3,
            { [$0.leader] }
        ) { run, members in try run.cluster.cutFromStore(members) },
        unnoticed(
            "replica-from-store-failsafe", "A replica cut from the store for 3 leases, failsafe_mode on", leases: 3,
            { [try $0.replica(0)] }
        ) { run, members in try run.cluster.cutFromStore(members) },
        unnoticed(
            "store-slow-failsafe", "Every answer of the store takes 2 s for 5 leases, failsafe_mode on", leases: 5,
            { _ in [] }
        ) { run, _ in try run.cluster.slowStore(by: 2) },
        Fault(
            name: "store-slow", title: "Every answer of the store takes 2 s for 5 leases, failsafe_mode off",
            group: .outage, needs: [.storeServers], setting: .links
        ) { run in
            try run.cut([], leases: 5) { try run.cluster.slowStore(by: 2) }
            try run.waitForService(after: clockNow(), within: 90)
        },
    ]
}
