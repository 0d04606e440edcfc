import ClusterModel
import Glibc
import HighAvailability
import Simulation
import Testing

/// Clusters in the simulated world keep every promise, seed by seed.
struct SimulationTests {
    /// Seeds that broke a promise once, and how. Their faults are repaired; their scenarios stay.
    static let once: [(seed: UInt64, steps: Int, why: String)] = [
        (72, 10, "primary_start_timeout 0 ended every promotion at once"),
        (75, 10, "the same with seven members"),
        (116, 10, "the same with one member that stays broken"),
        (207, 10, "the same without chaos, when the primary was lost for good"),
        (476, 10, "a timeline was made twice, and a standby of the first would have streamed from the second"),
        (1406, 10, "a resumed session kept a lease whose term the guard had ended, for ever"),
        (1566, 10, "the same after a store that elected a leader"),
        (1766, 10, "the same after a full disk"),
        (3482, 10, "a twin of a timeline on a member whose agent had slept"),
        (863, 10, "a promotion was judged by a crash of long ago"),
        (4905, 10, "a guard that stopped the server was taken to be armed still"),
        (5209, 10, "an agent restarted while its promotion was under way"),
        (73762, 10, "an old look at PostgreSQL cleared the marker of a promotion being prepared"),
        (105120, 10, "an entry that was ours stayed without a leader after a pause, for nobody looked again"),
        (129958, 10, "the same after an acquire that arrived when it was thought lost"),
        (206247, 10, "a refused switchover began again at each event while its removal from the store was on its way"),
        (178706, 10, "a view older than another's whole term was raced with: more was lost than is allowed"),
        (1_016_757, 10, "a promotion by what was seen before an earlier one, which went on in a pause"),
        (1_043_199, 10, "the lead was taken again with a release on its way, which then met the new entry"),
    ]

    /// The same, of the world that knows a second store.
    static let since: [(seed: UInt64, why: String)] = [
        (37322, "every agent began anew on a store that had been emptied: all waited for a primary"),
        (1353, "an older list, put back with the store, named a member that the leader had not asked"),
        (18906, "nobody remembered an emptied cluster, and no operator could tell"),
        (47133, "a lost connection voided the view, and nobody read again"),
        (527845, "members told of two migrations at once followed neither"),
        (40795, "a session of the new store, adopted after it had expired, was believed for ever"),
        (556144, "the leader's own entry, set back with its session, stood in the way of taking it again"),
        (636629, "in the simulator: a session whose end was told while it was opened was of no use for ever"),
        (638487, "a timeline made again, for its member said none while its server started"),
        (103599, "a member took the lead of a store set back, though the leader told it that it led"),
        (147173, "the memory of a timeline's number ended with an agent before it was written again"),
        (202863, "in the simulator: a grant answered after a long freeze was judged by the time of the answer"),
        (712476, "a timeline that the cluster had gone back from kept everybody from the race"),
        (978728, "a former primary registered an emptied cluster, and took it back to its own timeline"),
        (716083, "a former primary that remembered an emptied cluster, and was behind, waited for ever"),
        (399771, "a term that a store set back gave back was over for the guard, and nobody gave it up"),
        (493863, "in the simulator: a primary that wrote on after a hand-over that nobody took was judged by it"),
        (8925, "an agent asked to stop waited for its store to tell whether it led, as long as that was away"),
        (741810, "an agent that began anew during a slow promotion gave the signal a second time"),
        (956214, "the same, with the store away meanwhile"),
        (913824, "a former primary registered an emptied cluster, though it heard of the leader's failsafe"),
        (490276, "a list of the failsafe, written again before a member looked, was an older one to it for ever"),
        (367337, "in the simulator: a store was set back under servers that ran, and nobody's connection ended"),
        (70912, "PostgreSQL ended while its promotion was prepared, and was promoted without the marker"),
        (167711, "in the simulator: a leader whose lock delay was not over was to write its position"),
        (920881, "in the simulator: a primary was to have its history in the store at the moment of its promotion"),
        (312428, "in the simulator: a request to servers that had ended arrived at those that came after them"),
    ]

    @Test(arguments: since.indices)
    func `what was broken with two stores stays repaired`(index: Int) {
        let (seed, why) = Self.since[index]
        let outcome = SimulationRun(.make(seed: seed), mode: .liveness).run()
        #expect(outcome.violations.isEmpty, "seed \(seed) (\(why)): \(outcome.violations)")
    }

    /// `MATRIARCH_SEEDS=500` runs that many, for a longer search.
    static let seeds: UInt64 = getenv("MATRIARCH_SEEDS").flatMap { UInt64(String(cString: $0)) } ?? 40

    @Test(arguments: once.indices)
    func `what was broken once stays repaired`(index: Int) {
        let (seed, steps, why) = Self.once[index]
        var limits = Scenario.Limits()
        limits.steps = steps
        limits.migrations = false
        let outcome = SimulationRun(.make(seed: seed, limits: limits), mode: .liveness).run()
        #expect(outcome.violations.isEmpty, "seed \(seed) (\(why)): \(outcome.violations)")
    }

