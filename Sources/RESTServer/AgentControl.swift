public import ClusterModel
public import HighAvailability

/// What the REST server needs of the agent. Nothing of it may block.
///
/// 1. `status()` answers from memory at once, whatever else the agent is doing: health checks rest on it.
/// 2. The calls with a deadline answer within it, or nil.
/// 3. `perform` returns when the request is carried out, refused, or (where that is its nature) accepted. The server does
///    not wait for ever: after its own patience it answers that the outcome is unknown, and the request goes on.
public protocol AgentControl: Sendable {
    /// The newest status, from memory; never waits.
    func status() -> AgentStatus

    /// A look at PostgreSQL now, for `GET /patroni`; nil: the status's sample is the best there is.
    func freshSample(within: Duration) async -> PostgresSample?

    /// Carries out an operator's request.
    func perform(_ request: OperatorRequest) async -> OperatorAnswer

    /// A leader that has lost the store asks for this member's grant. Answers when the grant is on disk, or refused; asks
    /// neither the store nor PostgreSQL.
    func grant(_ request: GrantRequest) async -> GrantAnswer

    /// Reads the configuration again, as SIGHUP does; nil when all is well, else what was refused.
    func reload() async -> String?

    /// The store's content now, for `GET /cluster`, `/config` and `/history`; nil when the store does not answer.
    func freshView(within: Duration) async -> ClusterView?

    /// A tick whenever the status changed, coalesced: who gets one looks at `status()`.
    func statusChanges() -> AsyncStream<Void>

    /// Opens the store that a migration would go to, and keeps its section, which may hold secrets.
    func prepareMigration(_ body: JSONObject) async -> OperatorAnswer

    /// Forgets it again.
    func forgetMigration(_ id: String) async -> OperatorAnswer
}

extension AgentControl {
    public func prepareMigration(_ body: JSONObject) async -> OperatorAnswer {
        OperatorAnswer(.notProcessable, "this agent moves to no other store")
    }

    public func forgetMigration(_ id: String) async -> OperatorAnswer {
        OperatorAnswer(.notFound, "no migration of that name is prepared here")
    }
}
