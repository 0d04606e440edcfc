import ClusterModel
import HighAvailability
import Simulation
import Testing

/// How a quiet member finds out what nobody told it, and at what price.
struct ReadStories {
    @Test func `a quiet member glimpses each minute and reads all each ten`() throws {
        let (cluster, _, _) = try calmCluster()
        cluster.run(for: .seconds(20))
        for name in cluster.names { cluster[name].counts = [:] }
        cluster.run(for: .seconds(3600))
        for name in cluster.names {
            #expect((50...60).contains(cluster[name].counts["glimpse", default: 0]), "\(cluster[name].counts)")
            #expect((5...6).contains(cluster[name].counts["read", default: 0]), "\(cluster[name].counts)")
            #expect(cluster[name].counts["commit"] == nil, "\(cluster[name].counts)")
        }
        #expect(!cluster.saidAnywhere("store.unannounced"))
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a quiet member of a mixed cluster reads all each loop_wait`() throws {
        let (cluster, leader, _) = try calmCluster()
        var alien = Member(name: "patroni", state: .running)
        alien.apiURL = "http://patroni/patroni"
        cluster.store.putAlien(alien, session: cluster.store.open(lifetime: .seconds(86_400), at: cluster.now))
        cluster.signalAll()
        cluster.run(for: .seconds(30))
        for name in cluster.names { cluster[name].counts = [:] }
        cluster.run(for: .seconds(100))
        for name in cluster.names {
            #expect((8...12).contains(cluster[name].counts["read", default: 0]), "\(name): \(cluster[name].counts)")
            #expect(cluster[name].counts["glimpse"] == nil)
        }
        #expect(cluster.leader == leader)
    }

    // MARK: - What a glimpse shows

    struct Change: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var isRead: Bool
        var make: @Sendable (inout ClusterGlimpse) -> Void
    }

    static let other = EntryVersion(created: 9_999, number: 9_999)

    static let changes = [
        Change(testDescription: "nothing", isRead: false) { _ in },
        Change(testDescription: "nobody leads", isRead: true) { $0.leader = nil },
        Change(testDescription: "another leads", isRead: true) { $0.leader?.name = "pg9" },
        Change(testDescription: "the same name by another session", isRead: true) {
            $0.leader?.session = SessionID("x")
        },
        Change(testDescription: "another version of the leader entry", isRead: true) { $0.leader?.version = other },
        Change(testDescription: "another holding", isRead: true) { $0.leader?.fence = Fence(era: 0, number: 9_999) },
        Change(testDescription: "a request", isRead: true) { $0.failoverVersion = other },
        Change(testDescription: "another configuration", isRead: true) { $0.configurationVersion = other },
        Change(testDescription: "no configuration", isRead: true) { $0.configurationVersion = nil },
    ]

    @Test(arguments: changes, [true, false])
    func `what a glimpse shows is read whole when the view says otherwise`(_ change: Change, isHolder: Bool) throws {
        let (cluster, leader, others) = try calmCluster()
        let node = cluster[isHolder ? leader : others[0]]
        var machine = try #require(node.machine)
        let before = try #require(machine.world.view)
        let (id, since) = try glimpse(&machine, cluster)
        #expect(since == before.revision)
        var glimpse = before.glimpse
        change.make(&glimpse)
        let reaction = machine.handle(.glimpse(id, glimpse), at: moment(cluster, after: .milliseconds(60_005)))
        let reads = reaction.effects.compactMap { if case .read(_, let scope) = $0 { scope } else { nil } }
        #expect(reads == (change.isRead ? [.cluster] : []))
        #expect(reaction.decisions.contains { $0.rule == "store.unannounced" } == change.isRead)
        // The glimpse itself changes nothing: the view that is read now does.
        #expect(machine.world.view == before)
        #expect(!reaction.effects.contains { if case .stopServer = $0 { true } else { false } })
        if isHolder { #expect(machine.world.term != nil) }
    }

    @Test func `a glimpse that fails is followed by a whole read`() throws {
        let (cluster, _, others) = try calmCluster()
        var machine = try #require(cluster[others[0]].machine)
        let (id, _) = try glimpse(&machine, cluster)
        let failed = machine.handle(.viewFailed(id, "timed out"), at: moment(cluster, after: .seconds(70)))
        #expect(failed.wakeAt <= cluster.now + .milliseconds(70_500))
        let again = machine.handle(.wake, at: moment(cluster, after: .milliseconds(70_500)))
        #expect(again.effects.contains { if case .read(_, .cluster) = $0 { true } else { false } })
    }

    /// Lets a quiet minute pass; the glimpse that is taken then.
    private func glimpse(_ machine: inout HAMachine, _ cluster: SimulatedCluster) throws -> (EffectID, StoreRevision) {
        var found: (EffectID, StoreRevision)?
        for second in 1...60 where found == nil {
            let reaction = machine.handle(.wake, at: moment(cluster, after: .seconds(second)))
            for effect in reaction.effects {
                switch effect {
                case .read(let id, .glimpse(let since)): found = (id, since)
                case .read: Issue.record("everything was read")
                case .renew(let id, _, _):
                    let sent = cluster.now + .seconds(second)
                    _ = machine.handle(
                        .renewed(id, .proven(sent: sent, notExpiredBefore: sent + .seconds(30))),
                        at: moment(cluster, after: .seconds(second)))
                default: break
                }
            }
        }
        return try #require(found)
    }

    private func moment(_ cluster: SimulatedCluster, after: Duration) -> Moment {
        Moment(now: cluster.now + after, wall: cluster.wall + after)
    }

    // MARK: - Signals that never came

    @Test func `a request that no signal told of is found within a minute`() throws {
        let (cluster, leader, others) = try calmCluster()
        cluster.store.setFailover(FailoverRequest(leader: leader, candidate: others[1]))
        let took = cluster.run(until: { $0.primary == others[1] }, within: .seconds(70))
        #expect(took != nil, "\(cluster.story())")
        #expect(cluster.said(leader, "store.unannounced"))
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a pause that no signal told of is found within a minute`() throws {
        let (cluster, _, _) = try calmCluster()
        cluster.store.setConfiguration("pause", true)
        cluster.run(for: .seconds(62))
        for name in cluster.names { #expect(cluster[name].machine?.world.isPaused == true, "\(cluster.story())") }
        cluster.store.setConfiguration("pause", false)
        cluster.run(for: .seconds(62))
        for name in cluster.names { #expect(cluster[name].machine?.world.isPaused == false, "\(cluster.story())") }
    }

    @Test func `what a peer says of itself has its entry read`() throws {
        let (cluster, leader, others) = try calmCluster()
        let node = cluster[others[0]]
        var machine = try #require(node.machine)
        var word = try #require(machine.world.peers[others[1]] ?? machine.world.peers[leader])
        func reads(_ after: Duration) -> Bool {
            machine.handle(.wake, at: moment(cluster, after: after)).effects.contains {
                if case .read(_, .cluster) = $0 { true } else { false }
            }
        }
        word.askedAt = cluster.now + .seconds(1)
        _ = machine.handle(.peer(word), at: moment(cluster, after: .seconds(1)))
        #expect(!reads(.milliseconds(2100)), "said again")
        word.askedAt = cluster.now + .seconds(3)
        word.tags = Tags(["nofailover": true])
        let reaction = machine.handle(.peer(word), at: moment(cluster, after: .seconds(3)))
        #expect(!reaction.effects.contains { if case .read = $0 { true } else { false } }, "its entry may be older yet")
        #expect(reaction.wakeAt <= cluster.now + .seconds(4))
        #expect(reads(.seconds(4)))
    }

    // MARK: - Whether the view can be relied on

    @Test func `a quiet member's view is as good as new while the store would tell of changes`() throws {
        let (cluster, _, others) = try calmCluster()
        cluster.run(for: .seconds(300))
        for name in cluster.names { #expect(cluster[name].machine?.status.storeSilentSince == nil) }
        cluster.cutStore(cluster[others[0]])
        cluster.run(for: .seconds(1))
        let since = try #require(cluster[others[0]].machine?.status.storeSilentSince)
        #expect(cluster.now - since <= .seconds(1))
        cluster.run(for: .seconds(5))
        #expect(cluster[others[0]].machine?.status.storeSilentSince == since)
        cluster.joinStore(cluster[others[0]])
        cluster.run(for: .seconds(2))
        #expect(cluster[others[0]].machine?.status.storeSilentSince == nil)
    }
}
