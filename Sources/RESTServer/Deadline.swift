import Synchronization

/// Waits for an operation no longer than told; nil when the time was up first.
///
/// The operation is not waited for after that, even if it cannot be cancelled (a name's resolution, an operator's
/// request): it ends on its own, and its result is dropped.
func withDeadline<Value: Sendable>(
    _ within: Duration, _ operation: @escaping @Sendable () async -> Value
) async -> Value? {
    let waiter = Waiter<Value>()
    Task { waiter.finish(with: await operation()) }
    let timer = Task {
        try? await Task.sleep(for: within, tolerance: .milliseconds(1), clock: .continuous)
        waiter.finish(with: nil)
    }
    let result = await withTaskCancellationHandler {
        await waiter.value()
    } onCancel: {
        waiter.finish(with: nil)
    }
    timer.cancel()
    return result
}

/// A value that arrives once, or not.
private final class Waiter<Value: Sendable>: Sendable {
    private enum State {
        case open
        case waiting(CheckedContinuation<Value?, Never>)
        case finished(Value?)
    }

    private let state = Mutex(State.open)

    func finish(with value: Value?) {
        let continuation = state.withLock { state -> CheckedContinuation<Value?, Never>? in
            switch state {
            case .open:
                state = .finished(value)
                return nil
            case .waiting(let continuation):
                state = .finished(nil)
                return continuation
            case .finished:
                return nil
            }
        }
        continuation?.resume(returning: value)
    }

    func value() async -> Value? {
        await withCheckedContinuation { continuation in
            let ready = state.withLock { state -> Value?? in
                if case .finished(let value) = state { return .some(value) }
                state = .waiting(continuation)
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
    }
}
