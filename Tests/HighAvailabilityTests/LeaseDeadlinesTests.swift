import ClusterModel
import HighAvailability
import Simulation
import Testing

/// The arithmetic of the safety rules, section 3, in milliseconds after s for a store with E = s + T.
struct LeaseDeadlinesTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var granted: Int64
        var finish: Int64
        var quit: Int64
        var kill: Int64
        var end: Int64
        var testDescription: String { "T = \(granted) ms" }
    }

    @Test(arguments: [
        // E' = E - (5 + T/100); K = E' - 150; B = T/8 in 400...2000; Q = E' - B; F = Q - min(1000, T/6)
        Row(granted: 60_000, finish: 56_395, quit: 57_395, kill: 59_245, end: 59_395),
        Row(granted: 30_000, finish: 26_695, quit: 27_695, kill: 29_545, end: 29_695),
        Row(granted: 20_000, finish: 16_795, quit: 17_795, kill: 19_645, end: 19_795),
        Row(granted: 10_000, finish: 7_645, quit: 8_645, kill: 9_745, end: 9_895),
        Row(granted: 6_000, finish: 4_185, quit: 5_185, kill: 5_785, end: 5_935),
        Row(granted: 3_000, finish: 2_065, quit: 2_565, kill: 2_815, end: 2_965),
        Row(granted: 2_400, finish: 1_571, quit: 1_971, kill: 2_221, end: 2_371),
        Row(granted: 1_200, finish: 583, quit: 783, kill: 1_033, end: 1_183),
    ])
    func `deadlines of a lease`(row: Row) {
        let sent = Instant(nanoseconds: 77_000_000_000)
        let deadlines = LeaseDeadlines(
            notExpiredBefore: sent + .milliseconds(row.granted), granted: .milliseconds(row.granted))
        #expect(deadlines.finish == sent + .milliseconds(row.finish))
        #expect(deadlines.quit == sent + .milliseconds(row.quit))
        #expect(deadlines.kill == sent + .milliseconds(row.kill))
        #expect(deadlines.end == sent + .milliseconds(row.end))
        #expect(deadlines.finish < deadlines.quit && deadlines.quit < deadlines.kill && deadlines.kill < deadlines.end)
    }

    @Test func `a lease of two seconds, to the nanosecond`() {
        let sent = Instant(nanoseconds: 0)
        let deadlines = LeaseDeadlines(notExpiredBefore: sent + .seconds(2), granted: .seconds(2))
        #expect(deadlines.end.nanoseconds == 1_975_000_000)
        #expect(deadlines.kill.nanoseconds == 1_825_000_000)
        #expect(deadlines.quit.nanoseconds == 1_575_000_000)
        #expect(deadlines.finish.nanoseconds == 1_241_666_667)
    }

    @Test(arguments: [
        (Int64(30_000), Int64(7_500), 0, Int64?.some(7_500)),
        (30_000, 5_000, 2, 5_000),
        (20_000, 5_000, 0, 5_000),
        // T/4 would let two failures reach F: a third of F it is.
        (3_000, 750, 0, 688),
        (2_000, 500, 0, 413),
        // Through a ZooKeeper follower, E reckons from two proofs earlier: a fifth of F.
        (3_000, 500, 2, 413),
        (1_200, 300, 0, 194),
        (700, 175, 0, 57),
        // 600 ms leave 89 ms until F, 500 ms nothing at all.
        (600, 150, 0, nil),
        (500, 125, 0, nil),
        (200, 50, 0, nil),
    ])
    func `the renewal interval lets two renewals in a row fail, or is refused`(
        granted: Int64, wished: Int64, behind: Int, expected: Int64?
    ) {
        let interval = LeaseDeadlines.renewalInterval(
            granted: .milliseconds(granted), wished: .milliseconds(wished), intervalsBehind: behind)
        #expect(interval.map { $0.milliseconds } == expected)
        guard let interval else { return }
        let deadlines = LeaseDeadlines(
            notExpiredBefore: Instant(nanoseconds: 0) + .milliseconds(granted), granted: .milliseconds(granted))
        #expect(Instant(nanoseconds: 0) + interval * (3 + behind) <= deadlines.finish + .milliseconds(1))
    }

    @Test func `a refusal shows the arithmetic`() {
        let text = LeaseDeadlines.refusal(granted: .milliseconds(600))
        #expect(text.contains("600 ms"))
        #expect(text.contains("89 ms"))
        #expect(text.contains("400 ms"))
        #expect(text.contains("raise ttl"))
    }

    @Test func `a session too short for any renewal ends the agent, with the reason`() throws {
        let cluster = SimulatedCluster(1, ttl: .milliseconds(500))
        cluster.startAll()
        cluster.run(for: .seconds(2))
        #expect(cluster["pg1"].exit?.code == 1)
        #expect(cluster.said("pg1", "lease.refused"))
    }

    @Test(arguments: [1_200, 2_000, 3_000, 10_000, 30_000, 60_000])
    func `a cluster works with this lease`(ttl: Int) throws {
        let (cluster, old, _) = try calmCluster(ttl: .milliseconds(ttl))
        cluster.killHost(cluster[old])
        #expect(
            cluster.run(until: { $0.primary != nil }, within: .milliseconds(ttl + 3000)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }
}
