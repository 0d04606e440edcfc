/// What PostgreSQL is at the moment, as far as the guard is concerned: which deadline it enforces.
public enum GuardMode: UInt32, Sendable, Hashable, CaseIterable {
    /// Nothing is running.
    case none = 0
    /// A new cluster is being made, reachable by nobody; stopped as soon as the agent's connection ends.
    case bootstrap = 1
    /// A standby, or the standby cluster's leader. No deadline, but "in production" without a term is stopped.
    case replica = 2
    /// The promote signal has been given. Enforced, although it may still be in recovery. Set by `promote` alone.
    case promoting = 3
    /// Enforced.
    case primary = 4
    /// As `primary`, on deadlines that come from the members' grants.
    case failsafe = 5
    /// Being handed over or stopped: the deadlines stand as they are and take no change.
    case stopping = 6
    /// Not enforced.
    case paused = 7
    /// After a pause: enforced from the first renewal on; without one within the grace it is stopped, if it is in production.
    case resumed = 8
    /// Started by others: as `resumed`, until the agent says what it is.
    case adopted = 9
}

extension GuardMode: CustomStringConvertible {
    public var description: String {
        switch self {
        case .none: "none"
        case .bootstrap: "bootstrap"
        case .replica: "replica"
        case .promoting: "promoting"
        case .primary: "primary"
        case .failsafe: "failsafe"
        case .stopping: "stopping"
        case .paused: "paused"
        case .resumed: "resumed"
        case .adopted: "adopted"
        }
    }
}
