import ClusterModel
import Glibc
import HighAvailability
import Simulation
import Testing

/// Anything may fail at any time. What must hold is checked at every step; when the faults stop, the cluster heals.
struct RandomWalkTests {
    /// `MATRIARCH_SEEDS=500` walks that many, for a longer search.
    static let seeds: UInt64 = getenv("MATRIARCH_SEEDS").flatMap { UInt64(String(cString: $0)) } ?? 12

    @Test(arguments: 1...seeds)
    func `faults of all kinds never give two that acknowledge, and heal`(seed: UInt64) {
        walk(seed: seed, rounds: 30, withPause: false)
    }

    @Test(arguments: 10_001...10_000 + max(1, seeds / 2))
    func `the same with pauses between`(seed: UInt64) {
        walk(seed: seed, rounds: 30, withPause: true)
    }

    private func walk(seed: UInt64, rounds: Int, withPause: Bool) {
        let cluster = SimulatedCluster(3, ttl: .seconds(3), seed: seed) { settings, name in
            settings.loopWait = .seconds(1)
            settings.primaryStartTimeout = .seconds(10)
            if seed % 3 == 0, name == "pg3" { settings.tags = Tags(["failover_priority": 3]) }
            if seed % 5 == 0 { settings.hasPrePromote = true }
        }
        cluster.jitter = .milliseconds(3)
        var random = SplitMix(seed: seed &* 7919)
        func chance(_ percent: UInt64) -> Bool { random.next() % 100 < percent }
        func anyNode() -> SimulatedMember { cluster[cluster.names[Int(random.next() % 3)]] }
        cluster.startAll()
        cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30))

        cluster.fault = { _, effect in
            switch effect {
            case .commit, .release, .renew, .read:
                switch random.next() % 100 {
                case 0..<2: return .answerLost
                case 2..<4: return .lost
                case 4..<5: return .notSent
                case 5..<8: return .late(.milliseconds(Int64(random.next() % 3000)))
                default: return nil
                }
            case .startJob: return chance(4) ? .notSent : nil
            case .sample: return chance(5) ? .late(.milliseconds(Int64(random.next() % 2000))) : nil
            default: return nil
            }
        }
        for _ in 0..<rounds {
            let node = anyNode()
            switch random.next() % 14 {
            case 0: cluster.freeze(node)
            case 1, 2: if node.isFrozen { cluster.thaw(node) }
            case 3: cluster.cutStore(node)
            case 4, 5: cluster.joinStore(node)
            case 6: if node.machine != nil, !node.isFrozen { cluster.killAgent(node) }
            case 7: if node.machine == nil, !node.isHostDown { cluster.start(node, resume: chance(50)) }
            case 8: if !node.isHostDown { cluster.killHost(node) }
            case 9, 10: if node.isHostDown { cluster.startHost(node) }
            case 11: cluster.crashPostgres(node)
            case 12: node.isolated = chance(50) ? [anyNode().name] : []
            default:
                let leader = cluster.leader
                if withPause, chance(60) {
                    cluster.store.setConfiguration("pause", .bool(chance(40)))
                    cluster.signalAll()
                } else if node.machine != nil {
                    cluster.ask(
                        node.name,
                        chance(50)
                            ? .switchover(
                                leader: leader, candidate: chance(50) ? anyNode().name : nil, scheduledAt: nil)
                            : .failover(candidate: anyNode().name))
                }
            }
            cluster.write(UInt64(random.next() % 20_000))
            cluster.run(for: .milliseconds(Int64(random.next() % 2500)))
            if !cluster.violations.isEmpty { break }
        }
        #expect(cluster.violations.isEmpty, "seed \(seed)\n\(cluster.story(last: 200))")

        cluster.fault = nil
        cluster.store.setConfiguration("pause", false)
        cluster.signalAll()
        for name in cluster.names {
            let node = cluster[name]
            node.isolated = []
            if node.isFrozen { cluster.thaw(node) }
            if node.isHostDown { cluster.startHost(node) }
            if !node.storeReachable { cluster.joinStore(node) }
            if node.machine == nil { cluster.start(node) }
        }
        cluster.run(until: { $0.isHealthy(3) || !$0.violations.isEmpty }, within: .seconds(60))
        // A timeline made twice at one position, of which the agent knew nothing while it was cut off, looks right to all:
        // an operator sees that it does not stream.
        if let primary = cluster.primary {
            for name in cluster.names where cluster[name].postgres.isTwin(of: cluster[primary].postgres) {
                #expect(cluster.said(name, "follow.notStreaming"))
                cluster.ask(name, .reinitialize(force: true, fromLeader: true))
            }
        }
        let healed = cluster.run(until: { $0.isHealthy(3) || !$0.violations.isEmpty }, within: .seconds(120))
        #expect(healed != nil, "seed \(seed): it does not heal\n\(cluster.story(last: 2000))")
        #expect(cluster.violations.isEmpty, "seed \(seed)\n\(cluster.story(last: 200))")
        cluster.run(for: .seconds(10))
        for name in cluster.names {
            #expect(cluster[name].machine?.world.commits.isEmpty == true, "seed \(seed) \(name)")
        }
    }
}
