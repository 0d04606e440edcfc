import ClusterModel
import HighAvailability
import Simulation
import Testing

/// A calm cluster of three with `failsafe_mode` on.
private func failsafeCluster(
    _ count: Int = 3, ttl: Duration = .seconds(4), seed: UInt64 = 1
) throws -> (SimulatedCluster, leader: String, others: [String]) {
    let (cluster, leader, others) = try calmCluster(count, ttl: ttl, seed: seed) { settings, _ in
        settings.bootstrapConfiguration?["failsafe_mode"] = true
        settings.loopWait = .seconds(1)
    }
    try #require(cluster.store.failsafe?.value.count == count, "\(cluster.story())")
    return (cluster, leader, others)
}

struct FailsafeStories {
    @Test func `the leader keeps the list of members, once it has proven its lease`() throws {
        let (cluster, leader, others) = try failsafeCluster()
        #expect(cluster.store.failsafe?.value[leader] == "http://\(leader):8008/patroni")
        cluster.killHost(cluster[others[0]])
        #expect(
            cluster.run(until: { $0.store.failsafe?.value.count == 2 }, within: .seconds(20)) != nil,
            "\(cluster.story())")
        cluster.startHost(cluster[others[0]])
        #expect(
            cluster.run(until: { $0.store.failsafe?.value.count == 3 }, within: .seconds(20)) != nil,
            "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `the store is lost for ten minutes: nobody is demoted, nobody detached, nobody races`() throws {
        let (cluster, leader, others) = try failsafeCluster()
        let run = cluster[leader].postgres.run
        cluster.stopStore()
        cluster.run(for: .seconds(600))
        #expect(cluster.primary == leader, "\(cluster.story())")
        #expect(cluster[leader].postgres.run?.started == run?.started)
        #expect(cluster[leader].machine?.status.isFailsafeActive == true)
        for name in others {
            #expect(cluster[name].postgres.isStreaming)
            #expect(cluster[name].machine?.status.isFailsafeActive == true)
        }
        #expect(cluster.decisions(leader, "failsafe.active").count == 1)
        cluster.startStore(electsLeader: true)
        #expect(cluster.run(until: { $0.isHealthy(3) && $0.leader == leader }, within: .seconds(30)) != nil)
        cluster.run(for: .seconds(5))
        #expect(cluster.said(leader, "failsafe.end"), "\(cluster.story())")
        #expect(cluster[leader].machine?.status.isFailsafeActive == false)
        #expect(others.allSatisfy { cluster[$0].machine?.status.isFailsafeActive == false }, "\(cluster.story())")
        #expect(cluster[leader].postgres.run?.started == run?.started)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `the session expires while the store is away: the entry is taken again, without a demotion`() throws {
        let (cluster, leader, _) = try failsafeCluster()
        let run = cluster[leader].postgres.run
        let before = cluster.store.terms.count
        cluster.cutStore(cluster[leader])
        cluster.run(for: .seconds(30))
        #expect(cluster.leader == nil && cluster.primary == leader, "\(cluster.story())")
        cluster.joinStore(cluster[leader])
        #expect(cluster.run(until: { $0.leader == leader }, within: .seconds(10)) != nil, "\(cluster.story())")
        cluster.run(for: .seconds(5))
        #expect(cluster.store.terms.count == before + 1)
        #expect(cluster[leader].postgres.run?.started == run?.started, "\(cluster.story())")
        #expect(cluster.isHealthy(3) && cluster.primary == leader)
        #expect(cluster[leader].guardian.posture == .primary)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a member is missing: stopped in time, as without the failsafe`() throws {
        let (cluster, leader, others) = try failsafeCluster()
        let node = cluster[leader]
        cluster.freeze(cluster[others[0]])
        cluster.stopStore()
        try #require(cluster.run(until: { _ in !node.postgres.isWritable }, within: .seconds(5)) != nil)
        #expect(cluster.said(leader, "failsafe.missing") || cluster.said(leader, "lease.deadline"))
        #expect(!cluster.said(leader, "failsafe.active"))
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a member falls silent later: the term ends before its grant does`() throws {
        let (cluster, leader, others) = try failsafeCluster()
        let node = cluster[leader]
        cluster.stopStore()
        cluster.run(for: .seconds(20))
        #expect(cluster.primary == leader)
        cluster.killHost(cluster[others[0]])
        let took = try #require(cluster.run(until: { _ in !node.postgres.isWritable }, within: .seconds(10)))
        #expect(took < .seconds(4))
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a cluster of one goes on by itself`() throws {
        let (cluster, leader, _) = try failsafeCluster(1)
        cluster.stopStore()
        cluster.run(for: .seconds(60))
        #expect(cluster.primary == leader, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `off: the same loss ends in a fast stop`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(4))
        cluster.stopStore()
        cluster.run(for: .seconds(4))
        #expect(cluster.primary == nil)
        #expect(!cluster.said(leader, "failsafe.active"))
        #expect(cluster[leader].counts["requestGrants"] == nil)
    }

