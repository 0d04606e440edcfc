import ClusterModel
import HighAvailability
import Simulation
import Testing

struct RaceStories {
    @Test func `the one that has more goes first`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster[others[0]].postgres.isReplicationHeld = true
        cluster.write(50_000)
        cluster.run(for: .seconds(11))
        cluster.killHost(cluster[old])
        #expect(cluster.run(until: { $0.primary != nil }, within: .seconds(20)) != nil)
        #expect(cluster.primary == others[1], "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `at the same position the higher priority goes first`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3)) { settings, name in
            if name == "pg3" || name == "pg1" { settings.tags = Tags(["failover_priority": name == "pg3" ? 5 : 2]) }
        }
        let best = old == "pg3" ? "pg1" : "pg3"
        #expect(others.contains(best))
        cluster.killHost(cluster[old])
        #expect(cluster.run(until: { $0.primary != nil }, within: .seconds(20)) != nil)
        #expect(cluster.primary == best, "\(cluster.story())")
    }

    @Test func `nofailover never leads`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3)) { settings, name in
            if name == "pg2" { settings.tags = Tags(["nofailover": true]) }
        }
        cluster.killHost(cluster[old])
        let wanted = others.first { $0 != "pg2" } ?? "pg1"
        #expect(cluster.run(until: { $0.primary != nil }, within: .seconds(20)) != nil)
        #expect(cluster.primary == wanted)
    }

    @Test func `each sees the other ahead: it ends (pain 46)`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster.killHost(cluster[old])
        // WAL goes on arriving while they ask each other: what each hears is newer than what it knows of itself.
        cluster.fault = { node, effect in
            if case .sample = effect, others.contains(node.name) {
                node.postgres.lsn = LSN(node.postgres.lsn.bytes + 100)
            }
            return nil
        }
        let took = try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(30)), "\(cluster.story())")
        #expect(took < .seconds(12))
        // Their upstream was kept until there was another.
        #expect(cluster.violations.isEmpty)
    }

    @Test func `a live Patroni primary without a lease vetoes, as long as it is alive`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        // A stock Patroni leads for a while.
        var isAlive = true
        cluster.killHost(cluster[old])
        for name in others { cluster.freeze(cluster[name]) }
        cluster.run(for: .seconds(4))
        let session = cluster.store.open(lifetime: .seconds(20), at: cluster.now)
        var member = Member(name: "patroni", state: .running)
        member.apiURL = "http://patroni:8008/patroni"
        member.connURL = "postgres://patroni/postgres"
        member.role = .primary
        member.timeline = Timeline(1)
        cluster.store.putAlien(member, session: session)
        cluster.store.leadAlien("patroni", session: session)
        cluster.aliens["patroni"] = { [unowned cluster] in
            guard isAlive else { return nil }
            var status = PeerStatus(name: "patroni", askedAt: cluster.now, state: .running)
            status.role = .primary
            status.isInRecovery = false
            status.timeline = Timeline(1)
            status.position = LSN(0x300_0000)
            return status
        }
        for name in others { cluster.thaw(cluster[name]) }
        cluster.run(for: .seconds(15))
        #expect(cluster.leader == "patroni")
        cluster.run(until: { $0.leader == nil }, within: .seconds(20))
        cluster.run(for: .seconds(30))
        #expect(cluster.primary == nil, "\(cluster.story())")
        #expect(cluster.said(others[0], "race.livePrimary"))
        for name in others { cluster[name].counts = [:] }
        cluster.run(for: .seconds(10))
        #expect(cluster[others[0]].counts["queryPeers", default: 0] <= 25)
        isAlive = false
        let took = try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(20)), "\(cluster.story())")
        // Silent and never seen with a guard: two seconds, no less.
        #expect(took >= .seconds(2))
        #expect(took < .seconds(6))
    }

    @Test func `a silent holder that was never seen guarded is waited for two seconds`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster.silenceTakes = .seconds(60)
        for name in others { cluster.killAgent(cluster[name]) }
        cluster.killHost(cluster[old])
        cluster.run(for: .seconds(4))
        // The whole memory of the last holder is gone with the agents; its host still hangs.
        for name in others { cluster.start(cluster[name]) }
        let took = try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(30)), "\(cluster.story())")
        #expect(took < .seconds(10))
    }

    @Test func `only members that the synchronous state names take part`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        _ = cluster.store.commit(
            ClusterChange(if: [], [.putSync(SyncState(leader: old, quorum: 0, standbys: [others[1]]))]), name: old,
            session: nil)
        cluster.signalAll()
        cluster.run(for: .seconds(1))
        cluster.killHost(cluster[old])
        #expect(cluster.run(until: { $0.primary != nil }, within: .seconds(30)) != nil)
        #expect(cluster.primary == others[1])
        #expect(cluster.said(others[0], "race.notInSync"))
    }

    @Test func `a false alarm is forgotten`() throws {
        let (cluster, leader, others) = try calmCluster(ttl: .seconds(3))
        cluster.deliver(cluster[others[0]], .peerSilent(leader, "no heartbeat"))
        cluster.run(for: .milliseconds(100))
        #expect(cluster.said(others[0], "leader.suspected"))
        #expect(cluster[others[0]].machine?.world.race == nil)
        // Its API is unreachable, and it leads on: suspected for a while, not forever.
        cluster[others[0]].isolated = [leader]
        cluster.deliver(cluster[others[0]], .peerSilent(leader, "no heartbeat"))
        cluster.run(for: .seconds(10))
        #expect(cluster[others[0]].machine?.world.race == nil, "\(cluster.story())")
        cluster[others[0]].counts = [:]
        cluster.run(for: .seconds(30))
        #expect(cluster[others[0]].counts["renew", default: 0] == 0, "\(cluster[others[0]].counts)")
    }

    @Test func `the store is wiped: the leader writes it all again, no standby leaves`() throws {
        let (cluster, leader, others) = try calmCluster(ttl: .seconds(3))
        let identifier = cluster[leader].postgres.identifier
        cluster.store.initialize = nil
        cluster.store.configuration = nil
        cluster.store.history = nil
        cluster.store.members = [:]
        cluster.store.status = nil
        cluster.store.deleteLeader()
        cluster.signalAll()
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        cluster.run(for: .seconds(5))
        for name in others { #expect(cluster[name].exit == nil) }
        #expect(cluster.store.initialize?.value == identifier)
        #expect(cluster.storeCopy.configuration != nil)
        #expect(cluster.storeCopy.history != nil)
    }
}

