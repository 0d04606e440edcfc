import PluginInterfaces
import Synchronization

/// Signals that wait for their one reader: at most one of each kind, the newest.
final class SignalMailbox: Sendable {
    private struct State {
        var pending: [StoreSignal] = []
        var reader: CheckedContinuation<StoreSignal?, Never>?
        var isClosed = false
    }

    private let state: Mutex<State>

    init(pending: [StoreSignal] = []) {
        state = Mutex(State(pending: pending))
    }

    func post(_ signal: StoreSignal) {
        let reader = state.withLock { state -> CheckedContinuation<StoreSignal?, Never>? in
            if state.isClosed { return nil }
            if let reader = state.reader {
                state.reader = nil
                return reader
            }
            state.pending.removeAll { $0.isSameKind(as: signal) }
            state.pending.append(signal)
            return nil
        }
        reader?.resume(returning: signal)
    }

    /// The next signal; nil when there will be none, or when the reader's task was cancelled.
    func next() async -> StoreSignal? {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let immediate = state.withLock { state -> StoreSignal?? in
                    if !state.pending.isEmpty { return .some(state.pending.removeFirst()) }
                    if state.isClosed || state.reader != nil { return .some(nil) }
                    state.reader = continuation
                    return nil
                }
                if let immediate { continuation.resume(returning: immediate) }
            }
        } onCancel: {
            _ = close()
        }
    }

    /// Ends the reader's stream; what it had not read yet.
    @discardableResult
    func close() -> [StoreSignal] {
        let (reader, rest) = state.withLock { state in
            state.isClosed = true
            let reader = state.reader
            let rest = state.pending
            state.reader = nil
            state.pending = []
            return (reader, rest)
        }
        reader?.resume(returning: nil)
        return rest
    }

    func stream() -> AsyncStream<StoreSignal> {
        AsyncStream { await self.next() }
    }
}

extension StoreSignal {
    fileprivate func isSameKind(as other: StoreSignal) -> Bool {
        switch (self, other) {
        case (.changed, .changed), (.sessionLost, .sessionLost): true
        // Up and down are one state: only the latest counts.
        case (.connected, .connected), (.connected, .disconnected), (.disconnected, .connected),
            (.disconnected, .disconnected):
            true
        default: false
        }
    }
}
