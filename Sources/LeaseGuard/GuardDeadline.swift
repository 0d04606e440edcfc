public import ClusterModel

/// The deadlines of one term, as the agent computes them from a proven renewal and the guard enforces them.
///
/// The guard sends SIGQUIT at `quit` and SIGKILL at `kill`; `end` is the instant before which PostgreSQL must be silent.
/// It accepts them only in the order `quit < kill <= end`, never earlier than before within a term, and never further away
/// than `granted` from now.
public struct GuardDeadline: Hashable, Sendable {
    /// The holding that these deadlines belong to.
    public var term: Fence
    /// Q: SIGQUIT to every process of PostgreSQL.
    public var quit: Instant
    /// K: SIGKILL to every process of PostgreSQL.
    public var kill: Instant
    /// E': the lease's end less the allowance for clocks.
    public var end: Instant
    /// T: the lifetime that the store grants.
    public var granted: Duration

    public init(term: Fence, quit: Instant, kill: Instant, end: Instant, granted: Duration) {
        self.term = term
        self.quit = quit
        self.kill = kill
        self.end = end
        self.granted = granted
    }
}
