import CLeaseGuard
import ClusterModel

/// The clock of leases.
enum BootClock {
    static var now: Instant { Instant(nanoseconds: mg_boottime()) }
}
