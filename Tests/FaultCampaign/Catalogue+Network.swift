import ClusterHarness
import Glibc

extension Catalogue {
    /// A cut that lasts three leases unless said otherwise.
    private static func cut(
        _ name: String, _ title: String, leases: Double = 3, victims: @escaping @Sendable (FaultRun) throws -> [String],
        needsStore: Bool = false, isShort: Bool = false,
        _ body: @escaping @Sendable (FaultRun, Network) throws -> Void
    ) -> Fault {
        Fault(
            name: name, title: title, group: .network, needs: needsStore ? [.networks, .storeServers] : [.networks],
            isShort: isShort
        ) { run in
            // Runs on beyond the end of the lease, if the server does.
            try run.writers.beginLongStatement(on: run.leader, seconds: run.cluster.ttl + 1)
            let network = try run.network()
            try run.cut(try victims(run), leases: leases) { try body(run, network) }
            try run.waitForService(after: clockNow(), within: 60)
        }
    }

    private static let primary: @Sendable (FaultRun) throws -> [String] = { [$0.leader.name] }
    private static let firstReplica: @Sendable (FaultRun) throws -> [String] = { [try $0.replica(0).name] }
    private static let bothReplicas: @Sendable (FaultRun) throws -> [String] = { $0.replicas.map(\.name) }
    private static let everybody: @Sendable (FaultRun) throws -> [String] = { $0.cluster.members.map(\.name) }

    static let network: [Fault] = isolations + fromStore + shapes + oneWay + flapping

    // MARK: One host against all

    private static let isolations: [Fault] =
        lengths.map { length in
            cut(
                "isolate-primary-\(length)", "The primary's host cut from everybody for \(length) leases",
                leases: length, victims: primary, isShort: length == 3
            ) { run, network in try network.isolate(run.leader.host) }
        } + [
            cut("isolate-replica", "A replica's host cut from everybody", victims: firstReplica) { run, network in
                try network.isolate(try run.replica(0).host)
            },
            cut("isolate-replicas", "Both replicas' hosts cut from everybody, each alone", victims: bothReplicas) {
                run, network in for replica in run.replicas { try network.isolate(replica.host) }
            },
            cut("isolate-all", "Every member's host cut from everybody", victims: everybody) { run, network in
                for member in run.cluster.members { try network.isolate(member.host) }
            },
        ]

    // MARK: Members against the store

    private static func fromStore(
        _ name: String, _ title: String, _ direction: TestCluster.StoreDirection = .both,
        _ whom: @escaping @Sendable (FaultRun) throws -> [TestCluster.Member]
    ) -> Fault {
        Fault(name: name, title: title, group: .network, needs: [.storeServers]) { run in
            try run.writers.beginLongStatement(on: run.leader, seconds: run.cluster.ttl + 1)
            let members = try whom(run)
            try run.cut(members.map(\.name), leases: 3) { try run.cluster.cutFromStore(members, direction) }
            try run.waitForService(after: clockNow(), within: 60)
        }
    }

    /// These need no networks: proxies do.
    private static let fromStore: [Fault] = [
        fromStore("primary-from-store", "The primary cut from the store only") { [$0.leader] },
        fromStore("replica-from-store", "A replica cut from the store only") { [try $0.replica(0)] },
        fromStore("replicas-from-store", "Both replicas cut from the store only") { $0.replicas },
        fromStore("all-from-store", "Every member cut from the store") { $0.cluster.members },
        fromStore(
            "primary-deaf-to-store", "The primary does not hear the store, the store hears it", .toMember
        ) { [$0.leader] },
        fromStore(
            "store-deaf-to-primary", "The store does not hear the primary, the primary hears it", .toStore
        ) { [$0.leader] },
    ]

    // MARK: Parts of the network against others

