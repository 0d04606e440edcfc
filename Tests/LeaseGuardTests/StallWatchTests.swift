import CLeaseGuard
import ClusterModel
import LeaseGuard
import Testing

/// When a guard counts as standing still, as a table.
@Suite("A guard that stands still")
struct StallWatchTests {
    private let origin = Instant(nanoseconds: 1_000_000_000_000)

    private func at(_ milliseconds: Int64) -> Instant { origin + .milliseconds(milliseconds) }

    /// B of the deadlines' arithmetic.
    private static func budget(_ granted: Duration) -> Duration {
        min(max(granted / 8, .milliseconds(400)), .seconds(2))
    }

    private static func watch(_ granted: Duration) -> StallWatch {
        StallWatch(granted: granted, stoppingBudget: budget(granted))
    }

    @Test("The guard's rounds", arguments: [(2000, 250), (3000, 375), (30_000, 3750), (32_000, 4000), (300_000, 4000)])
    func rounds(granted: Int64, interval: Int64) {
        #expect(mg_round_interval(granted * 1_000_000) == interval * 1_000_000)
    }

    @Test(
        "It is noticed in time, and not before it had the time for a round",
        arguments: [
            (2000, 750), (3000, 750), (4000, 750), (8000, 1500), (16_000, 3000), (30_000, 4750), (300_000, 5000),
        ])
    func patience(granted: Int64, patience: Int64) {
        let lifetime = Duration.milliseconds(granted)
        let watch = Self.watch(lifetime)
        let budget = Self.budget(lifetime)
        #expect(watch.patience == .milliseconds(patience))
        #expect(watch.patience - watch.confirmation > .nanoseconds(mg_round_interval(granted * 1_000_000)))
        // From the last round to Q as the guard knows it, the newest renewal being one interval old.
        let margin = Duration.milliseconds(5) + lifetime / 100
        let quit = lifetime - margin - budget
        let finish = quit - min(.seconds(1), lifetime / 6)
        #expect(watch.patience < quit - min(lifetime / 4, finish / 3))
        // Through a follower from the proof two before.
        #expect(watch.patience < quit - min(lifetime / 6, finish / 5) * 3)
    }

    @Test("A guard that goes round is looked at seldom")
    func quiet() {
        var watch = Self.watch(.seconds(30))
        var looks = 0
        var now = at(0)
        while now < at(60_000) {
            // Its last round: each 3750 ms.
            let lastRound = at((now - origin).milliseconds / 3750 * 3750)
            guard case .lookAgain(let pause) = watch.look(lastRound: lastRound, now: now) else {
                Issue.record("stalled at \((now - origin).milliseconds)")
                return
            }
            looks += 1
            now = now + pause
        }
        #expect(looks <= 60_000 / 3750 + 1)
    }

    @Test("One that stands still is found at the patience's end")
    func stalled() {
        var watch = Self.watch(.seconds(3))
        #expect(watch.look(lastRound: at(0), now: at(100)) == .lookAgain(.milliseconds(550)))
        #expect(watch.look(lastRound: at(0), now: at(650)) == .lookAgain(.milliseconds(100)))
        #expect(watch.look(lastRound: at(0), now: at(750)) == .stalled(.milliseconds(750)))
    }

    @Test("One that comes round at the last moment is not")
    func late() {
        var watch = Self.watch(.seconds(3))
        #expect(watch.look(lastRound: at(0), now: at(650)) == .lookAgain(.milliseconds(100)))
        #expect(watch.look(lastRound: at(749), now: at(750)) == .lookAgain(.milliseconds(649)))
    }

    @Test("A pause of the whole host is no evidence, whenever it falls", arguments: [0, 300, 600, 650, 700, 740])
    func paused(begin: Int64) {
        var watch = Self.watch(.seconds(3))
        // The looks as planned, but none between the pause's begin and its end.
        let end: Int64 = 20_000
        var now = at(0)
        while true {
            if now > at(begin), now < at(end) { now = at(end) }
            let isThawed = now >= at(end)
            switch watch.look(lastRound: at(0), now: now) {
            case .lookAgain(let pause):
                if isThawed {
                    // Time for a round under our eyes, whoever of the two was woken first.
                    #expect(pause == watch.confirmation)
                    #expect(
                        watch.look(lastRound: now + .milliseconds(50), now: now + pause)
                            == .lookAgain(.milliseconds(600)))
                    return
                }
                now = now + pause
            case .stalled(let duration):
                Issue.record("stalled for \(duration)")
                return
            }
        }
    }

    @Test("One that stands still after a pause of the host is found")
    func stalledAfterPause() {
        var watch = Self.watch(.seconds(3))
        _ = watch.look(lastRound: at(0), now: at(650))
        #expect(watch.look(lastRound: at(0), now: at(9000)) == .lookAgain(.milliseconds(100)))
        #expect(watch.look(lastRound: at(0), now: at(9100)) == .stalled(.milliseconds(9100)))
    }
}
