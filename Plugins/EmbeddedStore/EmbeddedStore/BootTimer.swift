import CSQLite
import ClusterModel
import Dispatch
import Glibc

/// A timer on CLOCK_BOOTTIME, on which leases are reckoned; Dispatch's own stop while the host sleeps.
/// Owned and called by one queue.
final class BootTimer {
    private let descriptor: Int32
    private let source: any DispatchSourceRead
    private var armed: Instant?
    /// TFD_TIMER_ABSTIME, an enumerator that Swift does not import as a number.
    private static let absolute: Int32 = 1

    init?(on queue: DispatchQueue, onEvent: @escaping @Sendable () -> Void) {
        let descriptor = timerfd_create(CLOCK_BOOTTIME, Int32(O_NONBLOCK | O_CLOEXEC))
        guard descriptor >= 0 else { return nil }
        self.descriptor = descriptor
        source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        source.setEventHandler {
            var count: UInt64 = 0
            // Nothing to read: it was set anew since.
            guard read(descriptor, &count, MemoryLayout<UInt64>.size) > 0 else { return }
            onEvent()
        }
        source.setCancelHandler { Glibc.close(descriptor) }
        source.activate()
    }

    deinit {
        source.cancel()
    }

    /// Goes off once at the instant, or at once when it has passed; nil: not at all.
    func set(_ instant: Instant?) {
        guard instant != armed else { return }
        armed = instant
        var setting = itimerspec()
        if let instant {
            // 0 would disarm it.
            let nanoseconds = max(1, instant.nanoseconds)
            setting.it_value.tv_sec = Int(nanoseconds / 1_000_000_000)
            setting.it_value.tv_nsec = Int(nanoseconds % 1_000_000_000)
        }
        timerfd_settime(descriptor, Self.absolute, &setting, nil)
    }
}
