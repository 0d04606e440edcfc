#if Consul
    import PluginInterfaces
    import Synchronization

    /// Signals that wait for their one reader; merged, so that never more than a handful do.
    final class SignalMailbox: Sendable {
        private struct State {
            var waiting: [StoreSignal] = []
            var reader: CheckedContinuation<StoreSignal?, Never>?
            var isClosed = false
        }

        private let state = Mutex(State())

        func post(_ signal: StoreSignal) {
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

        /// Keeps one signal of each kind, and of "connected" and "disconnected" only the later one.
        static func merge(_ signal: StoreSignal, into waiting: inout [StoreSignal]) {
            switch signal {
            case .changed:
                if waiting.contains(where: { if case .changed = $0 { true } else { false } }) { return }
            case .connected, .disconnected:
                waiting.removeAll {
                    switch $0 {
                    case .connected, .disconnected: true
                    case .changed, .sessionLost: false
                    }
                }
            case .sessionLost:
                waiting.removeAll { $0 == .sessionLost }
            }
            waiting.append(signal)
        }

        /// The next signal; nil once closed or cancelled.
        func next() async -> StoreSignal? {
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
                dismissReader()
            }
        }

        /// Ends the stream.
        func close() {
            state.withLock { $0.isClosed = true }
            dismissReader()
        }

        private func dismissReader() {
            let reader = state.withLock { state in
                defer { state.reader = nil }
                return state.reader
            }
            reader?.resume(returning: nil)
        }
    }
#endif
