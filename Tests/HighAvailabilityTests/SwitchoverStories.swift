import ClusterModel
import HighAvailability
import Simulation
import Testing

struct SwitchoverStories {
    @Test func `switchover to a candidate: everything is there, nothing was lost, and it is fast`() throws {
        let (cluster, old, others) = try calmCluster()
        cluster.write()
        let id = cluster.ask(others[1], .switchover(leader: old, candidate: others[1], scheduledAt: nil))
        try #require(cluster.run(until: { _ in !cluster[old].postgres.isWritable }, within: .seconds(5)) != nil)
        let gap = try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(5)), "\(cluster.story())")
        #expect(gap < .milliseconds(250))
        #expect(cluster.primary == others[1])
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(10)) != nil, "\(cluster.story())")
        #expect(cluster.answer(id) == OperatorAnswer(.done, "Successfully switched over to \"\(others[1])\""))
        let release = try #require(cluster.decisions(old, "switchover.release").first)
        #expect(release["confirmed"]?.string == others[1])
        #expect(cluster.said(old, "rejoin.clean"))
        #expect(!cluster.said(old, "rejoin.rewind"))
        #expect(cluster.storeCopy.failover?.value == nil)
        #expect(
            cluster.store.status?.value.optime == cluster[old].postgres.control?.checkpoint
                || cluster.store.status != nil)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `switchover without a candidate takes any that is fit`() throws {
        let (cluster, old, others) = try calmCluster()
        let id = cluster.ask(old, .switchover(leader: old, candidate: nil, scheduledAt: nil))
        #expect(
            cluster.run(until: { $0.primary.map(others.contains) ?? false }, within: .seconds(10)) != nil,
            "\(cluster.story())")
        #expect(cluster.run(until: { $0.answer(id) != nil }, within: .seconds(10)) != nil)
        #expect(cluster.answer(id)?.isSuccess == true)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(10)) != nil)
        #expect(cluster.violations.isEmpty)
    }

    @Test func `requests that cannot be are refused at once, with the contract's words`() throws {
        let (cluster, leader, others) = try calmCluster { settings, name in
            if name == "pg3" { settings.tags = Tags(["nofailover": true]) }
        }
        func refused(_ request: OperatorRequest) -> OperatorAnswer? {
            let id = cluster.ask(others[0], request)
            cluster.run(until: { $0.answer(id) != nil }, within: .seconds(5))
            return cluster.answer(id)
        }
        let unknown = "pg9"
        let noFailover = cluster.names.first { cluster[$0].settings.tags.isNoFailover } ?? ""
        let normal = others.first { $0 != noFailover } ?? ""
        #expect(refused(.switchover(leader: nil, candidate: normal, scheduledAt: nil))?.code == .badRequest)
        #expect(
            refused(.switchover(leader: normal, candidate: nil, scheduledAt: nil))?.text == "leader name does not match"
        )
        #expect(
            refused(.switchover(leader: leader, candidate: unknown, scheduledAt: nil))?.text
                == "candidate does not exists")
        #expect(refused(.switchover(leader: leader, candidate: leader, scheduledAt: nil))?.code == .badRequest)
        #expect(
            refused(.switchover(leader: leader, candidate: noFailover, scheduledAt: nil))?.text
                == "switchover is not possible: no good candidates have been found")
        #expect(refused(.failover(candidate: nil))?.code == .badRequest)
        #expect(refused(.cancelSwitchover)?.code == .notFound)
        #expect(cluster.primary == leader)
    }

    @Test func `a candidate that lags is refused by the leader, with the reason`() throws {
        let (cluster, leader, others) = try calmCluster { settings, _ in settings.maximumLagOnFailover = 1000 }
        cluster[others[0]].postgres.isReplicationHeld = true
        cluster.write(1_000_000)
        cluster.run(for: .seconds(11))
        let id = cluster.ask(leader, .switchover(leader: leader, candidate: others[0], scheduledAt: nil))
        #expect(cluster.run(until: { $0.answer(id) != nil }, within: .seconds(10)) != nil, "\(cluster.story())")
        #expect(cluster.answer(id)?.code == .conditionsNotMet)
        #expect(cluster.answer(id)?.text.contains("bytes behind") == true)
        let decision = try #require(cluster.decisions(leader, "switchover.noCandidate").first)
        #expect(decision["refused"]?.object?[others[0]]?.string?.contains("1000000 bytes behind") == true)
        cluster.run(for: .seconds(1))
        #expect(cluster.primary == leader)
        #expect(cluster.storeCopy.failover?.value == nil)
    }

    @Test func `the candidate dies while the leader stops: after a while anybody with everything leads`() throws {
        let (cluster, old, others) = try calmCluster()
        cluster[old].postgres.stopTakes = .milliseconds(500)
        cluster.ask(old, .switchover(leader: old, candidate: others[0], scheduledAt: nil))
        try #require(
            cluster.run(
                until: {
                    $0.said(old, "switchover.stopping") || $0[old].machine?.world.handover?.phase.isStopping == true
                }, within: .seconds(5)) != nil)
        cluster.killHost(cluster[others[0]])
        let took = try #require(
            cluster.run(until: { $0.primary != nil && $0.primary != old }, within: .seconds(30)), "\(cluster.story())")
        #expect(took < .seconds(8))
        #expect(cluster.said(old, "switchover.releaseUnconfirmed"))
        #expect(cluster.run(until: { $0[old].postgres.isStreaming }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `the candidate dies after the release: the others do not wait for it forever`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster.ask(old, .switchover(leader: old, candidate: others[0], scheduledAt: nil))
        try #require(cluster.run(until: { $0.said(old, "switchover.release") }, within: .seconds(5)) != nil)
        cluster.killHost(cluster[others[0]])
        #expect(cluster.run(until: { $0.primary != nil }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `PostgreSQL does not stop: the guard ends it, and the lead goes on`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster[old].postgres.hangsInStop = true
        cluster.ask(old, .switchover(leader: old, candidate: others[0], scheduledAt: nil))
        #expect(
            cluster.run(until: { $0.primary.map(others.contains) ?? false }, within: .seconds(20)) != nil,
            "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a scheduled switchover happens at its time; one whose time has passed is dropped`() throws {
        let (cluster, old, others) = try calmCluster()
        let at = cluster.wall + .seconds(40)
        let id = cluster.ask(old, .switchover(leader: old, candidate: others[0], scheduledAt: at))
        cluster.run(for: .seconds(35))
        #expect(cluster.answer(id)?.code == .accepted)
        #expect(cluster.primary == old)
        let took = try #require(
            cluster.run(until: { $0.primary == others[0] }, within: .seconds(20)), "\(cluster.story())")
        #expect(took > .seconds(4) && took < .seconds(6))
        cluster.run(for: .seconds(5))
        cluster.store.setFailover(
            FailoverRequest(leader: others[0], candidate: old, scheduledAt: cluster.wall + .seconds(-60)))
        cluster.signalAll()
        cluster.run(for: .seconds(5))
        #expect(cluster.said(others[0], "switchover.stale"))
        #expect(cluster.storeCopy.failover?.value == nil)
        #expect(cluster.primary == others[0])
    }

    @Test func `a scheduled switchover can be cancelled`() throws {
        let (cluster, old, others) = try calmCluster()
        cluster.ask(old, .switchover(leader: old, candidate: others[0], scheduledAt: cluster.wall + .seconds(40)))
        cluster.run(for: .seconds(5))
        let id = cluster.ask(old, .cancelSwitchover)
        cluster.run(for: .seconds(60))
        #expect(cluster.answer(id)?.code == .done)
        #expect(cluster.primary == old)
    }

    @Test func `SIGTERM of the leader's agent hands over, then the agent leaves`() throws {
        let (cluster, old, others) = try calmCluster()
        cluster.deliver(cluster[old], .stopAsked)
        try #require(cluster.run(until: { _ in !cluster[old].postgres.isWritable }, within: .seconds(5)) != nil)
        let gap = try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(5)), "\(cluster.story())")
        #expect(gap < .milliseconds(250))
        #expect(cluster.run(until: { $0[old].exit != nil }, within: .seconds(5)) != nil, "\(cluster.story())")
        #expect(cluster[old].exit?.code == 0)
        #expect(cluster.store.members[old] == nil)
        #expect(others.contains(cluster.primary ?? ""))
        #expect(cluster.said(old, "stop.handover"))
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `SIGTERM of the last member: it stops and leaves, and leads again when it is back`() throws {
        let (cluster, old, _) = try calmCluster(1)
        cluster.deliver(cluster[old], .stopAsked)
        #expect(cluster.run(until: { $0[old].exit != nil }, within: .seconds(10)) != nil, "\(cluster.story())")
        #expect(cluster.said(old, "stop.noSuccessor"))
        #expect(cluster[old].postgres.state == .shutDown)
        #expect(cluster.leader == nil)
        cluster.start(cluster[old])
        #expect(cluster.run(until: { $0.primary == old }, within: .seconds(10)) != nil, "\(cluster.story())")
    }

    @Test func `SIGTERM of a standby's agent stops it without haste for anybody else`() throws {
        let (cluster, leader, others) = try calmCluster()
        cluster.deliver(cluster[others[0]], .stopAsked)
        #expect(cluster.run(until: { $0[others[0]].exit != nil }, within: .seconds(5)) != nil)
        #expect(cluster[others[0]].postgres.state == .shutDownInRecovery)
        #expect(cluster.primary == leader)
    }

    @Test func `SIGTERM while the store is away ends all the same`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3))
        cluster.cutStore(cluster[leader])
        cluster.run(for: .seconds(10))
        cluster.deliver(cluster[leader], .stopAsked)
        #expect(cluster.run(until: { $0[leader].exit != nil }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster[leader].postgres.run == nil)
        #expect(cluster.violations.isEmpty)
    }

    @Test func `SIGTERM while nobody knows whether the entry became ours waits for no store for ever`() throws {
        let cluster = SimulatedCluster(1)
        cluster.fault = { _, effect in
            guard case .commit(_, let change) = effect, change.writes.contains(.acquireLeader) else { return nil }
            return .answerLost
        }
        cluster.startAll()
        try #require(cluster.run(until: { $0.said("pg1", "bootstrap.finish") }, within: .seconds(5)) != nil)
        cluster.cutStore(cluster["pg1"])
        cluster.deliver(cluster["pg1"], .stopAsked)
        #expect(cluster.run(until: { $0["pg1"].exit != nil }, within: .seconds(10)) != nil, "\(cluster.story())")
        #expect(cluster.said("pg1", "stop.unsettled"))
        #expect(cluster["pg1"].exit?.code == 0)
    }

    @Test func `SIGTERM during a bootstrap leaves nothing behind in the store`() throws {
        let cluster = SimulatedCluster(1)
        cluster.startAll()
        try #require(cluster.run(until: { $0.said("pg1", "bootstrap.begin") }, within: .seconds(5)) != nil)
        cluster.deliver(cluster["pg1"], .stopAsked)
        #expect(cluster.run(until: { $0["pg1"].exit != nil }, within: .seconds(10)) != nil, "\(cluster.story())")
        #expect(cluster.storeCopy.initialize == nil)
    }

    @Test func `a failover without a leader lets the candidate lead although it lags`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3)) { settings, _ in
            settings.maximumLagOnFailover = 1000
        }
        for name in others { cluster[name].postgres.isReplicationHeld = true }
        cluster.write(1_000_000)
        cluster.run(for: .seconds(15))
        cluster.killHost(cluster[old])
        cluster.run(for: .seconds(10))
        #expect(cluster.primary == nil)
        #expect(cluster.decisions(others[0], "race.lag").first?["maximum_lag_on_failover"] == 1000)
        let id = cluster.ask(others[1], .failover(candidate: others[0]))
        #expect(cluster.run(until: { $0.primary == others[0] }, within: .seconds(10)) != nil, "\(cluster.story())")
        #expect(cluster.said(others[0], "race.candidate"))
        #expect(cluster.run(until: { $0.answer(id) != nil }, within: .seconds(30)) != nil)
        #expect(cluster.answer(id)?.isSuccess == true)
    }

    @Test func `the lease is lost in the middle of a hand-over: answered as failed, a normal race follows`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster[old].postgres.stopTakes = .milliseconds(300)
        let id = cluster.ask(old, .switchover(leader: old, candidate: others[0], scheduledAt: nil))
        try #require(
            cluster.run(until: { $0[old].machine?.world.handover?.phase.isStopping == true }, within: .seconds(5))
                != nil)
        cluster.store.deleteLeader()
        cluster.signalAll()
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.run(until: { $0.answer(id) != nil }, within: .seconds(30)) != nil)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }
}

extension Handover.Phase {
    var isStopping: Bool { if case .stopping = self { true } else { false } }
}
