#if ZooKeeper
    import ClusterModel
    import PluginInterfaces
    import Testing

    @testable import ZooKeeperStore

    @Suite struct ZooKeeperProofTests {
        private func at(_ milliseconds: Int) -> Instant { Instant(nanoseconds: Int64(milliseconds) * 1_000_000) }

        private func ledger(
            _ lifetime: Int, asked: Int? = nil, tick: Int? = nil, syncLimit: Int? = nil, proofs: [Int] = []
        ) -> ProofLedger {
            var ledger = ProofLedger(
                lifetime: .milliseconds(lifetime), asked: .milliseconds(asked ?? lifetime),
                tick: tick.map { .milliseconds($0) }, syncLimit: syncLimit)
            for proof in proofs { ledger.acknowledge(sent: at(proof)) }
            return ledger
        }

        @Test func theLeaderTakesTheLatestProof() {
            #expect(ledger(3000).expiry(.leader) == nil)
            #expect(ledger(3000, proofs: [100]).expiry(.leader) == at(3100))
            #expect(ledger(3000, proofs: [100, 850]).expiry(.leader) == at(3850))
        }

        @Test func aFollowerTakesTheProofTwoBefore() {
            #expect(ledger(3000, proofs: [0]).expiry(.follower) == nil)
            #expect(ledger(3000, proofs: [0, 500]).expiry(.follower) == nil)
            #expect(ledger(3000, proofs: [0, 500, 1000]).expiry(.follower) == at(3000))
            #expect(ledger(3000, proofs: [0, 500, 1000, 1500]).expiry(.follower) == at(3500))
        }

        @Test func proofsOfLongAgoProveNothing() {
            #expect(ledger(3000, proofs: [0, 500, 9000]).expiry(.follower) == nil)
            #expect(ledger(3000, proofs: [0, 500, 9000, 9500]).expiry(.follower) == nil)
            #expect(ledger(3000, proofs: [0, 500, 9000, 9500, 10_000]).expiry(.follower) == at(12_000))
        }

        @Test func proofsTooCloseDoNotCountOneByOne() {
            // Tick 500: a ping each 250 ms.
            #expect(ledger(3000, tick: 500, proofs: [0, 10, 20, 30]).expiry(.follower) == nil)
            #expect(ledger(3000, tick: 500, proofs: [0, 20, 300, 320, 600]).expiry(.follower) == at(3020))
            #expect(ledger(3000, tick: 500, proofs: [0, 274, 548]).expiry(.follower) == nil)
            #expect(ledger(3000, tick: 500, proofs: [0, 275, 550]).expiry(.follower) == at(3000))
        }

        @Test func aProofThatShowsNothingYetCanWait() {
            #expect(ledger(3000, tick: 500).worthwhile(.follower) == nil)
            #expect(ledger(3000, tick: 500, proofs: [0]).worthwhile(.follower) == at(275))
            #expect(ledger(3000, tick: 500, proofs: [0, 100]).worthwhile(.follower) == at(275))
            #expect(ledger(3000, tick: 500, proofs: [0, 300]).worthwhile(.follower) == at(575))
            #expect(ledger(3000, tick: 500, proofs: [0, 300, 575]).worthwhile(.follower) == nil)
            #expect(ledger(3000, tick: 500, proofs: [0]).worthwhile(.leader) == nil)
        }

        @Test func manyProofsAreForgottenInTime() {
            var many = ledger(3000, tick: 500)
            for number in 0..<10_000 { many.acknowledge(sent: at(number)) }
            #expect(many.proofs.count <= 64)
            let exact = at(9999 - 550 + 3000)
            #expect((many.expiry(.follower) ?? at(0)) <= exact)
            #expect((many.expiry(.follower) ?? at(0)) > exact - .milliseconds(60))
            #expect(many.expiry(.leader) == at(12_999))
        }

        @Test func aLateAnswerCountsForNothingNewer() {
            var late = ledger(3000, proofs: [500, 1000])
            late.acknowledge(sent: at(700))
            #expect(late.expiry(.leader) == at(4000))
            late.restart()
            #expect(late.expiry(.leader) == nil)
        }

        @Test func intervals() {
            #expect(ledger(3000).interval(.standalone) == .milliseconds(750))
            // The connection may move to a follower at any time.
            #expect(ledger(3000).interval(.leader) == .milliseconds(500))
            #expect(ledger(3000).interval(.follower) == .milliseconds(500))
            // Half a tick and 50 ms at least.
            #expect(ledger(3000, tick: 1000).interval(.follower) == .milliseconds(550))
            #expect(ledger(30_000, tick: 2000).interval(.follower) == .seconds(5))
            // More granted than asked: the minimum of two ticks gives the tick away.
            #expect(ledger(4000, asked: 3000).interval(.follower) == .milliseconds(1050))
        }

        @Test func provingMoreOftenHelpsOnlyWhereEachProofCounts() {
            #expect(ledger(3000, tick: 500).intervalsBehind(.follower) == 2)
            #expect(ledger(30_000).intervalsBehind(.follower) == 2)
            #expect(ledger(3000, tick: 500).intervalsBehind(.leader) == 0)
            #expect(ledger(3000, tick: 500).intervalsBehind(.standalone) == 0)
            // Five intervals until F would be shorter than the gap.
            #expect(ledger(3000).intervalsBehind(.follower) == 0)
        }

        @Test func everyProofAtItsTimeKeepsTheLeaseAlive() {
            for (lifetime, tick) in [(3000, 500), (30_000, 2000), (6000, 1000), (1500, 200)] {
                for role in [ServerRole.standalone, .leader, .follower] {
                    var run = ledger(lifetime, tick: tick)
                    let interval = run.interval(role)
                    for step in 0..<20 {
                        run.acknowledge(sent: at(0) + interval * step)
                        guard step >= 2 else { continue }
                        let left = (run.expiry(role) ?? at(0)) - (at(0) + interval * step)
                        #expect(left >= interval * 3, "\(lifetime) \(tick) \(role)")
                    }
                }
            }
        }

        @Test func heartbeatsAloneNeedRoom() {
            // T 30 s, tick 2 s, syncLimit 5, r 3 s: E = s + 13 s.
            let roomy = ledger(30_000, tick: 2000, syncLimit: 5)
            #expect(roomy.interval(.follower) == .seconds(3))
            #expect(roomy.expiry(heartbeatSent: at(1000)) == at(14_000))
            #expect(ledger(30_000, tick: 2000, syncLimit: 10).heartbeat == nil)
            #expect(ledger(3000, tick: 500, syncLimit: 5).heartbeat == nil)
            #expect(ledger(30_000, syncLimit: 5).heartbeat == nil)
        }

        @Test func whatAServerSaysOfItself() {
            #expect(ServerProbe.role(in: "Zookeeper version: 3.8.0\nMode: leader\nNode count: 5\n") == .leader)
            #expect(ServerProbe.role(in: "Mode: standalone\n") == .standalone)
            #expect(ServerProbe.role(in: "Mode: follower\n") == .follower)
            #expect(ServerProbe.role(in: "Mode: observer\n") == .follower)
            #expect(ServerProbe.role(in: "Mode: read-only\n") == nil)
            #expect(ServerProbe.role(in: "This ZooKeeper instance is not currently serving requests\n") == nil)
            #expect(ServerProbe.tick(in: "clientPort=2181\ntickTime=500\n") == .milliseconds(500))
            #expect(ServerProbe.tick(in: "conf is not executed because it is not in the whitelist.\n") == nil)
            let servers = (1...4).map { ServerAddress(host: "10.0.0.\($0)", port: 2181) }
            let answers: [ServerProbe?] = [
                nil, ServerProbe(role: .follower), ServerProbe(role: nil), ServerProbe(role: .leader),
            ]
            #expect(
                ServerProbe.order(servers, answers).map(\.host) == ["10.0.0.4", "10.0.0.2", "10.0.0.3", "10.0.0.1"])
        }

        @Test func ownWritesExplainVersions() {
            var node = TrackedNode()
            #expect(node.explains(7, created: 5))
            node.begin()
            node.recreated()
            #expect(node.explains(0, created: 5))
            #expect(!node.explains(1, created: 5))
            // One under way, of which an answer may be seen before ours.
            node.begin()
            #expect(node.explains(0, created: 5))
            #expect(node.explains(1, created: 5))
            #expect(!node.explains(2, created: 5))
            node.wrote(1, created: 5)
            #expect(!node.isForeign)
            // A read may be older than what is known by now.
            #expect(node.explains(0, created: 5))
            #expect(!node.explains(1, created: 9))
            // A lost answer explains one step more, until a look after a sync.
            node.begin()
            node.lostAnswer()
            #expect(node.explains(2, created: 5))
            node.adopt(1, created: 5, lostBefore: 1)
            #expect(!node.explains(2, created: 5))
            node.begin()
            node.refused()
            #expect(!node.explains(2, created: 5))
        }

        @Test func aStepTooFarIsSomebodyElses() {
            var node = TrackedNode()
            node.adopt(3, created: 5, lostBefore: 0)
            node.begin()
            node.wrote(4, created: 5)
            #expect(!node.isForeign)
            node.begin()
            node.wrote(6, created: 5)
            #expect(node.isForeign)
            #expect(!node.explains(6, created: 5))
            var other = TrackedNode()
            other.adopt(3, created: 5, lostBefore: 0)
            other.begin()
            other.wrote(1, created: 8)
            #expect(other.isForeign)
            other.begin()
            other.recreated()
            #expect(!other.isForeign)
        }
    }
#endif
