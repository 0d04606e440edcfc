import ClusterHarness
import ClusterModel
import Glibc
import Testing

/// `matriarch store migrate` on real stores, under write load.
@Suite(.serialized) struct MigrationTests {
    static let pairs: [(from: StoreKind, to: StoreKind)] = [
        (.zooKeeper, .etcd), (.etcd, .consul), (.consul, .zooKeeper),
    ]

    /// The holder's steps: its agent ends at each of them.
    static let steps = ["announcing", "connecting", "checking", "copying", "claiming", "aligning", "cutting over"]

    @Test(
        "A cluster moves to another store: no write lost or late, PostgreSQL not restarted", .timeLimit(.minutes(10)),
        arguments: pairs)
    func migrates(_ pair: (from: StoreKind, to: StoreKind)) async throws {
        try await TestCluster.with(pair.from, ttl: 10) { cluster in
            let target = try cluster.startOther(pair.to)
            let leader = try cluster.leader()
            let postmasters = cluster.members.map(\.postmasterPid)
            let guards = cluster.members.map(\.guardPid)
            let dry = try cluster.matriarch(["store", "migrate", "--to", target, "--dry-run"])
            try check(dry.status == 0, "a dry run: \(dry.output)")
            try check(cluster.migrationStatus(leader)?["prepared"]?.isNull == true, "a dry run changes nothing")

            let writers = try Writers(cluster)
            // What is usual here, for comparison.
            let quiet = clockNow()
            pauseFor(3)
            let usual = Writers.gap(writers.acknowledgements, around: quiet)
            let began = clockNow()
            let result = try cluster.matriarch(["store", "migrate", "--to", target, "--force"], within: 120)
            try check(result.status == 0, "store migrate: \(result.output)")
            let took = clockNow() - began
            pauseFor(2)
            try writers.waitForWrite(after: clockNow(), on: leader.name, within: 10)
            try writers.stop()
            let all = writers.acknowledgements
            try Writers.requireOneWriter(all)
            let lost = try writers.lost(all, on: try cluster.leader())
            tell(
                "\(pair.from) to \(pair.to): \(milliseconds(took)) ms, \(all.count) acknowledged, \(lost) lost, longest "
                    + "pause \(milliseconds(Writers.gap(all, around: began))) ms (before: \(milliseconds(usual)) ms)")
            try check(lost == 0, "\(lost) acknowledged writes are lost")
            try check(try cluster.leader() === leader, "the leader has changed")
            try check(cluster.members.map(\.postmasterPid) == postmasters, "PostgreSQL was restarted")
            try check(cluster.members.map(\.guardPid) == guards, "a guard was restarted")
            // The table shows every member guarded, under the new number.
            let table = try cluster.matriarch(["list"])
            try check(!table.output.contains("unfenced"), "every member is guarded: \(table.output)")

            // The configuration still names the old store: an agent that is restarted goes to the new one all the same.
            let replica = cluster.members.first { $0 !== leader } ?? leader
            try cluster.stop(replica)
            try cluster.start(replica)
            try cluster.waitUntilHealthy()
            try check(cluster.migrationStatus(replica)?["moved"]?.string != nil, "it remembers that the cluster moved")
            // With the new section it is quiet, after a reload and after a restart.
            for member in cluster.members { try cluster.change(member, toStoreOf: target) }
            for member in cluster.members { kill(member.agentPid ?? 0, SIGHUP) }
            try waitUntil("the record of the migration is gone", within: 15) {
                cluster.members.allSatisfy { readText("\($0.dataDirectory).matriarch/migration") == nil }
            }
            try cluster.killAgent(leader)
            try cluster.start(leader)
            try cluster.waitUntilHealthy()
            try check(cluster.members.map(\.postmasterPid).contains(leader.postmasterPid), "a server runs")
            // Failover is armed.
            let heir = try cluster.leader()
            try cluster.killAll(heir)
            _ = try cluster.waitForLeader(otherThan: heir, within: 60)
            try cluster.start(heir)
            try cluster.waitUntilHealthy(within: 90)
        }
    }

