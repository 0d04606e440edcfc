/// A point on this host's CLOCK_BOOTTIME, the one clock on which leases are reckoned.
///
/// The clock counts the time a host sleeps, and is not moved by anybody who sets the wall clock.
/// Instants of two hosts, or of two boots of one host, have nothing to do with each other and are never exchanged.
public struct Instant: Hashable, Sendable, Comparable {
    /// Nanoseconds since boot, suspended time included.
    public var nanoseconds: Int64

    public init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    public static func < (left: Instant, right: Instant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    public static func + (instant: Instant, duration: Duration) -> Instant {
        Instant(nanoseconds: instant.nanoseconds &+ duration.nanosecondsClamped)
    }

    public static func - (instant: Instant, duration: Duration) -> Instant {
        Instant(nanoseconds: instant.nanoseconds &- duration.nanosecondsClamped)
    }

    public static func - (left: Instant, right: Instant) -> Duration {
        .nanoseconds(left.nanoseconds &- right.nanoseconds)
    }

    public static let distantPast = Instant(nanoseconds: .min / 4)
    public static let distantFuture = Instant(nanoseconds: .max / 4)
}

extension Duration {
    /// The duration in nanoseconds, held within what an `Instant` can be moved by.
    public var nanosecondsClamped: Int64 {
        let (seconds, attoseconds) = components
        let limit: Int64 = .max / 4
        if seconds > limit / 1_000_000_000 { return limit }
        if seconds < -limit / 1_000_000_000 { return -limit }
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }

    /// The duration in whole milliseconds, rounded towards zero.
    public var milliseconds: Int64 { nanosecondsClamped / 1_000_000 }

    /// The duration in seconds.
    public var seconds: Double { Double(nanosecondsClamped) / 1e9 }
}
