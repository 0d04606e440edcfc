import ClusterModel
import HighAvailability
import Simulation
import Testing

struct PauseStories {
    private func paused(_ ttl: Duration = .seconds(3)) throws -> (SimulatedCluster, leader: String, others: [String]) {
        let (cluster, leader, others) = try calmCluster(ttl: ttl)
        pause(cluster, true)
        return (cluster, leader, others)
    }

    private func pause(_ cluster: SimulatedCluster, _ on: Bool) {
        cluster.store.setConfiguration("pause", .bool(on))
        cluster.signalAll()
        cluster.run(for: .seconds(1))
    }

    @Test func `in pause nothing is started or stopped`() throws {
        let (cluster, leader, others) = try paused()
        for name in cluster.names {
            #expect(cluster.said(name, "pause.begin"))
            #expect(cluster.store.members[name]?.value.isPaused == true)
        }
        #expect(cluster[leader].guardian.posture == .paused)
        #expect(cluster.store.members[leader]?.value.fenceState == .unfenced)
        cluster.crashPostgres(cluster[others[0]])
        cluster.run(for: .seconds(20))
        #expect(cluster[others[0]].postgres.run == nil)
        #expect(cluster.said(others[0], "pause.down"))
        cluster.crashPostgres(cluster[leader])
        cluster.run(for: .seconds(20))
        #expect(cluster.primary == nil)
        #expect(cluster.said(leader, "pause.releaseLead"))
        #expect(cluster.leader == nil)
        pause(cluster, false)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster[cluster.primary ?? ""].guardian.posture == .primary)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `the lease is lost in pause: PostgreSQL runs on, and the same term goes on when the store is back`()
        throws
    {
        let (cluster, leader, _) = try paused(.seconds(10))
        let run = cluster[leader].postgres.run
        cluster.fault = { node, effect in
            if node.name == leader, case .renew = effect { return .lost }
            return nil
        }
        cluster.run(for: .seconds(12))
        #expect(cluster.said(leader, "lease.expiredInPause"), "\(cluster.story())")
        cluster.fault = nil
        cluster.run(for: .seconds(10))
        #expect(cluster[leader].machine?.world.term != nil, "\(cluster.story())")
        #expect(cluster[leader].postgres.run == run)
        pause(cluster, false)
        cluster.run(for: .seconds(30))
        #expect(cluster[leader].postgres.run == run, "\(cluster.story())")
        #expect(cluster[leader].guardian.posture == .primary)
        #expect(cluster.store.terms.count == 1)
        #expect(cluster.violations.isEmpty)
    }

    @Test func `the session expires in pause: the running primary takes the entry again`() throws {
        let (cluster, leader, _) = try paused()
        let run = cluster[leader].postgres.run
        cluster.cutStore(cluster[leader])
        cluster.run(for: .seconds(10))
        #expect(cluster.leader == nil)
        cluster.joinStore(cluster[leader])
        cluster.run(for: .seconds(10))
        #expect(cluster.leader == leader, "\(cluster.story())")
        #expect(cluster[leader].postgres.run == run)
        pause(cluster, false)
        cluster.run(for: .seconds(30))
        #expect(cluster.isHealthy(3), "\(cluster.story())")
        #expect(cluster[leader].postgres.run == run)
        #expect(cluster.violations.isEmpty)
    }

    @Test func `the holder is cut off in pause and the pause ends elsewhere: no race, until an operator says so`()
        throws
    {
        let (cluster, leader, others) = try paused()
        let node = cluster[leader]
        cluster.cutStore(node)
        node.isolated = Set(others)
        cluster.run(for: .seconds(10))
        #expect(cluster.leader == nil)
        pause(cluster, false)
        cluster.run(for: .seconds(30))
        #expect(cluster.primary == leader, "\(cluster.story())")
        #expect(others.contains { cluster.said($0, "race.unfencedHolder") })
        #expect(cluster.leader == nil)
        // An operator knows that it is dead.
        cluster.killHost(node)
        cluster.ask(others[0], .failover(candidate: others[1]))
        #expect(cluster.run(until: { $0.primary == others[1] }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `the same when the pause ends before its entry has expired`() throws {
        let (cluster, leader, others) = try paused(.seconds(10))
        let node = cluster[leader]
        cluster.cutStore(node)
        node.isolated = Set(others)
        cluster.run(for: .milliseconds(500))
        cluster.store.setConfiguration("pause", false)
        cluster.signalAll()
        cluster.run(for: .seconds(60))
        #expect(cluster.primary == leader, "\(cluster.story())")
        #expect(others.contains { cluster.said($0, "race.unfencedHolder") }, "\(cluster.story())")
        // It is back, not writable any more, and says so: somebody leads.
        cluster.joinStore(node)
        node.isolated = []
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `resumed without a lease to be had, a primary is stopped within T`() throws {
        let (cluster, leader, _) = try paused()
        let node = cluster[leader]
        cluster.fault = { node, effect in
            if node.name == leader, case .renew = effect { return .lost }
            return nil
        }
        cluster.run(for: .seconds(10))
        #expect(node.postgres.isWritable)
        pause(cluster, false)
        cluster.run(for: .seconds(4))
        #expect(!node.postgres.isWritable, "\(cluster.story())")
        cluster.fault = nil
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test(arguments: [true, false])
    func `a switchover or failover to a candidate is carried out in pause`(isSwitchover: Bool) throws {
        let (cluster, old, others) = try paused(.seconds(10))
        let id = cluster.ask(
            old,
            isSwitchover
                ? .switchover(leader: old, candidate: others[0], scheduledAt: nil) : .failover(candidate: others[0]))
        #expect(cluster.run(until: { $0.primary == others[0] }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.run(until: { $0.answer(id) != nil }, within: .seconds(30)) != nil)
        #expect(cluster.answer(id)?.isSuccess == true)
        cluster.run(for: .seconds(20))
        #expect(cluster.primary == others[0], "\(cluster.story())")
        #expect(cluster.leader == others[0])
        #expect(cluster[old].postgres.run?.isReady == true, "\(cluster.story())")
        #expect(cluster.storeCopy.failover?.value == nil)
        pause(cluster, false)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a server that hands promoted in pause takes the free lead`() throws {
        let (cluster, leader, others) = try paused()
        cluster.killHost(cluster[leader])
        cluster.run(for: .seconds(10))
        #expect(cluster.leader == nil)
        cluster[others[0]].postgres.promote(branchNumber: 77)
        cluster.run(for: .seconds(20))
        #expect(cluster.leader == others[0], "\(cluster.story())")
        #expect(cluster.said(others[0], "pause.primaryLeads"))
    }

    @Test func `SIGTERM in pause leaves PostgreSQL and the entry alone`() throws {
        let (cluster, leader, _) = try paused()
        cluster.deliver(cluster[leader], .stopAsked)
        cluster.run(for: .seconds(1))
        #expect(cluster[leader].exit?.code == 0)
        #expect(cluster[leader].postgres.isWritable)
        #expect(cluster.said(leader, "stop.paused"))
    }

    @Test func `outside of pause a hand-made second primary is stopped at once`() throws {
        let (cluster, leader, others) = try calmCluster()
        let node = cluster[others[0]]
        node.postgres.promote(branchNumber: 99)
        cluster.deliver(node, .sample(try #require(node.postgres.sample(at: cluster.now, upstream: nil))))
        cluster.run(for: .milliseconds(100))
        #expect(cluster.said(others[0], "follow.demote"))
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.primary == leader)
    }
}
