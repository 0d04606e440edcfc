#if ZooKeeper
    import ClusterModel
    import Dispatch
    import Glibc
    import PluginInterfaces

    /// Calls back when an instant has come, unless that was taken back before; nothing that is called may block.
    ///
    /// Nearly every request is answered in time, so keeping its deadline must cost next to nothing: one thread for all of
    /// them, which is woken for a deadline that is earlier than all others and not when one is taken back. A timer of
    /// Dispatch for each takes a wake-up to set, one to cancel, and memory.
    final class Deadlines: @unchecked Sendable {
        static let shared = Deadlines()

        private struct Entry {
            var instant: Instant
            var action: @Sendable () -> Void
        }

        // Everything below is touched under the mutex alone.
        private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
        private var entries: [UInt64: Entry] = [:]
        private var last: UInt64 = 0
        /// Until when the thread sleeps; nil while it does not.
        private var sleepsUntil: Instant?
        private var isRunning = false

        private init() {
            pthread_mutex_init(mutex, nil)
            var attributes = pthread_condattr_t()
            pthread_condattr_init(&attributes)
            // Not the wall clock, which others set.
            pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
            pthread_cond_init(condition, &attributes)
            pthread_condattr_destroy(&attributes)
        }

        /// The ticket by which it is taken back.
        func add(_ instant: Instant, _ action: @escaping @Sendable () -> Void) -> UInt64 {
            pthread_mutex_lock(mutex)
            last += 1
            let ticket = last
            entries[ticket] = Entry(instant: instant, action: action)
            if !isRunning { start() }
            let hasThread = isRunning
            let isFirst = sleepsUntil.map { instant < $0 } ?? false
            if isFirst { sleepsUntil = nil }
            pthread_mutex_unlock(mutex)
            // With the mutex free, or the thread would wake to wait for that.
            if isFirst { pthread_cond_signal(condition) }
            if !hasThread {
                // There is none to be had: Dispatch may have one by then.
                let left = max(0, (instant - SystemClock.now()).nanosecondsClamped)
                DispatchQueue.global().asyncAfter(deadline: .now() + .nanoseconds(Int(left))) {
                    self.take(ticket)?()
                }
            }
            return ticket
        }

        /// What was added is not called any more, unless that has begun.
        func remove(_ ticket: UInt64) {
            _ = take(ticket)
        }

        private func take(_ ticket: UInt64) -> (@Sendable () -> Void)? {
            pthread_mutex_lock(mutex)
            defer { pthread_mutex_unlock(mutex) }
            return entries.removeValue(forKey: ticket)?.action
        }

        private func start() {
            var thread = pthread_t()
            let code = pthread_create(
                &thread, nil,
                { _ in
                    Deadlines.shared.run()
                    return nil
                }, nil)
            guard code == 0 else { return }
            isRunning = true
            pthread_detach(thread)
        }

        /// Runs as long as the process.
        private func run() {
            // What tools show of the thread.
            let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
            if file >= 0 {
                _ = write(file, "zk-deadlines", 12)
                close(file)
            }
            pthread_mutex_lock(mutex)
            while true {
                let now = SystemClock.now()
                let due = entries.filter { $0.value.instant <= now }
                if due.isEmpty {
                    sleep(until: entries.values.map(\.instant).min() ?? .distantFuture, now)
                    continue
                }
                for ticket in due.keys { entries[ticket] = nil }
                pthread_mutex_unlock(mutex)
                for entry in due.values { entry.action() }
                pthread_mutex_lock(mutex)
            }
        }

        private func sleep(until instant: Instant, _ now: Instant) {
            sleepsUntil = instant
            defer { sleepsUntil = nil }
            if instant == .distantFuture {
                pthread_cond_wait(condition, mutex)
                return
            }
            let left = (instant - now).nanosecondsClamped
            var time = timespec()
            clock_gettime(CLOCK_MONOTONIC, &time)
            let nanoseconds = time.tv_nsec + Int(left % 1_000_000_000)
            time.tv_sec += Int(left / 1_000_000_000) + nanoseconds / 1_000_000_000
            time.tv_nsec = nanoseconds % 1_000_000_000
            pthread_cond_timedwait(condition, mutex, &time)
        }
    }
#endif
