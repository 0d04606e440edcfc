import ClusterModel
import HighAvailability
import Simulation
import Testing

/// The cluster moves from one store to another.
struct MigrationStories {
    static let steps = ["announcing", "connecting", "checking", "copying", "claiming", "aligning", "cutting over"]

    private func moved(_ cluster: SimulatedCluster) -> Bool {
        cluster.ruling == 1 && cluster.isHealthy(3) && cluster.names.allSatisfy { cluster[$0].home == 1 }
    }

    @Test func `everybody comes along, PostgreSQL goes on, the number of the term grows`() throws {
        let (cluster, leader, others) = try calmCluster()
        let started = cluster[leader].postgres.run?.started
        let before = try #require(cluster[leader].machine?.world.term?.fence)
        cluster.migrate(to: .etcd)
        let took = try #require(cluster.run(until: moved, within: .seconds(10)), "\(cluster.story())")
        #expect(took < .seconds(1))
        #expect(cluster.leader == leader)
        #expect(cluster[leader].postgres.run?.started == started)
        #expect(try #require(cluster[leader].machine?.world.term?.fence) > before)
        #expect(cluster.run(until: { $0.store.migration?.value.state == .here }, within: .seconds(5)) != nil)
        for name in others { #expect(cluster.said(name, "migration.follow")) }
        // The old store: left for good, and paused for those who know nothing of migrations.
        #expect(cluster.stores[0].migration?.value.state == .moved)
        #expect(cluster.stores[0].configuration?.value["pause"] == true)
        #expect(cluster.stores[0].leader == nil)
        #expect(cluster.store.configuration?.value["pause"] == nil)
        // Failover is armed in the new store.
        cluster.killHost(cluster[leader])
        #expect(
            cluster.run(until: { $0.primary.map(others.contains) ?? false }, within: .seconds(60)) != nil,
            "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test(arguments: steps)
    func `the leader's agent dies at a step: moved or not, and nobody writes beside it`(step: String) throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(5))
        cluster.migrate()
        let isThere: (SimulatedCluster) -> Bool = { $0[leader].machine?.world.migration?.step == step }
        try #require(cluster.run(until: isThere, within: .seconds(10)) != nil, "\(cluster.story())")
        cluster.killAgent(cluster[leader])
        cluster.run(for: .milliseconds(300))
        cluster.start(cluster[leader], resume: true)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        if cluster.ruling == 0 {
            #expect(cluster.run(until: { $0.stores[0].migration == nil }, within: .seconds(10)) != nil)
            cluster.migrate()
        }
        #expect(cluster.run(until: moved, within: .seconds(60)) != nil, "\(step): \(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test(arguments: steps)
    func `the leader's host dies at a step: another leads, in the one store or the other`(step: String) throws {
        let (cluster, leader, others) = try calmCluster(ttl: .seconds(5))
        cluster.migrate()
        let isThere: (SimulatedCluster) -> Bool = { $0[leader].machine?.world.migration?.step == step }
        try #require(cluster.run(until: isThere, within: .seconds(10)) != nil, "\(cluster.story())")
        cluster.killHost(cluster[leader])
        #expect(
            cluster.run(until: { $0.primary.map(others.contains) ?? false }, within: .seconds(60)) != nil,
            "\(step): \(cluster.story())")
        cluster.startHost(cluster[leader])
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test(arguments: [(step: "copying", store: 1), ("aligning", 1), ("copying", 0), ("aligning", 0)])
    func `a store that fails before the cut-over ends the migration, and not the lead`(
        _ when: (step: String, store: Int)
    ) throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(5))
        let started = cluster[leader].postgres.run?.started
        cluster.migrate()
        let isThere: (SimulatedCluster) -> Bool = { $0[leader].machine?.world.migration?.step == when.step }
        try #require(cluster.run(until: isThere, within: .seconds(10)) != nil, "\(cluster.story())")
        cluster.stopOne(when.store)
        // Half a lease: the old store's failure would be felt after that, as ever.
        cluster.run(for: .milliseconds(when.store == 0 ? 1500 : 20_000))
        cluster.startOne(when.store)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(90)) != nil, "\(cluster.story())")
        #expect(cluster[leader].postgres.run?.started == started, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `the old store fails right after the cut-over: the others find the new one by themselves`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(5))
        cluster.migrate()
        try #require(cluster.run(until: { $0.ruling == 1 }, within: .seconds(10)) != nil)
        cluster.stopOne(0)
        #expect(cluster.run(until: moved, within: .seconds(30)) != nil, "\(cluster.story())")
        #expect(cluster.leader == leader || cluster.leader != nil)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `a member that was not told stays out, and says what to do`() throws {
        let (cluster, _, others) = try calmCluster(ttl: .seconds(5))
        cluster.killHost(cluster[others[0]])
        cluster.run(for: .seconds(8))
        cluster.migrate()
        try #require(cluster.run(until: { $0.ruling == 1 }, within: .seconds(10)) != nil, "\(cluster.story())")
        cluster.startHost(cluster[others[0]])
        let told: (SimulatedCluster) -> Bool = { $0.said(others[0], "migration.movedAway") }
        #expect(cluster.run(until: told, within: .seconds(20)) != nil, "\(cluster.story())")
        // In the model an operator reads it and starts it again with the new section.
        #expect(cluster.run(until: moved, within: .seconds(60)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test func `what cannot be moved is refused, with the reason`() throws {
        let (cluster, leader, others) = try calmCluster()
        func refused(_ name: String, _ id: String) -> String? {
            let request = cluster.ask(name, .migrate(id))
            cluster.run(until: { $0.answer(request) != nil }, within: .seconds(5))
            return cluster.answer(request)?.text
        }
        #expect(refused(others[0], "x") == "migration refused: this member does not lead: ask the leader")
        #expect(
            refused(leader, "x")
                == "migration refused: this member has not been told which store to move to")
        cluster.store.setConfiguration("pause", true)
        cluster.signalAll()
        cluster.run(for: .seconds(2))
        cluster.deliver(cluster[leader], .prepared("x", store: "another"))
        cluster.run(for: .seconds(1))
        #expect(refused(leader, "x") == "migration refused: the cluster is paused")
        #expect(cluster.ruling == 0)
    }

    @Test func `a cluster with a failsafe is not moved, and moves once that is off`() throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(5))
        let refusal = "migration refused: failsafe_mode is on: turn it off while the cluster moves"
        cluster.store.setConfiguration("failsafe_mode", true)
        cluster.signalAll()
        try #require(cluster.run(until: { $0.store.failsafe?.value.count == 3 }, within: .seconds(20)) != nil)
        cluster.deliver(cluster[leader], .prepared("x", store: "another"))
        cluster.run(for: .seconds(1))
        let request = cluster.ask(leader, .migrate("x"))
        cluster.run(until: { $0.answer(request) != nil }, within: .seconds(5))
        #expect(cluster.answer(request)?.text == refusal)
        #expect(cluster.storeCopy.migration == nil)
        cluster.store.setConfiguration("failsafe_mode", false)
        cluster.signalAll()
        cluster.run(for: .seconds(2))
        cluster.migrate()
        #expect(cluster.run(until: moved, within: .seconds(20)) != nil, "\(cluster.story())")
        // And in the new store it is there again.
        cluster.store.setConfiguration("failsafe_mode", true)
        cluster.signalAll()
        #expect(cluster.run(until: { $0.store.failsafe?.value.count == 3 }, within: .seconds(20)) != nil)
        cluster.run(for: .seconds(1))
        let started = cluster[leader].postgres.run?.started
        cluster.stopStore()
        cluster.run(for: .seconds(60))
        #expect(cluster.primary == leader, "\(cluster.story())")
        #expect(cluster[leader].postgres.run?.started == started)
        // The store forgets it all: the entry is taken again, in a later era.
        cluster.emptyStore()
        #expect(
            cluster.run(until: { $0.isHealthy(3) && $0.leader == leader }, within: .seconds(60)) != nil,
            "\(cluster.story())")
        #expect(cluster[leader].postgres.run?.started == started, "\(cluster.story())")
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test(arguments: steps)
    func `a failsafe that is turned on meanwhile takes a migration back, or comes after it`(step: String) throws {
        let (cluster, leader, _) = try calmCluster(ttl: .seconds(5))
        let started = cluster[leader].postgres.run?.started
        cluster.migrate()
        let isThere: (SimulatedCluster) -> Bool = { $0[leader].machine?.world.migration?.step == step }
        try #require(cluster.run(until: isThere, within: .seconds(10)) != nil, "\(cluster.story())")
        cluster.stores[0].setConfiguration("failsafe_mode", true)
        cluster.signalAll()
        #expect(
            cluster.run(until: { $0[leader].machine?.world.migration == nil && $0.isHealthy(3) }, within: .seconds(20))
                != nil, "\(cluster.story())")
        // One that was taken back shows it; one that was made has left the change behind.
        #expect(cluster.said(leader, "migration.back") == (cluster.ruling == 0), "\(cluster.story())")
        #expect(cluster[leader].postgres.run?.started == started)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }
}
