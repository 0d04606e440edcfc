import ClusterModel
import Dispatch
import PluginInterfaces
import Synchronization

/// How a call on the store's queue ended.
enum EmbeddedAnswer<Value: Sendable>: Sendable {
    case done(Value)
    /// Certainly without effect.
    case notSent(StoreError)
    /// The transaction's end is not known, or its answer comes too late.
    case unknown(StoreError)
}

/// Why an attempt failed.
enum EmbeddedFailure: Error {
    /// Another process has the lock: try again until the deadline.
    case busy
    case failed(StoreError)
    case unknown(StoreError)
}

/// One call with its deadline: its continuation is resumed exactly once, by the queue or by the clock.
final class EmbeddedCall<Value: Sendable>: Sendable {
    private enum State {
        case waiting(CheckedContinuation<EmbeddedAnswer<Value>, Never>)
        case running(CheckedContinuation<EmbeddedAnswer<Value>, Never>)
        case ended
    }

    private let what: String
    private let state: Mutex<State>
    /// Sound: never changed after `init`, and Dispatch lets any thread cancel a source.
    private nonisolated(unsafe) let timer: any DispatchSourceTimer

    init(_ what: String, within limit: Duration, _ continuation: CheckedContinuation<EmbeddedAnswer<Value>, Never>) {
        self.what = what
        state = Mutex(.waiting(continuation))
        // Not the store's queue: deadlines hold while that one is stuck in a slow disk.
        timer = DispatchSource.makeTimerSource(queue: deadlines)
        timer.setEventHandler { [weak self] in self?.expire() }
        timer.schedule(deadline: .now() + .nanoseconds(Int(max(0, limit.nanosecondsClamped))), leeway: .milliseconds(1))
        timer.activate()
    }

    /// Begins an attempt; false when the deadline has passed.
    func begin() -> Bool {
        state.withLock { state in
            guard case .waiting(let continuation) = state else { return false }
            state = .running(continuation)
            return true
        }
    }

    /// Ends an attempt that found the store busy; false when the deadline has passed.
    func pause() -> Bool {
        state.withLock { state in
            guard case .running(let continuation) = state else { return false }
            state = .waiting(continuation)
            return true
        }
    }

    func end(_ answer: EmbeddedAnswer<Value>) {
        finish { _ in answer }
    }

    private func expire() {
        finish { isRunning in
            isRunning
                ? .unknown(StoreError(.timedOut, "\(what): the disk did not answer in time"))
                : .notSent(StoreError(.timedOut, "\(what): another process kept the store locked until the deadline"))
        }
    }

    /// Whether an attempt runs and how the call ends is one step: none may begin in between.
    private func finish(_ answer: (_ isRunning: Bool) -> EmbeddedAnswer<Value>) {
        let ending = state.withLock {
            state -> (CheckedContinuation<EmbeddedAnswer<Value>, Never>, EmbeddedAnswer<Value>)? in
            defer { state = .ended }
            switch state {
            case .waiting(let continuation): return (continuation, answer(false))
            case .running(let continuation): return (continuation, answer(true))
            case .ended: return nil
            }
        }
        timer.cancel()
        if let (continuation, answer) = ending { continuation.resume(returning: answer) }
    }
}

private let deadlines = DispatchQueue(label: "matriarch.embedded-store.deadlines")