    @Test func `seeds keep every promise`() {
        for seed in 1...Self.seeds {
            let outcome = SimulationRun(.make(seed: seed), mode: .liveness).run()
            #expect(
                outcome.violations.isEmpty,
                "matriarch-simulate --seed \(seed) --trace: \(outcome.violations)\n\(outcome.story.joined(separator: "\n"))"
            )
        }
    }

    @Test(arguments: [UInt64](1...6))
    func `the same seed gives the same run`(seed: UInt64) {
        func lines() -> [String] {
            var lines: [String] = []
            _ = SimulationRun(.make(seed: seed), mode: .liveness).run { lines.append($0) }
            return lines
        }
        let first = lines()
        #expect(!first.isEmpty)
        #expect(first == lines())
    }

    @Test func `every placing of one fault is left again`() {
        let exploration = Exploration(members: 2, faults: 1, slots: 3)
        for number in 0..<exploration.count {
            let outcome = SimulationRun(exploration.scenario(number), mode: .liveness).run()
            #expect(outcome.violations.isEmpty, "explore --placing \(number): \(outcome.violations)")
        }
    }

    @Test func `an exploration has each placing once`() {
        let exploration = Exploration(members: 3, faults: 2, slots: 2, kinds: [.killHost, .storeOutage])
        // Two slots of three members and of the store: 8 places, 36 pairs, none; six orders each.
        #expect(exploration.count == (1 + 8 + 36) * 6)
        var seen: Set<String> = []
        for number in 0..<exploration.count {
            let scenario = exploration.scenario(number)
            #expect(scenario.faults.count <= 2)
            #expect(seen.insert("\(scenario.order) \(scenario.faults)").inserted)
        }
    }
}

/// The world itself does what it says.
struct WorldTests {
    /// A cluster of three in which nothing goes wrong.
    private func calm(_ model: StoreModel = .plain) throws -> SimulatedCluster {
        let cluster = SimulatedCluster(3, ttl: .seconds(3), seed: 5) { settings, _ in settings.loopWait = .seconds(1) }
        cluster.store.model = model
        cluster.startAll()
        try #require(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(60)) != nil, "\(cluster.story())")
        return cluster
    }

    @Test func `two writers are seen, whoever let them`() throws {
        let cluster = try calm()
        let standby = try #require(cluster.names.first { $0 != cluster.primary })
        cluster[standby].postgres.promote(branchNumber: 900)
        cluster.run(for: .milliseconds(50))
        #expect(cluster.violations.contains { $0.contains("can both acknowledge") })
    }

    @Test func `a writer without the lease is seen`() throws {
        let cluster = try calm()
        let session = try #require(cluster.primary.flatMap { cluster[$0].session })
        cluster.store.end(session)
        cluster.deliver(cluster[cluster.names[0]], .wake)
        cluster.run(for: .milliseconds(1))
        #expect(cluster.violations.contains { $0.contains("nobody holds the lease") })
    }

    @Test(arguments: [
        (StoreModel.plain, 3000, 3001), (.etcd, 3000, 3001), (.zooKeeper(tick: .milliseconds(500)), 3001, 3501),
        (.consul(lockDelay: .seconds(1)), 3000, 6000),
    ])
    func `a dead host's lease passes when the store's clock says so`(model: StoreModel, least: Int, most: Int) throws {
        let cluster = try calm(model)
        let old = try #require(cluster.primary)
        // From just after a renewal, which is the last touch.
        let before = cluster[old].counts["renew", default: 0]
        cluster.run(until: { $0[old].counts["renew", default: 0] > before }, within: .seconds(5))
        cluster.run(for: .milliseconds(5))
        cluster.killHost(cluster[old])
        let took = try #require(cluster.run(until: { $0.leader == nil }, within: .seconds(10))).milliseconds
        // The session's own heartbeat may have touched it up to a third of the lifetime before, never later than the kill.
        #expect(took <= most)
        #expect(took >= Int64(least) - 1005)
    }

    @Test func `Consul's lock delay keeps the entry free for a while`() throws {
        let cluster = try calm(.consul(lockDelay: .seconds(4)))
        let old = try #require(cluster.primary)
        cluster.killHost(cluster[old])
        try #require(cluster.run(until: { $0.leader == nil }, within: .seconds(10)) != nil)
        let taken = try #require(cluster.run(until: { $0.leader != nil }, within: .seconds(20)))
        #expect(taken >= .seconds(4))
    }

    @Test func `residual risks are counted and not complained of`() {
        var scenario = Scenario(seed: 3)
        scenario.faults = [
            Fault(.pauseHost, at: .seconds(1), lasts: .seconds(9), target: 0),
            Fault(.pauseHost, at: .seconds(1), lasts: .seconds(9), target: 1),
        ]
        let outcome = SimulationRun(scenario, mode: .liveness).run()
        #expect(outcome.violations.isEmpty, "\(outcome.violations)")
    }

    @Test func `a failing scenario is minimised to what makes it fail`() throws {
        // Nobody may lead but pg1, and it stays away for good: no promise can be kept, and one fault of many is to blame.
        var scenario = Scenario(seed: 11)
        scenario.members = 2
        scenario.noFailover = [1]
        scenario.faults = [
            Fault(.lossyNetwork, at: .milliseconds(100), lasts: .seconds(1), target: 1),
            Fault(.slowStore, at: .milliseconds(200), lasts: .seconds(1), target: 0),
            Fault(.killHost, at: .milliseconds(300), lasts: .seconds(10_000), target: 0),
            Fault(.heldReplication, at: .milliseconds(400), lasts: .seconds(1), target: 1),
        ]
        #expect(SimulationRun(scenario, mode: .liveness).run().violations.isEmpty, "healing brings the host back")
        scenario.primaryStartTimeout = .seconds(1)
        var minimizer = Minimizer()
        #expect(minimizer.minimize(scenario, mode: .liveness) == nil)
    }
}
