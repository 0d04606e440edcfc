import ClusterModel
import HighAvailability
import Simulation
import Testing

struct FailoverStories {
    @Test func `the leader's host dies: another leads right after the lease ended, and the old one rejoins by rewind`()
        throws
    {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster.write()
        cluster.run(for: .milliseconds(10))
        cluster.killHost(cluster[old])
        let expiry = try #require(cluster.run(until: { $0.leader == nil }, within: .seconds(4)))
        #expect(expiry <= .seconds(3))
        let gap = try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(5)))
        // Model: 4 ms to see it and to take the lead, 80 ms to promote, records in the store and on disk.
        #expect(gap <= .milliseconds(200), "\(cluster.story())")
        let new = try #require(cluster.primary)
        #expect(others.contains(new))
        let taken = try #require(cluster.decisions(new, "race.acquire").last)
        #expect(taken["last_holder"]?.string == old)
        #expect(taken["last_holder_fence"]?.string == "guarded")
        #expect(taken["silent"]?.array == [.string(old)])
        #expect(cluster.said(new, "leader.suspected"))
        #expect(cluster.decisions(new, "promote.prepare").last?["timeline"] == 1)

        cluster.startHost(cluster[old])
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.primary == new)
        #expect(cluster.decisions(old, "rejoin.rewind").first?["state"]?.string == "in production")
        #expect(cluster.store.history?.value.rows.map(\.newLeader) == [new])
        #expect(cluster.store.promotions?.value.records[Timeline(2)]?.leader == new)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `PostgreSQL ends while its promotion is prepared: it is prepared anew, with the marker on disk`() throws
    {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster.killHost(cluster[old])
        // The disk is faster than the store: the marker is there first.
        cluster.storeDelay = .milliseconds(60)
        func prepared() -> SimulatedMember? {
            others.lazy.map { cluster[$0] }.first { node in
                guard case .preparing = node.machine?.world.promotion else { return false }
                return node.machine?.world.marker != nil
            }
        }
        try #require(cluster.run(until: { _ in prepared() != nil }, within: .seconds(10)) != nil, "\(cluster.story())")
        let heir = try #require(prepared())
        cluster.crashPostgres(heir)
        try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster.primary == heir.name)
        #expect(cluster.decisions(heir.name, "promote.prepare").count == 2, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `when rewinding is not possible the data is cloned anew`() throws {
        let (cluster, old, _) = try calmCluster(ttl: .seconds(3))
        cluster[old].postgres.rewindEnd = .needsClone("neither checksums nor wal_log_hints")
        cluster.killHost(cluster[old])
        try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(10)) != nil)
        cluster.startHost(cluster[old])
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        let clone = try #require(cluster.decisions(old, "rejoin.clone").first)
        #expect(clone["why"]?.string?.contains("wal_log_hints") == true)
        #expect(cluster.violations.isEmpty)
    }

    @Test func `a rewind that fails is tried again before anything is copied anew`() throws {
        let (cluster, old, _) = try calmCluster(ttl: .seconds(3))
        cluster.killHost(cluster[old])
        try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(10)) != nil)
        cluster[old].postgres.rewindEnd = .failed("could not connect")
        cluster.startHost(cluster[old])
        cluster.run(until: { $0[old].counts["startJob", default: 0] > 2 }, within: .seconds(20))
        cluster[old].postgres.rewindEnd = nil
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(!cluster.said(old, "rejoin.clone"))
    }

    @Test func `the postmaster crashes: it is started in place and keeps the lead`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3))
        cluster.crashPostgres(cluster[leader])
        let took = try #require(cluster.run(until: { $0.primary == leader }, within: .seconds(5)))
        #expect(took <= .milliseconds(200))
        #expect(cluster.decisions(leader, "primary.restartInPlace").last?["state"]?.string == "in production")
        #expect(cluster.said(leader, "postgres.exited"))
        #expect(cluster.store.terms.count == 1)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(5)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `a crash right after a promotion, before the first checkpoint, does not make the data stale`() throws {
        let (cluster, old, _) = try calmCluster(ttl: .seconds(3))
        cluster.killHost(cluster[old])
        try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(10)) != nil)
        let new = try #require(cluster.primary)
        try #require(cluster.run(until: { $0.store.history?.value.currentTimeline == Timeline(2) }) != nil)
        cluster[new].postgres.controlTimeline = Timeline(1)
        cluster.crashPostgres(cluster[new])
        #expect(cluster.run(until: { $0.primary == new }, within: .seconds(2)) != nil, "\(cluster.story())")
        #expect(!cluster.said(new, "primary.stale"))
    }

    @Test func `a start that fails again and again gives way to another`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3))
        cluster[leader].postgres.startFailures = 100
        cluster.crashPostgres(cluster[leader])
        let took = try #require(cluster.run(until: { $0.primary != nil && $0.primary != leader }, within: .seconds(30)))
        #expect(took < .seconds(10))
        #expect(cluster.said(leader, "primary.crashLoop"), "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `a restart that fails again and again gives way as well`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3))
        cluster[leader].postgres.startFailures = 100
        let id = cluster.ask(leader, .restart(RestartRequest()))
        #expect(
            cluster.run(until: { $0.primary != nil && $0.primary != leader }, within: .seconds(30)) != nil,
            "\(cluster.story())")
        #expect(cluster.answer(id)?.isSuccess == false)
    }

    @Test func `a primary that crashes soon after each start gives way`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3))
        for _ in 0..<5 where cluster.leader == leader {
            cluster.crashPostgres(cluster[leader])
            cluster.run(until: { $0.primary != nil }, within: .seconds(5))
            cluster.run(for: .seconds(1))
        }
        #expect(cluster.said(leader, "primary.crashLoop"), "\(cluster.story())")
        #expect(cluster.primary != leader)
    }

    @Test func `primary_start_timeout passes during a start: the lead goes to another`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3)) { settings, _ in
            settings.primaryStartTimeout = .seconds(5)
        }
        cluster[leader].postgres.startTakes = .seconds(600)
        cluster.crashPostgres(cluster[leader])
        cluster.run(for: .seconds(4))
        #expect(cluster.leader == leader)
        let took = try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(30)), "\(cluster.story())")
        #expect(took < .seconds(2))
        let decision = try #require(cluster.decisions(leader, "primary.giveWay").first)
        #expect(decision["primary_start_timeout_ms"] == 5000)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `primary_start_timeout 0 gives way at once`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(3)) { settings, _ in
            settings.primaryStartTimeout = .zero
        }
        cluster.crashPostgres(cluster[leader])
        let took = try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(30)), "\(cluster.story())")
        #expect(took < .milliseconds(300))
        #expect(cluster.primary != leader)
    }

    @Test func `a slow start without anybody to take over is waited for`() throws {
        let (cluster, leader, _) = try calmCluster(1, ttl: .seconds(3)) { settings, _ in
            settings.primaryStartTimeout = .seconds(2)
        }
        cluster[leader].postgres.startTakes = .seconds(20)
        cluster.crashPostgres(cluster[leader])
        #expect(cluster.run(until: { $0.primary == leader }, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(!cluster.said(leader, "primary.giveWay"))
    }

    @Test func `all hosts lose power: the cluster comes back by itself`() throws {
        let (cluster, _, _) = try calmCluster(ttl: .seconds(3))
        for name in cluster.names { cluster.killHost(cluster[name]) }
        cluster.run(for: .seconds(10))
        for name in cluster.names { cluster.startHost(cluster[name]) }
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `a promotion that fails leaves no mark that later passes for a twin`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3)) { settings, _ in
            settings.primaryStartTimeout = .seconds(5)
        }
        cluster[others[0]].postgres.promoteTakes = .seconds(3600)
        cluster.killHost(cluster[old])
        #expect(cluster.run(until: { $0.primary == others[1] }, within: .seconds(60)) != nil, "\(cluster.story())")
        cluster.startHost(cluster[old])
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        cluster[others[0]].postgres.promoteTakes = .milliseconds(80)
        cluster.killHost(cluster[old])
        cluster.run(for: .seconds(5))
        cluster.killHost(cluster[others[1]])
        #expect(cluster.run(until: { $0.primary == others[0] }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(!cluster.said(others[0], "race.twin"))
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a mark that was taken back stays taken back after a restart of the agent`() throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster.killHost(cluster[old])
        try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(10)) != nil)
        cluster.startHost(cluster[old])
        try #require(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil)
        cluster.run(for: .seconds(11))
        let standby = try #require(others.first { $0 != cluster.primary })
        cluster[standby].marker = PromotionMarker(timeline: Timeline(0), fence: Fence(era: 0, number: 900))
        cluster.killAgent(cluster[standby])
        cluster.start(cluster[standby])
        cluster.run(for: .seconds(30))
        #expect(!cluster.said(standby, "follow.twin"), "\(cluster.story())")
        #expect(cluster.isHealthy(3))
    }

    @Test func `no number is made twice: one that did not reach the next leader is left out, its maker rewound`()
        throws
    {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        cluster.killHost(cluster[old])
        try #require(cluster.run(until: { $0.primary != nil }, within: .seconds(10)) != nil)
        let second = try #require(cluster.primary)
        let third = try #require(others.first { $0 != second })
        // The second's timeline 2 never reaches the third, which is promoted from the same position.
        cluster[third].postgres = { postgres in
            var postgres = postgres
            postgres.branch = cluster[old].postgres.branch
            postgres.past = []
            postgres.controlTimeline = Timeline(1)
            return postgres
        }(cluster[third].postgres)
        cluster[third].isolated = [second]
        cluster.run(for: .milliseconds(50))
        cluster.killHost(cluster[second])
        try #require(cluster.run(until: { $0.primary == third }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster[third].postgres.branch.timeline == Timeline(3))
        #expect(cluster.decisions(third, "promote.prepare").last?["new_timeline"] == 3)
        cluster[third].isolated = []
        cluster.startHost(cluster[second])
        #expect(
            cluster.run(until: { $0[second].postgres.isStreaming }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(
            cluster.decisions(second, "rejoin.rewind").first?["why"]?.string?.contains("not in the leader's history")
                == true, "\(cluster.story())")
        #expect(cluster.store.history?.value.rows.map(\.timeline) == [Timeline(1)])
        #expect(cluster.store.promotions?.value.records[Timeline(3)]?.isMade == true)
        #expect(cluster.run(until: { $0.isHealthy(2) }, within: .seconds(30)) != nil)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }
}

extension FailoverStories {
    @Test func `a standby that ends by itself again and again without ever streaming is copied anew`() throws {
        let (cluster, _, others) = try calmCluster()
        var machine = try #require(cluster[others[0]].machine)
        var data = try #require(cluster[others[0]].postgres.control)
        data.state = .inArchiveRecovery
        var rules: [String] = []
        for round in 1...4 {
            let moment = Moment(
                now: cluster.now + .seconds(round * 2), wall: WallTime(seconds: 1_700_000_000), random: 7)
            let reaction = machine.handle(.server(.down(.initialized(data), exit: "exited with status 1")), at: moment)
            rules += reaction.decisions.map { "\($0.rule)" }.filter { $0.hasPrefix("rejoin.") }
            for case .startJob(let id, _) in reaction.effects {
                _ = machine.handle(.server(.running(pid: 7, isAdopted: false)), at: moment)
                _ = machine.handle(.jobEnded(id, .done), at: moment)
            }
        }
        #expect(rules == ["rejoin.start", "rejoin.start", "rejoin.start", "rejoin.clone"])
    }
    @Test func `the timeline of the data is known while the server starts, and a restart does not lower it`() throws {
        let (cluster, _, others) = try calmCluster()
        var machine = try #require(cluster[others[0]].machine)
        var data = try #require(cluster[others[0]].postgres.control)
        data.state = .inArchiveRecovery
        data.minimumRecoveryTimeline = Timeline(3)
        func tell(_ event: Event) {
            _ = machine.handle(event, at: Moment(now: cluster.now, wall: WallTime(seconds: 1_700_000_000), random: 7))
        }
        tell(.server(.down(.initialized(data), exit: nil)))
        #expect(machine.word(askedAt: cluster.now).timeline == Timeline(3))
        tell(.server(.running(pid: 7, isAdopted: false)))
        #expect(machine.word(askedAt: cluster.now).timeline == Timeline(3))
        // As a server tells it that has no receiver: the timeline of its last restartpoint.
        tell(
            .sample(
                PostgresSample(takenAt: cluster.now, isInRecovery: true, serverVersion: 150_000, timeline: Timeline(1)))
        )
        #expect(machine.word(askedAt: cluster.now).timeline == Timeline(3))
        tell(.server(.down(.empty, exit: nil)))
        tell(.server(.running(pid: 8, isAdopted: false)))
        #expect(machine.word(askedAt: cluster.now).timeline == nil)
    }
}
