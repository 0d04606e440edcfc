public import ClusterModel
import ClusterStore
public import HighAvailability
import PluginInterfaces
import PostgresControl

extension Agent {
    /// The newest status, from memory.
    public nonisolated var status: AgentStatus { shared.status }

    public nonisolated func statusChanges() -> AsyncStream<Void> { shared.changes() }

    /// Hands an operator's request to the machine and waits for its end.
    public nonisolated func perform(_ request: OperatorRequest) async -> OperatorAnswer {
        let yield = self.yield
        return await shared.ask { yield(.asked($0, request)) }
    }

    /// Hands the request of a leader that has lost the store to the machine; neither the store nor PostgreSQL is asked.
    public nonisolated func grant(_ request: GrantRequest) async -> GrantAnswer {
        let yield = self.yield
        return await shared.askGrant { yield(.grantAsked($0, request)) }
    }

    /// A look at PostgreSQL now; the machine sees it too.
    public func freshSample(within limit: Duration) async -> PostgresSample? {
        guard machine.world.isServerUp, let monitor else { return nil }
        guard case .success(let sample) = await monitor.sample(within: limit) else { return nil }
        yield(.sample(sample))
        return sample
    }

    /// The store's content now.
    public func freshView(within limit: Duration) async -> ClusterView? {
        do throws(StoreError) {
            return try await cluster.read(.linearizable, within: limit)
        } catch {
            return nil
        }
    }
}

extension Agent {
    /// Something that the agent cannot do without failed to start: it ends with status 1, and PostgreSQL is left as it is.
    public nonisolated func fail(_ why: String) {
        Task { await self.end(1, why) }
    }

    private func end(_ code: Int32, _ why: String) {
        if exit == nil { exit = (code, why) }
        yield(.wake)
    }
}