    @Test func `refused is not unreachable: who lost the entry stops at once`() throws {
        let (cluster, leader, _) = try failsafeCluster()
        let alien = cluster.store.open(lifetime: .seconds(600), at: cluster.now)
        cluster.store.deleteLeader()
        cluster.store.leadAlien("other", session: alien)
        cluster.signalAll()
        let node = cluster[leader]
        let took = try #require(cluster.run(until: { _ in !node.postgres.isWritable }, within: .seconds(1)))
        #expect(took < .milliseconds(50), "\(cluster.story())")
    }

    /// Every session, and every member's entry with it, has expired in the second case.
    @Test(arguments: [true, false])
    func `after the failsafe a switchover waits for no old grant`(sessionsLive: Bool) throws {
        let (cluster, leader, others) = try failsafeCluster(ttl: .seconds(10))
        cluster.stopStore()
        cluster.run(for: .seconds(20))
        cluster.startStore(electsLeader: sessionsLive)
        try #require(cluster.run(until: { $0.said(leader, "failsafe.end") }, within: .seconds(20)) != nil)
        cluster.run(for: .seconds(1))
        cluster.ask(leader, .switchover(leader: leader, candidate: others[0], scheduledAt: nil))
        let took = try #require(
            cluster.run(until: { $0.primary == others[0] }, within: .seconds(30)), "\(cluster.story())")
        #expect(took < .seconds(3), "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a grantor that restarts remembers; without its record it sits out a lease`() throws {
        for isLost in [false, true] {
            let (cluster, leader, others) = try failsafeCluster(ttl: .seconds(10))
            cluster.stopStore()
            cluster.run(for: .seconds(20))
            // Everything of the leader goes, and the store comes back: the entry is free in a moment.
            cluster.killHost(cluster[leader])
            let heir = cluster[others[0]]
            cluster.killHost(cluster[others[1]])
            cluster.killAgent(heir)
            if isLost { heir.grants = nil }
            cluster.start(heir)
            let asked = cluster.now
            cluster.startStore(electsLeader: false)
            let took = try #require(
                cluster.run(until: { $0.primary == heir.name }, within: .seconds(60)), "\(cluster.story())")
            #expect(took > .seconds(isLost ? 9 : 5), "\(asked) \(cluster.story())")
            #expect(cluster.said(heir.name, isLost ? "failsafe.sitOut" : "failsafe.granted"), "\(cluster.story())")
            #expect(cluster.violations.isEmpty, "\(cluster.story())")
        }
    }
}

