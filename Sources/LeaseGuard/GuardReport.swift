public import ClusterModel

/// What the guard tells unasked.
public enum GuardReport: Hashable, Sendable {
    /// The first report of a connection, and whenever something else than the following changed (a freeze was taken in,
    /// somebody else promoted the server).
    case status(GuardStatus)
    case started(pid: Int32)
    /// The postmaster ended. `status` is `waitpid`'s; -1 for an adopted one, whose status nobody is told.
    case exited(pid: Int32, status: Int32)
    /// The first deadline of a term is in force.
    case armed(Fence)
    /// An offer in the page was refused, and why; `armed`: the term whose deadline is in force all the same.
    case refused(String, armed: Fence?)
    /// The guard has begun to stop PostgreSQL, and why. The term is over.
    case stopping(String)
    /// SIGKILL was sent, and to what.
    case killed(String)
    /// Nothing of PostgreSQL is left.
    case silent
    /// The connection ended, and why. Always the last report; the guard goes on with what it was told.
    case disconnected(String)
}
