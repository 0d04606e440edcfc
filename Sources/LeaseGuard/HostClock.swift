import CLeaseGuard

/// This host's wall clock. Leases do not depend on it; schedules and logs do.
public enum HostClock {
    /// Whether something keeps it right (NTP); nil where the kernel does not say.
    public static var isSynchronized: Bool? {
        switch mg_clock_is_synchronized() {
        case 0: false
        case 1: true
        default: nil
        }
    }
}
