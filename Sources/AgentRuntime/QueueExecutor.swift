import Dispatch

/// Runs an actor on a thread of its own queue, so that nothing which blocks the shared pool delays it.
final class QueueExecutor: SerialExecutor {
    let queue: DispatchQueue

    init(_ label: String) {
        queue = DispatchQueue(label: label, qos: .userInteractive)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
    }
}

/// Runs what blocks on a Dispatch thread.
func blocking<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { waiter in
        // A serial queue has a thread of its own; the global queues share theirs with Swift's tasks.
        DispatchQueue(label: "matriarch.blocking").async { waiter.resume(returning: work()) }
    }
}
