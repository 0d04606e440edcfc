import ClusterHarness
import Glibc

extension Catalogue {
    /// Everything of all members killed at once and started one after another.
    private static func powerLoss(_ order: [Int]) -> Fault {
        let names = order.map { $0 == 0 ? "primary" : "replica\($0)" }
        return Fault(
            name: "power-loss-" + order.map { $0 == 0 ? "p" : String($0) }.joined(),
            title:
                "Everything on all hosts killed at once; started 3 s apart: \(names.joined(separator: ", "))",
            group: .host
        ) { run in
            let members = [run.leader] + run.replicas
            run.begin(members.map(\.name))
            try run.cluster.killAll(members)
            for (index, number) in order.enumerated() where members.indices.contains(number) {
                if index > 0 { pauseFor(3) }
                try run.cluster.start(members[number])
            }
            run.end()
            try run.waitForService(after: clockNow(), within: 90)
        }
    }

    static let hosts: [Fault] =
        [
            Fault(
                name: "kill-host", title: "Everything on the primary's host killed; started again when another leads",
                group: .host, isShort: true
            ) { run in
                run.begin(run.leader)
                try run.cluster.killAll(run.leader)
                try run.waitForService(after: clockNow(), otherThan: run.leader, within: run.ttl * 3 + 20)
                try run.cluster.start(run.leader)
                run.end()
            },
            Fault(
                name: "reboot-host", title: "Everything on the primary's host killed; started again at once",
                group: .host
            ) { run in
                run.begin(run.leader)
                try run.cluster.killAll(run.leader)
                try run.cluster.start(run.leader)
                run.end()
                try run.waitForService(after: clockNow(), within: 60)
            },
            Fault(
                name: "kill-replica-host", title: "Everything on a replica's host killed; started again after 3 leases",
                group: .host
            ) { run in
                let replica = try run.replica(0)
                run.begin(replica)
                try run.cluster.killAll(replica)
                run.last(3)
                try run.cluster.start(replica)
                run.end()
            },
            Fault(
                name: "kill-two-hosts",
                title: "Everything on the primary's and one replica's host killed; started again after 3 leases",
                group: .host
            ) { run in
                let victims = [run.leader, try run.replica(0)]
                run.begin(victims.map(\.name))
                try run.cluster.killAll(victims)
                run.last(3)
                for victim in victims { try run.cluster.start(victim) }
                run.end()
                try run.waitForService(after: clockNow(), within: 60)
            },
            Fault(
                name: "kill-successor",
                title: "Everything on the primary's host killed, and on its successor's as soon as that one leads",
                group: .host
            ) { run in
                run.begin(run.leader)
                try run.cluster.killAll(run.leader)
                let first = try run.writers.waitForWrite(
                    after: clockNow(), otherThan: run.leader.name, within: run.ttl * 3 + 20)
                guard let second = run.cluster.members.first(where: { $0.name == first.member }) else { return }
                try run.cluster.killAll(second)
                run.last(6)
                try run.cluster.start(second)
                try run.cluster.start(run.leader)
                run.end()
                try run.waitForService(after: clockNow(), within: 90)
            },
        ]
        + [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].map(powerLoss)
        + [
            Fault(
                name: "power-loss-with-store", title: "Everything killed at once, the store too; the store starts last",
                group: .host, needs: [.storeServers]
            ) { run in
                run.begin(run.cluster.members.map(\.name))
                try run.cluster.killAll(run.cluster.members)
                for server in run.cluster.storeServers { try server.kill() }
                for member in run.replicas + [run.leader] { try run.cluster.start(member) }
                pauseFor(5)
                for server in run.cluster.storeServers { try server.start() }
                run.end()
                try run.waitForService(after: clockNow(), within: 90)
            }
        ]
}
