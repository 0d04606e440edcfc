import ClusterModel
import Glibc
import PluginInterfaces

/// A thread that lives as long as what it serves, and runs one job after another.
///
/// Dispatch ends a thread that was idle for five seconds: whoever has something to do each ten would make a new one each
/// time, and each of its timers wakes two. This one waits for its next job and for its timer in one call of the kernel.
final class WorkerThread: Sendable {
    private let loop: WorkerLoop

    /// - Throws: why there is no thread.
    init(_ name: String) throws(AgentError) {
        loop = WorkerLoop()
        try loop.start(name)
    }

    deinit {
        loop.end()
    }

    func add(_ job: UnownedJob, _ run: @escaping @Sendable (UnownedJob) -> Void) {
        loop.add(job, run)
    }

    /// Calls `action` on the thread at that instant, once; replaces the timer before.
    func setTimer(_ instant: Instant, _ action: @escaping @Sendable () -> Void) {
        loop.setTimer(instant, action)
    }
}

/// What the thread runs; it outlives its `WorkerThread` until it has run what was there.
private final class WorkerLoop: @unchecked Sendable {
    /// A job, and in the closure what has to live until it has run.
    private struct Item {
        var job: UnownedJob
        var run: @Sendable (UnownedJob) -> Void
    }

    // Written before the thread begins.
    private var name = ""
    // Everything below is touched under the mutex alone.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var items: [Item] = []
    private var timerAt: Instant = .distantFuture
    private var onTimer: (@Sendable () -> Void)?
    private var isWaiting = false
    private var isEnding = false

    init() {
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        // Not the wall clock, which others set.
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func start(_ name: String) throws(AgentError) {
        self.name = name
        var thread = pthread_t()
        let box = Unmanaged.passRetained(self)
        let code = pthread_create(
            &thread, nil,
            { raw in
                if let raw { Unmanaged<WorkerLoop>.fromOpaque(raw).takeRetainedValue().work() }
                return nil
            }, box.toOpaque())
        guard code == 0 else {
            box.release()
            throw AgentError("cannot start the thread \(name): \(String(cString: strerror(code)))")
        }
        pthread_detach(thread)
    }

    func add(_ job: UnownedJob, _ run: @escaping @Sendable (UnownedJob) -> Void) {
        change { items.append(Item(job: job, run: run)) }
    }

    func setTimer(_ instant: Instant, _ action: @escaping @Sendable () -> Void) {
        change {
            timerAt = instant
            onTimer = action
        }
    }

    func end() {
        change {
            isEnding = true
            onTimer = nil
            timerAt = .distantFuture
        }
    }

    /// A thread that works looks again before it waits, and is not signalled; one that waits is when the mutex is free, or
    /// it would have to wait for that next.
    private func change(_ body: () -> Void) {
        pthread_mutex_lock(mutex)
        body()
        let isWoken = isWaiting
        isWaiting = false
        pthread_mutex_unlock(mutex)
        if isWoken { pthread_cond_signal(condition) }
    }

    private func work() {
        // What tools show of the thread.
        let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
        if file >= 0 {
            _ = name.withCString { write(file, $0, strlen($0)) }
            close(file)
        }
        while let (due, timer) = next() {
            for item in due { item.run(item.job) }
            timer?()
        }
    }

    /// What is to be done now, as soon as there is something; nil when the thread is to end.
    private func next() -> ([Item], (@Sendable () -> Void)?)? {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            var timer: (@Sendable () -> Void)?
            let left = timerAt - SystemClock.now()
            if left <= .zero {
                timer = onTimer
                timerAt = .distantFuture
            }
            if !items.isEmpty || timer != nil {
                let due = items
                items.removeAll(keepingCapacity: true)
                return (due, timer)
            }
            if isEnding { return nil }
            isWaiting = true
            if timerAt == .distantFuture {
                pthread_cond_wait(condition, mutex)
            } else {
                var until = Self.fromNow(left)
                pthread_cond_timedwait(condition, mutex, &until)
            }
            isWaiting = false
        }
    }

    private static func fromNow(_ duration: Duration) -> timespec {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        let nanoseconds = time.tv_nsec + Int(duration.nanosecondsClamped % 1_000_000_000)
        time.tv_sec += Int(duration.nanosecondsClamped / 1_000_000_000) + nanoseconds / 1_000_000_000
        time.tv_nsec = nanoseconds % 1_000_000_000
        return time
    }
}

/// Runs an actor on a thread of its own, so that nothing which blocks the shared pool delays it.
final class ThreadExecutor: SerialExecutor {
    private let thread: WorkerThread

    init(_ thread: WorkerThread) {
        self.thread = thread
    }

    func enqueue(_ job: consuming ExecutorJob) {
        thread.add(UnownedJob(job)) { $0.runSynchronously(on: self.asUnownedSerialExecutor()) }
    }
}

/// Runs tasks, as far as they are not bound to an actor's own executor, on one thread instead of the shared pool.
final class ThreadTaskExecutor: TaskExecutor {
    private let thread: WorkerThread

    init(_ thread: WorkerThread) {
        self.thread = thread
    }

    func enqueue(_ job: consuming ExecutorJob) {
        thread.add(UnownedJob(job)) { $0.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
