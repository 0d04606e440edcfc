public import HighAvailability
import Synchronization

/// What others than the machine's own thread may see and ask: the last status, and requests that wait for an answer.
public final class AgentShared: Sendable {
    private struct State {
        var status: AgentStatus
        var watchers: [UInt64: AsyncStream<Void>.Continuation] = [:]
        var waiting: [RequestID: CheckedContinuation<OperatorAnswer, Never>] = [:]
        var grants: [RequestID: CheckedContinuation<GrantAnswer, Never>] = [:]
        var last: UInt64 = 0
        var isClosed = false
    }

    private let state: Mutex<State>

    init(_ status: AgentStatus) {
        state = Mutex(State(status: status))
    }

    /// The newest status, at once.
    public var status: AgentStatus { state.withLock { $0.status } }

    func publish(_ status: AgentStatus, isNews: Bool) {
        let watchers = state.withLock { state in
            state.status = status
            return isNews ? Array(state.watchers.values) : []
        }
        for watcher in watchers { watcher.yield() }
    }

    /// A tick whenever the status changed.
    public func changes() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let id = state.withLock { state in
            state.last += 1
            state.watchers[state.last] = continuation
            return state.last
        }
        continuation.onTermination = { [weak self] _ in
            _ = self?.state.withLock { $0.watchers.removeValue(forKey: id) }
        }
        return stream
    }

    /// Hands a request on and waits for its answer.
    func ask(_ send: (RequestID) -> Void) async -> OperatorAnswer {
        await withCheckedContinuation { waiter in
            let id = state.withLock { state -> RequestID? in
                if state.isClosed { return nil }
                state.last += 1
                let id = RequestID(state.last)
                state.waiting[id] = waiter
                return id
            }
            if let id {
                send(id)
            } else {
                waiter.resume(returning: OperatorAnswer(.unavailable, "the agent is leaving"))
            }
        }
    }

    func answer(_ id: RequestID, _ answer: OperatorAnswer) {
        let waiter = state.withLock { $0.waiting.removeValue(forKey: id) }
        waiter?.resume(returning: answer)
    }

    /// Hands another leader's request for a grant on, and waits for what becomes of it.
    func askGrant(_ send: (RequestID) -> Void) async -> GrantAnswer {
        await withCheckedContinuation { waiter in
            let id = state.withLock { state -> RequestID? in
                if state.isClosed { return nil }
                state.last += 1
                let id = RequestID(state.last)
                state.grants[id] = waiter
                return id
            }
            if let id {
                send(id)
            } else {
                waiter.resume(returning: .refused("The agent is leaving"))
            }
        }
    }

    func answer(_ id: RequestID, _ answer: GrantAnswer) {
        let waiter = state.withLock { $0.grants.removeValue(forKey: id) }
        waiter?.resume(returning: answer)
    }

    /// The agent ends: nobody waits for it any longer.
    func close() {
        let (waiting, grants, watchers) = state.withLock { state in
            defer {
                state.waiting = [:]
                state.grants = [:]
                state.watchers = [:]
                state.isClosed = true
            }
            return (Array(state.waiting.values), Array(state.grants.values), Array(state.watchers.values))
        }
        for waiter in waiting { waiter.resume(returning: OperatorAnswer(.unavailable, "the agent is leaving")) }
        for waiter in grants { waiter.resume(returning: .refused("The agent is leaving")) }
        for watcher in watchers { watcher.finish() }
    }
}
