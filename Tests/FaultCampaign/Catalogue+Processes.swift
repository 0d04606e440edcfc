import ClusterHarness
import Glibc

extension Catalogue {
    /// A process or more of a member, by what it is.
    private struct Target: Sendable {
        var name: String
        var title: String
        /// Whether the member is the primary, else the first replica.
        var onPrimary = true
        var pids: @Sendable (TestCluster, TestCluster.Member) throws -> [pid_t]

        func member(_ run: FaultRun) throws -> TestCluster.Member { onPrimary ? run.leader : try run.replica(0) }
    }

    private static func postgres(_ name: String, _ word: String, onPrimary: Bool = true) -> Target {
        Target(name: name, title: "\(word) of the \(onPrimary ? "primary" : "replica")", onPrimary: onPrimary) {
            [try $0.postgresProcess($1, word)]
        }
    }

    private static let agent = Target(name: "agent", title: "the primary's agent") { [try $0.pid($1, .agent)] }
    private static let guardProcess = Target(name: "guard", title: "the primary's guard") {
        [try $0.pid($1, .guardProcess)]
    }
    private static let both = Target(name: "agent-and-guard", title: "the primary's agent and guard") {
        [try $0.pid($1, .agent), try $0.pid($1, .guardProcess)]
    }
    private static let postmaster = Target(name: "postmaster", title: "the primary's postmaster") {
        [try $0.pid($1, .postmaster)]
    }
    private static let backend = Target(name: "backend", title: "a client's server process on the primary") {
        [try $0.backend($1)]
    }
    private static let singles = [
        backend, postgres("walwriter", "walwriter"), postgres("checkpointer", "checkpointer"),
        postgres("walsender", "walsender"), postgres("walreceiver", "walreceiver", onPrimary: false),
        postgres("startup", "startup", onPrimary: false),
    ]
    private static let replicas = [
        Target(name: "replica-agent", title: "a replica's agent", onPrimary: false) { [try $0.pid($1, .agent)] },
        Target(name: "replica-guard", title: "a replica's guard", onPrimary: false) { [try $0.pid($1, .guardProcess)] },
        Target(name: "replica-postmaster", title: "a replica's postmaster", onPrimary: false) {
            [try $0.pid($1, .postmaster)]
        },
    ]

    // MARK: SIGKILL

    /// Kills a target whose members bring themselves back.
    private static func killed(_ target: Target, isShort: Bool = false) -> Fault {
        Fault(name: "kill-\(target.name)", title: "SIGKILL of \(target.title)", group: .kill, isShort: isShort) { run in
            let member = try target.member(run)
            let pids = try target.pids(run.cluster, member)
            let hitsAgent = try pids.contains(run.cluster.pid(member, .agent))
            run.killProcesses(pids, of: [member.name])
            // What ends when a process is killed, and who takes its place, is seen when the cluster is whole again.
            try waitUntil("the process is gone", within: 10) { !pids.contains(where: isAlive) }
            if hitsAgent { try run.restartAgent(member, after: 1) }
            run.end()
            try run.waitForService(after: clockNow(), within: 60)
        }
    }

    private static func killedForLong(_ target: Target, isShort: Bool = false) -> Fault {
        Fault(
            name: "kill-\(target.name)-long",
            title: "SIGKILL of \(target.title), the agent started again after 3 leases",
            group: .kill, isShort: isShort
        ) { run in
            let member = try target.member(run)
            try run.writers.beginLongStatement(on: run.leader, seconds: run.cluster.ttl + 1)
            run.killProcesses(try target.pids(run.cluster, member), of: [member.name])
            run.last(3)
            try run.restartAgent(member, after: 0)
            run.end()
            try run.waitForService(after: clockNow(), within: 60)
        }
    }

    static let kills: [Fault] =
        [
            killed(agent), killedForLong(agent), killed(guardProcess), killed(both),
            killedForLong(both, isShort: true), killed(postmaster, isShort: true),
        ] + singles.map { killed($0) } + replicas.map { killed($0) } + [
            Fault(
                name: "kill-postmaster-thrice",
                title: "SIGKILL of the primary's postmaster, again as soon as it is back",
                group: .kill
            ) { run in
                for round in 1...3 {
                    let leader = round == 1 ? run.leader : try run.cluster.leader()
                    let pid = try run.cluster.pid(leader, .postmaster)
                    if round == 1 { run.begin(leader) }
                    kill(pid, SIGKILL)
                    try waitUntil("the postmaster is gone", within: 10) { !isAlive(pid) }
                    let hit = clockNow()
                    try run.waitForService(after: hit, within: 60)
                    try waitUntil("somebody leads", within: 30) { (try? run.cluster.leader()) != nil }
                }
                run.end()
            }
        ]

    // MARK: SIGSTOP

    private static func frozen(
        _ target: Target, _ leases: Double, promise: Fault.Promise = .oneWriter, group: Fault.Group = .freeze,
        isShort: Bool = false
    ) -> Fault {
        Fault(
            name: "stop-\(target.name)-\(leases)", title: "SIGSTOP of \(target.title) for \(leases) leases",
            group: group,
            promise: promise, isShort: isShort
        ) { run in
            let member = try target.member(run)
            try run.freeze(try target.pids(run.cluster, member), of: [member.name], leases: leases)
            try run.waitForService(after: clockNow(), within: 60)
        }
    }

    static let freezes: [Fault] =
        [agent, guardProcess, both, postmaster].flatMap { target in
            lengths.map { length in
                frozen(
                    target, length,
                    isShort: (target.name == "agent" && length == 3) || (target.name == "guard" && length == 1.1))
            }
        } + singles.flatMap { target in lengths.map { frozen(target, $0) } } + replicas.map { frozen($0, 3) }

    // MARK: What is measured only

    private static let guardAndPostmaster = Target(
        name: "guard-and-postmaster", title: "the primary's guard and postmaster, the server processes running on"
    ) { [try $0.pid($1, .guardProcess), try $0.pid($1, .postmaster)] }
    private static let wholeHost = Target(name: "host", title: "everything on the primary's host") {
        try $0.everything($1)
    }

    static let residual: [Fault] =
        [
            frozen(guardAndPostmaster, 1.1, promise: .nothing, group: .residual),
            frozen(guardAndPostmaster, 3, promise: .nothing, group: .residual),
            frozen(wholeHost, 1.1, promise: .nothing, group: .residual, isShort: true),
            frozen(wholeHost, 3, promise: .nothing, group: .residual),
            Fault(
                name: "stop-all-hosts-3.0", title: "SIGSTOP of everything on all three hosts for 3 leases",
                group: .residual, promise: .nothing
            ) { run in
                let pids = try run.cluster.members.flatMap(run.cluster.everything)
                try run.freeze(pids, of: run.cluster.members.map(\.name), leases: 3)
                try run.waitForService(after: clockNow(), within: 90)
            },
        ]
}
