import ClusterModel
import HighAvailability
import Simulation
import Testing

struct LeaseStories {
    @Test func `the leader loses the store: fast stop at F, another leads only after E, the old one serves reads`()
        throws
    {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3))
        let node = cluster[leader]
        cluster.cutStore(node)
        let deadlines = try #require(node.machine?.world.term?.deadlines)
        try #require(cluster.run(until: { _ in !node.postgres.isWritable }, within: .seconds(5)) != nil)
        // Fast: PostgreSQL itself was given its time, and was done before Q.
        #expect(cluster.now >= deadlines.finish)
        #expect(cluster.now < deadlines.quit)
        #expect(node.postgres.state == .shutDown)
        let decision = try #require(cluster.decisions(leader, "lease.deadline").first)
        #expect(decision["fence"]?.string == "0.106")
        #expect(decision.weight == .warning)
        // Nobody was faster than the store.
        let other = try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(5)))
        #expect(other > .zero)
        #expect(cluster.now >= deadlines.end)
        #expect(
            cluster.run(until: { _ in node.postgres.run?.isReady == true }, within: .seconds(10)) != nil,
            "\(cluster.story())")
        #expect(cluster.said(leader, "store.readOnly"))
        cluster.joinStore(node)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a short loss of the store changes nothing`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3))
        for _ in 0..<5 {
            cluster.cutStore(cluster[leader])
            cluster.run(for: .seconds(1))
            cluster.joinStore(cluster[leader])
            cluster.run(for: .seconds(2))
        }
        #expect(cluster.primary == leader)
        #expect(cluster.store.terms.count == 1)
        #expect(cluster.decisions(leader, "store.unreachable").count == 5, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `the store says that the entry is not ours: immediate stop, then it follows`() throws {
        let (cluster, leader, _) = try calmCluster()
        let node = cluster[leader]
        // Another program forces itself in: its session is its own.
        let alien = cluster.store.open(lifetime: .seconds(600), at: cluster.now)
        cluster.store.deleteLeader()
        cluster.store.leadAlien("other", session: alien)
        cluster.signalAll()
        let took = try #require(cluster.run(until: { _ in !node.postgres.isWritable }, within: .seconds(1)))
        #expect(took < .milliseconds(50))
        #expect(node.postgres.state == .inProduction)
        #expect(cluster.said(leader, "lease.lost"))
        #expect(cluster.store.leader?.value.name == "other")
    }

    @Test func `the leader entry is deleted by hand: the term ends, and somebody leads again`() throws {
        let (cluster, leader, _) = try calmCluster()
        cluster.store.deleteLeader()
        cluster.signalAll()
        try #require(cluster.run(until: { _ in !cluster[leader].postgres.isWritable }, within: .seconds(1)) != nil)
        #expect(cluster.decisions(leader, "lease.lost").first?.text.contains("vanished") == true)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test(arguments: [Duration.milliseconds(100), .seconds(1), .milliseconds(2400), .seconds(4), .seconds(40)])
    func `a frozen agent never acknowledges past its lease, however long it sleeps`(sleep: Duration) throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3))
        let node = cluster[leader]
        cluster.freeze(node)
        cluster.run(for: sleep)
        cluster.thaw(node)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        if sleep > .seconds(3) {
            #expect(cluster.primary != leader)
            #expect(cluster.saidAnywhere("race.acquire"))
        }
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a renewal that was answered after Q never counts`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3))
        let node = cluster[leader]
        cluster.fault = { node, effect in
            if node.name == leader, case .renew = effect { return .late(.milliseconds(2600)) }
            return nil
        }
        cluster.run(for: .seconds(5))
        #expect(!node.postgres.isWritable || cluster.leader != leader)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `the agent is killed and comes back within its session: the lease goes on, PostgreSQL never stopped`()
        throws
    {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(10))
        let node = cluster[leader]
        let run = node.postgres.run
        cluster.killAgent(node)
        cluster.run(for: .seconds(2))
        cluster.start(node, resume: true)
        cluster.run(for: .seconds(30))
        #expect(node.postgres.run == run, "\(cluster.story())")
        #expect(cluster.said(leader, "lease.resumed"))
        #expect(cluster.leader == leader)
        #expect(cluster.store.terms.count == 1)
        #expect(cluster.violations.isEmpty)
    }

    @Test func `the agent comes back without its session: PostgreSQL stops before the lease passes on`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(10))
        let node = cluster[leader]
        cluster.killAgent(node)
        cluster.run(for: .seconds(1))
        cluster.start(node)
        #expect(
            cluster.run(until: { $0.said(leader, "fence.foreignSession") }, within: .seconds(5)) != nil,
            "\(cluster.story())")
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `the agent is killed for good: the guard stops PostgreSQL at Q, another leads`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3))
        let node = cluster[leader]
        let quit = try #require(node.guardian.deadlines?.quit)
        cluster.killAgent(node)
        try #require(cluster.run(until: { _ in !node.postgres.isWritable }, within: .seconds(5)) != nil)
        #expect(cluster.now == quit)
        #expect(cluster.run(until: { $0.primary != nil }, within: .seconds(5)) != nil)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `the guard says that the term is over: the lease is given up`() throws {
        let (cluster, leader, _) = try calmCluster(1, ttl: .seconds(3))
        let node = cluster[leader]
        let fence = try #require(node.guardian.term)
        // A term that a store which was set back gives back may be one that the guard has ended.
        cluster.crashPostgres(node)
        node.guardian.over = fence
        node.guardian.deadlines = nil
        #expect(cluster.run(until: { $0.said(leader, "lease.unguarded") }, within: .seconds(5)) != nil)
        #expect(cluster.run(until: { $0.primary != nil }, within: .seconds(10)) != nil, "\(cluster.story())")
        #expect(try #require(node.guardian.term) > fence)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `the agent of a standby restarts: its PostgreSQL is left alone`() throws {
        let (cluster, _, others) = try calmCluster()
        let node = cluster[others[0]]
        let run = node.postgres.run
        cluster.fault = { _, effect in if case .sample = effect { .late(.seconds(2)) } else { nil } }
        cluster.killAgent(node)
        cluster.start(node)
        cluster.run(for: .seconds(20))
        #expect(node.postgres.run == run, "\(cluster.story())")
    }

    enum Loss: String, CaseIterable { case answerLost, lost, notSent }

    private func faultOnce(_ cluster: SimulatedCluster, _ loss: Loss, _ matches: @escaping (Effect) -> Bool) {
        var done = false
        cluster.fault = { _, effect in
            guard !done, matches(effect) else { return nil }
            done = true
            switch loss {
            case .answerLost: return .answerLost
            case .lost: return .lost
            case .notSent: return .notSent
            }
        }
    }

    @Test(arguments: Loss.allCases)
    func `an acquire with no clear outcome is resolved, and the cluster has a leader`(loss: Loss) throws {
        let (cluster, old, _) = try calmCluster(ttl: .seconds(3))
        var commits = 0
        faultOnce(cluster, loss) { effect in
            guard case .commit(_, let change) = effect, change.writes.contains(.acquireLeader) else { return false }
            commits += 1
            return true
        }
        cluster.killHost(cluster[old])
        #expect(cluster.run(until: { $0.primary != nil }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
        cluster.run(for: .seconds(10))
        if loss != .notSent { #expect(cluster.saidAnywhere("lease.unknown")) }
        #expect(cluster.leader == cluster.primary)
    }

    @Test(arguments: Loss.allCases)
    func `a release with no clear outcome is resolved, never repeated blindly`(loss: Loss) throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        faultOnce(cluster, loss) { if case .release = $0 { true } else { false } }
        let id = cluster.ask(old, .switchover(leader: old, candidate: others[0], scheduledAt: nil))
        #expect(cluster.run(until: { $0.primary == others[0] }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster.answer(id)?.isSuccess == true)
        #expect(cluster[old].counts["release", default: 0] <= 2)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test(arguments: Loss.allCases)
    func `publishing with no clear outcome heals`(loss: Loss) throws {
        let cluster = SimulatedCluster(3)
        faultOnce(cluster, loss) { effect in
            guard case .commit(_, let change) = effect, case .putMember? = change.writes.first else { return false }
            return true
        }
        cluster.startAll()
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
    }

    @Test(arguments: Loss.allCases)
    func `the race for initialize with no clear outcome ends in a cluster`(loss: Loss) throws {
        let cluster = SimulatedCluster(3)
        faultOnce(cluster, loss) { effect in
            guard case .commit(_, let change) = effect else { return false }
            return change.writes.contains(.beginInitialize)
        }
        cluster.startAll()
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `slow reads: what was asked for before the acquire does not undo it`() throws {
        let (cluster, old, _) = try calmCluster(ttl: .seconds(3))
        cluster.fault = { _, effect in if case .read = effect { .late(.milliseconds(300)) } else { nil } }
        cluster.killHost(cluster[old])
        cluster.run(until: { $0.leader == nil }, within: .seconds(5))
        // Something changes all the time: there is always a read under way.
        for _ in 0..<40 {
            cluster.signalAll()
            cluster.run(for: .milliseconds(50))
        }
        let new = try #require(cluster.primary, "\(cluster.story())")
        #expect(!cluster.said(new, "lease.resumed"))
        #expect(cluster.decisions(new, "lease.acquired").count == 1)
        #expect(cluster.store.terms.count == 2)
        #expect(cluster.violations.isEmpty)
    }

    @Test func `a word about an earlier holding does not end this one`() throws {
        let (cluster, leader, _) = try calmCluster(1, ttl: .seconds(10))
        var isFirst = true
        // One renewal is answered very late; meanwhile its term has ended and a new one has begun.
        cluster.fault = { _, effect in
            guard isFirst, case .renew = effect else { return nil }
            isFirst = false
            return .late(.milliseconds(2400))
        }
        cluster.run(until: { _ in !isFirst })
        cluster.store.deleteLeader()
        cluster.signalAll()
        cluster.run(until: { $0.store.terms.count == 2 }, within: .seconds(5))
        cluster.run(for: .seconds(20))
        #expect(cluster.store.terms.count == 2, "\(cluster.story())")
        #expect(cluster.primary == leader)
    }

    @Test func `a store that refuses every acquire is not asked in a tight loop`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster.fault = { _, effect in
            if case .commit(_, let change) = effect, change.writes.contains(.acquireLeader) { return .notSent }
            return nil
        }
        cluster.killHost(cluster[old])
        cluster.run(for: .seconds(3))
        for name in others { cluster[name].counts = [:] }
        cluster.run(for: .seconds(10))
        for name in others {
            #expect(cluster[name].counts["commit", default: 0] <= 60, "\(cluster[name].counts)")
            #expect(cluster[name].counts["read", default: 0] <= 40, "\(cluster[name].counts)")
        }
    }

    @Test func `without the store nobody works hard`() throws {
        let (cluster, _, _) = try calmCluster(ttl: .seconds(3))
        for name in cluster.names { cluster.cutStore(cluster[name]) }
        cluster.run(for: .seconds(20))
        for name in cluster.names { (cluster[name].counts, cluster[name].handled) = ([:], 0) }
        cluster.run(for: .seconds(60))
        for name in cluster.names {
            let node = cluster[name]
            #expect(node.handled < 1500, "\(name): \(node.handled) \(node.counts)")
            #expect(node.counts["renew", default: 0] <= 120)
            #expect(node.counts["read", default: 0] <= 130)
            #expect(node.postgres.run?.isReady == true)
            #expect(!node.postgres.isWritable)
        }
        for name in cluster.names { cluster.joinStore(cluster[name]) }
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a cluster that may not elect anybody waits without haste`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3)) { settings, name in
            settings.tags = Tags(["nofailover": .bool(name != "pg1")])
        }
        #expect(old == "pg1")
        cluster.killHost(cluster[old])
        cluster.run(for: .seconds(20))
        for name in others { (cluster[name].counts, cluster[name].handled) = ([:], 0) }
        cluster.run(for: .seconds(60))
        for name in others {
            #expect(cluster.said(name, "race.noFailover"))
            #expect(cluster[name].handled < 1000, "\(cluster[name].handled) \(cluster[name].counts)")
        }
        #expect(cluster.primary == nil)
    }

    @Test func `a ttl change takes a new session wherever nothing is held`() throws {
        let (cluster, leader, others) = try calmCluster(ttl: .seconds(30))
        cluster.ttl = .seconds(10)
        for name in cluster.names {
            var settings = cluster[name].settings
            settings.ttl = .seconds(10)
            cluster[name].settings = settings
            cluster.deliver(cluster[name], .settings(settings))
        }
        cluster.run(for: .seconds(20))
        for name in others { #expect(cluster[name].machine?.world.sessionFacts?.granted == .seconds(10)) }
        #expect(cluster.primary == leader)
        #expect(cluster.isHealthy(3), "\(cluster.story())")
        cluster.ask(leader, .switchover(leader: leader, candidate: others[0], scheduledAt: nil))
        cluster.run(until: { $0.primary == others[0] })
        cluster.run(for: .seconds(20))
        #expect(cluster[leader].machine?.world.sessionFacts?.granted == .seconds(10))
        #expect(cluster.isHealthy(3))
    }
}

struct CallbackStories {
    @Test func `each role change is announced once; a server found running too`() throws {
        let (cluster, old, others) = try calmCluster()
        #expect(cluster[old].callbacks == ["on_start primary"])
        #expect(cluster[others[0]].callbacks == ["on_start replica"])
        cluster.ask(old, .switchover(leader: old, candidate: others[0], scheduledAt: nil))
        #expect(cluster.run(until: { $0.primary == others[0] && $0.isHealthy(3) }, within: .seconds(20)) != nil)
        cluster.run(for: .seconds(15))
        #expect(cluster[others[0]].callbacks == ["on_start replica", "on_role_change primary"])
        #expect(cluster[old].callbacks == ["on_start primary", "on_stop primary", "on_role_change replica"])
        #expect(cluster[others[1]].callbacks == ["on_start replica"])
        cluster.ask(others[1], .restart(RestartRequest()))
        cluster.run(for: .seconds(5))
        #expect(cluster[others[1]].callbacks == ["on_start replica", "on_restart replica"])
        cluster[others[1]].callbacks = []
        cluster.killAgent(cluster[others[1]])
        cluster.start(cluster[others[1]])
        cluster.run(for: .seconds(30))
        #expect(cluster[others[1]].callbacks == ["on_start replica"])
    }
}
