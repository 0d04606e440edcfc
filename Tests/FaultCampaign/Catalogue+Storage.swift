import ClusterHarness
import Glibc

extension Catalogue {
    // MARK: Full disks

    private static func full(
        _ name: String, _ title: String, _ whom: @escaping @Sendable (FaultRun) throws -> [TestCluster.Member]
    ) -> Fault {
        Fault(
            name: name, title: title + " for 3 leases", group: .disk, needs: [.disks], setting: .smallDisk,
            patience: 180
        ) { run in
            let victims = try whom(run)
            let files = victims.map { "\($0.volume)/ballast" }
            defer { for file in files { unlink(file) } }
            run.begin(victims.map(\.name))
            for file in files { try SmallDisk.fill(file) }
            // PostgreSQL writes into segments that are there already: only a new one meets the end of the disk.
            for _ in 1...4 { _ = try? run.cluster.query(run.leader, "select pg_switch_wal()") }
            run.last(3)
            for file in files { unlink(file) }
            run.end()
            try run.waitForService(after: clockNow(), within: 120)
        }
    }

    static let disks: [Fault] = [
        full("disk-full-replica", "A replica's disk full") { [try $0.replica(0)] },
        full("disk-full-primary", "The primary's disk full") { [$0.leader] },
        full("disk-full-all", "Every member's disk full") { $0.cluster.members },
    ]

    // MARK: A hanging archive

    private static func hanging(
        _ name: String, _ title: String, promise: Fault.Promise, _ body: @escaping @Sendable (FaultRun) throws -> Void
    ) -> Fault {
        Fault(name: name, title: title, group: .archive, setting: .archive, promise: promise) { run in
            let hang = run.cluster.archiveHang
            defer { unlink(hang) }
            try writePrivate("", to: hang, account: run.cluster.environment.account)
            _ = try run.cluster.query(run.leader, "select pg_switch_wal()")
            try waitUntil("the archiver hangs", within: 30) {
                run.cluster.processes().contains { pid in
                    (readText("/proc/\(pid)/cmdline") ?? "").contains("while [ -e \(hang)")
                }
            }
            run.begin(run.leader)
            try body(run)
            unlink(hang)
            run.end()
            try run.waitForService(after: clockNow(), within: 60)
        }
    }

    static let archive: [Fault] = [
        hanging("archive-hangs-switchover", "A switchover while the archive hangs", promise: .keepsAll) { run in
            let result = try run.cluster.matriarch(["switchover", "--force"])
            try check(result.status == 0, "matriarch switchover: \(result.output)")
            try run.waitForService(after: clockNow(), otherThan: run.leader, within: 30)
        },
        hanging(
            "archive-hangs-terminate", "SIGTERM to the primary's agent while the archive hangs", promise: .keepsAll
        ) { run in
            try run.cluster.send(SIGTERM, to: run.leader, .agent)
            try run.waitForService(after: clockNow(), otherThan: run.leader, within: 60)
            try waitUntil("the old agent ends", within: 60) { run.leader.agentPid == nil }
            try run.restartAgent(run.leader, after: 1)
        },
        hanging(
            "archive-hangs-agent-stopped", "SIGSTOP of the primary's agent for 3 leases while the archive hangs",
            promise: .oneWriter
        ) { run in
            try run.freeze([try run.cluster.pid(run.leader, .agent)], of: [run.leader.name], leases: 3)
        },
    ]

    // MARK: Long crash recovery

    /// Makes a crash recovery of several seconds: much written since the last checkpoint.
    private static func writeMuch(_ run: FaultRun) throws {
        let session = try Session(run.cluster.connectionString(run.leader))
        for statement in [
            "drop table if exists bulk", "create table bulk (number int, filler text)", "checkpoint",
            "insert into bulk select n, repeat('x', 900) from generate_series(1, 400000) n",
            "create index on bulk (number)", "update bulk set filler = repeat('y', 900) where number % 4 = 0",
        ] { _ = try session.value(statement, within: 300) }
        for replica in run.replicas {
            try waitUntil("\(replica.name) has replayed it", within: 120) {
                try run.cluster.query(
                    replica, "select coalesce((select count(*) from bulk where filler like 'y%'), 0)") == "100000"
            }
        }
    }

    private static func recovering(
        _ name: String, _ title: String, _ body: @escaping @Sendable (FaultRun) throws -> Void
    ) -> Fault {
        Fault(name: name, title: title, group: .recovery, setting: .bigLog, patience: 180) { run in
            try writeMuch(run)
            run.begin(run.leader)
            try body(run)
            run.end()
            try run.waitForService(after: clockNow(), within: 120)
        }
    }

    static let recovery: [Fault] = [
        recovering("recovery-postmaster", "SIGKILL of the postmaster with half a gigabyte to replay") { run in
            let pid = try run.cluster.pid(run.leader, .postmaster)
            kill(pid, SIGKILL)
            try waitUntil("the postmaster is gone", within: 10) { !isAlive(pid) }
        },
        recovering("recovery-host", "Everything on the primary's host killed with half a gigabyte to replay") { run in
            try run.cluster.killAll(run.leader)
            try run.cluster.start(run.leader)
        },
        recovering("recovery-all", "Everything killed on all hosts with half a gigabyte to replay, all started at once")
        {
            run in
            try run.cluster.killAll(run.cluster.members)
            for member in run.cluster.members { try run.cluster.start(member) }
        },
    ]
}
