import ClusterHarness
import Glibc

extension Catalogue {
    private static func frozen(_ mode: String, _ leases: Double, isShort: Bool = false) -> Fault {
        Fault(
            name: "stop-store-\(mode)-\(leases)", title: "SIGSTOP of the store's \(mode) for \(leases) leases",
            group: .ensemble, needs: [.storeServers], isShort: isShort
        ) { run in
            guard let pid = try run.server(mode).pid else { throw SystemFailure("the server does not run") }
            try run.freeze([pid], of: [], leases: leases)
            try run.waitForService(after: clockNow(), within: 60)
        }
    }

    private static func outage(_ leases: Double) -> Fault {
        Fault(
            name: "stop-store-\(leases)", title: "SIGSTOP of every server of the store for \(leases) leases",
            group: .ensemble, needs: [.storeServers]
        ) { run in
            try run.freeze(run.cluster.storeServers.compactMap(\.pid), of: [], leases: leases)
            try run.waitForService(after: clockNow(), within: 90)
        }
    }

    private static func killed(_ mode: String) -> Fault {
        Fault(
            name: "kill-store-\(mode)", title: "SIGKILL of the store's \(mode), started again after 3 leases",
            group: .ensemble, needs: [.storeServers]
        ) { run in
            let server = try run.server(mode)
            run.begin([])
            try server.kill()
            run.last(3)
            try server.start()
            run.end()
            try run.waitForService(after: clockNow(), within: 60)
        }
    }

    static let ensemble: [Fault] =
        ["leader", "follower"].flatMap { mode in
            lengths.map { frozen(mode, $0, isShort: mode == "leader" && $0 == 3) }
        } + lengths.map(outage) + [
            killed("leader"), killed("follower"),
            Fault(
                name: "kill-store", title: "SIGKILL of every server of the store, started again after 3 leases",
                group: .ensemble, needs: [.storeServers], isShort: true
            ) { run in
                try run.writers.beginLongStatement(on: run.leader, seconds: run.cluster.ttl + 1)
                run.begin([])
                for server in run.cluster.storeServers { try server.kill() }
                run.last(3)
                for server in run.cluster.storeServers { try server.start() }
                run.end()
                try run.waitForService(after: clockNow(), within: 90)
            },
            Fault(
                name: "kill-store-in-turn", title: "SIGKILL of each server of the store, one after another came back",
                group: .ensemble, needs: [.storeServers]
            ) { run in
                run.begin([])
                for server in run.cluster.storeServers {
                    try server.kill()
                    pauseFor(0.5)
                    try server.start()
                    try waitUntil("\(server.name) serves again", within: 60) { server.mode != nil }
                }
                run.end()
                try run.waitForService(after: clockNow(), within: 60)
            },
            Fault(
                name: "stop-store-leader-and-agent-3.0", title: "SIGSTOP of the store's leader and the primary's agent",
                group: .ensemble, needs: [.storeServers]
            ) { run in
                guard let pid = try run.server("leader").pid else { throw SystemFailure("the server does not run") }
                let agent = try run.cluster.pid(run.leader, .agent)
                try run.freeze([pid, agent], of: [run.leader.name], leases: 3)
                try run.waitForService(after: clockNow(), within: 60)
            },
        ]
}
