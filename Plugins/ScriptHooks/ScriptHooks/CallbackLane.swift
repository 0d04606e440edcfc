import Synchronization

/// One after the other, in the order of arrival; how many may wait is bounded.
final class CallbackLane: Sendable {
    /// What became of one who wanted to enter.
    enum Turn: Hashable, Sendable {
        /// It is in, and has to leave.
        case entered
        /// Newer ones took its place.
        case displaced
        case cancelled
    }

    private struct State {
        var isTaken = false
        var nextNumber = 0
        var waiting: [(number: Int, waiter: CheckedContinuation<Turn, Never>)] = []
    }

    private let limit: Int
    private let state = Mutex(State())

    /// At most `limit` wait; one more displaces the one that waits longest.
    init(limit: Int) {
        self.limit = max(limit, 1)
    }

    func enter() async -> Turn {
        let number = state.withLock { state in
            state.nextNumber += 1
            return state.nextNumber
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { waiter in
                let (first, turn) = state.withLock { state -> (CheckedContinuation<Turn, Never>?, Turn) in
                    if Task.isCancelled { return (waiter, .cancelled) }
                    if !state.isTaken {
                        state.isTaken = true
                        return (waiter, .entered)
                    }
                    state.waiting.append((number, waiter))
                    guard state.waiting.count > limit else { return (nil, .displaced) }
                    return (state.waiting.removeFirst().waiter, .displaced)
                }
                first?.resume(returning: turn)
            }
        } onCancel: {
            let waiter = state.withLock { state -> CheckedContinuation<Turn, Never>? in
                guard let index = state.waiting.firstIndex(where: { $0.number == number }) else { return nil }
                return state.waiting.remove(at: index).waiter
            }
            waiter?.resume(returning: .cancelled)
        }
    }

    func leave() {
        let next = state.withLock { state -> CheckedContinuation<Turn, Never>? in
            if state.waiting.isEmpty {
                state.isTaken = false
                return nil
            }
            return state.waiting.removeFirst().waiter
        }
        next?.resume(returning: .entered)
    }

    /// How many wait, for tests.
    var waitingCount: Int { state.withLock { $0.waiting.count } }
}
