import ClusterHarness
import Glibc

/// Every fault, in the order in which they are run.
enum Catalogue {
    static let all: [Fault] =
        planned + kills + freezes + ensemble + outages + network + hosts + archive + recovery + disks + residual

    static let short: [Fault] = all.filter(\.isShort)

    /// The faults of these names (a name may end in `*`), in the catalogue's order; throws for a name that nothing has.
    static func named(_ names: [String]) throws -> [Fault] {
        for name in names where !all.contains(where: { matches($0.name, name) }) {
            throw SystemFailure("no such fault: \(name); --list tells them all")
        }
        return all.filter { fault in names.contains { matches(fault.name, $0) } }
    }

    private static func matches(_ name: String, _ pattern: String) -> Bool {
        pattern.hasSuffix("*") ? name.hasPrefix(pattern.dropLast()) : name == pattern
    }

    /// The lengths for which processes are stopped, in leases.
    static let lengths: [Double] = [0.5, 0.9, 1.1, 3]
}

// MARK: Planned moves, for comparison

extension Catalogue {
    static let planned: [Fault] = [
        Fault(
            name: "switchover", title: "matriarch switchover to a candidate", group: .planned, promise: .keepsAll,
            isShort: true
        ) { run in
            let candidate = try run.replica(0)
            run.begin(run.leader, candidate)
            let result = try run.cluster.matriarch(["switchover", "--candidate", candidate.name, "--force"])
            try check(result.status == 0, "matriarch switchover: \(result.output)")
            run.end()
            try run.waitForService(after: clockNow(), otherThan: run.leader, within: 15)
        },
        Fault(
            name: "terminate-agent", title: "SIGTERM to the primary's agent, started again after 5 s", group: .planned,
            promise: .keepsAll
        ) { run in
            run.begin(run.leader)
            try run.cluster.send(SIGTERM, to: run.leader, .agent)
            try run.waitForService(after: clockNow(), otherThan: run.leader, within: 40)
            try waitUntil("the old agent ends", within: 40) { run.leader.agentPid == nil }
            try check(run.leader.agent?.exitStatus == 0, "the agent ended with \(run.leader.agent?.exitStatus ?? -1)")
            try run.restartAgent(run.leader, after: 5)
            run.end()
        },
    ]
}
