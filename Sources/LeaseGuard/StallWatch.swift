import CLeaseGuard
public import ClusterModel

/// Finds out whether a guard stands still, by the rounds that it counts in the page. Pure.
///
/// With T the lease's lifetime and B the stopping budget (T/8 within 400 ms and 2 s), a guard sleeps R = min(T/8, 4 s) at
/// most, and counts as standing still N = max(R + B/2, 750 ms) after its last round. That has to end before Q as the
/// guard knows it, for what happens then is its own timer's doing and not the agent's. Right before it stopped it knew a
/// renewal that was sent one interval r <= T/4 ago, so Q is at least T - (5 ms + T/100) - B - r away:
///
///     T      R      N      Q is away by
///     2 s    250    750    1161 ms      (r = 414 ms)
///     3 s    375    750    1877 ms      (r = 688 ms)
///     8 s    1000   1500   4943 ms
///     30 s   3750   4750   20195 ms
///
/// For T from 8 s on N is at most 0.19 T and Q is away by 0.61 T at least. Through a ZooKeeper follower, where Q is reckoned
/// from the renewal two before (T/6 apart), it is 0.36 T; at T = 2 s, 831 ms.
public struct StallWatch: Sendable {
    public enum Finding: Hashable, Sendable {
        /// Nothing to be said yet: look again after so long.
        case lookAgain(Duration)
        /// It stands still, for so long.
        case stalled(Duration)
    }

    /// N: from its last round until it counts as standing still.
    public let patience: Duration
    /// An overdue guard is given so long once more, under our eyes: a pause of the whole host, or of ours, is no evidence
    /// against it.
    public let confirmation: Duration
    private var overdue: (round: Instant, lookAt: Instant)?

    public init(granted: Duration, stoppingBudget: Duration) {
        let interval: Duration = .nanoseconds(mg_round_interval(granted.nanosecondsClamped))
        patience = max(interval + stoppingBudget / 2, .milliseconds(750))
        confirmation = stoppingBudget / 4
    }

    /// Looks at the instant of the guard's last round.
    public mutating func look(lastRound: Instant, now: Instant) -> Finding {
        let due = lastRound + patience - confirmation
        if now < due {
            overdue = nil
            return .lookAgain(due - now)
        }
        if let overdue, overdue.round == lastRound {
            if now < overdue.lookAt { return .lookAgain(overdue.lookAt - now) }
            // We came in time, so it could have.
            if now - overdue.lookAt <= confirmation { return .stalled(now - lastRound) }
        }
        overdue = (lastRound, now + confirmation)
        return .lookAgain(confirmation)
    }
}
