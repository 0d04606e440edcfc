import AgentRuntime
import ClusterModel
import HighAvailability
import RESTServer

/// The agent as the REST server sees it.
struct AgentAPI: AgentControl {
    let agent: Agent
    /// Takes reloaded settings into the parts beside the agent; returns what was refused.
    let onReload: @Sendable () async -> String?

    func status() -> AgentStatus { agent.status }

    func freshSample(within limit: Duration) async -> PostgresSample? { await agent.freshSample(within: limit) }

    func perform(_ request: OperatorRequest) async -> OperatorAnswer { await agent.perform(request) }

    func grant(_ request: GrantRequest) async -> GrantAnswer { await agent.grant(request) }

    func reload() async -> String? {
        if let refused = await agent.reload() { return refused }
        return await onReload()
    }

    func freshView(within limit: Duration) async -> ClusterView? { await agent.freshView(within: limit) }

    func statusChanges() -> AsyncStream<Void> { agent.statusChanges() }

    func prepareMigration(_ body: JSONObject) async -> OperatorAnswer { await agent.prepareMigration(body) }

    func forgetMigration(_ id: String) async -> OperatorAnswer { await agent.forgetMigration(id) }
}