    @Test(
        "The leader's agent ends at each step of a migration: nothing is lost, and the cluster can be moved afterwards",
        .timeLimit(.minutes(15)), arguments: pairs)
    func leaderEnds(_ pair: (from: StoreKind, to: StoreKind)) async throws {
        try await TestCluster.with(pair.from, ttl: 10) { cluster in
            var here = try cluster.fileOfStore()
            var there = try cluster.startOther(pair.to)
            for step in Self.steps {
                try cluster.waitUntilHealthy(within: 90)
                let leader = try cluster.leader()
                let writers = try Writers(cluster)
                try cluster.endAt(step, leader)
                let began = clockNow()
                let command = try cluster.startMatriarch([
                    "store", "migrate", "--to", there, "--force", "--timeout", "90",
                ])
                try waitUntil("the leader's agent ends at '\(step)'", within: 60, every: 0.01) {
                    leader.agentPid == nil
                }
                try cluster.start(leader)
                try command.waitForEnd(within: 100)
                let first = command.exitStatus ?? -1
                try cluster.waitUntilHealthy(within: 90)
                // Taken back, or done: then it is run again and says so, or moves.
                if first != 0 {
                    let again = try cluster.matriarch(
                        ["store", "migrate", "--to", there, "--force", "--timeout", "90"], within: 120)
                    try check(again.status == 0 || again.output.contains("lives on that store already"), again.output)
                }
                try cluster.waitUntilHealthy(within: 90)
                try writers.waitForWrite(after: clockNow(), within: 30)
                try writers.stop()
                let all = writers.acknowledgements
                try Writers.requireOneWriter(all)
                let lost = try writers.lost(all, on: try cluster.leader())
                tell(
                    "\(pair.from) and \(pair.to), '\(step)': the command ended with \(first), \(all.count) acknowledged, "
                        + "\(lost) lost, longest pause \(milliseconds(Writers.gap(all, around: began))) ms, "
                        + "led by \(try cluster.leader().name) (was \(leader.name))")
                if try cluster.leader() === leader { try check(lost == 0, "\(lost) acknowledged writes are lost") }
                // Back again, for the next step: what was left there goes first.
                for member in cluster.members { try cluster.change(member, toStoreOf: there) }
                for member in cluster.members { kill(member.agentPid ?? 0, SIGHUP) }
                // The leader entry of the agent that ended stays there until its session expires.
                var cleared = try cluster.matriarchWithoutURL(["store", "clear", "-c", here, "--force"])
                try waitUntil("the old store can be cleared", within: 30, every: 0.5) {
                    if cleared.output.contains("still holds the leader entry") {
                        cleared = try cluster.matriarchWithoutURL(["store", "clear", "-c", here, "--force"])
                    }
                    return !cleared.output.contains("still holds the leader entry")
                }
                try check(cleared.status == 0, "store clear: \(cleared.output)")
                (here, there) = (there, here)
            }
        }
    }

    @Test(
        "A replica's agent, then the command, end during a migration: it goes on without them",
        .timeLimit(.minutes(10)))
    func othersEnd() async throws {
        try await TestCluster.with(.zooKeeper, ttl: 10) { cluster in
            let there = try cluster.startOther(.etcd)
            let writers = try Writers(cluster)
            let leader = try cluster.leader()
            guard let replica = cluster.members.first(where: { $0 !== leader }) else { return }
            let command = try cluster.startMatriarch(["store", "migrate", "--to", there, "--force"])
            // Told, and gone before the cut-over or right after it.
            try waitUntil("the replica is told", within: 30, every: 0.005) {
                cluster.migrationStatus(replica)?["prepared"]?.string != nil
                    || cluster.migrationStatus(replica)?["moved"]?.string != nil
            }
            try cluster.killAgent(replica)
            command.send(SIGKILL)
            try command.waitForEnd(within: 5)
            // The agents end it by themselves, one way or the other.
            try waitUntil("the migration has ended", within: 90) {
                guard let status = cluster.migrationStatus(leader) else { return false }
                return status["running"]?.isNull == true && status["mark"]?.string != "leaving"
            }
            try cluster.start(replica)
            try cluster.waitUntilHealthy(within: 90)
            let isThere = cluster.migrationStatus(leader)?["moved"]?.string != nil
            if !isThere {
                let again = try cluster.matriarch(["store", "migrate", "--to", there, "--force"], within: 120)
                try check(again.status == 0, again.output)
            }
            try waitUntil("every member has come along", within: 60) {
                cluster.members.allSatisfy { cluster.migrationStatus($0)?["moved"]?.string != nil }
            }
            try cluster.waitUntilHealthy(within: 90)
            try writers.stop()
            let all = writers.acknowledgements
            try Writers.requireOneWriter(all)
            let lost = try writers.lost(all, on: try cluster.leader())
            tell(
                "others end (\(isThere ? "moved all the same" : "taken back")): \(all.count) acknowledged, \(lost) lost"
            )
            try check(lost == 0, "\(lost) acknowledged writes are lost")
        }
    }
}