struct ReturnedStoreStories {
    @Test(arguments: [StoreModel.plain, .zooKeeper(tick: .milliseconds(500)), .etcd, .consul(lockDelay: .seconds(1))])
    func `a store that comes back empty is told everything again, without an outage`(model: StoreModel) throws {
        let (cluster, leader, _) = try failsafeCluster()
        cluster.store.model = model
        let run = cluster[leader].postgres.run
        let fence = try #require(cluster.store.terms.last?.fence)
        cluster.stopStore()
        cluster.run(for: .seconds(6))
        cluster.emptyStore()
        #expect(
            cluster.run(until: { $0.isHealthy(3) && $0.leader == leader }, within: .seconds(30)) != nil,
            "\(cluster.story())")
        cluster.run(for: .seconds(5))
        #expect(cluster[leader].postgres.run?.started == run?.started, "\(cluster.story())")
        #expect(cluster.store.initialize?.value == cluster[leader].postgres.identifier)
        #expect(cluster.store.configuration?.value["failsafe_mode"]?.bool == true)
        #expect(cluster.store.failsafe?.value.count == 3)
        #expect(cluster.storeCopy.history != nil)
        let after = try #require(cluster.store.terms.last?.fence)
        #expect(after > fence && after.era == fence.era + 1)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a store that is set back does not bring back who led then`() throws {
        let (cluster, leader, others) = try failsafeCluster()
        let older = cluster.store
        cluster.ask(leader, .switchover(leader: leader, candidate: others[0], scheduledAt: nil))
        try #require(cluster.run(until: { $0.isHealthy(3) && $0.leader == others[0] }, within: .seconds(30)) != nil)
        cluster.ask(others[0], .patchConfiguration(["maximum_lag_on_failover": 77]))
        cluster.run(for: .seconds(10))
        let fence = try #require(cluster.store.terms.last?.fence)
        let run = cluster[others[0]].postgres.run
        cluster.stopStore()
        cluster.run(for: .seconds(6))
        cluster.setStoreBack(to: older)
        #expect(
            cluster.run(until: { $0.isHealthy(3) && $0.leader == others[0] }, within: .seconds(60)) != nil,
            "\(cluster.story())")
        cluster.run(for: .seconds(5))
        #expect(cluster[others[0]].postgres.run?.started == run?.started, "\(cluster.story())")
        #expect(cluster.store.configuration?.value["maximum_lag_on_failover"]?.integer == 77, "\(cluster.story())")
        #expect(try #require(cluster.store.terms.last?.fence) > fence)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a store set back to an earlier term of the same leader and session does not hold it up`() throws {
        let (cluster, leader, others) = try failsafeCluster()
        let older = cluster.store
        for (from, to) in [(leader, others[0]), (others[0], leader)] {
            cluster.ask(from, .switchover(leader: from, candidate: to, scheduledAt: nil))
            try #require(cluster.run(until: { $0.isHealthy(3) && $0.leader == to }, within: .seconds(30)) != nil)
        }
        let fence = try #require(cluster.store.terms.last?.fence)
        let run = cluster[leader].postgres.run
        cluster.stopStore()
        cluster.run(for: .seconds(2))
        cluster.setStoreBack(to: older)
        // Sooner than the entry of then would expire, were it left alone.
        #expect(
            cluster.run(
                until: { $0.leader == leader && $0.store.terms.last.map { $0.fence > fence } ?? false },
                within: .seconds(2)) != nil, "\(cluster.story())")
        #expect(cluster.said(leader, "failsafe.oldEntry"), "\(cluster.story())")
        cluster.run(for: .seconds(5))
        #expect(cluster.isHealthy(3) && cluster.primary == leader, "\(cluster.story())")
        #expect(cluster[leader].postgres.run?.started == run?.started, "\(cluster.story())")
        #expect(cluster.store.failsafe?.value.count == 3)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `SIGTERM of a leader whose entry the store has lost waits for no answer to a release`() throws {
        let (cluster, leader, _) = try failsafeCluster()
        cluster.stopStore()
        cluster.run(for: .seconds(6))
        cluster.emptyStore()
        try #require(
            cluster.run(until: { $0[leader].machine?.world.failsafe.leaseLost != nil }, within: .seconds(20)) != nil,
            "\(cluster.story())")
        cluster.cutStore(cluster[leader])
        cluster.deliver(cluster[leader], .stopAsked)
        #expect(cluster.run(until: { $0[leader].exit != nil }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster[leader].exit?.code == 0)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `without the failsafe an emptied store costs a restart in place, and no more`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(4))
        cluster.stopStore()
        cluster.run(for: .milliseconds(500))
        cluster.emptyStore()
        #expect(
            cluster.run(until: { $0.isHealthy(3) && $0.leader == leader }, within: .seconds(30)) != nil,
            "\(cluster.story())")
        #expect(cluster.store.initialize?.value == cluster[leader].postgres.identifier)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `standbys alone register an emptied cluster, after a lease`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(4))
        cluster.killHost(cluster[leader])
        cluster.stopStore()
        cluster.run(for: .seconds(1))
        let emptied = cluster.now
        cluster.emptyStore()
        try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.now - emptied > .seconds(3))
        #expect(cluster.storeCopy.initialize != nil)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `one that remembers registers an emptied cluster for those that have begun since`() throws {
        let (cluster, leader, others) = try calmCluster(ttl: .seconds(4))
        cluster.killHost(cluster[leader])
        cluster.stopStore()
        cluster.run(for: .seconds(1))
        // The better of the two knows nothing any more when the store is back; the other defers to it.
        cluster.killAgent(cluster[others[0]])
        cluster.emptyStore()
        cluster.start(cluster[others[0]])
        try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.store.initialize?.value == cluster[others[0]].postgres.identifier)
        #expect(cluster.store.configuration?.value["ttl"]?.integer == 4, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `nobody remembers an emptied cluster: all wait, and an operator chooses`() throws {
        let (cluster, _, others) = try calmCluster(ttl: .seconds(4))
        for name in cluster.names { cluster.killHost(cluster[name]) }
        cluster.emptyStore()
        // The primary's host is gone for good.
        for name in others { cluster.startHost(cluster[name]) }
        cluster.run(for: .seconds(60))
        #expect(cluster.primary == nil, "\(cluster.story())")
        for name in others { #expect(cluster.said(name, "adopt.waitForPrimary"), "\(cluster.story())") }
        cluster.ask(others[1], .failover(candidate: others[1]))
        #expect(cluster.run(until: { $0.primary == others[1] }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.store.configuration?.value["ttl"]?.integer == 4)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a member that the last list did not name may race again once the leader goes by one that does`() throws
    {
        let (cluster, leader, others) = try failsafeCluster()
        let stray = cluster[others[1]]
        let older = cluster.store
        cluster.killAgent(stray)
        try #require(
            cluster.run(until: { $0.store.failsafe?.value[stray.name] == nil }, within: .seconds(20)) != nil,
            "\(cluster.story())")
        cluster.cutStore(cluster[leader])
        cluster.run(for: .milliseconds(50))
        cluster.start(stray)
        cluster.run(for: .milliseconds(300))
        // It looks only after the leader has written the older list again.
        cluster.cutStore(stray)
        cluster.stopStore()
        cluster.run(for: .milliseconds(100))
        cluster.setStoreBack(to: older)
        cluster.startStore(electsLeader: false)
        cluster.joinStore(cluster[leader])
        cluster.run(for: .seconds(2))
        cluster.joinStore(stray)
        for isUnlisted in [true, false] {
            #expect(
                cluster.run(until: { _ in (stray.machine?.world.unlisted != nil) == isUnlisted }, within: .seconds(5))
                    != nil, "\(cluster.story())")
        }
        cluster.killHost(cluster[others[0]])
        cluster.killHost(cluster[leader])
        #expect(cluster.run(until: { $0.primary == stray.name }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a former primary waits a lease before it registers a cluster whose keys were deleted`() throws {
        let (cluster, leader, others) = try calmCluster(ttl: .seconds(4))
        for name in cluster.names { cluster.killHost(cluster[name]) }
        cluster.run(for: .seconds(10))
        // The store itself goes on, and its numbers with it.
        cluster.store.initialize = nil
        cluster.store.configuration = nil
        cluster.store.status = nil
        let deleted = cluster.now
        cluster.startHost(cluster[leader])
        try #require(cluster.run(until: { $0.primary == leader }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.now - deleted > .seconds(3.9), "\(cluster.story())")
        #expect(cluster.said(leader, "store.returned") && cluster.said(leader, "adopt.register"))
        for name in others { cluster.startHost(cluster[name]) }
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a grantor's word is believed for as long as the grant lasts, when its agent has just begun`() throws {
        let (cluster, leader, others) = try failsafeCluster()
        let listener = cluster[others[0]]
        func tell(_ change: (inout PeerStatus) -> Void) {
            var word = PeerStatus(name: others[1], askedAt: cluster.now, state: .running)
            change(&word)
            cluster.deliver(listener, .peer(word))
            cluster.run(for: .milliseconds(20))
        }
        func heard() -> HeardGrant? { listener.machine?.world.heardGrants[others[1]] }
        cluster.cut(cluster[others[1]], from: [listener], oneWay: false)
        tell {
            $0.newestFence = Fence(era: 0, number: 100)
            ($0.grantedTo, $0.grantLasts) = (leader, .seconds(9))
        }
        #expect(heard()?.until == .distantFuture)
        // It knows of no term yet: not of what it granted either.
        tell { _ in }
        let until = try #require(heard()?.until)
        #expect(until > cluster.now + .seconds(8) && until < cluster.now + .seconds(10))
        cluster.run(for: .seconds(10))
        #expect(heard() == nil)
        // One that knows the terms, and tells of no grant, has none.
        tell { ($0.newestFence, $0.grantedTo) = (Fence(era: 0, number: 100), leader) }
        tell { $0.newestFence = Fence(era: 0, number: 100) }
        #expect(heard() == nil)
    }

    @Test(arguments: [false, true])
    func `a former primary that nobody asked leaves the lead to whom a member says it granted it`(dies: Bool) throws {
        let (cluster, first, _) = try failsafeCluster()
        let former = cluster[first]
        cluster.killHost(former)
        try #require(
            cluster.run(until: { $0.primary != nil && $0.store.failsafe?.value.count == 2 }, within: .seconds(40))
                != nil,
            "\(cluster.story())")
        cluster.run(for: .seconds(2))
        let leader = try #require(cluster.leader)
        let grantor = try #require(cluster.names.first { $0 != leader && $0 != first })
        cluster.stopStore()
        cluster.run(for: .seconds(6))
        // It comes back empty, the leader does not reach it, and the two primaries do not hear each other.
        cluster.cutStore(cluster[leader])
        cluster.cut(former, from: [cluster[leader]], oneWay: false)
        cluster.emptyStore()
        cluster.startHost(former)
        cluster.run(for: .seconds(30))
        #expect(cluster.said(first, "failsafe.grantedElsewhere"), "\(cluster.story())")
        #expect(cluster.primary == leader, "\(cluster.story())")
        cluster.killHost(cluster[leader])
        if dies {
            // What the grantor said last holds for a lease, and no longer.
            cluster.killHost(cluster[grantor])
            let took = try #require(
                cluster.run(until: { $0.primary == first }, within: .seconds(60)), "\(cluster.story())")
            #expect(took > .seconds(3.9))
        } else {
            #expect(cluster.run(until: { $0.primary == grantor }, within: .seconds(60)) != nil, "\(cluster.story())")
        }
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `an older list, in a store that was set back, makes nobody a leader whom the last one did not know`()
        throws
    {
        let (cluster, leader, others) = try failsafeCluster()
        let stray = cluster[others[1]]
        let older = cluster.store
        cluster.killAgent(stray)
        cluster.run(for: .seconds(15))
        #expect(cluster.store.failsafe?.value[stray.name] == nil, "\(cluster.story())")
        cluster.cutStore(cluster[leader])
        cluster.run(for: .milliseconds(50))
        cluster.start(stray)
        cluster.run(for: .milliseconds(300))
        cluster.stopStore()
        cluster.run(for: .milliseconds(100))
        cluster.setStoreBack(to: older)
        cluster.cut(stray, from: cluster.names.map { cluster[$0] }, oneWay: false)
        cluster.run(for: .seconds(30))
        #expect(cluster.said(stray.name, "failsafe.notListed"), "\(cluster.story())")
        #expect(cluster.primary == leader, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }
}
