public import ClusterModel

/// The instants of one term, from the last renewal that counts (safety rules, section 3).
///
/// With T the granted lifetime and E the earliest passing of the lease to another, as the store proves it:
/// `end` E' = E - (5 ms + T/100), `kill` K = E' - 150 ms, `quit` Q = E' - B with B = T/8 held within 400 ms...2 s,
/// `finish` F = Q - min(1 s, T/6).
public struct LeaseDeadlines: Hashable, Sendable {
    /// F: from here an agent that is awake stops PostgreSQL fast; renewals sent later never count.
    public var finish: Instant
    /// Q: the guard sends SIGQUIT; renewals answered later never count.
    public var quit: Instant
    /// K: the guard sends SIGKILL to everything.
    public var kill: Instant
    /// E': nothing of this PostgreSQL acknowledges any more.
    public var end: Instant
    /// T: the lifetime granted.
    public var granted: Duration

    public init(notExpiredBefore: Instant, granted: Duration) {
        let end = notExpiredBefore - (.milliseconds(5) + granted / 100)
        self.end = end
        self.kill = end - .milliseconds(150)
        self.quit = end - LeaseDeadlines.stoppingBudget(granted)
        self.finish = self.quit - min(.seconds(1), granted / 6)
        self.granted = granted
    }

    /// B: what the guard is given between SIGQUIT and the end.
    public static func stoppingBudget(_ granted: Duration) -> Duration {
        min(max(granted / 8, .milliseconds(400)), .seconds(2))
    }

    /// The renewal interval that lets two renewals in a row fail before F; nil when a lifetime is too short for any.
    ///
    /// `wished` is the store's own (T/4, or T/6 through a ZooKeeper follower), `delay` is how long before the renewal the
    /// instant lies from which E is reckoned (0, or two intervals through a follower).
    public static func renewalInterval(granted: Duration, wished: Duration, intervalsBehind: Int = 0) -> Duration? {
        let origin = Instant(nanoseconds: 0)
        let finish = LeaseDeadlines(notExpiredBefore: origin + granted, granted: granted).finish - origin
        // The renewal that counts was sent up to `intervalsBehind` intervals before the newest; then three intervals
        // pass until the third try is sent.
        let longest = finish / (3 + intervalsBehind)
        let interval = min(wished, longest)
        return interval >= .milliseconds(50) ? interval : nil
    }

    /// Why no interval fits, with the arithmetic, for the operator.
    public static func refusal(granted: Duration) -> String {
        let deadlines = LeaseDeadlines(
            notExpiredBefore: Instant(nanoseconds: 0) + granted, granted: granted)
        return
            "a lease of \(granted.milliseconds) ms leaves \(deadlines.finish.nanoseconds / 1_000_000) ms until a fast stop "
            + "must begin (stop budget \(stoppingBudget(granted).milliseconds) ms): not enough for two failed renewals; "
            + "raise ttl, or let the store grant it"
    }
}
