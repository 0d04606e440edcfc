import Synchronization

/// Signals of a store that wait for their one reader; merged, so that never more than a handful do.
///
/// What a plugin needs for `CoordinationStore.signals()`: whoever hears of something posts it, from any thread and without
/// waiting; the reader gets what matters, however slow it is.
///
/// ```swift
/// private let mailbox = SignalMailbox()
/// func signals() -> AsyncStream<StoreSignal> { mailbox.stream() }
/// // where the watch fires:
/// mailbox.post(.changed(nil))
/// ```
public final class SignalMailbox: Sendable {
    private struct State {
        var waiting: [StoreSignal]
        var reader: CheckedContinuation<StoreSignal?, Never>?
        var isClosed = false
    }

    private let state: Mutex<State>

    /// A mailbox in which these signals wait already: those that the reader of an earlier one left, say.
    public init(waiting: [StoreSignal] = []) {
        state = Mutex(State(waiting: waiting))
    }

    /// Hands a signal to the reader, or keeps it for when one comes. Without effect once closed.
    public func post(_ signal: StoreSignal) {
        let reader = state.withLock { state -> CheckedContinuation<StoreSignal?, Never>? in
            guard !state.isClosed else { return nil }
            if let reader = state.reader {
                state.reader = nil
                return reader
            }
            Self.merge(signal, into: &state.waiting)
            return nil
        }
        reader?.resume(returning: signal)
    }

    /// Keeps one signal of each kind, the later one. "Connected" and "disconnected" are one kind: only the latest holds.
    static func merge(_ signal: StoreSignal, into waiting: inout [StoreSignal]) {
        waiting.removeAll {
            switch ($0, signal) {
            case (.changed, .changed), (.sessionLost, .sessionLost), (.connected, .connected),
                (.connected, .disconnected), (.disconnected, .connected), (.disconnected, .disconnected):
                true
            default: false
            }
        }
        waiting.append(signal)
    }

    /// The next signal; nil once closed, or when the caller's task is cancelled. Of two readers the earlier one gets nil.
    public func next() async -> StoreSignal? {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (answer, replaced) = state.withLock {
                    state -> (StoreSignal??, CheckedContinuation<StoreSignal?, Never>?) in
                    if !state.waiting.isEmpty { return (.some(state.waiting.removeFirst()), nil) }
                    if state.isClosed || Task.isCancelled { return (.some(nil), nil) }
                    let replaced = state.reader
                    state.reader = continuation
                    return (nil, replaced)
                }
                replaced?.resume(returning: nil)
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            takeReader()?.resume(returning: nil)
        }
    }

    /// The signals as a stream for one reader. It ends when the mailbox is closed or the reader's task is cancelled.
    public func stream() -> AsyncStream<StoreSignal> {
        AsyncStream { await self.next() }
    }

    /// Ends the reader's stream; what it had not read yet.
    @discardableResult
    public func close() -> [StoreSignal] {
        let rest = state.withLock { state in
            state.isClosed = true
            defer { state.waiting = [] }
            return state.waiting
        }
        takeReader()?.resume(returning: nil)
        return rest
    }

    private func takeReader() -> CheckedContinuation<StoreSignal?, Never>? {
        state.withLock { state in
            defer { state.reader = nil }
            return state.reader
        }
    }
}
