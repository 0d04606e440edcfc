import Simulation
import Testing

/// What a cluster has still to do belongs to it and does not keep it: a campaign of a million leaves nothing behind.
struct LifetimeTests {
    private func isFreed(_ body: () throws -> SimulatedCluster) rethrows -> Bool {
        weak let cluster = try body()
        return cluster == nil
    }

    @Test(arguments: 0..<60)
    func `a cluster that is let go at any moment of its beginning is freed`(_ tenths: Int) {
        let isFreed = isFreed {
            let cluster = SimulatedCluster(3, ttl: .seconds(4))
            cluster.startAll()
            cluster.run(for: .milliseconds(100 * tenths + 5))
            return cluster
        }
        #expect(isFreed)
    }

    @Test(arguments: 0..<60)
    func `a cluster that is let go at any moment of a failover is freed`(_ tenths: Int) throws {
        let isFreed = try isFreed {
            let (cluster, leader, _) = try calmCluster(3, ttl: .seconds(4), seed: 1)
            cluster.killHost(cluster[leader])
            cluster.run(for: .seconds(3))
            cluster.startHost(cluster[leader])
            cluster.run(for: .milliseconds(100 * tenths + 5))
            return cluster
        }
        #expect(isFreed)
    }
}