struct IdentityStories {
    @Test func `a name that is alive elsewhere is refused`() throws {
        let (cluster, leader, others) = try calmCluster()
        var member = Member(name: "pg9", state: .running)
        member.apiURL = "http://elsewhere:8008/patroni"
        let session = cluster.store.open(lifetime: .seconds(600), at: cluster.now)
        cluster.store.putAlien(member, session: session)
        cluster.aliens["elsewhere"] = { nil }
        cluster.add("pg9", MachineSettings())
        cluster.start(cluster["pg9"])
        cluster.run(for: .seconds(5))
        #expect(cluster["pg9"].exit?.code == 1)
        #expect(cluster["pg9"].exit?.text == "Can't start; there is already a node named 'pg9' running")
        #expect(cluster["pg9"].counts["startJob"] == nil)
        #expect(cluster.store.members["pg9"]?.value.session == session)
        _ = (leader, others)
    }

    @Test func `an entry that a dead instance left is taken over`() throws {
        let (cluster, _, _) = try calmCluster()
        var member = Member(name: "pg9", state: .running)
        member.apiURL = "http://elsewhere:8008/patroni"
        let session = cluster.store.open(lifetime: .seconds(600), at: cluster.now)
        cluster.store.putAlien(member, session: session)
        cluster.add("pg9", MachineSettings())
        cluster.start(cluster["pg9"])
        #expect(
            cluster.run(until: { $0["pg9"].postgres.isStreaming }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster.store.members["pg9"]?.value.session != session)
    }

    @Test func `data of another cluster: nothing is touched`() throws {
        let (cluster, leader, _) = try calmCluster()
        cluster.add("pg9", MachineSettings())
        cluster["pg9"].postgres.identifier = "6999999999999999999"
        cluster.start(cluster["pg9"])
        cluster.run(for: .seconds(5))
        #expect(cluster["pg9"].exit?.code == 1)
        let decision = try #require(cluster.decisions("pg9", "identity.otherCluster").first)
        #expect(decision["cluster"]?.string == cluster[leader].postgres.identifier)
        #expect(cluster["pg9"].counts["startJob"] == nil)
    }

