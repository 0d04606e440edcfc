#if ZooKeeper
    import ClusterModel
    import PluginInterfaces
    import Synchronization

    /// A reply that is still to come: finished once, by whoever is first (the library, or the deadline).
    ///
    /// The request is sent synchronously by whoever makes this; so several requests can be put on the wire in a certain
    /// order, and their replies awaited afterwards.
    class PendingReply<Value: Sendable>: @unchecked Sendable {
        private struct State {
            var result: Result<Value, CallFailure>?
            var waiter: CheckedContinuation<Result<Value, CallFailure>, Never>?
            var deadline: UInt64?
        }

        // All mutable state is behind this lock; the class is open to a subclass that keeps memory for C alive.
        private let state = Mutex(State())

        init() {}

        /// Gives the result; false when there was one already.
        @discardableResult
        func finish(_ result: sending Result<Value, CallFailure>) -> Bool {
            let (waiter, deadline, isFirst) = state.withLock {
                state -> (CheckedContinuation<Result<Value, CallFailure>, Never>?, UInt64?, Bool) in
                guard state.result == nil else { return (nil, nil, false) }
                state.result = result
                defer {
                    state.waiter = nil
                    state.deadline = nil
                }
                return (state.waiter, state.deadline, true)
            }
            if let deadline { Deadlines.shared.remove(deadline) }
            waiter?.resume(returning: result)
            return isFirst
        }

        /// Waits for the result, at most until the deadline: then the outcome is unknown. One waiter only.
        func wait(until deadline: Instant) async -> Result<Value, CallFailure> {
            await withCheckedContinuation { continuation in
                let early = state.withLock { state -> Result<Value, CallFailure>? in
                    if let result = state.result { return result }
                    state.waiter = continuation
                    state.deadline = Deadlines.shared.add(deadline) { [weak self] in
                        self?.finish(.failure(CallFailure(.operationTimeout, .unknown)))
                    }
                    return nil
                }
                if let early { continuation.resume(returning: early) }
            }
        }
    }
#endif
