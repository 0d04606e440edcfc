import Dispatch

/// Runs what blocks on a Dispatch thread.
func blocking<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { waiter in
        // A serial queue has a thread of its own; the global queues share theirs with Swift's tasks.
        DispatchQueue(label: "matriarch.blocking").async { waiter.resume(returning: work()) }
    }
}