    private static let shapes: [Fault] = [
        cut("primary-from-peers", "The primary cut from the other members only", victims: primary) { run, network in
            try network.part([run.leader.host], from: run.replicas.map(\.host))
        },
        cut("primary-from-clients", "The primary cut from the clients only", victims: primary) { run, network in
            try network.part([run.leader.host], from: [network.outside])
        },
        cut("all-from-each-other", "Every member cut from the other members only", victims: everybody) {
            run, network in
            for member in run.cluster.members { try network.cut([member.host], from: run.cluster.members.map(\.host)) }
        },
        cut(
            "primary-with-minority",
            "The primary and one server of the store cut from all others, clients on both sides",
            victims: primary, needsStore: true
        ) { run, network in
            let follower = try run.server("follower")
            let side = [run.leader.host, follower.host]
            try network.part(side, from: network.hosts.filter { host in !side.contains { $0 === host } })
        },
        cut(
            "primary-with-store-leader", "The primary and the store's leader cut from all others", victims: primary,
            needsStore: true
        ) { run, network in
            let side = [run.leader.host, try run.server("leader").host]
            try network.part(side, from: network.hosts.filter { host in !side.contains { $0 === host } })
        },
        cut(
            "primary-with-majority", "The primary and two servers of the store on one side, the replicas on the other",
            victims: bothReplicas, needsStore: true
        ) { run, network in
            let follower = try run.server("follower")
            let side = run.replicas.map(\.host) + [follower.host]
            try network.part(side, from: network.hosts.filter { host in !side.contains { $0 === host } })
        },
        cut(
            "store-leader-alone", "The store's leader cut from its followers, not from the members",
            victims: { _ in [] }, needsStore: true
        ) { run, network in
            let leader = try run.server("leader")
            try network.part([leader.host], from: run.storeHosts.filter { $0 !== leader.host })
        },
        cut(
            "store-scattered", "The store's servers cut from each other, not from the members", victims: { _ in [] },
            needsStore: true
        ) { run, network in
            for host in run.storeHosts { try network.cut([host], from: run.storeHosts) }
        },
        cut(
            "bridge-replica", "Primary and one replica cut from each other; the third member hears both",
            victims: primary
        ) { run, network in try network.part([run.leader.host], from: [try run.replica(0).host]) },
    ]

    // MARK: One direction only

    private static let oneWay: [Fault] = [
        cut("deaf-primary", "The primary hears nobody, everybody hears it", victims: primary, isShort: true) {
            run, network in try network.cut([run.leader.host], from: network.hosts)
        },
        cut("mute-primary", "Nobody hears the primary, it hears everybody", victims: primary) { run, network in
            try network.cut(network.hosts, from: [run.leader.host])
        },
        cut("replicas-deaf-to-primary", "The replicas do not hear the primary, it hears them", victims: bothReplicas) {
            run, network in try network.cut(run.replicas.map(\.host), from: [run.leader.host])
        },
        cut("primary-deaf-to-replicas", "The primary does not hear the replicas, they hear it", victims: primary) {
            run, network in try network.cut([run.leader.host], from: run.replicas.map(\.host))
        },
        cut("deaf-replica", "A replica hears nobody, everybody hears it", victims: firstReplica) { run, network in
            try network.cut([try run.replica(0).host], from: network.hosts)
        },
        cut(
            "store-followers-deaf", "The store's followers do not hear its leader, it hears them", victims: { _ in [] },
            needsStore: true
        ) { run, network in
            let leader = try run.server("leader").host
            try network.cut(run.storeHosts.filter { $0 !== leader }, from: [leader])
        },
    ]

    // MARK: Links that come and go

    private static let flapping: [Fault] = [
        Fault(
            name: "flapping-primary", title: "The primary's host cut from everybody for 0.4 leases, ten times",
            group: .network, needs: [.networks]
        ) { run in
            let network = try run.network()
            run.begin(run.leader)
            defer { try? network.heal() }
            for _ in 1...10 {
                try network.isolate(run.leader.host)
                pauseFor(run.ttl * 0.4)
                try network.heal()
                pauseFor(run.ttl * 0.1)
            }
            run.end()
            try run.waitForService(after: clockNow(), within: 60)
        }
    ]
}
