import ClusterHarness
import ClusterModel
import Glibc
import Testing

/// Clusters in which a stock Patroni and Matriarch are members together, and stock `patronictl` is what operates them.
@Suite(.serialized) struct PatroniTests {
    private static var programs: String? {
        SystemEnvironment.variable("MATRIARCH_PATRONICTL").map { String($0.dropLast("ctl".count)) }
    }

    @Test(
        "A stock Patroni joins our cluster and leads it; another of ours joins it then, and takes the lead back",
        .timeLimit(.minutes(5)), .enabled(if: programs != nil),
        arguments: [StoreKind.etcd, .consul, .zooKeeper])
    func patroniAmongUs(store: StoreKind) async throws {
        // What is the least for a Patroni is the least for all.
        var plan = ClusterPlan(store, ttl: 20)
        plan.retryTimeout = 3
        // Ours make no slots for replicas so far, and a Patroni would wait for its one.
        plan.usesSlots = false
        try await TestCluster.with(plan, starts: false) { cluster in
            guard let patroni = Self.programs else { return }
            let (ours, stock, late) = (cluster.members[0], cluster.members[1], cluster.members[2])
            try cluster.start(ours)
            try waitUntil("\(ours.name) leads", within: 60) { try cluster.leader() === ours }
            try Self.insert(cluster, ours, 1)

            try cluster.startPatroni(stock, patroni)
            try cluster.waitUntilStreams(stock, within: 60)
            try Self.list(cluster, ["pg1": "Leader", "pg2": "Replica"])
            try Self.switchover(cluster, from: ours, to: stock)
            try cluster.waitUntilStreams(ours, within: 60)
            try Self.insert(cluster, stock, 2)

            try cluster.start(late)
            try cluster.waitUntilStreams(late, within: 60)
            try Self.list(cluster, ["pg1": "Replica", "pg2": "Leader", "pg3": "Replica"])
            try Self.switchover(cluster, from: stock, to: late)
            try cluster.waitUntilStreams(stock, within: 60)
            try cluster.waitUntilStreams(ours, within: 60)
            try Self.insert(cluster, late, 3)
            for member in cluster.members {
                try waitUntil("\(member.name) has all rows", within: 20) {
                    try cluster.query(member, "select string_agg(n::text, ',' order by n) from mixed") == "1,2,3"
                }
            }
        }
    }

    private static func insert(_ cluster: TestCluster, _ member: TestCluster.Member, _ number: Int) throws {
        try waitUntil("\(member.name) takes writes", within: 20) { try cluster.isWritable(member) }
        if number == 1 { _ = try? cluster.query(member, "create table mixed (n int)") }
        let count = try cluster.query(
            member, "with new as (insert into mixed values (\(number)) returning n) select count(*) from new")
        try check(count == "1", "\(member.name) does not take a row")
    }

    private static func patronictl(_ cluster: TestCluster, _ arguments: String...) throws -> CommandResult {
        guard let programs else { throw SystemFailure("there is no patronictl") }
        return try CommandResult.run(
            [programs + "ctl", "-c", cluster.members[0].configuration] + arguments,
            account: cluster.environment.account, directory: cluster.directory, within: 60,
            environment: ["HOME": cluster.directory])
    }

    /// Stock `patronictl list` shows these roles, and everybody well.
    private static func list(_ cluster: TestCluster, _ roles: [String: String]) throws {
        try waitUntil("patronictl lists \(roles)", within: 30, every: 0.5) {
            let result = try patronictl(cluster, "list", "--format", "json")
            guard result.status == 0, let start = result.output.firstIndex(of: "["),
                let rows = try? JSONValue.parse(String(result.output[start...])).array
            else { throw SystemFailure("patronictl list: \(result.output)") }
            var seen: [String: String] = [:]
            for row in rows { seen[row["Member"]?.string ?? "?"] = row["Role"]?.string }
            let isWell = rows.allSatisfy {
                $0["State"]?.string == ($0["Role"]?.string == "Leader" ? "running" : "streaming")
            }
            guard seen == roles, isWell else { throw SystemFailure(result.output) }
            return true
        }
    }

    private static func switchover(
        _ cluster: TestCluster, from old: TestCluster.Member, to new: TestCluster.Member
    ) throws {
        let result = try patronictl(
            cluster, "switchover", "demo", "--leader", old.name, "--candidate", new.name, "--force")
        try check(result.status == 0, "patronictl switchover: \(result.output)")
        try waitUntil("\(new.name) leads: \(result.output)", within: 60) { try cluster.leader() === new }
    }
}