    @Test func `a standby's agent before the primary's: it says so and leaves PostgreSQL running`() throws {
        let (cluster, leader, others) = try calmCluster()
        for name in cluster.names { cluster.killAgent(cluster[name]) }
        for name in cluster.names { cluster[name].postgres.run?.isAdopted = true }
        cluster.run(for: .seconds(40))
        cluster.store = ModelStore()
        // No agent has been here before.
        for name in cluster.names { (cluster[name].grants, cluster[name].cachedConfiguration) = (nil, nil) }
        // The guard stopped the primary meanwhile; hands start it, without an agent.
        cluster[leader].postgres.run = .init(isPrimary: true, isAdopted: true, started: 999)
        cluster.start(cluster[others[0]])
        cluster.run(for: .seconds(5))
        #expect(cluster[others[0]].exit?.code == 1)
        #expect(cluster.said(others[0], "identity.standbyBeforePrimary"), "\(cluster.story())")
        #expect(cluster[others[0]].postgres.run?.isReady == true)
        // With the primary first, it works.
        cluster.start(cluster[leader])
        #expect(cluster.run(until: { $0.leader == leader }, within: .seconds(5)) != nil, "\(cluster.story())")
        #expect(cluster.said(leader, "adopt.register"))
        cluster.start(cluster[others[0]])
        cluster.run(for: .seconds(5))
        #expect(cluster.said(others[0], "follow.streaming"))
    }

    @Test func `initialize was left behind by a bootstrap that died: everybody waits and says for what`() throws {
        let cluster = SimulatedCluster(2)
        _ = cluster.store.commit(ClusterChange(if: [], [.beginInitialize]), name: "x", session: nil)
        cluster.startAll()
        cluster.run(for: .seconds(60))
        #expect(cluster.decisions("pg1", "bootstrap.wait").count == 1)
        #expect(cluster.decisions("pg1", "bootstrap.wait").first?.text.contains("delete the key") == true)
        for name in cluster.names { (cluster[name].counts, cluster[name].handled) = ([:], 0) }
        cluster.run(for: .seconds(60))
        #expect(cluster["pg1"].handled < 600, "\(cluster["pg1"].handled) \(cluster["pg1"].counts)")
        cluster.store.initialize = nil
        cluster.store.revision += 1
        cluster.signalAll()
        #expect(cluster.run(until: { $0.isHealthy(2) }, within: .seconds(20)) != nil, "\(cluster.story())")
    }

    @Test func `a bootstrap that fails takes its key back before the agent ends`() throws {
        let cluster = SimulatedCluster(2)
        cluster.fault = { node, effect in
            if case .startJob(_, .bootstrap) = effect, node.name == "pg1" { return .notSent }
            return nil
        }
        cluster.start(cluster["pg1"])
        cluster.run(for: .seconds(5))
        #expect(cluster["pg1"].exit?.code == 1)
        #expect(cluster.storeCopy.initialize == nil)
        cluster.start(cluster["pg2"])
        #expect(cluster.run(until: { $0.primary == "pg2" }, within: .seconds(10)) != nil, "\(cluster.story())")
    }

    @Test func `the bootstrapper is frozen while another bootstraps: it copies the winner's data`() throws {
        let cluster = SimulatedCluster(2, ttl: .seconds(3))
        cluster.startAll()
        try #require(cluster.run(until: { $0.saidAnywhere("bootstrap.begin") }, within: .seconds(5)) != nil)
        let first = cluster.said("pg1", "bootstrap.begin") ? "pg1" : "pg2"
        let second = first == "pg1" ? "pg2" : "pg1"
        cluster.freeze(cluster[first])
        cluster.run(for: .seconds(5))
        cluster.store.initialize = nil
        cluster.store.revision += 1
        cluster.signalAll()
        try #require(cluster.run(until: { $0.primary == second }, within: .seconds(10)) != nil, "\(cluster.story())")
        cluster.thaw(cluster[first])
        #expect(cluster.run(until: { $0.isHealthy(2) }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster.said(first, "bootstrap.lost"))
        #expect(cluster[first].exit == nil)
    }
}
