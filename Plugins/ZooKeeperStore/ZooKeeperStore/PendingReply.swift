#if ZooKeeper
    import ClusterModel
    import Dispatch
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
            var timer: (any DispatchSourceTimer)?
        }

        // All mutable state is behind this lock; the class is open to a subclass that keeps memory for C alive.
        private let state = Mutex(State())

        init() {}

        /// Gives the result; false when there was one already.
        @discardableResult
        func finish(_ result: sending Result<Value, CallFailure>) -> Bool {
            let (waiter, timer, isFirst) = state.withLock {
                state -> (CheckedContinuation<Result<Value, CallFailure>, Never>?, (any DispatchSourceTimer)?, Bool) in
                guard state.result == nil else { return (nil, nil, false) }
                state.result = result
                defer {
                    state.waiter = nil
                    state.timer = nil
                }
                return (state.waiter, state.timer, true)
            }
            timer?.cancel()
            waiter?.resume(returning: result)
            return isFirst
        }

        /// Waits for the result, at most until the deadline: then the outcome is unknown. One waiter only.
        func wait(until deadline: Instant) async -> Result<Value, CallFailure> {
            await withCheckedContinuation { continuation in
                let early = state.withLock { state -> Result<Value, CallFailure>? in
                    if let result = state.result { return result }
                    state.waiter = continuation
                    let timer = DispatchSource.makeTimerSource(flags: .strict, queue: Deadlines.queue)
                    let left = max(0, (deadline - SystemClock.now()).nanosecondsClamped)
                    timer.schedule(
                        deadline: .now() + .nanoseconds(Int(left)), repeating: .never, leeway: .nanoseconds(0))
                    timer.setEventHandler { [weak self] in
                        self?.finish(.failure(CallFailure(.operationTimeout, .unknown)))
                    }
                    state.timer = timer
                    timer.activate()
                    return nil
                }
                if let early { continuation.resume(returning: early) }
            }
        }
    }

    /// The queue on which deadlines fire; nothing on it blocks.
    enum Deadlines {
        static let queue = DispatchQueue(label: "zookeeper.deadlines", qos: .userInteractive)
    }
#endif
