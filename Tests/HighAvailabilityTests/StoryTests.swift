import ClusterModel
import HighAvailability
import Simulation
import Testing

/// A cluster of three, bootstrapped and quiet.
func calmCluster(
    _ count: Int = 3, ttl: Duration = .seconds(30), seed: UInt64 = 1,
    settings: (inout MachineSettings, String) -> Void = { _, _ in }
) throws -> (SimulatedCluster, leader: String, others: [String]) {
    let cluster = SimulatedCluster(count, ttl: ttl, seed: seed, settings: settings)
    cluster.startAll()
    try #require(cluster.run(until: { $0.isHealthy(count) }, within: .seconds(60)) != nil, "\(cluster.story())")
    cluster.run(for: .seconds(15))
    let leader = try #require(cluster.leader)
    return (cluster, leader, cluster.names.filter { $0 != leader })
}

struct BootstrapStories {
    @Test func `three members find each other: one bootstraps, two copy it`() throws {
        let (cluster, leader, others) = try calmCluster()
        #expect(cluster.said(leader, "bootstrap.begin"))
        #expect(cluster.said(leader, "bootstrap.finish"))
        #expect(cluster.said(leader, "lease.acquired"))
        #expect(cluster.decisions(leader, "primary.restartInPlace").first?["state"]?.string == "shut down")
        for name in others {
            #expect(cluster.decisions(name, "clone.begin").first?["leader"]?.string == leader)
            #expect(cluster.said(name, "follow.streaming"))
        }
        #expect(cluster.store.initialize?.value == cluster[leader].postgres.identifier)
        #expect(cluster.store.configuration?.value["ttl"] == 30)
        #expect(cluster.store.history?.value.rows.isEmpty == true)
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }
}

struct IdleStories {
    @Test func `an idle leader only renews, idle followers do nothing`() throws {
        let (cluster, leader, others) = try calmCluster()
        cluster.run(for: .seconds(120))
        for name in cluster.names { cluster[name].counts = [:] }
        cluster.run(for: .seconds(60))
        var counts = cluster[leader].counts
        // T/4 of 30 s, and the guard is told each time; a look at PostgreSQL each loop_wait.
        #expect((7...9).contains(counts.removeValue(forKey: "renew") ?? 0))
        #expect((7...9).contains(counts.removeValue(forKey: "arm") ?? 0))
        #expect((5...7).contains(counts.removeValue(forKey: "sample") ?? 0))
        // Everybody looks after 60 s of silence, at what matters at once.
        #expect((counts.removeValue(forKey: "glimpse") ?? 0) <= 1)
        #expect(counts.isEmpty, "\(counts)")
        for name in others {
            var counts = cluster[name].counts
            #expect((5...7).contains(counts.removeValue(forKey: "sample") ?? 0))
            #expect((counts.removeValue(forKey: "glimpse") ?? 0) <= 1)
            #expect(counts.isEmpty, "\(counts)")
        }
        #expect(cluster.violations.isEmpty, "\(cluster.story())")
    }

    @Test(arguments: [true, false])
    func `after a change of leader there is as little to do as before`(isPlanned: Bool) throws {
        let (cluster, old, others) = try calmCluster(ttl: .seconds(3))
        if isPlanned {
            cluster.ask(old, .switchover(leader: old, candidate: others[0], scheduledAt: nil))
        } else {
            cluster.crashPostgres(cluster[old])
            cluster.killHost(cluster[old])
        }
        for name in cluster.names { cluster[name].counts = [:] }
        cluster.run(until: { $0.primary != nil && $0.primary != old })
        cluster.run(for: .seconds(10))
        if !isPlanned { cluster.startHost(cluster[old]) }
        try #require(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil)
        cluster.run(for: .seconds(10))
        for name in cluster.names {
            // Entry, intent, history, status, member, and once more of those that were overtaken.
            #expect(cluster[name].counts["commit", default: 0] <= 20, "\(name): \(cluster[name].counts)")
            #expect(cluster[name].counts["readHistory", default: 0] <= 2, "\(name): \(cluster[name].counts)")
        }
        cluster.run(for: .seconds(60))
        for name in cluster.names { cluster[name].counts = [:] }
        cluster.run(for: .seconds(60))
        let busy: Set<String> = [
            "commit", "readHistory", "queryPeers", "startJob", "posture", "checkpoint", "persistMarker",
        ]
        for name in cluster.names {
            #expect(cluster[name].counts.keys.filter(busy.contains).isEmpty, "\(name): \(cluster[name].counts)")
            #expect(cluster[name].counts["read", default: 0] <= 1)
        }
        #expect(cluster.violations.isEmpty)
    }
}
